"""LTX-2: what it cannot make and what it cannot read is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_render import load_plain
from safetensors.torch import load_file, save_file
from tiny_ltx2 import PROMPT, Tiny, recipe_tiny, ref_tiny

from manifests.stage import Expert, Stage, StageKind
from render.errors import ModelUnavailable
from render.families.base import LoadedModel
from render.parallel import why_not

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded(tiny_ltx2: Tiny) -> LoadedModel:
    """A tiny model that no test changes."""
    return load_plain(ref_tiny(tiny_ltx2("ltx-2.3")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fps": 96.0}, "96 frames a second are more than the 60 that LTX-2 .*; write 60 or less"),
        ({"frames": 481, "fps": 12.0}, "481 frames at 12 a second last 40.00 seconds"),
        ({"width": 80}, "sizes go in multiples of 32, frames in 8n\\+1"),
        ({"frames": 13}, "13 frames; sizes go in multiples of 32"),
        (
            {
                "stages": (
                    Stage(kind=StageKind.RENOISE, steps=2, cfg=1, shift=5, expert=Expert.LOW),
                )
            },
            "stage 1 asks for the low-noise expert",
        ),
    ],
)
def test_what_it_cannot_make_is_refused(
    changes: dict[str, Any], said: str, loaded: LoadedModel
) -> None:
    """Rates, sizes, lengths and experts it does not have are refused before the first step."""
    with pytest.raises(ModelUnavailable, match=said):
        loaded.check(recipe_tiny(**changes))


def test_it_stays_on_one_card(loaded: LoadedModel) -> None:
    """The plan that its class has for several cards leaves out the sound: it is not used."""
    loaded.check(recipe_tiny())
    said = why_not(loaded, recipe_tiny(), size=2)
    assert said == "LTX2VideoTransformer3DModel cannot be spread over cards"


def test_a_boundary_is_refused(tiny_ltx2: Tiny) -> None:
    """A recipe that changes experts is not loaded for a model with one transformer."""
    with pytest.raises(ModelUnavailable, match=r"changes experts at 0\.9; take"):
        load_plain(ref_tiny(tiny_ltx2("ltx-2.3")), boundary=0.9)


def _rename(path: Path, key: str, value: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def _drop(path: Path, weight: str) -> None:
    weights = load_file(path)
    del weights[weight]
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        (
            "model_index.json",
            lambda path: _rename(path, "_class_name", "WanPipeline"),
            "WanPipeline, not an LTX-2 model",
        ),
        (
            "model_index.json",
            lambda path: _rename(path, "text_encoder", ["evil", "Thing"]),
            "names Thing of evil as its text encoder",
        ),
        (
            "text_encoder/model.safetensors",
            lambda path: _drop(path, "language_model.model.norm.weight"),
            r"lacks 1 weights \(.*norm.weight",
        ),
        (
            "connectors/diffusion_pytorch_model.safetensors",
            lambda path: _drop(path, "video_connector.learnable_registers"),
            r"lacks 1 weights \(video_connector.learnable_registers",
        ),
        (
            "transformer/diffusion_pytorch_model.safetensors",
            lambda path: _drop(path, "proj_out.weight"),
            r"lacks 1 weights \(proj_out.weight",
        ),
        ("transformer/diffusion_pytorch_model.safetensors", Path.unlink, "cannot be loaded"),
        ("text_encoder/model.safetensors", Path.unlink, "cannot be loaded"),
    ],
)
def test_a_spoilt_folder_is_refused_by_name(
    file: str, spoil: Callable[[Path], Any], said: str, tiny_ltx2: Tiny, tmp_path: Path
) -> None:
    """Missing weights of every part are refused: neither library may fill them at random."""
    damaged = Path(shutil.copytree(tiny_ltx2("ltx-2.3"), tmp_path / "damaged"))
    spoil(damaged / file)
    with pytest.raises(ModelUnavailable, match=said) as refusal:
        load_plain(ref_tiny(damaged)).encode_text(PROMPT)  # which reads the text encoder
    assert str(damaged) in str(refusal.value)
