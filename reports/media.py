"""Strips and previews: found beside a take's clip, embedded in a page up to a byte budget."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from render.order import Receipt

STRIP_NAME = "strip.jpg"
"""Contact strip of a take, beside its clip."""
PREVIEW_NAME = "preview.mp4"
"""Small H.264 preview of a take, beside its clip."""

PAGE_BUDGET = 20_000_000
"""Bytes of pictures and films in one page: small enough for most mail servers."""
FILE_LIMIT = 2_000_000
"""A larger file is linked, not embedded."""


def take_pictures(clip: Path) -> tuple[Path | None, Path | None]:
    """(strip, preview) of a take; None for one that is not on disk."""
    strip, preview = clip.with_name(STRIP_NAME), clip.with_name(PREVIEW_NAME)
    return strip if strip.is_file() else None, preview if preview.is_file() else None


def stage_pictures(receipt: Receipt) -> tuple[Path | None, ...]:
    """The strip of each stage of a take; None for one that was not made or is gone."""
    paths = (stage.preview for stage in receipt.stages)
    return tuple(path if path is not None and path.is_file() else None for path in paths)


def is_small(path: Path) -> bool:
    """Whether the file is there and of a size to embed."""
    try:
        return 0 < path.stat().st_size <= FILE_LIMIT
    except OSError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file that a page would show."""

    path: Path
    mime: str
    """`image/jpeg` or `video/mp4`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where a page finds its files: a `data:` URL, a relative link, or nothing."""

    urls: dict[Path, str]
    linked: int
    """Files that are linked because the budget was spent or they are large."""

    def url(self, path: Path | None) -> str | None:
        """URL of a file for an attribute; None where there is nothing to show."""
        return None if path is None else self.urls.get(path)


def shelve(
    wanted: Iterable[Wanted], *, folder: Path, budget: int = PAGE_BUDGET, link: bool = True
) -> Shelf:
    """Embed files in the order given until `budget` bytes are spent; link the others.

    A file that is wanted twice stands in the page twice, and costs so much. One that is missing,
    empty or unreadable is left out. `link=False` leaves out instead of linking. Links are
    relative to `folder`, so that a copied tree keeps working.
    """
    items = list(wanted)
    uses = Counter(item.path for item in items)
    urls: dict[Path, str] = {}
    spent = linked = 0
    for item in items:
        if item.path in urls:
            continue
        try:
            size = item.path.stat().st_size
            cost = uses[item.path] * (4 * -(-size // 3) + len(_data_url(item.mime, b"")))
            fits = 0 < size <= FILE_LIMIT and spent + cost <= budget
            data = item.path.read_bytes() if fits else None
        except OSError:
            continue
        if data:
            urls[item.path] = _data_url(item.mime, data)
            spent += cost
        elif size and link:
            urls[item.path] = relative_url(item.path, folder)
            linked += 1
    return Shelf(urls=urls, linked=linked)


def _data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def relative_url(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, percent-encoded; never absolute, never with a scheme."""
    return quote(os.path.relpath(path, folder))
