"""Tells people of a night through apprise: mail, Slack, Teams and a hundred more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows.post import Post, Send, sender
from flows.watch import Watcher
from manifests.notify import NotifyRules, Occasion
from manifests.secret import error_words
from reports.words import shot_count

TROUBLE_EVERY = 900.0
"""Seconds between two messages of trouble: one night's bad luck must not flood a channel."""


class Notifier(Watcher):
    """A watcher that writes to people."""

    def __init__(
        self, rules: NotifyRules, send: Send, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._on = frozenset(rules.on)
        self._post = Post(send)
        self._clock = clock
        self._night = ""
        self._quiet_until = float("-inf")
        self._kept: list[str] = []

    def began(self, night_id: str, shots: Sequence[tuple[str, float]]) -> None:
        """See `Watcher`."""
        self._night = night_id
        hours = sum(seconds for _, seconds in shots) / 3600
        body = f"{shot_count(len(shots))} to do, about {hours:.1f} h of rendering"
        self._tell(Occasion.START, f"Rushes: night {night_id} began", body)

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """See `Watcher`: a failed shot is trouble; several at once are one message."""
        if status != "failed":
            return
        self._kept.append(f"{shot}: {words}")
        if self._clock() >= self._quiet_until:
            self._trouble()

    def ended(self, counts: Mapping[str, int], report: str) -> None:
        """See `Watcher`."""
        if self._kept:
            self._trouble()
        went = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        body = f"{went or 'no shots'}\nreport: {report}"
        self._tell(Occasion.END, f"Rushes: night {self._night} is over", body)
        self._post.close()

    def broke(self, error: BaseException) -> None:
        """See `Watcher`."""
        words = error_words(error).splitlines()[0]
        body = f"{words}\nWhat is finished is kept; the same command goes on from here."
        self._tell(Occasion.TROUBLE, f"Rushes: night {self._night} stopped", body)
        self._post.close()

    def _trouble(self) -> None:
        title = f"Rushes: night {self._night} in trouble"
        self._tell(Occasion.TROUBLE, title, "\n".join(self._kept))
        self._kept.clear()
        self._quiet_until = self._clock() + TROUBLE_EVERY

    def _tell(self, occasion: Occasion, title: str, body: str) -> None:
        if occasion in self._on:
            self._post.put(lambda: (title, body))


def notifier_for(rules: NotifyRules) -> Sequence[Any]:
    """The notifier of a studio; none where nobody is to be told."""
    return [Notifier(rules, sender(rules))] if rules.urls else []
