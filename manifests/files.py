"""Files that are whole or not there: temp file, fsync, rename; and hashing."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests.door import naming_shut, way_to


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends well it becomes `path`, durably.

    If the block raises, it is removed and `path` is as it was. See `naming`.
    """
    with naming(path, lambda temporary: temporary.replace(path)) as temporary:
        yield temporary


@contextmanager
def naming(path: Path, name_it: Callable[[Path], object]) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends well, `name_it` makes it `path`.

    What is written is on the disk before `name_it` is called, and the name behind it. The
    temporary file keeps the suffix of `path` (encoders choose a container by it) and is gone
    afterwards, whatever happened. The parent folder is made. Where the work in that folder has a
    door (`manifests.door`), the temporary name lies in it; raises DoorShut once another attempt
    has the folder, and whatever `name_it` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    door = way_to(path)
    name = f".{path.stem}.{os.getpid()}.{uuid.uuid4().hex[:8]}{path.suffix}"
    temporary = (door or path.parent) / name
    try:
        with naming_shut(door):
            yield temporary
            _fsync(temporary)
            name_it(temporary)
            _fsync(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write the whole of `data` (text as UTF-8) to `path`, or leave `path` as it was."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def link_or_copy(path: Path, to: Path) -> None:
    """Have the content of `path` at `to`, whole or not at all: a hard link, or a copy where there
    are none. Raises OSError."""
    with atomic_path(to) as temporary:
        try:
            os.link(path, temporary)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, temporary)


def sha256_file(path: Path) -> str:
    """SHA-256 of the file's bytes, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nearest_folder(path: Path) -> Path:
    """The path where it exists, else the nearest above it that does: what is asked of a folder that
    is yet to be made (its disk, the right to write there) is asked of that one."""
    while not path.exists():
        path = path.parent
    return path


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files that a killed process left in `folder`; returns how many."""
    count = 0
    for leftover in folder.glob(".*.*.????????*"):
        if leftover.is_file() and len(leftover.name.split(".")) >= 4:
            with suppress(FileNotFoundError):
                leftover.unlink()
                count += 1
    return count


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
