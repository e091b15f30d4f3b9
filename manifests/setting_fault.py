"""What is wrong with a setting, in words: where it came from, what is meant, what to write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from manifests.cards import CardRules
from manifests.errors import Fault
from manifests.hosts import HostRules, MachineRules
from manifests.inbox import InboxRules
from manifests.models import ModelSpec
from manifests.notify import NotifyRules
from manifests.placement import CardPlacement
from manifests.refusal import Refusal, quoted
from manifests.secret import SECTIONS, is_a_name, silent
from manifests.text import closest, suggest
from manifests.wanted import wanted
from manifests.window import Window
from manifests.yaml_text import Node

PREFIX = "RUSHES_"
"""Of the environment's settings."""


def mistyped_environment(known: Iterable[str]) -> list[Fault]:
    """Variables that are nearly one of the `known` settings; others of our prefix may be there."""
    names = sorted(known)
    upper = [f"{PREFIX}{name.upper()}" for name in names]
    faults = []
    for name in sorted(os.environ):
        base = name.partition("__")[0]
        if base.startswith(PREFIX) and base not in upper:
            near = closest(base.removeprefix(PREFIX), names)
            if near is not None:
                problem = f"{name} is no setting"
                remedy = f"did you mean {PREFIX}{near.upper()!s}?"
                faults.append(
                    Fault(file=Path("environment"), column=name, problem=problem, remedy=remedy)
                )
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where settings came from, so that a fault can say it."""

    settings: type[BaseModel]
    """All of them."""
    file: Path
    node: Node | None
    """What the file says."""
    given: Mapping[str, Any]
    """The command line's."""

    def fault(self, item: Any) -> Fault:
        """One of `ValidationError.errors()` as a fault. No secret is in it."""
        loc = [part for part in item["loc"] if part != "[key]"]
        place, row = self.file, self._line(loc)
        told = loc if _tellable(item, loc) else loc[:-1]
        if loc and loc[0] in self.given:
            place, row = Path("command line"), None
        elif variable := _variable(told, beside=row is None and item["type"] == "missing"):
            place, row = Path("environment"), None
            told = [variable, *told[len(variable.split("__")) :]]
        # NOTE: what stands under an unknown key may be what belongs under `notify`.
        shown = loc and item["type"] not in ("missing", "extra_forbidden")
        value = item.get("input") if shown and loc[0] not in SECTIONS else None
        column = ".".join(map(str, told)) or None
        return silent(self._refusal(item, loc).at(place, row=row, column=column, value=value))

    def _refusal(self, item: Any, loc: list[Any]) -> Refusal:
        error = item.get("ctx", {}).get("error")
        if isinstance(error, Refusal):
            return error
        if item["type"] == "extra_forbidden":
            fields = _model_around(loc, self.settings).model_fields
            if not _tellable(item, loc):
                problem = "a key here is no setting (it is not shown: it may be a token)"
                return Refusal(problem, suggest("", fields))
            return Refusal(f"there is no setting {loc[-1]!r}", suggest(str(loc[-1]), fields))
        if item["type"] == "missing":
            return Refusal(f"{loc[-1]!r} is missing", "add it")
        if loc and loc[0] in SECTIONS:
            return Refusal(
                "this value is refused (it is not shown: it may hold a token)",
                wanted({**item, "input": ""}),
            )
        return Refusal(f"{quoted(item['input'])} is refused", wanted(item))

    def _line(self, loc: list[Any]) -> int | None:
        """Line of the innermost value that `loc` names in the file."""
        node, line = self.node, None
        for part in loc:
            node = None if node is None else node.inner(part)
            if node is None:
                break
            line = node.line
        return line


def _variable(loc: list[Any], *, beside: bool) -> str | None:
    """The variable of the environment that gives the value at `loc`, or what is around it; with
    `beside`, else one that gives another part of the same setting."""
    given = {name.upper(): name for name in sorted(os.environ)}
    names = [PREFIX + "__".join(map(str, loc[:end])).upper() for end in range(len(loc), 0, -1)]
    for name in names:
        if name in given:
            return given[name]
    near = (given[name] for name in given if beside and name.startswith(f"{names[-1]}__"))
    return next(near, None)


def _tellable(item: Any, loc: list[Any]) -> bool:
    """Whether the last key can be told: an unknown one may be an address in a key's place."""
    if item["type"] != "extra_forbidden" or loc[0] not in SECTIONS:
        return True
    return is_a_name(str(loc[-1]))


def _model_around(loc: list[Any], settings: type[BaseModel]) -> type[BaseModel]:
    """The settings among which the last part of `loc` stands."""
    inner: dict[str, type[BaseModel]] = {
        "placement": CardPlacement,
        "cards": CardRules,
        "inbox": InboxRules,
        "notify": NotifyRules,
        "window": Window,
    }
    match loc[:-1]:
        case ["hosts", "machines", _]:
            return MachineRules
        case ["hosts", "machines", _, part, *_] if part in inner:
            return inner[part]
        case ["models", *_]:
            return ModelSpec
        case ["hosts", *_]:
            return HostRules
        case [first, *_] if first in inner:
            return inner[first]
        case _:
            return settings
