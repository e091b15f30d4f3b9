"""Noise levels of a stage, as ComfyUI spaces them on the model's own table (`manifests.noise`).

A schedule picks `steps` levels out of the table and ends with 0. No torch here: the planner shows
these numbers. Levels are computed in float64; ComfyUI rounds the same values to float32, so the
two agree to 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from manifests.noise import TABLE_SIZE, Levels, Table, share_of_noise, table_of
from manifests.samplers import SAMPLERS, nearest_to_noise
from manifests.stage import Noise, Sampler, Schedule, Stage, StageKind

MAX_STEPS = TABLE_SIZE
"""More steps than the table has levels would repeat them."""

FULL_DENOISE = 0.9999
"""Above this ComfyUI treats `denoise` as 1."""


def sigmas(
    *,
    schedule: Schedule,
    steps: int,
    denoise: float = 1.0,
    shift: float,
    noise: Noise = Noise.FLOW,
    sampler: Sampler = Sampler.EULER,
) -> list[float]:
    """Levels of a re-noise stage: `steps + 1` falling values, the last one 0.

    With `denoise` at most 0.9999 the schedule is laid out for `int(steps / denoise)` steps and
    its last `steps` are kept: the stage restarts part of the way down and always runs `steps`
    model steps. Two schedules may differ by design: `beta` drops levels that repeat (many steps
    on a small shift), `ddim_uniform` may hold one step more. For `uni_pc` one step more is laid
    out and the last level above 0 left out, as ComfyUI does.

    Raises:
        ValueError: a value is out of range; the message names it.
    """
    _check(steps=steps, denoise=denoise, shift=shift, noise=noise)
    table = table_of(noise, shift=shift)
    if denoise > FULL_DENOISE:
        levels = _whole(schedule, steps, table, sampler)
    else:
        laid_out = int(steps / denoise)
        if laid_out > MAX_STEPS:
            raise ValueError(
                f"denoise {denoise:g} with {steps} steps lays out {laid_out} steps, more than the "
                f"{MAX_STEPS} levels of the model; use fewer steps or a higher denoise"
            )
        levels = _whole(schedule, laid_out, table, sampler)[-(steps + 1) :]
    return [float(level) for level in levels]


def split_sigmas(
    *,
    schedule: Schedule,
    steps: int,
    shift: float,
    start_step: int = 0,
    end_step: int | None = None,
    leftover_noise: bool = False,
    noise: Noise = Noise.FLOW,
    sampler: Sampler = Sampler.EULER,
) -> list[float]:
    """Levels of the window `start_step..end_step` of one schedule of `steps` steps.

    Without `leftover_noise` the last level is 0, wherever the window ends.

    Raises:
        ValueError: a value is out of range, or the window holds no step.
    """
    _check(steps=steps, denoise=1.0, shift=shift, noise=noise)
    table = table_of(noise, shift=shift)
    levels = [float(level) for level in _whole(schedule, steps, table, sampler)]
    end = len(levels) - 1 if end_step is None else min(end_step, len(levels) - 1)
    if not 0 <= start_step < end:
        raise ValueError(
            f"the window {start_step}..{'end' if end_step is None else end_step} of "
            f"{len(levels) - 1} steps holds no step; start_step must be below end_step"
        )
    window = levels[: end + 1]
    if not leftover_noise:
        window[-1] = 0.0
    return window[start_step:]


def stage_sigmas(stage: Stage) -> list[float]:
    """Levels that a stage runs through, of either kind. Raises ValueError, see above."""
    if stage.kind is StageKind.RENOISE:
        return sigmas(
            schedule=stage.schedule,
            steps=stage.steps,
            denoise=stage.denoise,
            shift=stage.shift,
            noise=stage.noise,
            sampler=stage.sampler,
        )
    return split_sigmas(
        schedule=stage.schedule,
        steps=stage.steps,
        shift=stage.shift,
        start_step=stage.start_step,
        end_step=stage.end_step,
        leftover_noise=stage.leftover_noise,
        noise=stage.noise,
        sampler=stage.sampler,
    )


def start_sigma(stage: Stage) -> float:
    """Noise level a stage starts from. Raises ValueError."""
    return stage_sigmas(stage)[0]


def end_sigma(stage: Stage) -> float:
    """Noise level a stage leaves behind: 0, or the leftover of a split. Raises ValueError."""
    return stage_sigmas(stage)[-1]


def cfg_at(
    sigma: float, *, cfg: float, interval: tuple[float, float], noise: Noise = Noise.FLOW
) -> float:
    """Guidance at level `sigma`: `cfg` inside the interval, ends included, and 1 outside.

    The interval is in shares of noise, 0..1. Levels are float32 where the model is asked, and
    uni_pc starts a millionth below 1: two millionths beyond an end are therefore still inside.
    """
    low, high = interval
    return cfg if low - 2e-6 <= share_of_noise(sigma, noise) <= high + 2e-6 else 1.0


def model_calls(stage: Stage) -> int:
    """Times that a stage asks the model: twice a level under guidance, once outside it.

    Raises ValueError as `stage_sigmas` does.
    """
    asked = list[float]()
    twice = SAMPLERS[stage.sampler].calls == 2
    for sigma, sigma_next in pairwise(stage_sigmas(stage)):
        if sigma_next < sigma:
            asked.append(_below_noise(sigma, stage.shift, stage.noise) if twice else sigma)
            if twice and sigma_next > 0:
                asked.append(middle_sigma(sigma, sigma_next, shift=stage.shift, noise=stage.noise))
    guided = (
        cfg_at(sigma, cfg=stage.cfg, interval=stage.cfg_interval, noise=stage.noise) != 1.0
        for sigma in asked
    )
    return sum(2 if both else 1 for both in guided)


def middle_sigma(sigma: float, sigma_next: float, *, shift: float, noise: Noise) -> float:
    """Level half way between two in log(alpha/sigma), where dpmpp_sde asks a second time."""
    if noise is not Noise.FLOW:
        return math.sqrt(sigma * sigma_next)
    high = _below_noise(sigma, shift, noise)
    odds = math.sqrt((1.0 - high) / high * (1.0 - sigma_next) / sigma_next)
    return 1.0 / (1.0 + odds)


def _below_noise(sigma: float, shift: float, noise: Noise) -> float:
    """Level at which dpmpp_sde asks for `sigma`: on a flow model never quite at 1."""
    return min(sigma, nearest_to_noise(shift)) if noise is Noise.FLOW else sigma


def _check(*, steps: int, denoise: float, shift: float, noise: Noise) -> None:
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps is {steps}; it must be a whole number in 1..{MAX_STEPS}")
    if not 0.0 < denoise <= 1.0:
        raise ValueError(f"denoise is {denoise:g}; it must be above 0 and at most 1")
    if not (math.isfinite(shift) and shift > 0.0):
        raise ValueError(f"shift is {shift:g}; it must be a finite number above 0 (Wan: 3 to 12)")
    if noise is not Noise.FLOW and shift != 1.0:
        raise ValueError(f"shift is {shift:g}; a model that predicts noise has none, write 1")


def _whole(schedule: Schedule, steps: int, table: Table, sampler: Sampler) -> Levels:
    """A schedule as the sampler wants it."""
    if not SAMPLERS[sampler].skips_last_level:
        return SPACINGS[schedule](steps, table)
    return np.delete(SPACINGS[schedule](steps + 1, table), -2)


def _with_zero(levels: Levels) -> Levels:
    return np.append(levels, 0.0)


def _simple(steps: int, table: Table) -> Levels:
    stride = TABLE_SIZE / steps
    picks = [-(1 + int(i * stride)) for i in range(steps)]
    return _with_zero(table.levels[picks])


def _uniform(steps: int, table: Table, *, points: int) -> Levels:
    return table.at(np.linspace(*table.timesteps, points)[:steps])


def _normal(steps: int, table: Table) -> Levels:
    return _with_zero(_uniform(steps, table, points=steps))


def _sgm_uniform(steps: int, table: Table) -> Levels:
    return _with_zero(_uniform(steps, table, points=steps + 1))


def _beta(steps: int, table: Table) -> Levels:
    """Quantiles of Beta(0.6, 0.6): dense at both ends (Lee et al. 2024)."""
    # Read where it is needed: it was a tenth of what `rushes check` takes.
    from scipy.special import betaincinv

    quantiles = betaincinv(0.6, 0.6, 1.0 - np.linspace(0.0, 1.0, steps, endpoint=False))
    picks = np.rint(quantiles * (TABLE_SIZE - 1)).astype(int)
    kept = picks[np.append(True, picks[1:] != picks[:-1])]
    return _with_zero(table.levels[kept])


def _karras(steps: int, table: Table, rho: float = 7.0) -> Levels:
    """Karras et al. 2022, equation 5."""
    low, high = table.levels[0] ** (1.0 / rho), table.levels[-1] ** (1.0 / rho)
    return _with_zero((high + np.linspace(0.0, 1.0, steps) * (low - high)) ** rho)


def _exponential(steps: int, table: Table) -> Levels:
    return _with_zero(np.exp(np.linspace(np.log(table.levels[-1]), np.log(table.levels[0]), steps)))


def _ddim_uniform(steps: int, table: Table) -> Levels:
    stride = max(TABLE_SIZE // steps, 1)
    return _with_zero(table.levels[1::stride][::-1])


def _linear_quadratic(steps: int, table: Table, threshold: float = 0.025) -> Levels:
    """Half the steps fall linearly by `threshold` of the top, the rest quadratically (Genmo)."""
    top = table.levels[-1]
    if steps == 1:
        return np.array([top, 0.0])
    linear_steps = steps // 2
    quadratic_steps = steps - linear_steps
    slope = threshold / linear_steps
    linear = slope * np.arange(linear_steps)
    curvature = (1.0 - threshold - slope * quadratic_steps) / quadratic_steps**2
    k = np.arange(quadratic_steps)
    quadratic = threshold + slope * k + curvature * k**2
    return _with_zero(top * (1.0 - np.concatenate([linear, quadratic])))


def _kl_optimal(steps: int, table: Table) -> Levels:
    """Sabour et al. 2024 (Align Your Steps), the closed form for Gaussian data."""
    ramp = np.linspace(0.0, 1.0, steps)
    return _with_zero(
        np.tan(ramp * np.arctan(table.levels[0]) + (1.0 - ramp) * np.arctan(table.levels[-1]))
    )


SPACINGS: MappingProxyType[Schedule, Callable[[int, Table], Levels]] = MappingProxyType(
    {
        Schedule.SIMPLE: _simple,
        Schedule.NORMAL: _normal,
        Schedule.SGM_UNIFORM: _sgm_uniform,
        Schedule.BETA: _beta,
        Schedule.KARRAS: _karras,
        Schedule.EXPONENTIAL: _exponential,
        Schedule.DDIM_UNIFORM: _ddim_uniform,
        Schedule.LINEAR_QUADRATIC: _linear_quadratic,
        Schedule.KL_OPTIMAL: _kl_optimal,
    }
)
"""How each schedule spaces its levels: (steps, table) -> falling levels that end with 0."""
