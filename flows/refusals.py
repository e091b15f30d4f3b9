"""Tells people at once which dropped sheets were refused: who dropped one may have gone home."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from flows.post import Message, Post, Send, sender
from manifests.notify import NotifyRules, Occasion
from manifests.settings import Studio
from tasks.inbox import Found, faults_beside, ignore

MOST = 20
"""Sheets that one message names; where more were refused, the next one goes on."""


class Refusals:
    """Each sheet that is refused, told once. Those of one moment are told together."""

    def __init__(self, rejected: Path, send: Send) -> None:
        """`rejected` is the folder in which refused sheets lie; `send` as for `Post`."""
        self._rejected = rejected
        self._untold: deque[Found] = deque()
        self._post = Post(send)

    def add(self, refused: Found) -> None:
        """Tell of a sheet; returns at once. What was added before it was told is told with it."""
        self._untold.append(refused)
        self._post.put(self._message)

    def close(self) -> None:
        """See `Post`."""
        self._post.close()

    def _message(self) -> Message | None:
        """What is untold; None where an earlier message had it already."""
        told = [self._untold.popleft() for _ in range(min(MOST, len(self._untold)))]
        if not told:
            return None
        what = "a dropped sheet was" if len(told) == 1 else f"{len(told)} dropped sheets were"
        return f"Rushes: {what} refused", "\n".join(map(self._line, told))

    def _line(self, refused: Found) -> str:
        faults = "1 fault" if len(refused.faults) == 1 else f"{len(refused.faults)} faults"
        where = faults_beside(self._rejected / refused.name)
        return _in_one_line(f"{refused.name}: {faults}, see {where}")


@contextmanager
def told_refusals(studio: Studio) -> Iterator[Callable[[Found], None]]:
    """What an inbox gives refused sheets to, for those of `notify` who hear of trouble."""
    rules = studio.notify
    if not rules.urls or Occasion.TROUBLE not in rules.on:
        yield ignore
        return
    refusals = Refusals(studio.rejected_dir, _made_late(rules))
    try:
        yield refusals.add
    finally:
        refusals.close()


def _made_late(rules: NotifyRules) -> Send:
    """`sender`, made when the first message is sent: mostly there is none, and apprise is large."""
    made = cache(sender)
    return lambda title, body: made(rules)(title, body)


def _in_one_line(text: str) -> str:
    """Names come from whoever dropped the file: no line breaks, and nothing that cannot be sent."""
    return "".join(each if each.isprintable() else "?" for each in text)
