"""LTX-2: LoRAs, in the stage that names them and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from plain_render import hashes, render, write_lora
from safetensors.torch import load_file, save_file

from manifests.files import sha256_file
from manifests.stage import Lora
from render.diffusers_backend import DiffusersBackend
from render.order import RenderOrder

OrderFor = Callable[..., RenderOrder]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_lora_changes_its_stage_and_leaves_no_trace(ltx2_order: OrderFor, tmp_path: Path) -> None:
    """With a LoRA in stage 2 only stage 2 differs; without it all is as before."""
    backend, bare = DiffusersBackend(), ltx2_order(folder="bare")
    lora = write_lora(
        tmp_path / "motion.safetensors", "transformer.transformer_blocks.0.attn1.to_q", width=16
    )
    one, two = bare.recipe.stages
    before = hashes(render(bare, backend))
    styled = ltx2_order(folder="styled", stages=(one, replace(two, loras=(lora,))))
    with_lora = hashes(render(styled, backend))
    assert with_lora[0] == before[0]
    assert with_lora[1] != before[1]
    assert hashes(render(ltx2_order(folder="after"), backend)) == before


@pytest.mark.slow
def test_a_lora_on_how_text_is_read_is_left_out_and_said(
    ltx2_order: OrderFor, tmp_path: Path
) -> None:
    """Text is read once for all stages, so a LoRA's part of the connectors has no stage to be
    in: the take is that of its other part alone, and the receipt says so."""
    layer = "transformer_blocks.0.attn1.to_q"
    drawn = write_lora(tmp_path / "drawn.safetensors", f"transformer.{layer}", width=16)
    write_lora(tmp_path / "read.safetensors", f"connectors.video_connector.{layer}", width=16)
    path = tmp_path / "both.safetensors"
    save_file({**load_file(drawn.path), **load_file(tmp_path / "read.safetensors")}, path)
    both = Lora(path=str(path), sha256=sha256_file(path), strength=drawn.strength)
    one, _ = ltx2_order().recipe.stages
    plain = render(ltx2_order(stages=(replace(one, loras=(drawn,)),), folder="plain"))
    found = render(ltx2_order(stages=(replace(one, loras=(both,)),), folder="found"))
    assert hashes(found) == hashes(plain)
    [note] = found.notes
    assert note.startswith("LoRA both.safetensors: its weights for the text encoder are left out")
