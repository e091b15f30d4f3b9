"""Who watches a night: the interface, and the file that `rushes status` reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from render.backend import Progress


class Watcher:
    """Told what happens in a night; does nothing by itself."""

    def began(self, night_id: str, shots: Sequence[tuple[str, float]]) -> None:
        """The night began or goes on, with these open shots: (`sheet/shot`, estimated seconds)."""

    def progress(self, progress: Progress) -> None:
        """A worker made progress."""

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """A shot, `sheet/shot`, has come as far as it gets tonight; told again where a person's
        approval has taken it further."""

    def news(self, words: str) -> None:
        """What became of a card, a host, or the room on the disk; a pause; what cannot be heard."""

    def ended(self, counts: Mapping[str, int], report: str) -> None:
        """The night is over: its shots by status, and the page of its report."""

    def broke(self, error: BaseException) -> None:
        """The night stopped by an error or was interrupted."""


class Watchers(Watcher):
    """Several watchers as one."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def began(self, night_id: str, shots: Sequence[tuple[str, float]]) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.began(night_id, shots)

    def progress(self, progress: Progress) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.progress(progress)

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.shot_done(shot, status, words)

    def news(self, words: str) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.news(words)

    def ended(self, counts: Mapping[str, int], report: str) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.ended(counts, report)

    def broke(self, error: BaseException) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.broke(error)


class ProgressFile(Watcher):
    """Keeps `.rushes/progress.json` fresh for other processes, at most once a second."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "progress.json"
        self._written = 0.0
        self._latest: Progress | None = None
        self._pictures: dict[str, str] = {}

    def progress(self, progress: Progress) -> None:
        """Write the latest progress, with the last picture of its take. A hint, not the truth:
        no fsync, lost with a crash, and left out where the disk is full."""
        if progress.preview is not None:
            self._pictures[progress.take_id] = str(progress.preview)
        else:
            self._latest = progress
            if time.monotonic() - self._written < 1.0:
                return
        self._written = time.monotonic()
        latest = self._latest or progress
        told = {**asdict(latest), "preview": self._pictures.get(latest.take_id)}
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        with suppress(OSError):
            temporary.write_text(json.dumps({**told, "at": time.time()}))
            temporary.replace(self._path)


def read_progress(state_dir: Path, *, fresh_seconds: float = 120.0) -> dict[str, object] | None:
    """The latest progress of a running night; None when there is none or it is stale."""
    try:
        data = json.loads((state_dir / "progress.json").read_text())
        fresh = time.time() - float(data["at"]) < fresh_seconds
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return data if fresh else None
