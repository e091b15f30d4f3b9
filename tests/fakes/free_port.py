"""A port that nobody listens on at this moment."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One of loopback's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
