"""A process that ends when the one that started it does, however that one ended."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_EVERY = 0.5
"""Seconds between looks at the parent."""


def die_with(parent: int, *, grace: float) -> None:
    """Watch the parent on a thread: when it is gone, end as by SIGTERM; by force `grace` s later.

    A parent that is killed tells nobody, and its children would hold the cards for ever.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
