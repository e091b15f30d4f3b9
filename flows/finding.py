"""One thing that `rushes doctor` looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from manifests.errors import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    well: bool
    """False keeps a night from running, or from running as it should."""
    words: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return asdict(self)


def faulty(name: str, faults: Sequence[Fault]) -> Finding:
    """What files of the studio's own have wrong: where each fault is, and its own remedy.

    One fault is told in the finding's words; of several, each has a line below.
    """
    lines = [str(replace(fault, file=Path(fault.file.name))) for fault in faults]
    if len(faults) == 1:
        remedy = faults[0].remedy
        words = lines[0].removesuffix(f"; {remedy}")
    else:
        words, remedy = f"{len(faults)} faults", "\n".join(lines)
    return Finding(name=name, well=False, words=words, remedy=remedy)
