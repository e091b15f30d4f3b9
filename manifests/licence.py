"""Under which licence a model lies here, and whether it lets a studio deliver."""

from __future__ import annotations

import re
from pathlib import Path

from manifests.yaml_text import YamlRefusal, read_yaml

_CARD = "README.md"
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")
_KNOWN = (
    ("Apache License", "apache-2.0"),
    ("MIT License", "mit"),
    ("OpenRAIL", "openrail"),
)
_READ = 64 * 1024
_FORBIDS = re.compile(
    r"(^|[^a-z])(nc|non-?\s?commercial|research[- ]only)([^a-z]|$)", re.IGNORECASE
)


def licence_in(folder: Path) -> str | None:
    """The licence that a model's folder names: its card's front matter, else its licence file.

    None where neither says.
    """
    return _of_card(folder / _CARD) or next(
        (name for file in _FILES if (name := _of_file(folder / file))), None
    )


def is_non_commercial(licence: str | None) -> bool:
    """Whether it forbids commercial use by its own name: `cc-by-nc-4.0`, `... non-commercial`.

    False means that its name does not say so, not that it allows all.
    """
    return licence is not None and _FORBIDS.search(licence) is not None


def non_commercial_words(licence: str) -> str:
    """What a person should know of a licence that forbids commercial use."""
    return (
        f"its licence, {licence}, forbids commercial use: ask whoever holds the rights before "
        "anything is delivered"
    )


def _of_card(path: Path) -> str | None:
    text = _head(path)
    if not text.startswith("---"):
        return None
    matter = text[3:].partition("\n---")[0]
    try:
        node = read_yaml(matter)
    except YamlRefusal:
        return None
    said = None if node is None or not isinstance(node.value, dict) else node.plain()
    if not isinstance(said, dict):
        return None
    named = said.get("license")
    if named == "other":
        # The hub's cards give a name of their own then.
        named = said.get("license_name") or named
    return str(named) if isinstance(named, str) and named else None


def _of_file(path: Path) -> str | None:
    lines = [line.strip() for line in _head(path).splitlines() if line.strip()]
    if not lines:
        return None
    top = " ".join(lines[:3])
    return next((name for words, name in _KNOWN if words.lower() in top.lower()), lines[0][:80])


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_READ).decode("utf-8", errors="replace")
    except OSError:
        return ""
