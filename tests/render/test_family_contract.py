"""What the stage loop may rely on, whatever the family: laws that each tiny model is held to."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plain_render import load_plain
from tiny_animatediff import build_tiny_animatediff
from torch import Tensor, nn

from manifests.families import FAMILIES as DESCRIBED
from manifests.source import open_source
from manifests.stage import Expert, Noise, Recipe, Stage, StageKind
from manifests.still import prepare_still
from render.families.base import ImageCondition, LoadedModel, Position
from render.families.registry import FAMILIES
from render.order import ModelRef
from render.sampling import draw_noise

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A tiny model and a clip that it can make."""

    family: str
    kind: str
    width: int = 32
    height: int = 64
    """Not square, so that no test mistakes one side for the other."""
    frames: int = 9
    still: bool = False
    noise: Noise = Noise.FLOW
    sigma: float = 0.7
    """A level its noise knows."""

    @property
    def size(self) -> dict[str, int]:
        """Of the clip, as `latent_shape` takes it."""
        return {"width": self.width, "height": self.height, "frames": self.frames}

    @property
    def recipe(self) -> Recipe:
        """One stage that makes this clip."""
        stage = Stage(kind=StageKind.RENOISE, steps=2, cfg=2.0, shift=5.0, noise=self.noise)
        return Recipe(
            preset="test/one",
            family=self.family,
            model="tiny",
            model_id=self.kind,
            prompt="slow pan left",
            negative="blurry",
            **self.size,
            fps=24.0,
            seed=11,
            stages=(stage,),
        )


CASES = (
    Case(family="wan", kind="t2v-2.1"),
    Case(family="wan", kind="i2v-2.2", still=True),
    Case(family="wan", kind="ti2v-5b", still=True),
    Case(family="ltx2", kind="ltx-2.0", width=64, height=96),
    Case(family="ltx2", kind="ltx-2.3", width=64, height=96, still=True),
    Case(family="animatediff", kind="image", frames=5, noise=Noise.EPS_LINEAR, sigma=3.0),
)
SHARED = {"pocket": "wan"}
"""Families whose code is another's."""


QUICK = ("ti2v-5b", "ltx-2.3", "image")
"""One of each family for the quick loop."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            case,
            id=f"{case.family}:{case.kind}",
            marks=() if case.kind in QUICK else pytest.mark.slow,
        )
        for case in CASES
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    """Each family in turn."""
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def folder(
    case: Case,
    tiny_wan: Callable[[str], Path],
    tiny_ltx2: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> ModelRef:
    """Where the tiny model lies."""
    ref = {"name": "tiny", "family": case.family}
    match case.family:
        case "wan":
            return ModelRef(location=str(tiny_wan(case.kind)), **ref)
        case "ltx2":
            return ModelRef(location=str(tiny_ltx2(case.kind)), **ref)
        case "animatediff":
            root = build_tiny_animatediff(tmp_path_factory.mktemp("animatediff"))
            place, motion = str(root / case.kind), str(root / "motion")
            return ModelRef(location=place, motion_adapter=motion, **ref)
    raise AssertionError(f"no tiny model of the family {case.family}")


def _load(case: Case, folder: ModelRef) -> LoadedModel:
    boundary = 0.8 if case.kind == "i2v-2.2" else None
    model = load_plain(folder, image_to_video=case.still, boundary=boundary)
    model.check(case.recipe)
    return model


@pytest.fixture(scope="module")
def model(case: Case, folder: ModelRef) -> Iterator[LoadedModel]:
    """Loaded, with the case's recipe taken up."""
    loaded = _load(case, folder)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def image(
    case: Case, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> ImageCondition | None:
    """What the model is told about a still, where it takes one."""
    if not case.still:
        return None
    path = tmp_path_factory.mktemp("stills") / "still.png"
    Image.linear_gradient("L").resize((80, 60)).convert("RGB").save(path)
    fitted = prepare_still(open_source(path), width=case.width, height=case.height)
    with torch.inference_mode():
        return model.encode_still(fitted, frames=case.frames)


def _velocity(case: Case, model: LoadedModel, image: ImageCondition | None, x: Tensor) -> Tensor:
    at = Position(sigma=torch.tensor(case.sigma), expert=Expert.AUTO, step=0, steps=2)
    with torch.inference_mode():
        text = model.encode_text("slow pan left")
        return model.velocity(x, at, text, image=image, branch="cond")


def test_every_family_is_held_to_the_contract() -> None:
    """A family that is registered is described for sheets, and has a tiny model here."""
    assert set(FAMILIES) == set(DESCRIBED)
    assert {SHARED.get(name, name) for name in FAMILIES} == {case.family for case in CASES}


@pytest.mark.slow
def test_components_are_modules_by_name(model: LoadedModel) -> None:
    """A text encoder, a VAE, and something that samples."""
    assert all(isinstance(part, nn.Module) for part in model.components.values())
    assert {"text_encoder", "vae"} <= set(model.components)
    assert {"transformer", "unet"} & set(model.components)


@pytest.mark.slow
def test_text_is_one_row_of_tokens(model: LoadedModel) -> None:
    """(1, L, D), finite, the same for the same words and other for others."""
    with torch.inference_mode():
        one, same, other = (model.encode_text(text) for text in ("zoom", "zoom", "left"))
    assert (one.ndim, one.shape[0]) == (3, 1)
    assert torch.isfinite(one).all()
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_velocity_is_like_the_latents(
    case: Case, model: LoadedModel, image: ImageCondition | None
) -> None:
    """float32, of `latent_shape`, finite, the same when asked again; the latents stay as given."""
    x = draw_noise(model.latent_shape(**case.size), seed=1)
    before = x.clone()
    v = _velocity(case, model, image, x)
    assert (v.shape, v.dtype) == (x.shape, torch.float32)
    assert torch.isfinite(v).all()
    assert torch.equal(v, _velocity(case, model, image, x))
    assert torch.equal(x, before)


def test_finished_latents_are_a_clip_of_the_size_that_was_asked(
    case: Case, model: LoadedModel, image: ImageCondition | None
) -> None:
    """(1, C, T, h, w), decoded chunk by chunk to float32 frames (H, W, 3) within 0..1."""
    x = draw_noise(model.latent_shape(**case.size), seed=2)
    with torch.inference_mode():
        finished = model.finish_latents(x, image)
        chunks = list(model.decode(finished))
    assert (finished.ndim, finished.shape[0], finished.dtype) == (5, 1, torch.float32)
    assert sum(len(chunk) for chunk in chunks) == case.frames
    assert finished.shape[2] == DESCRIBED[case.family].latent_frames(case.frames)
    for chunk in chunks:
        assert chunk.shape[1:] == (case.height, case.width, 3)
        assert chunk.dtype == np.float32
        assert 0.0 <= chunk.min() <= chunk.max() <= 1.0


def test_a_mask_says_which_frames_are_given(
    case: Case, model: LoadedModel, image: ImageCondition | None
) -> None:
    """Latents of a still are finite, and what is decoded wherever the mask says 0."""
    if image is None:
        pytest.skip("renders from text")
    assert image.latents.dtype == torch.float32
    assert torch.isfinite(image.latents).all()
    if image.mask is None:
        return
    assert set(image.mask.unique().tolist()) == {0.0, 1.0}
    x = draw_noise(model.latent_shape(**case.size), seed=3)
    finished, bare = model.finish_latents(x, image), model.finish_latents(x, None)
    given = (image.mask == 0).expand_as(finished)
    assert torch.equal(finished[given], image.latents.expand_as(finished)[given])
    assert torch.equal(finished[~given], bare[~given])


@pytest.mark.slow
def test_a_closed_model_is_gone(case: Case, folder: ModelRef) -> None:
    """Nothing holds the weights once a model is closed, though the object itself lives on."""
    model = _load(case, folder)
    parts = [weakref.ref(part) for part in model.components.values()]
    model.close()
    gc.collect()
    assert [part() for part in parts] == [None] * len(parts)
