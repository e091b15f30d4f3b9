"""Calibration of whole cells: what approved clips speak for, and what that would have done.

A cell is what limits are learned for: clips of one preset, size and frame rate. Pure: clips come
from the ledger (`reports.ledger_scores`), limits in force from `qc.thresholds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qc.calibration import FEWEST, learn
from qc.thresholds import Limit, Thresholds

_FOLDS = 5
_OF_THE_FILE = "decoder"
"""Key of a scorecard's versions that tells of the file's codec, not of a metric."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """Clips that are alike enough to share limits."""

    preset: str
    """Qualified: `wan/two-stage`."""
    width: int
    """Pixels."""
    height: int
    fps: float

    @property
    def family(self) -> str:
        """Of the models: `wan`."""
        return self.preset.partition("/")[0]

    def __str__(self) -> str:
        return f"{self.preset} {self.width}x{self.height} at {self.fps:g} fps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How numbers came about: only those that came about alike are ever compared."""

    versions: Mapping[str, str]
    """Name -> version, as in scorecards; what a file was decoded from is left out."""
    backbone: str
    """LPIPS backbone in a scorecard's words."""

    @classmethod
    def of(cls, versions: Mapping[str, str], backbone: str) -> Measured:
        """How the scorecard with these fields was measured."""
        kept = {name: version for name, version in versions.items() if name != _OF_THE_FILE}
        return cls(versions=kept, backbone=backbone)

    def differs(self, other: Measured) -> str | None:
        """The first difference in words, or None: the numbers can be compared.

        A part that only one of them has (a metric that is new) is no difference.
        """
        if self.backbone != other.backbone:
            return f"LPIPS backbone {other.backbone!r}, not {self.backbone!r}"
        for name in sorted(self.versions.keys() & other.versions.keys()):
            if self.versions[name] != other.versions[name]:
                return f"{name} {other.versions[name]!r}, not {self.versions[name]!r}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A judged clip as calibration sees it."""

    take_id: str
    cell: Cell
    approved: bool
    """Else it was rejected, or held for a person."""
    metrics: Mapping[str, float]
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of so many clips."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """0..1; None of no clips."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What limits would have done to clips that are in the ledger."""

    alarms: Rate
    """Approved clips that would have failed: false alarms."""
    warned: Rate
    """Approved clips that would have passed with a warning."""
    caught: Rate
    """Rejected and held clips that would have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitProposal:
    """One limit of a cell, as it is and as it could be."""

    present: Limit
    proposed: Limit
    clips: int
    """Approved clips of the cell in which the metric was measured."""
    before: Effect
    after: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProposal:
    """What the clips of a cell speak for; nothing of it holds until it is written."""

    cell: Cell
    approved: int
    refused: int
    """Rejected and held."""
    set_aside: int
    """Judged clips of the cell that were measured otherwise: not used."""
    limits: tuple[LimitProposal, ...]
    """The soft limits; empty with fewer than `FEWEST` approved clips."""
    before: Effect
    """Of all soft limits of the cell together."""
    after: Effect
    held_out: Rate | None
    """False alarms of limits learned from four fifths of the clips on the fifth that was left out;
    None with too few clips."""


def propose(
    clips: Sequence[Clip],
    *,
    measured: Measured,
    defaults: Callable[[Cell], Thresholds],
    present: Callable[[Cell], Thresholds],
    fixed: Sequence[str] = (),
) -> list[CellProposal]:
    """A proposal for every cell, sorted; only clips measured like `measured` are learned from.

    `defaults` are the bundled limits of a cell, `present` those in force, both before anything
    proposed here. `fixed` names metrics that the studio has set itself: they are left alone.
    """
    alike = sorted(
        (clip for clip in clips if measured.differs(clip.measured) is None),
        key=lambda clip: clip.take_id,
    )
    return [
        _cell(cell, clips, alike, defaults=defaults(cell), present=present(cell), fixed=fixed)
        for cell in sorted({clip.cell for clip in clips})
    ]


def _cell(
    cell: Cell,
    clips: Sequence[Clip],
    alike: Sequence[Clip],
    *,
    defaults: Thresholds,
    present: Thresholds,
    fixed: Sequence[str],
) -> CellProposal:
    here = [clip for clip in alike if clip.cell == cell]
    approved = [clip for clip in here if clip.approved]
    family = [
        clip
        for clip in alike
        if clip.approved and clip.cell != cell and clip.cell.family == cell.family
    ]
    soft = [limit for limit in present if not limit.hard]

    def limits_from(chosen: Sequence[Clip]) -> list[Limit]:
        return [
            limit if limit.metric in fixed else _learned(chosen, family, defaults[limit.metric])
            for limit in soft
        ]

    proposed = limits_from(approved)
    proposals = [
        LimitProposal(
            present=now,
            proposed=then,
            clips=sum(1 for clip in approved if now.metric in clip.metrics),
            before=_effect([now], here),
            after=_effect([then], here),
        )
        for now, then in zip(soft, proposed, strict=True)
    ]
    enough = len(approved) >= FEWEST
    return CellProposal(
        cell=cell,
        approved=len(approved),
        refused=len(here) - len(approved),
        set_aside=sum(1 for clip in clips if clip.cell == cell) - len(here),
        limits=tuple(proposals) if enough else (),
        before=_effect(soft, here),
        after=_effect(proposed if enough else soft, here),
        held_out=_held_out(approved, limits_from),
    )


def _learned(approved: Sequence[Clip], family: Sequence[Clip], default: Limit) -> Limit:
    """The limit these clips speak for; the default where they are too few."""
    metric = default.metric
    own = [clip.metrics[metric] for clip in approved if metric in clip.metrics]
    others = [clip.metrics[metric] for clip in family if metric in clip.metrics]
    return learn(own, limit=default, family=others)


def _held_out(
    approved: Sequence[Clip], limits_from: Callable[[Sequence[Clip]], list[Limit]]
) -> Rate | None:
    if len(approved) * (_FOLDS - 1) < FEWEST * _FOLDS:
        return None
    count = 0
    for fold in range(_FOLDS):
        rest = [clip for place, clip in enumerate(approved) if place % _FOLDS != fold]
        count += _effect(limits_from(rest), approved[fold::_FOLDS]).alarms.count
    return Rate(count=count, of=len(approved))


def _effect(limits: Sequence[Limit], clips: Sequence[Clip]) -> Effect:
    """What these limits together do to the clips in which at least one was measured."""
    seen = [clip for clip in clips if any(limit.metric in clip.metrics for limit in limits)]
    approved = [clip for clip in seen if clip.approved]
    refused = [clip for clip in seen if not clip.approved]
    failed = sum(1 for clip in approved if _crosses(limits, clip, "fail"))
    told = sum(
        1 for clip in approved if _crosses(limits, clip, "warn") or _crosses(limits, clip, "fail")
    )
    caught = sum(1 for clip in refused if _crosses(limits, clip, "fail"))
    return Effect(
        alarms=Rate(count=failed, of=len(approved)),
        warned=Rate(count=told - failed, of=len(approved)),
        caught=Rate(count=caught, of=len(refused)),
    )


def _crosses(limits: Sequence[Limit], clip: Clip, which: str) -> bool:
    return any(
        limit.beyond(clip.metrics[limit.metric], getattr(limit, which))
        for limit in limits
        if limit.metric in clip.metrics
    )
