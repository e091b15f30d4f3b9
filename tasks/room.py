"""Room on the disk: while there is too little, a night starts nothing new."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from manifests.settings import Studio
from reports.words import size_words


class Room:
    """Whether the disk has the room that the studio keeps free (`stop_disk_gb`).

    The plan looked before the night; others fill disks too. What is in work has the room that is
    kept: clip, ledger and Prefect's database never meet a full disk where the setting is not 0.
    """

    def __init__(
        self,
        studio: Studio,
        *,
        tell: Callable[[str], None],
        free: Callable[[], int] | None = None,
    ) -> None:
        """`tell` hears once when it becomes too little, and once when it is enough again.

        `free`: bytes that are free where the studio's root is.
        """
        self._least = studio.stop_disk_gb
        self._free = free or (lambda: shutil.disk_usage(studio.root).free)
        self._tell = tell
        self._waits = False

    def look(self) -> bool:
        """Look at the disk, and tell what has changed; whether nothing new may be started now."""
        words = self._why_not()
        short = words is not None
        if short is not self._waits:
            self._waits = short
            self._tell(words or "there is room on the disk again")
        return short

    def _why_not(self) -> str | None:
        """Why nothing new may be started now, in words; None: it may."""
        try:
            free = self._free()
        except OSError as error:
            # A share that is away for a moment: every shot that asks would else fail for good.
            return (
                f"the disk does not say how much is free ({error}): nothing new is started until "
                "it does"
            )
        if free >= self._least * 1e9:
            return None
        return (
            f"the disk has {size_words(free)} free, and {self._least:g} GB are to stay free: "
            "nothing new is started until there is room"
        )
