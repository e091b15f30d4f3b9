"""Doors: who may still write into a folder, when a worker that was given up may come back to life.

A worker that stopped answering is given up and its work is sent elsewhere; it may only have been
frozen, or cut off. So nothing is written beside its name: every attempt at a folder has a door of
its own, a folder inside that one. What it writes is made in there and renamed out, and what it
removes is renamed in. Whoever sends the work again takes the door away first. From then on each
rename of the earlier attempt fails in the file system itself, since one of its two names is gone:
there is no gap between looking whether one may and doing it, as there would be with a number that
is read and compared. On a network share the server decides in the same way, also for a client that
remembers the door: its contents are gone, and nothing can be made in a removed folder.
"""

from __future__ import annotations

import errno
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests.errors import RushesError

TRIES = 20
"""A writer that is alive may put things into a door while it is emptied; so often at most."""


class DoorShut(RushesError):
    """The folder has been given to another attempt since: nothing is written into it any more."""


class DoorStuck(RushesError):
    """The door of an earlier attempt could not be taken away: it might still write."""


_open: dict[Path, Path] = {}
"""Doors that this process writes through, by the folder they lead into."""
_lock = threading.Lock()


def open_door(folder: Path, kind: str) -> Path:
    """A new door into `folder`, which is made; doors of this `kind` from before are taken away.

    Its name never comes back. Raises DoorStuck where one cannot be taken away, and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob(f".{kind}-door-*"):
        take_away(earlier)
    door = folder / f".{kind}-door-{uuid.uuid4().hex}"
    door.mkdir()
    return door


def take_away(door: Path) -> None:
    """Remove a door with all that lies in it; whoever still writes through it gets DoorShut.

    Raises DoorStuck where it cannot be removed.
    """
    reason: OSError | None = None
    for _ in range(TRIES):
        try:
            shutil.rmtree(door)
        except FileNotFoundError:
            pass
        except OSError as error:
            reason = error
        if not door.exists():
            return
    raise DoorStuck(f"{door} cannot be removed ({reason}); remove it, and see who writes there")


@contextmanager
def through(door: Path | None) -> Iterator[None]:
    """What this process writes into the door's folder goes through it; None: as ever.

    Raises DoorShut where an earlier attempt is still at work in this very process.
    """
    if door is None:
        yield
        return
    folder = door.parent
    with _lock:
        if folder in _open:
            raise DoorShut(f"an earlier attempt is still at work in {folder}, in this process")
        _open[folder] = door
    try:
        yield
    finally:
        with _lock:
            del _open[folder]


def way_to(path: Path) -> Path | None:
    """The door through which this process writes `path`; None: beside its name."""
    if not _open:
        return None
    with _lock:
        return next((_open[folder] for folder in path.parents if folder in _open), None)


@contextmanager
def naming_shut(door: Path | None) -> Iterator[None]:
    """Raise DoorShut for whatever goes wrong inside once the door is gone."""
    try:
        yield
    except Exception as error:
        if door is None or not _is_gone(door):
            raise
        raise DoorShut(
            f"{door.parent} was given to another attempt: this one writes nothing more"
        ) from error


def _is_gone(door: Path) -> bool:
    """Whether the door was taken away, asked of the machine whose disk it is.

    A client of a share answers `exists` from what it remembers, which may be half a minute old;
    to make a file it must ask.
    """
    asked = door / f"asked-{uuid.uuid4().hex}"
    try:
        asked.touch(exist_ok=False)
        asked.unlink()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ESTALE)
    return False


def remove_through(path: Path) -> None:
    """Remove a file if it is there, unless its folder was given to another attempt.

    Raises DoorShut, and OSError.
    """
    door = way_to(path)
    with suppress(FileNotFoundError), naming_shut(door):
        if door is None:
            path.unlink()
            return
        aside = door / f"removed-{uuid.uuid4().hex}"
        path.rename(aside)
        aside.unlink()
