"""The stage loop: guidance, noise, what passes from stage to stage, and what stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from plain_order import plain_recipe
from torch import Tensor

from manifests.schedules import model_calls, sigmas
from manifests.stage import Expert, Lora, Recipe, Sampler, Schedule, Stage, StageKind
from render.errors import NonFinite
from render.families.base import Conditioning, Frames, ImageCondition, LoadedModel, Position
from render.order import RenderOrder
from render.sampling import (
    Latents,
    Midway,
    StepEnd,
    draw_noise,
    enter_stage,
    goes_on,
    guided_velocity,
    run_chain_stage,
    run_stage,
)
from render.solver_ode import Euler

pytestmark = pytest.mark.usefixtures("one_thread")
RENOISE, SPLIT = StageKind.RENOISE, StageKind.SPLIT
NOWHERE = Position(sigma=torch.tensor(1.0), expert=Expert.AUTO, step=0, steps=1)


class SmoothModel(LoadedModel):
    """A model that is a formula: its velocity depends on latents, level and text."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.asked: list[str] = []

    @property
    def components(self) -> dict[str, torch.nn.Module]:
        return {}

    def check(self, recipe: Recipe) -> None:
        pass

    def latent_shape(self, *, width: int, height: int, frames: int) -> tuple[int, ...]:
        return (1, 2, 1 + (frames - 1) // 4, height // 8, width // 8)

    def encode_text(self, text: str) -> Tensor:
        return torch.full((1, 1, 1), float(len(text)))

    def encode_still(self, still: Image.Image, *, frames: int) -> ImageCondition:
        raise NotImplementedError

    def encoded(self) -> None:
        pass

    def load_loras(self, loras: Sequence[Lora]) -> None:
        pass

    def use_loras(self, loras: Sequence[Lora]) -> None:
        pass

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        self.asked.append(branch)
        return torch.sin(2 * x) + at.sigma * x + 0.1 * text.view(())

    def finish_latents(self, x: Tensor, image: ImageCondition | None) -> Tensor:
        return x

    def decode(self, latents: Tensor) -> Iterator[Frames]:
        yield np.zeros((1, 8, 8, 3), dtype=np.float32)

    def close(self) -> None:
        pass


class BrokenModel(SmoothModel):
    """A model that turns to NaN at its third step."""

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        return x * float("nan") if at.step == 2 else x


def _conditioning(model: LoadedModel) -> Conditioning:
    return Conditioning(prompt=model.encode_text("pan"), negative=model.encode_text(""))


def _run(recipe: Recipe, model: LoadedModel) -> list[Latents]:
    ends: list[Latents] = []
    for k in range(len(recipe.stages)):
        before = ends[-1] if ends else None
        ends.append(
            run_chain_stage(recipe, k, before, model=model, conditioning=_conditioning(model))
        )
    return ends


def _recipe(*stages: Stage) -> Recipe:
    return plain_recipe(width=16, height=16, frames=1, seed=11, stages=stages)


def _parts(sampler: Sampler, *cuts: int, steps: int = 8, cfg: float = 2.0) -> tuple[Stage, ...]:
    """One schedule, cut at `cuts`."""
    bounds = [0, *cuts, steps]
    return tuple(
        Stage(
            kind=SPLIT,
            steps=steps,
            cfg=cfg,
            shift=5.0,
            sampler=sampler,
            schedule=Schedule.BETA,
            start_step=start,
            end_step=end,
            leftover_noise=end < steps,
            add_noise=start == 0,
        )
        for start, end in pairwise(bounds)
    )


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("cuts", [(1,), (4,), (7,), (2, 5)])
def test_a_schedule_in_parts_is_the_schedule(
    sampler: Sampler, cuts: tuple[int, ...], order_for: Callable[..., RenderOrder]
) -> None:
    """Split anywhere, noise handed on raw and history carried, the result is bit-identical."""
    recipe = order_for("t2v-2.1").recipe
    whole = _run(replace(recipe, stages=_parts(sampler)), SmoothModel())[-1]
    parts = _run(replace(recipe, stages=_parts(sampler, *cuts)), SmoothModel())[-1]
    assert torch.equal(parts.x, whole.x)
    assert parts.sigma == whole.sigma == 0.0


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_stage_cut_at_any_step_goes_on_bit_for_bit(
    sampler: Sampler, order_for: Callable[..., RenderOrder]
) -> None:
    """From what `after_step` is told after any step, the stage ends as if it had not been cut."""
    recipe = replace(order_for("t2v-2.1").recipe, stages=_parts(sampler, steps=5))
    model, kept = SmoothModel(), list[Midway]()

    def keep(end: StepEnd) -> None:
        history = {name: tensor.clone() for name, tensor in end.solver.state().items()}
        kept.append(Midway(done=end.done, x=end.x.clone(), history=history))

    told = _conditioning(model)
    whole = run_chain_stage(recipe, 0, None, model=model, conditioning=told, after_step=keep)
    assert [midway.done for midway in kept] == [1, 2, 3, 4, 5]
    for midway in kept:
        rest = run_chain_stage(recipe, 0, None, model=model, conditioning=told, midway=midway)
        assert torch.equal(rest.x, whole.x), midway.done


def test_a_stage_does_not_go_on_behind_its_end(order_for: Callable[..., RenderOrder]) -> None:
    """A cut of a longer stage is refused, not run from somewhere else."""
    recipe = replace(order_for("t2v-2.1").recipe, stages=_parts(Sampler.EULER, steps=5))
    model = SmoothModel()
    with pytest.raises(ValueError, match="has 5 steps and cannot go on behind step 6"):
        run_chain_stage(
            recipe,
            0,
            None,
            model=model,
            conditioning=_conditioning(model),
            midway=Midway(done=6, x=torch.zeros(1), history={}),
        )


def test_a_whole_split_is_a_renoise_from_pure_noise(order_for: Callable[..., RenderOrder]) -> None:
    """Both kinds of stage mean the same where they should."""
    recipe = order_for("t2v-2.1").recipe
    split = _parts(Sampler.DPMPP_2M)
    renoise = (replace(split[0], kind=RENOISE, end_step=None, add_noise=True),)
    one, other = (
        _run(replace(recipe, stages=stages), SmoothModel())[-1].x for stages in (split, renoise)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        {"start_step": 5},
        {"add_noise": True},
        {"shift": 3.0},
        {"schedule": Schedule.SIMPLE},
        {"sampler": Sampler.EULER},
        {"kind": RENOISE},
        {"carry_history": False},
    ],
)
def test_a_history_is_carried_only_to_the_next_window(
    change: dict[str, Any], order_for: Callable[..., RenderOrder]
) -> None:
    """A stage that is not the rest of the same schedule starts its solver over."""
    first, second = _parts(Sampler.DPMPP_2M, 4)
    recipe = order_for("t2v-2.1").recipe
    assert goes_on(replace(recipe, stages=(first, second)), 1)
    assert not goes_on(replace(recipe, stages=(first, replace(second, **change))), 1)
    assert not goes_on(replace(recipe, stages=(first, second)), 0)
    whole = replace(first, leftover_noise=False)
    assert not goes_on(replace(recipe, stages=(whole, second)), 1)


def test_another_expert_or_cfg_keeps_the_history(order_for: Callable[..., RenderOrder]) -> None:
    """At the experts' boundary the schedule goes on, as it does inside one stock run."""
    first, second = _parts(Sampler.DPMPP_2M, 4)
    stages = (replace(first, expert=Expert.HIGH), replace(second, expert=Expert.LOW, cfg=1.0))
    assert goes_on(replace(order_for("t2v-2.1").recipe, stages=stages), 1)


@pytest.mark.parametrize(
    ("cfg", "asked"), [(1.0, ["cond"]), (3.0, ["cond", "uncond"]), (0.0, ["cond", "uncond"])]
)
def test_cfg_one_makes_no_unconditional_call(cfg: float, asked: list[str]) -> None:
    """CFG 1 costs one call a step, every other value two."""
    model = SmoothModel()
    guided_velocity(
        torch.ones(1, 2), NOWHERE, cfg=cfg, model=model, conditioning=_conditioning(model)
    )
    assert model.asked == asked


@given(cfg=st.floats(0.0, 12.0), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=20)
def test_guidance_is_linear_between_the_branches(cfg: float, seed: int) -> None:
    """0 is the unconditional velocity, 1 the conditional one, the rest lies on their line."""
    model = SmoothModel()
    x, told = draw_noise((1, 4), seed=seed), _conditioning(model)
    u, v, actual = (
        guided_velocity(x, NOWHERE, cfg=scale, model=model, conditioning=told)
        for scale in (0.0, 1.0, cfg)
    )
    torch.testing.assert_close(actual, u + cfg * (v - u), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sampler", list(Sampler))
@given(
    steps=st.integers(1, 9),
    cfg=st.sampled_from([1.0, 3.0]),
    interval=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda ends: tuple(sorted(ends))),
    schedule=st.sampled_from([Schedule.SIMPLE, Schedule.BETA]),
    kind=st.sampled_from([RENOISE, SPLIT]),
)
@example(steps=1, cfg=3.0, interval=(1.0, 1.0), schedule=Schedule.SIMPLE, kind=RENOISE)
@settings(deadline=None, max_examples=12)
def test_the_plan_knows_how_often_the_model_is_asked(
    sampler: Sampler,
    steps: int,
    cfg: float,
    interval: tuple[float, float],
    schedule: Schedule,
    kind: StageKind,
) -> None:
    """What `model_calls` says is what is run, for every sampler, guidance interval and window."""
    stage = Stage(
        kind=kind,
        steps=steps,
        cfg=cfg,
        cfg_interval=interval,
        shift=5.0,
        sampler=sampler,
        schedule=schedule,
    )
    model = SmoothModel()
    run_chain_stage(_recipe(stage), 0, None, model=model, conditioning=_conditioning(model))
    assert len(model.asked) == model_calls(stage)


def test_guidance_holds_inside_its_interval_alone() -> None:
    """Outside the interval the prompt alone is followed and the other branch is not asked."""
    stage = Stage(kind=RENOISE, steps=10, cfg=3.0, shift=1.0, cfg_interval=(0.25, 0.8))
    model = SmoothModel()
    run_chain_stage(_recipe(stage), 0, None, model=model, conditioning=_conditioning(model))
    # Levels 1.0, 0.9 | 0.8 .. 0.3 | 0.2, 0.1: the interval's ends are inside.
    assert model.asked == ["cond"] * 2 + ["cond", "uncond"] * 6 + ["cond"] * 2


def test_guidance_without_a_negative_is_refused() -> None:
    """CFG above 1 with no unconditional embeddings is an error, not a silent CFG 1."""
    model = SmoothModel()
    told = Conditioning(prompt=model.encode_text("pan"))
    with pytest.raises(ValueError, match="CFG 3 needs"):
        guided_velocity(torch.ones(1, 2), NOWHERE, cfg=3.0, model=model, conditioning=told)


@given(level=st.floats(0.01, 1.0), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_renoising_mixes_noise_and_latents(level: float, seed: int) -> None:
    """A re-noise stage starts from sigma*noise + (1-sigma)*x0."""
    x0, noise = draw_noise((2, 3), seed=seed), draw_noise((2, 3), seed=seed + 100)
    x = enter_stage(Latents(x=x0, sigma=0.0), noise=noise, sigma=level, shape=(2, 3))
    torch.testing.assert_close(x, level * noise + (1 - level) * x0)


def test_full_noise_forgets_the_stage_before() -> None:
    """At level 1 nothing of the latents is left: such a second stage throws the first away."""
    x0, noise = draw_noise((2, 3), seed=0), draw_noise((2, 3), seed=1)
    x = enter_stage(Latents(x=x0, sigma=0.0), noise=noise, sigma=1.0, shape=(2, 3))
    assert torch.equal(x, noise)
    assert torch.equal(x, enter_stage(None, noise=noise, sigma=1.0, shape=(2, 3)))


def test_leftover_noise_is_read_as_the_picture_it_hides() -> None:
    """Between stages at different levels the clean picture is kept, as ComfyUI keeps it."""
    x0, noise = draw_noise((2, 3), seed=0), draw_noise((2, 3), seed=1)
    left = Latents(x=0.25 * x0, sigma=0.75)  # what sampling leaves of x0, noise aside
    x = enter_stage(left, noise=noise, sigma=0.5, shape=(2, 3))
    torch.testing.assert_close(x, 0.5 * noise + 0.5 * x0)


def test_nothing_to_start_from_is_refused(order_for: Callable[..., RenderOrder]) -> None:
    """A first stage that adds no noise would polish zeros: it is an error."""
    _, second = _parts(Sampler.EULER, 4)
    with pytest.raises(ValueError, match="stage 1 adds no noise"):
        _run(replace(order_for("t2v-2.1").recipe, stages=(second,)), SmoothModel())


def test_each_stage_has_its_own_noise(order_for: Callable[..., RenderOrder]) -> None:
    """Noise is drawn from recipe seed + stage offset, the same on every run."""
    assert torch.equal(draw_noise((4, 4), seed=5), draw_noise((4, 4), seed=5))
    assert not torch.equal(draw_noise((4, 4), seed=5), draw_noise((4, 4), seed=6))
    recipe = order_for("t2v-2.1").recipe
    other = replace(recipe, stages=(recipe.stages[0], replace(recipe.stages[1], seed_offset=7)))
    one, two = _run(recipe, SmoothModel()), _run(other, SmoothModel())
    assert torch.equal(one[0].x, two[0].x)
    assert not torch.equal(one[1].x, two[1].x)


def test_steps_are_told_one_by_one() -> None:
    """Progress counts every model step."""
    told: list[tuple[int, int]] = []
    model = SmoothModel()
    run_stage(
        draw_noise((1, 4), seed=0),
        sigmas=sigmas(schedule=Schedule.SIMPLE, steps=3, shift=5.0),
        cfg=2.0,
        solver=Euler(),
        model=model,
        conditioning=_conditioning(model),
        step_done=lambda done, steps: told.append((done, steps)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(model.asked) == 6


@pytest.mark.parametrize("steps", [3, 12])
def test_nan_stops_the_stage_where_it_is_seen(steps: int) -> None:
    """NaN ends the stage within a few steps, and the message says where."""
    model = BrokenModel()
    done: list[int] = []
    with pytest.raises(NonFinite, match=rf"stage 2, step {min(4, steps)} of {steps}: 4 of 4"):
        run_stage(
            draw_noise((1, 4), seed=0),
            sigmas=sigmas(schedule=Schedule.SIMPLE, steps=steps, shift=5.0),
            cfg=1.0,
            solver=Euler(),
            model=model,
            conditioning=_conditioning(model),
            step_done=lambda step, of: done.append(step),
            label="stage 2",
        )
    assert done[-1] < 4
