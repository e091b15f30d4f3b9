"""Sends messages to people through apprise: mail, Slack, Teams and a hundred more.

A message that cannot be sent never holds the work up and is never lost silently: it is logged,
without the address, which is a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from manifests.notify import NotifyRules

if TYPE_CHECKING:
    from apprise import Apprise

LAST_WAIT = 20.0
"""Seconds that the end of the work waits for messages that are still being sent."""

log = logging.getLogger(__name__)
Message = tuple[str, str]
"""Title and body."""
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


class Post:
    """Messages on their way, sent on a thread of its own in the order in which they were put."""

    def __init__(self, send: Send) -> None:
        """`send` as `sender` gives it; what it raises is logged by its class alone."""
        self._send = send
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="notify")
        self._under_way: list[Future[None]] = []

    def put(self, write: Callable[[], Message | None]) -> None:
        """Have `write` asked for a message when its turn comes, and that sent; None: nothing.

        Never raises: behind `close` a message is only logged as not sent.
        """
        self._under_way = [each for each in self._under_way if not each.done()]
        try:
            self._under_way.append(self._thread.submit(self._post, write))
        except RuntimeError:
            log.warning("a message was not sent (what sends them had ended)")

    def close(self) -> None:
        """Wait for what is under way, `LAST_WAIT` seconds at most; nothing is sent any more."""
        wait(self._under_way, timeout=LAST_WAIT)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _post(self, write: Callable[[], Message | None]) -> None:
        try:
            message = write()
            if message is None:
                return
            title, body = message
            sent = self._send(title, body)
        except Exception as error:  # a plug-in's own: the work must not end by it
            log.warning("a message was not sent (%s)", type(error).__name__)
            return
        if not sent:
            log.warning("a message was not sent to everybody: %s", title)
