"""How long a take will take and how much it will write: from history where there is some."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Protocol

from manifests.noise import level_words, share_of_noise
from manifests.schedules import model_calls, stage_sigmas
from manifests.stage import Recipe, Stage, StageKind
from reports.ledger_times import Rendered

HISTORY = 30
"""The latest stages that an estimate looks at."""
LATEST_TAKES = 500
"""The latest takes in which they are looked for."""
BESIDE = 1.1
"""A tenth more for prompt, decode and writing."""
GUESSED = {"pocket": (0.5, 3.0)}
"""A guess may be off by so much, down and up ..."""
GUESSED_ON_CARDS = (0.5, 6.0)
"""... and by more where the card decides: a guess is for the fastest one."""
OTHER_CARD = (0.25, 4.0)
"""Cards of today lie within so much of each other."""

LEAST_SHARE, MOST_SHARE = 0.2, 0.95
"""Of noise, where a later stage restarts: below it refines nothing, above it begins anew."""

_INDEX = re.compile(r"^cuda:\d+ | #\d+$")
_LOADS = {"pocket": 3.0}
_LOAD = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds of one take, with where the figure comes from."""

    seconds: float
    basis: str
    """`history (30 stages)` or `guess (...)`."""
    low: float = 0.0
    """Seconds; it would be a surprise if it took less ..."""
    high: float = 0.0
    """... or more than this."""


class History(Protocol):
    """The ledger, as far as estimates ask it."""

    def latest_rendered(self, most: int) -> Sequence[Rendered]:
        """The takes that were rendered last, newest first."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Takes that need the same seconds a model call on the same card."""

    model_id: str
    speed: str
    precision: str
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """One stage that was rendered."""

    card: str
    call_seconds: float
    tokens: int


def card_kind(device: str) -> str:
    """What cards of one kind are called alike: `cuda:0 NVIDIA H200`, `NVIDIA H200 #1`."""
    return _INDEX.sub("", device)


class Estimator:
    """Estimates from one look at the ledger, for as many shots as a night has."""

    def __init__(self, ledger: History | None, *, card: str | None = None) -> None:
        """`card`: of which kind the estimates are to be (`card_kind`); None: of all together."""
        self._card = card
        self._samples: dict[_Kind, list[_Sample]] = defaultdict(list)
        self._loads: dict[str, list[float]] = defaultdict(list)
        self._called: dict[Stage, int] = {}
        for each in () if ledger is None else ledger.latest_rendered(LATEST_TAKES):
            self._learn(each)

    def of(self, recipe: Recipe) -> Estimate:
        """Seconds of one take, model load excluded.

        From takes of this model and size on such a card; else on other cards; else of another
        size, scaled between linear and square in its tokens; else a guess.
        """
        calls = sum(self._calls(stage) for stage in _stages_run(recipe))
        same = self._samples.get(_kind(recipe), [])
        here = [each for each in same if self._card in (None, each.card)]
        if here:
            return _measured(here, calls, basis=f"history ({_stages(here)})")
        if same:
            basis = f"history of {same[0].card} ({_stages(same)})"
            return _measured(same, calls, basis=basis, off=OTHER_CARD)
        return self._scaled(recipe, calls) or _guessed(recipe, calls)

    def paces(self, recipe: Recipe) -> dict[str, float]:
        """Seconds of a take's longest step by kind of card, from takes of this model and size.

        Empty where there were none: a guess is no ground to call a take stuck.
        """
        calls = max(
            (self._calls(stage) / (len(stage_sigmas(stage)) - 1) for stage in recipe.stages),
            default=0.0,
        )
        seen: dict[str, list[float]] = defaultdict(list)
        for each in self._samples.get(_kind(recipe), []):
            seen[each.card].append(each.call_seconds)
        return {card: calls * median(seconds[:HISTORY]) for card, seconds in seen.items()}

    def load_seconds(self, recipe: Recipe) -> float:
        """Seconds to load its model: the median of the latest loads, else a guess."""
        seen = self._loads.get(recipe.model_id)
        return median(seen[:HISTORY]) if seen else _LOADS.get(recipe.family, _LOAD)

    def speed(self, card: str) -> float:
        """How fast a kind of card is against this estimator's; 1.0 where it is not known."""
        ratios = []
        for samples in self._samples.values():
            there = [each.call_seconds for each in samples if each.card == card][:HISTORY]
            here = [each.call_seconds for each in samples if each.card == self._card][:HISTORY]
            if there and here:
                ratios.append(median(here) / median(there))
        return median(ratios) if ratios else 1.0

    def _learn(self, each: Rendered) -> None:
        recipe, receipt = each.recipe, each.receipt
        if receipt.load_seconds > 0:
            self._loads[recipe.model_id].append(receipt.load_seconds)
        if any(span.kind == "meet" for span in receipt.timeline):
            return  # several cards rendered it: that says nothing of the pace of one
        for ran in receipt.stages:
            if ran.resumed or not ran.steps or not ran.seconds or ran.index >= len(recipe.stages):
                continue
            stage = recipe.stages[ran.index]
            calls = self._calls(stage) * ran.steps / (len(stage_sigmas(stage)) - 1)
            sample = _Sample(card_kind(receipt.device), ran.seconds / calls, tokens(recipe))
            self._samples[_kind(recipe)].append(sample)

    def _calls(self, stage: Stage) -> int:
        if stage not in self._called:
            self._called[stage] = model_calls(stage)
        return self._called[stage]

    def _scaled(self, recipe: Recipe, calls: int) -> Estimate | None:
        """From takes of the same model in the size that is nearest."""
        wanted, count = _kind(recipe), tokens(recipe)
        near = [
            samples
            for kind, samples in self._samples.items()
            if (kind.model_id, kind.speed) == (wanted.model_id, wanted.speed)
        ]
        if not near or not count:
            return None
        nearest = min(near, key=lambda samples: abs(log(count / max(1, samples[0].tokens))))
        ratio = count / max(1, nearest[0].tokens)
        ends = sorted((ratio, ratio**2))
        basis = f"history of another size ({_stages(nearest)}), scaled"
        found = _measured(nearest, calls, basis=basis, factor=ratio**1.5)
        return Estimate(
            seconds=found.seconds,
            basis=basis,
            low=found.low / ratio**1.5 * ends[0],
            high=found.high / ratio**1.5 * ends[1],
        )


def _kind(recipe: Recipe) -> _Kind:
    return _Kind(
        recipe.model_id,
        recipe.speed.value,
        recipe.precision,
        recipe.width,
        recipe.height,
        recipe.frames,
    )


def _stages(samples: Sequence[_Sample]) -> str:
    count = len(samples[:HISTORY])
    return "1 stage" if count == 1 else f"{count} stages"


def _measured(
    samples: Sequence[_Sample],
    calls: int,
    *,
    basis: str,
    factor: float = 1.0,
    off: tuple[float, float] = (1.0, 1.0),
) -> Estimate:
    """From the latest stages; the range is what they took, widened where they are few."""
    seen = sorted(each.call_seconds for each in samples[:HISTORY])
    cut = len(seen) // 10
    slack = 1 + 0.5 / len(seen)
    scale = BESIDE * calls * factor
    middle = median(seen)
    return Estimate(
        seconds=scale * middle,
        basis=basis,
        low=scale * seen[cut] * off[0] / slack,
        high=scale * seen[-1 - cut] * off[1] * slack,
    )


def _guessed(recipe: Recipe, calls: int) -> Estimate:
    seconds, basis = _guess(recipe)
    low, high = GUESSED.get(recipe.family, GUESSED_ON_CARDS)
    whole = BESIDE * calls * seconds
    return Estimate(seconds=whole, basis=basis, low=low * whole, high=high * whole)


def _stages_run(recipe: Recipe) -> tuple[Stage, ...]:
    """Every stage as often as it runs: the first one for each candidate."""
    return (*recipe.stages[:1] * recipe.candidates, *recipe.stages[1:])


def tokens(recipe: Recipe) -> int:
    """Tokens of the transformer: latent frames x patches of 16x16 pixels."""
    return ((recipe.frames - 1) // 4 + 1) * (recipe.width // 16) * (recipe.height // 16)


def disk_bytes(recipe: Recipe) -> int:
    """At most so many bytes for one take: raw 16-bit frames and float32 latents of each stage."""
    pixels = recipe.width * recipe.height * recipe.frames
    latents = ((recipe.frames - 1) // 4 + 1) * (recipe.width // 8) * (recipe.height // 8) * 32 * 4
    return 6 * pixels + latents * len(_stages_run(recipe)) + pixels


def _guess(recipe: Recipe) -> tuple[float, str]:
    count = tokens(recipe)
    if recipe.family == "pocket":
        return count * 8.0e-4, "guess (pocket model on 2 cores)"
    if recipe.family == "animatediff":
        # Counted, not measured: 2.7e-4 TFLOP for each latent pixel (17.7 for 16 frames of
        # 512x512), at 300 TFLOP a second.
        pixels = recipe.frames * (recipe.width // 8) * (recipe.height // 8)
        return pixels * 2.7e-4 / 300, "guess (arithmetic at a third of one H200)"
    if recipe.family == "ltx2":
        # Counted, not measured: TFLOP of one call of LTX-2.0 (19B), from 1,008 to 24,576 tokens.
        count = ((recipe.frames - 1) // 8 + 1) * (recipe.width // 32) * (recipe.height // 32)
        work = 4.7 + 0.0267 * count + 7.86e-7 * count**2
        return work / 300, "guess (arithmetic at a third of one H200)"
    # One forward of a 14B Wan on one H200, bf16: a fit through 5,120, 20,280 and 32,760 tokens.
    return count * (5.76e-5 + 1.26e-9 * count), "guess (14B on one H200; other cards are slower)"


def start_words(stage: Stage, index: int, start: float) -> str | None:
    """A warning where a later stage restarts at a noise level that makes no sense.

    Levels of all kinds of model are held against one scale, the share of noise.
    """
    if index == 0 or stage.kind is StageKind.SPLIT:
        return None
    share = share_of_noise(start, stage.noise)
    level = level_words(start, stage.noise)
    if share < LEAST_SHARE:
        return (
            f"stage {index + 1} restarts at sigma {level}: it refines almost nothing; "
            f"use schedule simple, or a higher denoise than {stage.denoise:g}"
        )
    if share > MOST_SHARE:
        return (
            f"stage {index + 1} restarts at sigma {level}: it throws away what the stages "
            "before it made; use a lower denoise"
        )
    return None
