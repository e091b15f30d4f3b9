"""Which files a sheet may name: nothing outside the allowed folders, symlinks followed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from manifests.refusal import Refusal
from manifests.text import closest, listed

_NEIGHBOURS = 5000
"""Names of a folder that are looked through for a likely one."""
_QUOTES = tuple("\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb")
"""Straight, English, German and French: what word processors put around a name."""
_ELSEWHERE = re.compile(r"[A-Za-z]:[\\/]|\\\\|~/|[A-Za-z][A-Za-z0-9+.-]+://|file:")
"""A drive or share of another machine, somebody's home, an address."""


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
            if not name.isascii() and not path.exists():
                # Resolved again: what is spelled otherwise may be a link, too.
                path = (_spelled_otherwise(path, _composed) or path).resolve()
            exists, regular = path.exists(), path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            raise Refusal(f"cannot be looked up ({error})", f"name {what}") from None
        if not any(path.is_relative_to(root) for root in self.allowed):
            raise Refusal(
                f"{name!r} lies outside the allowed folders",
                "copy it beside the sheet, or add its folder to source_roots in studio.yaml",
            )
        if not exists:
            raise Refusal(f"{_as_it_stands(name)} is not there", _where(name, path))
        if not regular:
            raise Refusal(f"{name!r} is not a file", f"name {what}")
        if suffixes and path.suffix.lower() not in suffixes:
            raise Refusal(
                f"{name!r} is not {what}", f"name a file that ends in {' or '.join(suffixes)}"
            )
        return path


def _as_it_stands(name: str) -> str:
    """The name in quotes, what cannot be shown escaped, and the \\ of Windows once, as typed."""
    return repr(name).replace("\\\\", "\\")


def _where(name: str, path: Path) -> str:
    if name[:1] in _QUOTES or name[-1:] in _QUOTES:
        return "write it without the quotes around it"
    if _ELSEWHERE.match(name):
        return "copy it beside the sheet and write its path from there, as in stills/cat.png"
    if "\\" in name:
        return "write folders with / instead of \\"
    other = _spelled_otherwise(path, lambda part: _composed(part).casefold())
    if other is not None:
        return f"did you mean {_as_typed(name, path, other)!r}?"
    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), _NEIGHBOURS)]
    except OSError:
        return f"make the folder {path.parent} and put it there"
    near = closest(path.name, names)
    if near is None:
        near = next((each for each in sorted(names) if Path(each).stem == path.name), None)
    if near is not None:
        return f"did you mean {str(Path(name).with_name(near))!r}?"
    there = f" (it holds {listed(names)})" if names else " (it is empty)"
    return f"put it into {path.parent}{there}"


def _composed(part: str) -> str:
    """One spelling for letters with accents, which macOS writes in two parts and others in one."""
    return unicodedata.normalize("NFC", part)


def _spelled_otherwise(path: Path, spelling: Callable[[str], str]) -> Path | None:
    """The one path that is there and has the same names in that spelling, or None."""
    found = Path(path.anchor)
    for part in path.parts[1:]:
        there = found / part
        try:
            if not there.exists():
                names = [entry.name for entry in islice(found.iterdir(), _NEIGHBOURS)]
                (same,) = [name for name in names if spelling(name) == spelling(part)]
                there = found / same
        except (OSError, ValueError):  # ValueError: none, or several
            return None
        found = there
    return found


def _as_typed(name: str, path: Path, other: Path) -> str:
    """The other path in the form of what was typed: as many of its last names."""
    typed = Path(name).parts
    return str(Path(*other.parts[-len(typed) :]) if path.parts[-len(typed) :] == typed else other)
