"""What was computed once is not computed again, and changes no bit of what is made with it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_render import hashes, render
from safetensors.torch import load_file, save_file

from manifests.stage import Speed
from render import take as take_module
from render.backend import Progress
from render.checkpoint import load_checkpoint
from render.diffusers_backend import DiffusersBackend
from render.errors import NonFinite, NonFiniteFrames
from render.families.wan import WanModel
from render.midway import NAME, Cadence
from render.order import RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]


def _retake(order: RenderOrder, **second_stage: Any) -> RenderOrder:
    """The next take of a shot: another folder, and another stage 2."""
    first, second = order.recipe.stages
    recipe = replace(order.recipe, stages=(first, replace(second, **second_stage)))
    folder = order.folder.with_name("retake")
    return replace(order, take_id="sheet/001/t2", take=2, recipe=recipe, folder=folder)


@pytest.fixture
def stored(order_for: OrderFor, tmp_path: Path) -> RenderOrder:
    """An order with a store."""
    return replace(order_for(), store=tmp_path / "store")


@pytest.mark.slow
def test_another_shot_of_the_same_recipe_is_only_decoded(
    stored: RenderOrder, tmp_path: Path
) -> None:
    """Every stage comes from the store, into a folder that is complete in itself."""
    first = render(stored)
    assert first.reused == ()
    other = replace(stored, take_id="sheet/002/t1", shot="002", folder=tmp_path / "other")
    told: list[Progress] = []
    second = DiffusersBackend().render(other, tell=told.append)
    assert hashes(second) == hashes(first)
    assert second.reused == ("stage 1", "stage 2", "still")
    assert [stage.resumed for stage in second.stages] == [True, True]
    assert "stage" not in {progress.phase for progress in told}
    shutil.rmtree(tmp_path / "store")
    for stage in second.stages:
        assert stage.latents.parent == other.folder
        assert load_file(stage.latents)["latents"].shape == (1, 4, 2, 4, 4)
    assert second.notes == ()


@pytest.mark.slow
def test_a_retake_starts_from_the_stages_that_it_shares(
    stored: RenderOrder, tmp_path: Path
) -> None:
    """Stage 2 of the retake is computed from stage 1 of the take before, to the same bits."""
    first = render(stored)
    retake = _retake(stored, denoise=0.3)
    second = render(retake)
    assert second.reused == ("stage 1", "prompt", "still")
    assert [stage.resumed for stage in second.stages] == [True, False]
    assert second.stages[0].latents_sha256 == first.stages[0].latents_sha256
    assert second.stages[0].latents.exists()
    alone = render(replace(retake, store=None, folder=tmp_path / "alone"))
    assert alone.reused == ()
    assert hashes(second) == hashes(alone)
    assert second.clip_sha256 != first.clip_sha256


@pytest.mark.slow
def test_with_another_seed_no_encoder_runs(
    stored: RenderOrder, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Prompt and still come from the store: encoders that would give NaN are not asked."""
    render(stored)
    folder = shutil.copytree(tiny_wan("i2v-2.1"), tmp_path / "spoilt")
    weights = folder / "text_encoder" / "model.safetensors"
    spoilt = {name: torch.full_like(x, torch.nan) for name, x in load_file(weights).items()}
    save_file(spoilt, weights, metadata={"format": "pt"})
    model = replace(stored.model, location=str(folder))
    seeded = replace(stored.recipe, seed=12)
    other = replace(stored, recipe=seeded, model=model, folder=tmp_path / "other")
    assert render(other).reused == ("prompt", "still")
    with pytest.raises(NonFinite):
        render(replace(other, store=None, folder=tmp_path / "alone"))


@pytest.mark.slow
def test_a_damaged_entry_is_computed_again(stored: RenderOrder, tmp_path: Path) -> None:
    """A flipped bit in the store changes no pixel: the entry is removed, named, made anew."""
    first = render(stored)
    assert stored.store is not None
    for path in stored.store.rglob("*.safetensors"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink()  # the take has the same file under another name
        path.write_bytes(data)
    other = replace(stored, folder=tmp_path / "other")
    second = render(other)
    assert second.reused == ()
    assert hashes(second) == hashes(first)
    # Two stages, two texts, one still.
    assert [note.count("removed, computed again") for note in second.notes] == [1] * 5
    third = render(replace(other, folder=tmp_path / "third"))
    assert third.reused == ("stage 1", "stage 2", "still")
    assert third.notes == ()


@pytest.mark.slow
def test_a_stage_that_left_the_store_is_named(stored: RenderOrder, tmp_path: Path) -> None:
    """With the end of stage 2 alone, the take is decoded and says what its folder lacks."""
    first = render(stored)
    assert stored.store is not None
    for path in (stored.store / "stage").rglob("*.safetensors"):
        if path.samefile(first.stages[0].latents):
            path.unlink()
    second = render(replace(stored, folder=tmp_path / "other"))
    assert hashes(second) == hashes(first)
    assert second.notes == ("stage 1 is in the store no more: only its end is known",)


@pytest.mark.slow
def test_what_is_found_belongs_to_the_very_same_work(stored: RenderOrder, tmp_path: Path) -> None:
    """Another text, size, length or precision finds neither stages nor encodings of this one."""
    render(stored)
    changes: list[dict[str, Any]] = [
        {"model_id": "another"},
        {"precision": "bfloat16"},
        {"speed": Speed.FAST},
    ]
    for k, change in enumerate(changes):
        recipe = replace(stored.recipe, **change)
        receipt = render(replace(stored, recipe=recipe, folder=tmp_path / str(k)))
        assert receipt.reused == (), change
    for k, change in enumerate([{"frames": 9}, {"width": 48}, {"vae_precision": "bfloat16"}]):
        recipe = replace(stored.recipe, **change)
        receipt = render(replace(stored, recipe=recipe, folder=tmp_path / f"size {k}"))
        assert receipt.reused == ("prompt",), change


@pytest.mark.slow
def test_a_full_disk_costs_the_store_and_not_the_take(stored: RenderOrder, tmp_path: Path) -> None:
    """A store that cannot be written is one note; the take is what it would be without."""
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    receipt = render(replace(stored, store=blocked))
    notes = [note for note in receipt.notes if "cannot be written" in note]
    assert len(notes) == 1
    alone = render(replace(stored, store=None, folder=tmp_path / "alone"))
    assert hashes(receipt) == hashes(alone)


@pytest.mark.slow
@pytest.mark.parametrize(("speed", "kept"), [(Speed.EXACT, True), (Speed.TURBO, False)])
def test_with_step_caches_a_stage_is_kept_at_its_end_only(
    speed: Speed, kept: bool, order_for: OrderFor
) -> None:
    """Turbo leaves nothing between steps: its caches are in no checkpoint."""
    order = order_for("t2v-2.1", speed=speed)
    seen: set[str] = set()

    def look(progress: Progress) -> None:
        if progress.phase == "stage":
            seen.update(path.name for path in order.folder.iterdir())

    backend = DiffusersBackend(cadence=Cadence(every_seconds=0.0, most_share=math.inf))
    receipt = backend.render(order, tell=look)
    assert (NAME in seen) is kept
    assert not (order.folder / NAME).exists()
    assert len(receipt.stages) == 2


def test_a_checkpoint_in_the_store_is_a_checkpoint(stored: RenderOrder) -> None:
    """The store's file of a stage is the take's own: one file on the disk, read alike."""
    receipt = render(stored)
    assert stored.store is not None
    entries = list((stored.store / "stage").rglob("*.safetensors"))
    assert len(entries) == 2
    for entry in entries:
        back = load_checkpoint(entry, plan=entry.stem, folder=stored.folder)
        last = back.receipts[-1]
        assert entry.samefile(last.latents)
        assert last.latents_sha256 == receipt.stages[last.index].latents_sha256


@pytest.mark.slow
def test_a_decode_that_broke_costs_no_stage(
    order_for: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """A VAE that overflows in float16 fails by its own name; the take after it, with the VAE in
    float32, finds every stage in the store and is only decoded."""
    folder = shutil.copytree(tiny_wan("t2v-2.1"), tmp_path / "narrow")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_in.weight"] *= 1e6
    save_file(weights, path, metadata={"format": "pt"})
    order = order_for("t2v-2.1", vae_precision="float16")
    order = replace(
        order, model=replace(order.model, location=str(folder)), store=tmp_path / "store"
    )
    with pytest.raises(NonFiniteFrames, match="decode: frame 0 or later"):
        render(order)
    recipe = replace(order.recipe, vae_precision="float32")
    receipt = render(replace(order, recipe=recipe, folder=tmp_path / "t2"))
    assert receipt.reused == ("stage 1", "stage 2")


@pytest.mark.slow
def test_what_kernels_short_of_memory_made_is_nobody_elses(
    stored: RenderOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A take whose still was encoded by kernels that made do with less memory says so, and leaves
    neither the still nor the stages that saw it in the store; the texts before it are exact."""
    refused, encode = 0, WanModel.encode_still

    def short(self: WanModel, *args: Any, **kwargs: Any) -> Any:
        nonlocal refused
        refused += 1
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(take_module, "shortages", lambda device: refused)
    with monkeypatch.context() as patch:
        patch.setattr(WanModel, "encode_still", short)
        receipt = render(stored)
    assert [note.partition(":")[0] for note in receipt.notes] == ["encode"]
    other = replace(stored, take_id="sheet/002/t1", shot="002", folder=tmp_path / "other")
    exact = render(other)
    assert exact.reused == ("prompt",)
    assert exact.notes == ()
    assert render(replace(other, folder=tmp_path / "third")).reused[:2] == ("stage 1", "stage 2")
