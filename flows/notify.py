"""Tells people of a night through apprise: mail, Slack, Teams and a hundred more.

A message that cannot be sent never holds the night up and is never lost silently: it is logged,
without the address, which is a secret.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from flows.watch import Watcher
from manifests.notify import NotifyRules, Occasion
from manifests.secret import error_words
from reports.words import shot_count

if TYPE_CHECKING:
    from apprise import Apprise

TROUBLE_EVERY = 900.0
"""Seconds between two messages of trouble: one night's bad luck must not flood a channel."""
LAST_WAIT = 20.0
"""Seconds that the end of a night waits for messages that are still being sent."""

log = logging.getLogger(__name__)
Send = Callable[[str, str], bool]


def sender(rules: NotifyRules) -> Send:
    """Sends (title, body) to every address; False where one of them could not be reached.

    Addresses that apprise cannot read are named by their place in the list, never shown.
    """
    post, unknown = _read(rules)
    for number in unknown:
        log.warning("notify.urls: number %d is no address that apprise knows", number)

    def send(title: str, body: str) -> bool:
        return len(post) > 0 and post.notify(body=body, title=title) is True

    return send


def unknown_addresses(rules: NotifyRules) -> list[int]:
    """The places in the list, from 1, of addresses that apprise cannot read; nothing is sent."""
    return _read(rules)[1]


def _read(rules: NotifyRules) -> tuple[Apprise, list[int]]:
    import apprise

    # NOTE: both log addresses, tokens and all, at lower levels.
    for chatty in ("apprise", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    post = apprise.Apprise()
    addresses = enumerate(rules.urls, start=1)
    return post, [number for number, url in addresses if not post.add(url.get_secret_value())]


class Notifier(Watcher):
    """A watcher that writes to people. Messages are sent on a thread of its own, in order."""

    def __init__(
        self, rules: NotifyRules, send: Send, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._on = frozenset(rules.on)
        self._send = send
        self._clock = clock
        self._night = ""
        self._quiet_until = float("-inf")
        self._kept: list[str] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="notify")
        self._sent: list[Future[None]] = []

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
        self._close()

    def broke(self, error: BaseException) -> None:
        """See `Watcher`."""
        words = error_words(error).splitlines()[0]
        body = f"{words}\nWhat is finished is kept; the same command goes on from here."
        self._tell(Occasion.TROUBLE, f"Rushes: night {self._night} stopped", body)
        self._close()

    def _trouble(self) -> None:
        title = f"Rushes: night {self._night} in trouble"
        self._tell(Occasion.TROUBLE, title, "\n".join(self._kept))
        self._kept.clear()
        self._quiet_until = self._clock() + TROUBLE_EVERY

    def _tell(self, occasion: Occasion, title: str, body: str) -> None:
        if occasion in self._on:
            self._sent.append(self._thread.submit(self._post, title, body))

    def _post(self, title: str, body: str) -> None:
        try:
            sent = self._send(title, body)
        except Exception as error:  # a plug-in's own: the night must not end by it
            log.warning("a message was not sent (%s)", type(error).__name__)
            return
        if not sent:
            log.warning("a message was not sent to everybody: %s", title)

    def _close(self) -> None:
        wait(self._sent, timeout=LAST_WAIT)
        self._thread.shutdown(wait=False, cancel_futures=True)


def notifier_for(rules: NotifyRules) -> Sequence[Any]:
    """The notifier of a studio; none where nobody is to be told."""
    return [Notifier(rules, sender(rules))] if rules.urls else []
