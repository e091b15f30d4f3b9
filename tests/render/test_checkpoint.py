"""Checkpoints belong to one plan, come back bit for bit, and are refused by name otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from manifests.stage import Lora, Stage, StageKind
from render.checkpoint import checkpoint_path, load_checkpoint, resume, save_checkpoint
from render.errors import StaleCheckpoint
from render.keys import Surroundings, plan_hash, prefix_fingerprint
from render.order import Gang, Placement, RenderOrder, StageReceipt
from render.sampling import Latents, draw_noise
from render.take import Take
from render.tensor_file import tensor_sha256

X = draw_noise((1, 4, 2, 4, 4), seed=0)
HISTORY = {"x0": draw_noise((1, 4, 2, 4, 4), seed=1), "sigma": torch.tensor(0.8)}
LORA = Lora(path="/a/b.safetensors", sha256="ab" * 32, strength=0.8)


def _receipts(folder: Path, count: int) -> list[StageReceipt]:
    return [
        StageReceipt(
            index=k,
            start_sigma=1.0 - 0.3 * k,
            steps=4 + k,
            seed=11 + k,
            seconds=2.5,
            resumed=False,
            latents=checkpoint_path(folder, k),
            latents_sha256=tensor_sha256(X),
            latents_std=float(X.std()),
        )
        for k in range(count)
    ]


def _save(folder: Path, k: int, *, plan: str, x: torch.Tensor = X) -> Path:
    latents = Latents(x=x, sigma=0.5, history=HISTORY)
    save_checkpoint(folder, latents, _receipts(folder, k + 1), plan=plan)
    return checkpoint_path(folder, k)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    """Latents, leftover noise and history are the same bits; stages count as resumed."""
    back = load_checkpoint(_save(tmp_path, 1, plan="p"), plan="p")
    assert torch.equal(back.latents.x, X)
    assert back.latents.sigma == 0.5
    assert set(back.latents.history) == {"x0", "sigma"}
    assert all(torch.equal(back.latents.history[name], HISTORY[name]) for name in HISTORY)
    expected = tuple(replace(r, seconds=0.0, resumed=True) for r in _receipts(tmp_path, 2))
    assert back.receipts == expected


def test_the_furthest_one_is_taken(tmp_path: Path) -> None:
    """A take goes on from its last finished stage."""
    _save(tmp_path, 0, plan="one")
    _save(tmp_path, 1, plan="two", x=X + 1)
    found = resume(tmp_path, ["one", "two", "three"])
    assert found.checkpoint is not None
    assert torch.equal(found.checkpoint.latents.x, X + 1)
    assert found.notes == ()


def test_an_empty_folder_starts_over(tmp_path: Path) -> None:
    """Nothing to resume is no error and nothing to tell."""
    assert resume(tmp_path, ["one"]) == resume(tmp_path / "absent", ["one"])
    assert resume(tmp_path, ["one"]).checkpoint is None


def test_a_foreign_one_is_refused_by_name(tmp_path: Path) -> None:
    """Latents of another recipe are never gone on from; the one before them still is."""
    _save(tmp_path, 0, plan="one")
    path = _save(tmp_path, 1, plan="another")
    with pytest.raises(StaleCheckpoint, match=r"stage-2.safetensors belongs to another recipe"):
        load_checkpoint(path, plan="two")
    found = resume(tmp_path, ["one", "two"])
    assert found.checkpoint is not None
    assert len(found.checkpoint.receipts) == 1
    assert found.notes == ("stage-2.safetensors belongs to another recipe or machine: ignored",)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text"])
def test_a_damaged_one_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    """A file that was cut, emptied, overwritten or has one flipped bit is noticed."""
    path = _save(tmp_path, 0, plan="one")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    damaged = {"cut": data[:-7], "empty": b"", "flipped": data, "text": b"not tensors"}[damage]
    path.write_bytes(damaged)
    found = resume(tmp_path, ["one"])
    assert found.checkpoint is None
    assert len(found.notes) == 1
    assert "stage-1.safetensors is damaged" in found.notes[0]


def test_the_prefix_ignores_what_decides_no_pixel(order_for: Callable[..., RenderOrder]) -> None:
    """Later stages, names, the frame rate and the place of a LoRA leave stage 1's plan alone."""
    recipe = order_for().recipe
    first = replace(recipe.stages[0], loras=(LORA,))
    recipe = replace(recipe, stages=(first, recipe.stages[1]))
    expected = prefix_fingerprint(recipe, 0)
    moved = replace(first, loras=(replace(LORA, path="/elsewhere.safetensors"),))
    for same in (
        replace(recipe, stages=(first,)),
        replace(recipe, stages=(first, replace(recipe.stages[1], denoise=0.3))),
        replace(recipe, stages=(moved, recipe.stages[1])),
        replace(recipe, preset="other/name", model="alias", fps=24.0),
    ):
        assert prefix_fingerprint(same, 0) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 12},
        {"prompt": "other"},
        {"negative": "other"},
        {"width": 48},
        {"height": 48},
        {"frames": 9},
        {"model_id": "other"},
        {"family": "pocket"},
        {"source_sha256": "00"},
        {"precision": "bfloat16"},
        {"vae_precision": "bfloat16"},
        {"boundary": 0.9},
    ],
)
def test_the_prefix_holds_what_decides_pixels(
    change: dict[str, Any], order_for: Callable[..., RenderOrder]
) -> None:
    """Anything that changes stage 1's latents changes its plan."""
    recipe = order_for().recipe
    assert prefix_fingerprint(replace(recipe, **change), 0) != prefix_fingerprint(recipe, 0)


@pytest.mark.parametrize(
    ("family", "told"), [("wan", False), ("ltx2", True), ("one that nobody knows", True)]
)
def test_the_frame_rate_counts_where_the_model_is_told_it(
    family: str, told: bool, order_for: Callable[..., RenderOrder]
) -> None:
    """LTX-2 moves by seconds, so another rate is another plan; Wan never hears of it."""
    recipe = replace(order_for().recipe, family=family)
    faster = prefix_fingerprint(replace(recipe, fps=25.0), 0)
    assert (faster != prefix_fingerprint(recipe, 0)) is told


def test_without_a_still_the_vae_only_decodes(order_for: Callable[..., RenderOrder]) -> None:
    """Its precision is no part of a text-to-video plan: a decode in float32 keeps the stages."""
    recipe = order_for("t2v-2.1").recipe
    other = replace(recipe, vae_precision="bfloat16")
    assert prefix_fingerprint(other, 1) == prefix_fingerprint(recipe, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 4},
        {"cfg": 2.5},
        {"shift": 3.0},
        {"denoise": 0.9},
        {"seed_offset": 3},
        {"loras": (LORA,)},
        {"loras": (replace(LORA, strength=0.5),)},
    ],
)
def test_the_prefix_holds_its_stages(
    change: dict[str, Any], order_for: Callable[..., RenderOrder]
) -> None:
    """Stage 1's values are in the plan of stage 1 and of every stage after it."""
    recipe = order_for().recipe
    other = replace(recipe, stages=(replace(recipe.stages[0], **change), recipe.stages[1]))
    for k in (0, 1):
        assert prefix_fingerprint(other, k) != prefix_fingerprint(recipe, k)


def test_the_plan_holds_the_surroundings(order_for: Callable[..., RenderOrder]) -> None:
    """Another still, kind of device, library or pixel-changing rung is another plan."""
    recipe = order_for().recipe
    here = Surroundings(source_sha256="aa", device="cpu", versions={"torch": "1"})
    plans = {
        plan_hash(recipe, 0, around)
        for around in (
            here,
            replace(here, source_sha256="bb"),
            replace(here, device="NVIDIA H200"),
            replace(here, versions={"torch": "2"}),
            replace(here, in_force=("fp8",)),
        )
    }
    assert len(plans) == 5


def test_no_stage_has_no_prefix(order_for: Callable[..., RenderOrder]) -> None:
    """A stage that is not there has no fingerprint."""
    recipe = replace(
        order_for().recipe, stages=(Stage(kind=StageKind.RENOISE, steps=1, cfg=1.0, shift=1.0),)
    )
    with pytest.raises(IndexError, match="stage 1 of a recipe with 1 stages"):
        prefix_fingerprint(recipe, 1)


def test_a_take_spread_over_cards_is_other_work(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """What several cards computed together is never gone on from by one, nor the reverse."""
    alone = order_for()
    gang = Gang(rank=0, size=2, meeting=tmp_path / "meeting", seconds=60.0)
    apart = Placement(text_encoder="cpu", vae="cpu:0")
    one, many, placed = (
        Take(order, lambda _progress: None, torch.device("cpu"), None).surroundings()
        for order in (alone, replace(alone, gang=gang), replace(alone, placement=apart))
    )
    assert plan_hash(alone.recipe, 0, one) != plan_hash(alone.recipe, 0, many)
    assert one == placed, "parts on devices of the same kind give the same bits"
