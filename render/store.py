"""What need not be computed twice: embeddings, image conditioning, latents after each stage.

A folder of safetensors files named by what they depend on (`render.keys`). Every file is checked
against its hash when it is read, and written whole or not at all; so several workers may share a
store, and anybody may delete any of it at any moment: the worst is work done again. A store
never fails a take: what it cannot read or write is told in a note.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from torch import Tensor

from manifests.files import link_or_copy, write_atomic
from render.errors import TensorFileDamaged
from render.tensor_file import read_tensors, write_tensors

_FULL_TO = 0.9
"""Share of its size that a store which grew too large is brought back to."""
_SHARERS = 4
"""Workers that may fill the same store between two looks at its size."""
_ABANDONED = 3600.0
"""Seconds after which a temporary file is taken for the leftover of a killed worker."""
_HEADER = 1024
"""Bytes of an entry beside its tensors, at most."""
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Rushes keeps here what need not be computed twice. Safe to delete, no need to back up.\n"
)


class Kind(StrEnum):
    """What an entry holds; one folder for each."""

    TEXT = "text"
    """Embeddings of one text."""
    STILL = "still"
    """What a model is told about one still."""
    STAGE = "stage"
    """Latents at the end of one stage: a checkpoint."""


@dataclass(frozen=True, slots=True)
class _File:
    used: float
    size: int
    path: Path


class Store:
    """A folder of entries, kept below a size; what was used longest ago leaves first."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        most_bytes: int = 20 * 10**9,
        reserve_bytes: int = 4 * 10**9,
    ) -> None:
        self._folder = folder
        """None: nothing is found and nothing is kept."""
        self._most = most_bytes
        self._reserve = reserve_bytes
        self._room = 0
        """Bytes that may be written before the next look at the folder's size."""
        self._notes: list[str] = []
        self._off = False
        """After a failed write: nothing more is written until the notes are collected."""

    def settle(self, folder: Path | None, *, most_bytes: int, reserve_bytes: int) -> None:
        """From now on keep at most `most_bytes` in `folder` (None: nothing anywhere), and leave
        `reserve_bytes` of its disk free."""
        told = (folder, most_bytes, reserve_bytes)
        if told != (self._folder, self._most, self._reserve):
            self._folder, self._most, self._reserve = told
            self._room = 0

    def find(self, kind: Kind, key: str) -> dict[str, Tensor] | None:
        """The tensors kept under `key`, on the CPU; None when there are none that hold."""
        if (path := self._path(kind, key)) is None:
            return None
        try:
            found = read_tensors(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._notes.append(f"{kind} not read from the store ({error.strerror or error})")
            return None
        except TensorFileDamaged as error:
            self.drop(kind, key, str(error))
            return None
        if found.told != {"key": key}:
            self.drop(kind, key, f"{path.name} belongs to another key")
            return None
        _touch(path)
        return found.tensors

    def keep(self, kind: Kind, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under `key`."""
        size = _HEADER + sum(tensor.nbytes for tensor in tensors.values())
        path = self._path(kind, key)
        if path is not None and self._may_write(size):
            try:
                write_tensors(path, tensors, {"key": key})
            except OSError as error:
                self._failed(error)

    def lend(self, kind: Kind, key: str, to: Path) -> bool:
        """Put the file kept under `key` at `to`, as a hard link or a copy, unread.

        False when there is none. The borrower checks it, and drops the entry when it is damaged.
        """
        if (path := self._path(kind, key)) is None:
            return False
        try:
            link_or_copy(path, to)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._notes.append(f"{kind} not taken from the store ({error.strerror or error})")
            return False
        _touch(path)
        return True

    def keep_file(self, kind: Kind, key: str, file: Path) -> None:
        """Keep a file that is never changed in place under `key`, as a hard link or a copy."""
        path = self._path(kind, key)
        try:
            if path is not None and self._may_write(file.stat().st_size):
                link_or_copy(file, path)
        except OSError as error:
            self._failed(error)

    def drop(self, kind: Kind, key: str, reason: str) -> None:
        """Remove an entry that does not hold, and say so."""
        if (path := self._path(kind, key)) is not None:
            with suppress(OSError):
                path.unlink()
            self._notes.append(f"store: {reason}: removed, computed again")

    def collect_notes(self) -> list[str]:
        """What a person should know since the last call; a store that was full is tried again."""
        notes, self._notes, self._off = self._notes, [], False
        return notes

    def _path(self, kind: Kind, key: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / kind / key[:2] / f"{key}.safetensors"

    def _failed(self, error: OSError) -> None:
        self._off = True
        self._notes.append(
            f"the store {self._folder} cannot be written ({error.strerror or error}): "
            "this take leaves nothing there; free some space or correct its rights"
        )

    def _may_write(self, size: int) -> bool:
        """Make sure that `size` bytes fit; False when they are not to be written."""
        if self._off or self._folder is None or size > self._most * _FULL_TO:
            return False
        if size <= self._room:
            self._room -= size
            return True
        try:
            self._make_room(self._folder, size)
        except OSError as error:
            self._failed(error)
            return False
        return not self._off

    def _make_room(self, folder: Path, size: int) -> None:
        """Look at the whole folder, remove what was used longest ago, and count what is free."""
        if not (folder / _TAG).exists():
            write_atomic(folder / _TAG, _TAG_TEXT)
        files = sorted(_files(folder), key=lambda file: file.used)
        total = sum(file.size for file in files)
        spare = shutil.disk_usage(folder).free - self._reserve
        most = min(self._most, total + spare)
        goal = most if total + size <= most else int(most * _FULL_TO)
        for file in files:
            if total + size <= goal:
                break
            with suppress(OSError):
                file.path.unlink()
            total -= file.size
        if total + size > goal:
            self._off = True
            self._notes.append(
                f"less than {self._reserve / 10**9:g} GB would stay free at {folder}: "
                "this take leaves nothing in the store; free some space"
            )
        self._room = max(0, (most - total - size) // _SHARERS)


def _files(folder: Path) -> list[_File]:
    """Every entry; what a killed worker left half-written is removed on the way."""
    found = []
    for path in (path for kind in Kind for path in (folder / kind).glob("*/*")):
        try:
            status = path.stat()
        except OSError:
            continue  # another worker removed it
        if not path.name.startswith("."):
            found.append(_File(used=status.st_mtime, size=status.st_size, path=path))
        elif time.time() - status.st_mtime > _ABANDONED:
            with suppress(OSError):
                path.unlink()
    return found


def _touch(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)
