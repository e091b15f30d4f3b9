"""Room on the disk: while there is too little, a night starts nothing new."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

from manifests.settings import Studio
from reports.errors import LedgerUnwritable
from reports.words import size_words

AGAIN = "there is room on the disk again"


def _nowhere(words: str) -> None:
    """Keeps nothing."""


def _refused(error: LedgerUnwritable) -> str:
    return f"{error}; nothing new is started until it can be written"


class Room:
    """Whether the disk has the room that the studio keeps free (`stop_disk_gb`).

    The plan looked before the night; others fill disks too. What is in work has the room that is
    kept: clip, ledger and Prefect's database never meet a full disk where the setting is not 0, and
    no quota is met before. Where one is, the ledger cannot be written: nothing new until it can.
    """

    def __init__(
        self,
        studio: Studio,
        *,
        tell: Callable[[str], None],
        keep: Callable[[str], None] = _nowhere,
        free: Callable[[], int] | None = None,
    ) -> None:
        """`tell` hears once when it becomes too little, and once when it is enough again; `keep`
        puts that into the ledger, and may raise LedgerUnwritable: then it is kept later.

        `free`: bytes that are free where the studio's root is.
        """
        self._least = studio.stop_disk_gb
        self._free = free or (lambda: shutil.disk_usage(studio.root).free)
        self._tell, self._keep = tell, keep
        self._unkept: list[Callable[[], object]] = []
        self._refused: str | None = None
        """Why the ledger was not written; None: it was, or nobody tried since."""
        self._waits = False

    def refuses(self, error: LedgerUnwritable) -> None:
        """A write failed: nothing new is started until the ledger can be written."""
        self._refused = _refused(error)
        if self._waits and not self._unkept:
            # Only what is written shows that it can be: without words to keep it would never be
            # tried again, and a night that waits for room already would wait for good.
            self._say(self._refused)
        self.look()

    def writes(self, write: Callable[[], object]) -> None:
        """Have `write` put into the ledger what happened around the night: now, or as soon as it
        can be. A pause that the ledger cannot hold at that moment is to break no shot."""
        self._unkept.append(write)
        self._try_to_keep()

    def look(self) -> bool:
        """Look at the disk, and tell what has changed; whether nothing new may be started now."""
        self._try_to_keep()
        words = self._refused or self._why_not()
        short = words is not None
        if short is not self._waits:
            self._waits = short
            self._say(words or AGAIN)
            self._try_to_keep()
        return short

    def _say(self, words: str) -> None:
        self._tell(words)
        self._unkept.append(partial(self._keep, words))

    def _try_to_keep(self) -> None:
        """What was told goes into the ledger; where it does, the ledger can be written again."""
        try:
            while self._unkept:
                self._unkept[0]()
                del self._unkept[0]
                self._refused = None
        except LedgerUnwritable as error:
            self._refused = self._refused or _refused(error)

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
