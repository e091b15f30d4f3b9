"""A take from order to receipt: resumed, reused, refused, and the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_render import hashes, render
from safetensors import safe_open

from manifests.files import sha256_file
from manifests.schedules import start_sigma
from manifests.stage import Sampler, Stage, StageKind
from render.backend import Progress
from render.clip import clip_info
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable, NonFinite, SourceUnreadable
from render.order import Receipt, RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]


class KilledError(Exception):
    """The process ended here."""


def _quiet(progress: Progress) -> None:
    pass


def _killed_at(phase: str, stage: int = 0, step: int = 0) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if (progress.phase, progress.stage, progress.step) == (phase, stage, step):
            raise KilledError

    return tell


@pytest.mark.parametrize("kind", ["t2v-2.1", "i2v-2.1", "i2v-2.2"])
def test_a_take_is_rendered(kind: str, order_for: OrderFor) -> None:
    """Clip, checkpoints and receipt lie in the take's folder and agree with the recipe."""
    order = order_for(kind)
    told: list[Progress] = []
    receipt = DiffusersBackend().render(order, tell=told.append)
    info = clip_info(receipt.clip)
    assert (info.frames, info.width, info.height, info.fps) == (5, 32, 32, 8.0)
    assert receipt.clip_sha256 == sha256_file(order.folder / "clip.mkv")
    assert receipt.recipe_fingerprint == order.recipe.fingerprint
    assert [s.seed for s in receipt.stages] == [11, 12]
    assert [s.steps for s in receipt.stages] == [3, 2]
    assert [s.start_sigma for s in receipt.stages] == [
        start_sigma(stage) for stage in order.recipe.stages
    ]
    assert all(s.latents.exists() and not s.resumed and s.seconds > 0 for s in receipt.stages)
    assert receipt.notes == ()
    assert receipt.peak_memory > 0
    assert min(receipt.load_seconds, receipt.encode_seconds, receipt.decode_seconds) > 0
    on_disk = json.loads((order.folder / "receipt.json").read_text())
    assert Receipt.from_dict(on_disk) == receipt
    phases = list(dict.fromkeys(p.phase for p in told))
    assert phases == ["load", "encode", "stage", "decode"]
    steps = [(p.stage, p.step, p.steps) for p in told if p.phase == "stage"]
    assert steps == [(1, 0, 3), (1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 0, 2), (2, 1, 2), (2, 2, 2)]


@pytest.mark.slow
def test_the_same_order_gives_the_same_bytes(order_for: OrderFor, tmp_path: Path) -> None:
    """Two processes' worth of backends give equal latents and equal clips; a new seed does not."""
    one, two = (render(order_for(folder=tmp_path / name)) for name in ("a", "b"))
    other = render(order_for(folder=tmp_path / "c", seed=12))
    assert hashes(one) == hashes(two)
    assert not set(hashes(one)) & set(hashes(other))


@pytest.mark.slow
def test_a_warm_backend_gives_the_same_bytes(order_for: OrderFor, tmp_path: Path) -> None:
    """What is kept between takes (model, text, still) changes no pixel, and is not loaded twice."""
    backend = DiffusersBackend()
    backend.render(order_for(folder=tmp_path / "a", seed=5, prompt="zoom"), tell=_quiet)
    warm = backend.render(order_for(folder=tmp_path / "b"), tell=_quiet)
    assert warm.load_seconds == 0.0
    assert hashes(warm) == hashes(render(order_for(folder=tmp_path / "c")))
    backend.close()
    again = backend.render(order_for(folder=tmp_path / "d"), tell=_quiet)
    assert again.load_seconds > 0.0
    assert hashes(again) == hashes(warm)


@pytest.mark.slow
def test_one_model_is_held_at_a_time(order_for: OrderFor, tmp_path: Path) -> None:
    """Another model takes the place of the one that was."""
    backend = DiffusersBackend()
    for name, kind in (("a", "i2v-2.1"), ("b", "t2v-2.1"), ("c", "i2v-2.1")):
        receipt = backend.render(order_for(kind, folder=tmp_path / name), tell=_quiet)
        assert receipt.load_seconds > 0.0


def test_a_finished_take_is_not_rendered_again(order_for: OrderFor) -> None:
    """The receipt that was written is returned at once, and nobody is told of any work."""
    order = order_for()
    first = render(order)

    def never(progress: Progress) -> None:
        raise AssertionError(progress)

    assert DiffusersBackend().render(order, tell=never) == first


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["clip changed", "clip gone", "receipt cut"])
def test_a_damaged_finish_is_made_good(damage: str, order_for: OrderFor) -> None:
    """A clip or receipt that is not whole is written again from the checkpoints, and said so."""
    order = order_for()
    first = render(order)
    clip, receipt = order.folder / "clip.mkv", order.folder / "receipt.json"
    match damage:
        case "clip changed":
            clip.write_bytes(clip.read_bytes()[:-9])
        case "clip gone":
            clip.unlink()
        case _:
            receipt.write_text(receipt.read_text()[:40])
    again = render(order)
    assert hashes(again) == hashes(first)
    assert all(stage.resumed for stage in again.stages)
    assert len(again.notes) == 1
    assert clip.name in again.notes[0] or receipt.name in again.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "resumed"),
    [
        (("encode", 0, 0), [False, False]),
        (("stage", 1, 2), [False, False]),
        (("stage", 2, 0), [True, False]),
        (("stage", 2, 1), [True, False]),
        (("decode", 0, 0), [True, True]),
    ],
)
def test_a_killed_take_goes_on(
    at: tuple[str, int, int], resumed: list[bool], order_for: OrderFor, tmp_path: Path
) -> None:
    """Killed anywhere, finished stages are not run again and the bytes are the unkilled ones."""
    order = order_for()
    with pytest.raises(KilledError):
        DiffusersBackend().render(order, tell=_killed_at(*at))
    assert not (order.folder / "receipt.json").exists()
    told: list[Progress] = []
    receipt = DiffusersBackend().render(order, tell=told.append)
    assert [stage.resumed for stage in receipt.stages] == resumed
    ran = {p.stage for p in told if p.phase == "stage"}
    assert ran == {k + 1 for k, was in enumerate(resumed) if not was}
    assert all(s.seconds == 0.0 for s in receipt.stages if s.resumed)
    assert hashes(receipt) == hashes(render(replace(order, folder=tmp_path / "whole")))


@pytest.mark.slow
def test_a_killed_split_goes_on_with_its_history(order_for: OrderFor, tmp_path: Path) -> None:
    """DPM++ 2M in two windows, killed between them, resumes to the bits of one stage."""
    common: dict[str, Any] = {
        "kind": StageKind.SPLIT,
        "steps": 6,
        "cfg": 2.0,
        "shift": 5.0,
        "sampler": Sampler.DPMPP_2M,
    }
    parts = (
        Stage(end_step=3, leftover_noise=True, **common),
        Stage(start_step=3, add_noise=False, seed_offset=1, **common),
    )
    order = order_for("t2v-2.2", stages=parts)
    with pytest.raises(KilledError):
        DiffusersBackend().render(order, tell=_killed_at("stage", 2, 1))
    with safe_open(order.folder / "stage-1.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"latents", "history.x0", "history.sigma"}
    resumed = render(order)
    assert resumed.stages[0].resumed
    whole = order_for("t2v-2.2", folder=tmp_path / "whole", stages=(Stage(**common),))
    assert resumed.stages[1].latents_sha256 == render(whole).stages[0].latents_sha256


@pytest.mark.slow
def test_a_retake_of_stage_two_keeps_stage_one(order_for: OrderFor) -> None:
    """A recipe that differs only in stage 2 starts from stage 1's checkpoint."""
    order = order_for()
    first = render(order)
    stages = (order.recipe.stages[0], replace(order.recipe.stages[1], denoise=0.3))
    second = render(order_for(stages=stages))
    assert [stage.resumed for stage in second.stages] == [True, False]
    assert second.stages[0].latents_sha256 == first.stages[0].latents_sha256
    assert second.clip_sha256 != first.clip_sha256
    assert second.notes == (
        "receipt.json belongs to another recipe: ignored",
        "stage-2.safetensors belongs to another recipe or machine: ignored",
    )


def test_leftovers_of_a_killed_write_are_removed(order_for: OrderFor) -> None:
    """A temporary file of a killed process does not stay in the take's folder."""
    order = order_for()
    order.folder.mkdir(parents=True)
    leftover = order.folder / ".clip.4242.0badcafe.mkv"
    leftover.write_bytes(b"half")
    render(order)
    assert not leftover.exists()


@pytest.mark.slow
def test_every_stage_and_cfg_shows(order_for: OrderFor, tmp_path: Path) -> None:
    """The clip is made of all stages: it changes with the second stage's CFG."""
    one = order_for()
    two = (one.recipe.stages[0], replace(one.recipe.stages[1], cfg=1.0))
    first, second = render(one), render(order_for(folder=tmp_path / "b", stages=two))
    assert first.stages[0].latents_sha256 == second.stages[0].latents_sha256
    assert first.clip_sha256 != second.clip_sha256


@pytest.mark.slow
def test_without_guidance_the_negative_is_never_read(order_for: OrderFor, tmp_path: Path) -> None:
    """At CFG 1 the negative prompt decides no pixel."""
    stages = (Stage(kind=StageKind.RENOISE, steps=2, cfg=1.0, shift=5.0),)
    clips = {
        render(order_for(folder=tmp_path / negative, negative=negative, stages=stages)).clip_sha256
        for negative in ("blurry", "zoom")
    }
    assert len(clips) == 1


def test_nan_weights_fail_as_a_picture(
    order_for: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """A model that makes NaN ends as NonFinite with no clip and no receipt."""
    folder = _copy(tiny_wan("i2v-2.1"), tmp_path / "nan")
    _edit_weights(folder / "transformer", lambda weights: weights["proj_out.bias"].fill_(torch.nan))
    order = order_for()
    broken = replace(order, model=replace(order.model, location=str(folder)))
    with pytest.raises(NonFinite, match="stage 1 of 2, step 3 of 3"):
        render(broken)
    assert list(order.folder.iterdir()) == []


def test_nan_in_the_vae_names_the_remedy(
    order_for: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Frames of NaN from good latents fail as a picture, and the latents are kept."""
    folder = _copy(tiny_wan("t2v-2.1"), tmp_path / "nan")
    _edit_weights(folder / "vae", lambda weights: weights["decoder.conv_out.bias"].fill_(torch.nan))
    order = order_for("t2v-2.1")
    broken = replace(order, model=replace(order.model, location=str(folder)))
    with pytest.raises(NonFinite, match="vae_precision: float32"):
        render(broken)
    kept = sorted(path.name for path in order.folder.iterdir())
    assert kept == ["stage-1.safetensors", "stage-2.safetensors"]


@pytest.mark.slow
def test_a_changed_source_is_rendered_and_noted(order_for: OrderFor, tmp_path: Path) -> None:
    """A still that changed after planning is rendered as it is now, and the receipt says so."""
    order = order_for()
    assert order.source is not None
    other = tmp_path / "changed.png"
    from PIL import Image, ImageOps

    with Image.open(order.source) as still:
        ImageOps.invert(still).save(other)
    first = render(order)
    receipt = render(replace(order, source=other, folder=tmp_path / "b"))
    planned, found = order.recipe.source_sha256, sha256_file(other)
    assert planned is not None
    assert receipt.notes == (
        f"the source changed after planning: hash was {planned[:12]}, is {found[:12]}",
    )
    assert receipt.clip_sha256 != first.clip_sha256
    # Latents of the old still are not gone on from, though the recipe is the same.
    (order.folder / "receipt.json").unlink()
    again = render(replace(order, source=other))
    assert not any(stage.resumed for stage in again.stages)
    assert again.clip_sha256 == receipt.clip_sha256


@pytest.mark.parametrize("fault", ["gone", "damaged", "not planned"])
def test_an_unreadable_source_is_named(fault: str, order_for: OrderFor, tmp_path: Path) -> None:
    """A source that vanished or cannot be decoded fails by name."""
    order = order_for()
    path = tmp_path / "still.png"
    match fault:
        case "gone":
            order = replace(order, source=path)
        case "damaged":
            assert order.source is not None
            path.write_bytes(order.source.read_bytes()[:200])
            order = replace(order, source=path)
        case _:
            order = replace(order, source=None)
    with pytest.raises(SourceUnreadable, match=r"run again|plan the shot again"):
        render(order)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 40}, "multiples of 16"),
        ({"frames": 6}, r"4n\+1"),
        ({"boundary": 0.9}, "one transformer"),
        ({"precision": "float8"}, "'float8' is unknown"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    changes: dict[str, Any], said: str, order_for: OrderFor
) -> None:
    """A size, a length, experts or a precision that the model lacks is refused before sampling."""
    with pytest.raises(ModelUnavailable, match=said):
        render(order_for(**changes))


@pytest.mark.parametrize(("device", "said"), [("gpu", "unknown"), ("cuda:7", "not there")])
def test_a_device_that_is_not_there_is_refused(device: str, said: str, order_for: OrderFor) -> None:
    """A device that torch does not know or does not see is named."""
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has a card")
    with pytest.raises(ModelUnavailable, match=said):
        render(replace(order_for(), device=device))


def _copy(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


def _edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})
