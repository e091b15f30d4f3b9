"""The two small files a report shows of a take: a contact strip and a preview."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from render.clip import read_clip
from render.post.encode import write_preview
from render.post.strip import write_strip
from render.video import open_video


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Where they are."""

    strip: Path
    """JPEG, five frames side by side, 96 pixels high."""
    preview: Path
    """H.264 in MP4, at most 320 pixels on the long side."""


def places(folder: Path) -> Pictures:
    """The names they have in a take's folder, there or not."""
    return Pictures(strip=folder / "strip.jpg", preview=folder / "preview.mp4")


def picture(clip: Path) -> Pictures:
    """Strip and preview of a clip, in its folder; made once.

    What is there and newer than the clip is kept, also when it shows the finished picture. Raises
    ClipUnreadable, DiskFull.
    """
    there = places(clip.parent)
    if _newer(there.strip, clip) and _newer(there.preview, clip):
        return there
    return write_pictures(clip, clip.parent)


def write_pictures(video: Path, folder: Path) -> Pictures:
    """Strip and preview of any video file, each written whole over what was there."""
    there = places(folder)
    with open_video(video) as (facts, _):
        rate = facts.rate
    total = write_preview(read_clip(video), there.preview, rate=rate)
    write_strip(read_clip(video), there.strip, total=total)
    return there


def _newer(path: Path, clip: Path) -> bool:
    return path.is_file() and clip.is_file() and path.stat().st_mtime_ns >= clip.stat().st_mtime_ns
