"""Who is here, written down for `rushes status` and the figures while a night has hosts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from manifests.files import write_atomic

BOOK = "hosts.json"
"""Its name in the studio's state folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCard:
    """A card of a host."""

    name: str
    """`NVIDIA H200 #0`."""
    memory: int | None
    """Bytes."""
    away: bool
    """Others use it at this moment."""
    takes: tuple[str, ...]
    """Ids of the takes that it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """A host that is here."""

    host: str
    state: str
    """`joining`, `here`, `leaving`."""
    cards: tuple[HostCard, ...]


class HostBook:
    """The file of who is here; written when something changed, removed when the night ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = ""

    def write(self, address: str, lines: Sequence[HostLine]) -> None:
        """Write it down. What cannot be written is left: the night does not depend on it."""
        told = {
            "process": os.getpid(),
            "address": address,
            "hosts": [asdict(line) for line in lines],
        }
        text = json.dumps(told, indent=1) + "\n"
        if text != self._written:
            with suppress(OSError):
                write_atomic(self._path, text)
                self._written = text

    def close(self) -> None:
        """Nobody is here any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_book(path: Path) -> dict[str, Any] | None:
    """`address` and `hosts` as they were written last; None where no night of this machine has
    hosts: what a night left that was killed is not told."""
    try:
        found = json.loads(path.read_text())
        there = psutil.pid_exists(int(found["process"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if there and isinstance(found.get("hosts"), list) else None
