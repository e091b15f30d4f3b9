"""Which files a sheet may name: nothing outside the allowed folders, symlinks followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from manifests.refusal import Refusal
from manifests.text import closest, listed

_NEIGHBOURS = 5000
"""Names of a folder that are looked through for a likely one."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where relative names start, and the folders that files must lie in."""

    base: Path
    """Relative names start here."""
    allowed: tuple[Path, ...]
    """Resolved; a file must lie in one of them."""

    @classmethod
    def of(cls, base: Path, *more: Path) -> Roots:
        """Roots that start at `base` and allow it and `more`."""
        return cls(base, tuple(dict.fromkeys(folder.resolve() for folder in (base, *more))))

    def find(self, name: str, *, what: str, suffixes: Sequence[str] = ()) -> Path:
        """Absolute real path of the file that `name` stands for.

        `what` says what it should be: `a still`. `suffixes`, lower case, are the ones allowed.
        Raises Refusal where it is missing, no regular file, of another suffix, or outside.
        """
        try:
            path = (self.base / name).resolve()
            exists, regular = path.exists(), path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            raise Refusal(f"cannot be looked up ({error})", f"name {what}") from None
        if not any(path.is_relative_to(root) for root in self.allowed):
            raise Refusal(
                f"{name!r} lies outside the allowed folders",
                "copy it beside the sheet, or add its folder to source_roots in studio.yaml",
            )
        if not exists:
            raise Refusal(f"{name!r} is not there", _where(name, path))
        if not regular:
            raise Refusal(f"{name!r} is not a file", f"name {what}")
        if suffixes and path.suffix.lower() not in suffixes:
            raise Refusal(
                f"{name!r} is not {what}", f"name a file that ends in {' or '.join(suffixes)}"
            )
        return path


def _where(name: str, path: Path) -> str:
    if "\\" in name:
        return "write folders with / instead of \\"
    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), _NEIGHBOURS)]
    except OSError:
        return f"make the folder {path.parent} and put it there"
    near = closest(path.name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    there = f" (it holds {listed(names)})" if names else " (it is empty)"
    return f"put it into {path.parent}{there}"
