"""The stage loop: latents through a chain of sampling stages, with no decode between them.

Notation of the flow-matching papers: `x` the noisy latents, `x0` the clean ones, `v` the
velocity, sigma the level of the noise in `x`. What a level means is the model's affair
(`manifests.stage.Noise`): a flow model mixes `x = sigma*noise + (1 - sigma)*x0` and has the
velocity `noise - x0`; an eps model adds `x = x0 + sigma*noise` and its velocity is the noise that
it predicts. In both, `x0 = x - sigma*v` and dx/dsigma = v, so one loop and one set of solvers
serve them. Latents are float32 and stay in the model's normalised space from the first stage to
the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from manifests.noise import table_of
from manifests.schedules import cfg_at, stage_sigmas
from manifests.stage import Expert, Noise, Recipe, Stage, StageKind
from render.families.base import Conditioning, LoadedModel, Position
from render.guards import check_latents, is_time
from render.solver import History, Solver, SolverSetup
from render.solvers import SOLVERS

StepDone = Callable[[int, int], None]
"""Told after each step: steps done, steps in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """Where a stage stands after a step."""

    done: int
    """Steps of the stage that are done."""
    steps: int
    """Steps of the stage in all."""
    x: Tensor
    """Latents at the level that step `done` came down to."""
    solver: Solver
    """Its `state` is what the next step needs."""
    x0: Tensor | None = None
    """At the end of a stage that leaves noise: the clean picture as the model saw it."""


AfterStep = Callable[[StepEnd], None]
"""Told after each step, with all that a checkpoint inside the stage needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Midway:
    """A stage that was cut between two steps: where it goes on."""

    done: int
    """Steps of the stage that are done."""
    x: Tensor
    """float32, as `StepEnd.x` was."""
    history: History
    """As `StepEnd.solver.state()` was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latents:
    """What one stage hands to the next."""

    x: Tensor
    """float32 (1, C, T, h, w)."""
    sigma: float
    """Noise still in `x`: 0 after a whole stage, more when a split hands on its leftover."""
    history: History = field(default_factory=dict)
    """What the solver remembers, for a split that goes on where this stage stopped."""
    x0: Tensor | None = None
    """Where noise is left: the clean picture as the model last saw it under the noise. To look
    at, not to go on from; None where no noise is left, and for a stage that was not run here."""


def run_chain_stage(
    recipe: Recipe,
    index: int,
    before: Latents | None,
    *,
    model: LoadedModel,
    conditioning: Conditioning,
    step_done: StepDone = lambda done, steps: None,
    after_step: AfterStep = lambda end: None,
    midway: Midway | None = None,
) -> Latents:
    """Run stage `index` of `recipe` on what the stage before handed on (None before the first).

    With `midway` the stage goes on where it was cut, bit for bit as if it had not been; what the
    stage before handed on is then not asked for.

    Raises:
        NonFinite: the latents hold NaN or infinity, or exploded or collapsed.
        ValueError: the first stage adds no noise, a value of the stage is out of range, or
            `midway` is of another stage.
    """
    stage = recipe.stages[index]
    levels = stage_sigmas(stage)
    seed = recipe.seed + stage.seed_offset
    solver = SOLVERS[stage.sampler](SolverSetup(noise=stage.noise, shift=stage.shift, seed=seed))
    if midway is None:
        x, history = _begin(recipe, index, before, model=model, sigma=levels[0])
    else:
        x, history = midway.x, midway.history
    solver.load_state({name: kept.to(model.device) for name, kept in history.items()})
    x0: Tensor | None = None

    def look(end: StepEnd) -> None:
        nonlocal x0
        x0 = end.x0
        after_step(end)

    x = run_stage(
        x.to(model.device),
        sigmas=levels,
        cfg=stage.cfg,
        cfg_interval=stage.cfg_interval,
        noise=stage.noise,
        expert=stage.expert,
        solver=solver,
        model=model,
        conditioning=conditioning,
        step_done=step_done,
        after_step=look,
        start_step=0 if midway is None else midway.done,
        label=f"stage {index + 1} of {len(recipe.stages)}",
    )
    history = solver.state() if levels[-1] > 0 else {}
    return Latents(x=x, sigma=levels[-1], history=history, x0=x0)


def _begin(
    recipe: Recipe, index: int, before: Latents | None, *, model: LoadedModel, sigma: float
) -> tuple[Tensor, History]:
    """Latents at the first level of a stage, and what its solver remembers from before."""
    stage = recipe.stages[index]
    shape = model.latent_shape(width=recipe.width, height=recipe.height, frames=recipe.frames)
    if before is None and not adds_noise(stage):
        raise ValueError(
            f"stage {index + 1} adds no noise and has no latents to start from; set add_noise"
        )
    noise = draw_noise(shape, seed=recipe.seed + stage.seed_offset) if adds_noise(stage) else None
    kept = before.history if before is not None and goes_on(recipe, index) else {}
    return enter_stage(before, noise=noise, sigma=sigma, shape=shape, kind=stage.noise), kept


def run_stage(
    x: Tensor,
    *,
    sigmas: Sequence[float],
    cfg: float,
    solver: Solver,
    model: LoadedModel,
    conditioning: Conditioning,
    cfg_interval: tuple[float, float] = (0.0, 1.0),
    noise: Noise = Noise.FLOW,
    expert: Expert = Expert.AUTO,
    step_done: StepDone = lambda done, steps: None,
    after_step: AfterStep = lambda end: None,
    start_step: int = 0,
    label: str = "stage",
) -> Tensor:
    """Sample `x` (float32, noise already at `sigmas[start_step]`) down through `sigmas`.

    `start_step` steps are done already: the stage goes on behind them, with a solver that holds
    what it remembered there.

    Raises:
        NonFinite: the latents hold NaN or infinity, or exploded or collapsed.
        ValueError: the stage has no step `start_step`.
    """
    s = torch.tensor(sigmas, dtype=torch.float32)
    steps = len(s) - 1
    if not 0 <= start_step <= steps:
        raise ValueError(f"{label} has {steps} steps and cannot go on behind step {start_step}")
    x0: Tensor | None = None
    for i in range(start_step, steps):

        def velocity(x: Tensor, sigma: Tensor, step: int = i) -> Tensor:
            at = Position(sigma=sigma, expert=expert, step=step, steps=steps)
            scale = cfg_at(float(sigma), cfg=cfg, interval=cfg_interval, noise=noise)
            v = guided_velocity(x, at, cfg=scale, model=model, conditioning=conditioning)
            if step + 1 == steps and s[-1] > 0:
                nonlocal x0
                x0 = x - sigma.to(x) * v
            return v

        x = solver.step(x, velocity, sigma=s[i], sigma_next=s[i + 1])
        if is_time(i + 1, steps):
            place = f"{label}, step {i + 1} of {steps}"
            check_latents(x, sigma=float(s[i + 1]), noise=noise, place=place)
        step_done(i + 1, steps)
        after_step(StepEnd(done=i + 1, steps=steps, x=x, solver=solver, x0=x0))
    return x


def guided_velocity(
    x: Tensor, at: Position, *, cfg: float, model: LoadedModel, conditioning: Conditioning
) -> Tensor:
    """Classifier-free guidance, `u + cfg*(v - u)`; cfg 1 is `v` and never asks for `u`."""
    v = model.velocity(x, at, conditioning.prompt, image=conditioning.image, branch="cond")
    if cfg == 1.0:
        return v
    if conditioning.negative is None:
        raise ValueError(f"CFG {cfg:g} needs the embeddings of the negative prompt")
    u = model.velocity(x, at, conditioning.negative, image=conditioning.image, branch="uncond")
    return u + cfg * (v - u)


def draw_noise(shape: Sequence[int], *, seed: int) -> Tensor:
    """Standard normal noise, float32, drawn on the CPU so that no card changes the take."""
    return torch.randn(tuple(shape), generator=torch.Generator("cpu").manual_seed(seed))


def enter_stage(
    before: Latents | None,
    *,
    noise: Tensor | None,
    sigma: float,
    shape: Sequence[int],
    kind: Noise = Noise.FLOW,
) -> Tensor:
    """Latents at noise level `sigma`, made of what the stage before left and of fresh noise.

    A split that goes on at the very level where the stage before stopped, without fresh noise,
    takes `x` raw: scaling by 1 would be exact on paper, not in float32. In every other case
    noise and picture meet as between two ComfyUI samplers, see `_mixed` and `_added`.
    """
    if before is not None and noise is None and before.sigma == sigma:
        return before.x
    x = torch.zeros(tuple(shape)) if before is None else before.x
    fresh = torch.zeros_like(x) if noise is None else noise.to(x.device)
    level = torch.tensor(sigma, dtype=torch.float32)
    if kind is Noise.FLOW:
        return _mixed(x, fresh, level, leftover=0.0 if before is None else before.sigma)
    return _added(x, fresh, level, kind)


def _mixed(x: Tensor, fresh: Tensor, level: Tensor, *, leftover: float) -> Tensor:
    """Flow: `sigma*noise + (1 - sigma)*x0`, with `x0 = x / (1 - leftover)` the clean picture
    that the noise left in `x` hides."""
    x0 = x / (1.0 - leftover) if leftover > 0 else x
    return level * fresh + (1.0 - level) * x0


def _added(x: Tensor, fresh: Tensor, level: Tensor, kind: Noise) -> Tensor:
    """Eps: `x + sigma*noise`; noise that is left in `x` stays in it.

    NOTE: at the top of the model's table the noise is scaled by sqrt(1 + sigma**2), the spread
    that noised pictures of unit spread have there, as ComfyUI and diffusers do.
    """
    top = float(table_of(kind, shift=1.0).levels[-1])
    full = float(level) >= top * (1.0 - 1e-5)
    return x + fresh * ((level**2 + 1.0) ** 0.5 if full else level)


def adds_noise(stage: Stage) -> bool:
    """Whether a stage draws noise: a re-noise stage always, a split when it says so."""
    return stage.kind is StageKind.RENOISE or stage.add_noise


def goes_on(recipe: Recipe, index: int) -> bool:
    """Whether stage `index` is the next window of the schedule that the stage before ran.

    Then the solver keeps its history over the cut, so that a schedule in parts is the schedule
    in one, bit for bit, whatever else changes there (expert, CFG, LoRAs). Anywhere else, and
    where the stage says `carry_history: false`, the solver starts over.
    """
    if index == 0:
        return False
    before, stage = recipe.stages[index - 1], recipe.stages[index]
    return (
        stage.kind is before.kind is StageKind.SPLIT
        and stage.carry_history
        and not stage.add_noise
        and before.leftover_noise
        and stage.start_step == before.end_step
        and (stage.sampler, stage.schedule, stage.steps, stage.shift, stage.noise)
        == (before.sampler, before.schedule, before.steps, before.shift, before.noise)
    )
