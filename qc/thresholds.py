"""What a number may be: the bundled table, per family of models, and a studio's overrides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.errors import BadInput, Fault
from manifests.refusal import quoted
from manifests.text import suggest
from qc.metrics import METRICS
from qc.scorecard import FailureClass, LimitInForce

_TABLE = Path(__file__).with_name("thresholds.yaml")
_DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one metric may be."""

    metric: str
    failure: FailureClass
    says: str
    """What is wrong beyond the limit, for a person: `goes dark for a moment`."""
    label: str = ""
    """What the number is called in those words; empty: nothing."""
    hard: bool = False
    """A gate: outranks every soft failure."""
    warn: float | None = None
    """Beyond it the take is kept, and ranked lower; None: no warning."""
    fail: float | None = None
    """Beyond it the take is made again; None: it never fails."""
    warn_from: str = ""
    """Who says so: `default 2026-11-21`, `pocket 2026-11-21`, `calibrated ...`, `studio.yaml`."""
    fail_from: str = ""
    backbone: str = ""
    """The LPIPS backbone whose numbers it is for, in a scorecard's words; empty: every one."""

    @property
    def higher_is_worse(self) -> bool:
        """Whether beyond means above."""
        return METRICS[self.metric].higher_is_worse

    def beyond(self, value: float, limit: float | None) -> bool:
        """Whether `value` is on the wrong side of `limit`; the limit itself is still good."""
        if limit is None:
            return False
        return value > limit if self.higher_is_worse else value < limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """A table of limits, hard gates first, and the name it goes by in verdicts."""

    name: str
    """`default 2026-11-21`, `pocket 2026-11-21, studio: flicker fail 0.009`."""
    limits: tuple[Limit, ...]

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.limits)

    def __getitem__(self, metric: str) -> Limit:
        for limit in self.limits:
            if limit.metric == metric:
                return limit
        raise KeyError(metric)

    def of(self, backbone: str) -> Thresholds:
        """Those that hold for what was measured with this LPIPS backbone: numbers of two of them
        are never held against one limit."""
        held = tuple(limit for limit in self.limits if limit.backbone in ("", backbone))
        return replace(self, limits=held)

    def in_force(self) -> tuple[LimitInForce, ...]:
        """The limits as a verdict keeps them."""
        return tuple(
            LimitInForce(
                metric=limit.metric,
                warn=limit.warn,
                fail=limit.fail,
                warn_from=limit.warn_from,
                fail_from=limit.fail_from,
            )
            for limit in self.limits
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Limits that were learned from approved clips, as they are to hold for one clip."""

    limits: Mapping[str, tuple[float | None, float | None]]
    """Metric -> warn, fail."""
    words: str
    """`calibrated 2026-11-22 on 87 clips of wan/two-stage 832x480 at 16 fps`."""


class _Change(BaseModel):
    """What a family's section or a studio may change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    warn: float | None = None
    fail: float | None = None


class _Entry(_Change):
    """A whole entry of the default section."""

    failure: FailureClass
    says: str
    label: str = ""
    hard: bool = False
    backbone: str = ""


def load_thresholds(
    family: str,
    overrides: Mapping[str, Mapping[str, float | None]] | None = None,
    *,
    where: Path = Path("studio.yaml"),
    learned: Learned | None = None,
) -> Thresholds:
    """The limits for clips of a model family; families without a section get the default ones.

    `overrides`: metric -> {`warn`: x, `fail`: y}; a value of None (`null`) lifts that limit.
    `where`: the file they were read from, for the messages. `learned` moves soft limits that are
    set, in metrics that `overrides` does not name: what the studio wrote down itself wins.

    Raises:
        BadInput: overrides that name an unknown metric or key, or are no numbers; all at once.
    """
    version, limits, sections = _table()
    name = f"{_DEFAULT} {version}"
    chosen = {
        metric: replace(limit, warn_from=name, fail_from=name) for metric, limit in limits.items()
    }
    if family in sections:
        name = f"{family} {version}"
        for metric, change in sections[family].items():
            chosen[metric] = _changed(chosen[metric], change, origin=name)
    if learned is not None:
        name += f", {learned.words}"
        _learn(chosen, learned, but=overrides or {})
    faults: list[Fault] = []
    told: list[str] = []
    for metric, given in (overrides or {}).items():
        checked = _check_override(metric, given, where=where, faults=faults)
        if checked is not None:
            chosen[metric] = _own(chosen[metric], checked, origin=where.name)
            told += [f"{metric} {key} {checked[key]}" for key in sorted(checked)]
    faults += _crossed(chosen, overrides or {}, where)
    if faults:
        raise BadInput(faults)
    if told:
        name += ", studio: " + "; ".join(told)
    return Thresholds(name=name, limits=tuple(chosen.values()))


def table_version() -> str:
    """Of the bundled table, `2026-11-21`."""
    return _table()[0]


@cache
def _table() -> tuple[str, dict[str, Limit], dict[str, dict[str, dict[str, float | None]]]]:
    """Version, the default limits, and per family what differs."""
    data = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    version = data.pop("version")
    limits = {
        metric: Limit(metric=metric, **dict(_Entry.model_validate(entry)))
        for metric, entry in data.pop(_DEFAULT).items()
    }
    sections = {
        family: {
            metric: _Change.model_validate(change).model_dump(exclude_unset=True)
            for metric, change in section.items()
        }
        for family, section in data.items()
    }
    return version, limits, sections


def _changed(limit: Limit, change: Mapping[str, float | None], *, origin: str) -> Limit:
    origins = {f"{key}_from": origin for key in change}
    return replace(limit, **change, **origins)  # type: ignore[arg-type]  # warn, fail, and whence


def _own(limit: Limit, change: Mapping[str, float | None], *, origin: str) -> Limit:
    """Moved by the studio: it means the backbone at hand; what it learned, it learned with that."""
    return replace(_changed(limit, change, origin=origin), backbone="")


def _learn(chosen: dict[str, Limit], learned: Learned, *, but: Collection[str]) -> None:
    """Put the learned limits in place: soft ones, and only where there is a limit to move."""
    for metric, (warn, fail) in learned.limits.items():
        limit = chosen.get(metric)
        if limit is None or limit.hard or metric in but:
            continue
        change = {"warn": warn, "fail": fail}
        moved = {
            key: value
            for key, value in change.items()
            if value is not None and getattr(limit, key) is not None
        }
        chosen[metric] = _own(limit, moved, origin=learned.words)


def _check_override(
    metric: str, given: Any, *, where: Path, faults: list[Fault]
) -> dict[str, float | None] | None:
    known = _table()[1]
    column = f"thresholds.{metric}"
    if metric not in known:
        problem, remedy = f"there is no limit on {metric!r}", suggest(metric, known)
        faults.append(Fault(file=where, column=column, problem=problem, remedy=remedy))
        return None
    try:
        return _Change.model_validate(given).model_dump(exclude_unset=True)
    except ValidationError as error:
        for item in error.errors():
            key = ".".join([column, *map(str, item["loc"])])
            faults.append(
                Fault(
                    file=where,
                    column=key,
                    value=str(item["input"])[:80],
                    problem=_problem(item),
                    remedy="give warn and fail as numbers, or null to lift a limit",
                )
            )
        return None


def _problem(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return f"a limit has no {item['loc'][-1]!r}"
    if item["type"] == "model_type":
        return f"{quoted(item['input'])} is no pair of warn and fail"
    return f"{quoted(item['input'])} is no number"


def _crossed(
    limits: Mapping[str, Limit], overrides: Mapping[str, object], where: Path
) -> list[Fault]:
    """Limits that would fail before they warn."""
    faults = []
    for metric in overrides:
        limit = limits.get(metric)
        if limit is None or limit.warn is None or limit.fail is None:
            continue
        if limit.warn != limit.fail and limit.beyond(limit.warn, limit.fail):
            order = "below" if limit.higher_is_worse else "above"
            faults.append(
                Fault(
                    file=where,
                    column=f"thresholds.{metric}",
                    problem=f"it would fail at {limit.fail:g} before it warns at {limit.warn:g}",
                    remedy=f"give a warn {order} {limit.fail:g}, or null",
                )
            )
    return faults
