"""Loaded by every worker of a host as it starts: Ctrl-C in the terminal is the host's to hear.

The terminal sends it to all processes at once; a worker that ended by it could not finish what it
has while its host leaves.
"""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(_worker: Any) -> None:
    """Called by the engine in the worker's main thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
