"""The inbox: whole, good sheets are taken, bad ones put aside with every fault in words.

The folders are the only record. A sheet is taken by one rename inside one file system, so a kill
at any moment leaves it either where it was dropped or where it was taken to, never both.

    inbox/shots.csv              dropped by somebody
    inbox/accepted/shots.csv     what the next night renders
    inbox/rejected/shots.csv     what it cannot, and
    inbox/rejected/shots.csv.faults.txt   why, and what to do
    inbox/accepted/earlier/      versions that a later one of the same name has replaced
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from manifests.errors import Fault
from manifests.files import sha256_file, write_atomic
from manifests.load import OF_DEFAULTS, load_manifest
from manifests.refusal import Refusal
from manifests.settings import Studio
from manifests.sheet import sheet_name
from manifests.shot import Manifest, Shot
from manifests.text import listed
from reports.fingerprint import shot_fingerprint
from reports.ledger_reads import LedgerReads
from reports.words import shot_count
from tasks.sheets import beside

SHEETS = frozenset({".csv", ".tsv", ".yaml", ".yml"})
FOREIGN = frozenset({".xlsx", ".xls", ".ods", ".numbers", ".json", ".txt"})
"""What people drop who mean a sheet; everything else is a still or none of our business."""
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", "~")
"""Ends of names under which programs write files that are not whole yet."""
LATE = frozenset({"source", "grade", "loras", "upscale"})
"""Columns that name files: those may still be on their way."""
LINKS = frozenset({"after", "start_from"})
"""Columns that name shots, `sheet/shot` where they are of another sheet."""


class Fate(StrEnum):
    """What became of a dropped file."""

    TAKEN = "taken"
    """It is in `accepted/`: the next night renders what is new in it."""
    REFUSED = "refused"
    """It is in `rejected/`, with its faults beside it."""
    TWICE = "twice"
    """The same content was taken before, under this name or another."""
    GROWING = "growing"
    """It may still be being written."""
    WAITING = "waiting"
    """It is good but for files that have not come yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A dropped file, and what became of it."""

    name: str
    fate: Fate
    words: str
    faults: tuple[Fault, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "name": self.name,
            "fate": self.fate.value,
            "words": self.words,
            "faults": [fault.to_dict() for fault in self.faults],
        }


@dataclass(frozen=True, slots=True)
class _Look:
    """What a file looked like: when this changes, it is being written."""

    size: int
    changed: int
    """Nanoseconds."""
    inode: int


def ignore(_: Found) -> None:
    """Nobody is told."""


class Inbox:
    """The inbox of one studio. Remembers between scans only what is still growing."""

    def __init__(
        self,
        studio: Studio,
        *,
        clock: Callable[[], float] = time.time,
        refused: Callable[[Found], None] = ignore,
    ) -> None:
        """`clock` gives seconds since the epoch, as file times do. `refused` is told of each sheet
        as soon as it lies in `rejected/`, whatever becomes of the rest of the look."""
        self._studio = studio
        self._clock = clock
        self._refused = refused
        self._seen: dict[str, tuple[_Look, float]] = {}
        for folder in (studio.inbox_dir, studio.accepted_dir, studio.rejected_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def scan(self) -> list[Found]:
        """Look at every dropped file once. Raises OSError when the inbox itself is gone."""
        found = []
        for path in _dropped(self._studio.inbox_dir):
            with suppress(FileNotFoundError):  # taken back, or by another watcher
                found.append(self._look_at(path))
        names = {each.name for each in found}
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        return found

    def _look_at(self, path: Path) -> Found:
        name = path.name
        if path.is_symlink():
            return self._refuse(path, [_fault(path, "is a link", "drop the sheet itself")])
        if not self._is_quiet(path):
            return Found(name=name, fate=Fate.GROWING, words="still being written")
        if path.suffix.lower() in FOREIGN:
            problem = f"{path.suffix} is no sheet"
            remedy = "export it as CSV (comma separated, UTF-8), or write YAML"
            return self._refuse(path, [_fault(path, problem, remedy)])
        sheet = load_manifest(path, studio=self._studio)
        sheet = beside(sheet, accepted_sheets(self._studio), studio=self._studio)
        if sheet.faults:
            return self._faulty(path, sheet.faults)
        twin = self._twin(path, sheet.sha256)
        if twin is not None:
            _put_aside(path, self._studio.accepted_dir)
            words = f"the same as {twin.name}, which was taken before: nothing new"
            return Found(name=name, fate=Fate.TWICE, words=words)
        return self._take(path, sheet)

    def _is_quiet(self, path: Path) -> bool:
        """Whether nobody has written to it for a while, by its times or by what we saw."""
        status, now = path.stat(), self._clock()
        look = _Look(status.st_size, status.st_mtime_ns, status.st_ino)
        quiet = self._studio.inbox.quiet_seconds
        before = self._seen.get(path.name)
        if before is None or before[0] != look:
            self._seen[path.name] = (look, now)
            before = self._seen[path.name]
        # A file renamed into place is whole at once, and its times are old. Times that lie in the
        # future come from another machine's clock and say nothing: then what we saw counts.
        return now - status.st_mtime >= quiet or now - before[1] >= quiet

    def _faulty(self, path: Path, faults: tuple[Fault, ...]) -> Found:
        arrived = path.stat().st_ctime
        left = arrived + 60 * self._studio.inbox.grace_minutes - self._clock()
        if left > 0 and all(map(_may_come, faults)):
            minutes = max(1, round(left / 60))
            words = f"waits for {_named(faults)}, {minutes} min more"
            return Found(name=path.name, fate=Fate.WAITING, words=words, faults=faults)
        return self._refuse(path, list(faults))

    def _refuse(self, path: Path, faults: list[Fault]) -> Found:
        there = self._studio.rejected_dir / path.name
        _put_earlier_aside(there)
        # The faults first: a sheet in `rejected/` without a reason would help nobody.
        write_atomic(faults_beside(there), _letter(path.name, faults))
        path.replace(there)
        number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        words = f"{number}: see rejected/{there.name}.faults.txt"
        found = Found(name=path.name, fate=Fate.REFUSED, words=words, faults=tuple(faults))
        self._refused(found)
        return found

    def _take(self, path: Path, sheet: Manifest) -> Found:
        there = self._studio.accepted_dir / path.name
        for other in accepted_sheets(self._studio):
            if sheet_name(other) == sheet.name:
                # shots.csv and shots.yaml would be two sheets of one name.
                _keep_copy(other)
                if other != there:
                    other.unlink()
        new = self._new(sheet)
        path.replace(there)
        _put_earlier_aside(self._studio.rejected_dir / path.name)
        words = f"{shot_count(len(sheet.shots))}, {new} of them new"
        return Found(name=path.name, fate=Fate.TAKEN, words=words)

    def _new(self, sheet: Manifest) -> int:
        """Shots that no night has recorded yet."""
        if not self._studio.ledger_path.exists():
            return len(sheet.shots)
        with LedgerReads(self._studio.ledger_path) as ledger:
            return sum(_is_new(sheet.name, shot, ledger) for shot in sheet.shots)

    def _twin(self, path: Path, sha256: str) -> Path | None:
        """A taken sheet of the same content, of this name if there is one."""
        twins = [other for other in accepted_sheets(self._studio) if sha256_file(other) == sha256]
        return next((twin for twin in twins if twin.name == path.name), twins[0] if twins else None)


def accepted_sheets(studio: Studio) -> list[Path]:
    """The sheets that were taken, by name; none where there is no inbox yet."""
    if not studio.accepted_dir.is_dir():
        return []
    return sorted(
        path
        for path in studio.accepted_dir.iterdir()
        if path.is_file() and path.suffix.lower() in SHEETS and not path.name.startswith(".")
    )


def _dropped(folder: Path) -> Iterator[Path]:
    """Files that somebody may mean as a sheet, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "~")) or path.name.lower().endswith(UNFINISHED):
            continue
        if path.suffix.lower() in SHEETS | FOREIGN and (path.is_symlink() or path.is_file()):
            yield path


def _is_new(sheet: str, shot: Shot, ledger: LedgerReads) -> bool:
    """Whether no night has had this shot as it is now."""
    if shot.start_from is None:
        return ledger.find_shot(sheet, shot.id, shot_fingerprint(shot)) is None
    known = ledger.latest_shot(sheet, shot.id)  # what it starts from is only known in the night
    return known is None or shot_fingerprint(known.shot.unbound()) != shot_fingerprint(shot)


def _may_come(fault: Fault) -> bool:
    """Whether what it says is not there may still be on its way: a file, or another sheet."""
    column = (fault.column or "").removeprefix(OF_DEFAULTS)
    other_sheet = column in LINKS and "/" in (fault.value or "")
    return column in LATE or other_sheet


def _named(faults: Sequence[Fault]) -> str:
    """The files and sheets that are not there, as the sheet names them."""
    return listed({fault.value or fault.problem for fault in faults})


def _fault(path: Path, problem: str, remedy: str) -> Fault:
    return Refusal(problem, remedy).at(path)


def faults_beside(path: Path) -> Path:
    """Where the faults of a sheet in `rejected/` stand, in words."""
    return path.with_name(f"{path.name}.faults.txt")


def _letter(name: str, faults: list[Fault]) -> str:
    """The faults of a sheet, for the person who wrote it."""
    lines = [f"{name} was not taken. Mend this and drop it into the inbox again:", ""]
    for fault in faults:
        place = "" if fault.row is None else f"row {fault.row}"
        place += "" if fault.shot is None else f" ({fault.shot})"
        place += "" if fault.column is None else f", column {fault.column}"
        lines.append(f"- {place.strip(', ') or 'the sheet'}: {fault.problem}")
        lines.append(f"  {fault.remedy}")
    return "\n".join(lines) + "\n"


def _put_aside(path: Path, folder: Path) -> None:
    """Move a file into `folder/earlier/`, under a name that says what is in it."""
    earlier = folder / "earlier"
    earlier.mkdir(exist_ok=True)
    path.replace(earlier / f"{path.stem}.{sha256_file(path)[:8]}{path.suffix}")


def _keep_copy(path: Path) -> None:
    """A second name for a file in `earlier/`, so that replacing it loses nothing."""
    earlier = path.parent / "earlier"
    earlier.mkdir(exist_ok=True)
    kept = earlier / f"{path.stem}.{sha256_file(path)[:8]}{path.suffix}"
    if kept.exists():
        return
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        write_atomic(kept, path.read_bytes())


def _put_earlier_aside(path: Path) -> None:
    """Move what an earlier drop of this name left in `rejected/` out of the way."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        _put_aside(path, path.parent)
    faults_beside(path).unlink(missing_ok=True)
