"""The last frame of an approved take: the still from which another shot starts."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from manifests.files import atomic_path
from manifests.shot import Shot, Source
from manifests.source import inspect_source
from render.clip import read_clip
from render.errors import ClipUnreadable
from reports.ledger_reads import LedgerReads
from reports.records import TakeRecord
from reports.take import TakeStatus

NAME = "last-frame.png"


def approved_take(ledger: LedgerReads, shot_id: int) -> TakeRecord | None:
    """The take of a shot that was approved; None where there is none."""
    takes = [take for take in ledger.takes_of(shot_id) if take.status is TakeStatus.APPROVED]
    return takes[-1] if takes and takes[-1].receipt is not None else None


def frame_path(take: TakeRecord) -> Path:
    """Where the last frame of a rendered take lies, or will lie: beside its clip."""
    assert take.receipt is not None, "a take that was approved has a clip"
    return take.receipt.clip.with_name(NAME)


def made_frame(take: TakeRecord) -> Source | None:
    """The last frame, where it was written before. Raises BadInput when it is damaged."""
    path = frame_path(take)
    return inspect_source(path) if path.is_file() else None


def make_frame(take: TakeRecord) -> Source:
    """The last frame, written where it is not there yet: 8-bit PNG, RGB, as large as the clip.

    The clip's 12 bits are rounded to the nearest of the 8 that models take, so that a long chain
    of shots does not drift. Raises ClipUnreadable, BadInput, OSError.
    """
    path = frame_path(take)
    if not path.is_file():
        assert take.receipt is not None
        _write(take.receipt.clip, path)
    return inspect_source(path)


def starting_from(shot: Shot, before: TakeRecord | None) -> Shot:
    """The shot bound to the last frame of the take it starts from, where that is there already."""
    found = None if before is None else made_frame(before)
    return shot if found is None else shot.bound(found)


def _write(clip: Path, path: Path) -> None:
    last = None
    for last in read_clip(clip):  # noqa: B007 - every frame is a key frame, none is far
        pass
    if last is None:
        raise ClipUnreadable(f"{clip}: it holds no frame; render the take again")
    picture = Image.fromarray((last * 255.0).round().clip(0, 255).astype("uint8"))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
