"""An address that apprise can write to, and what arrived there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer


@dataclass(frozen=True)
class Letterbox:
    """A real HTTP server on this machine."""

    url: str
    """As apprise writes it, with a token in it."""
    arrived: list[dict[str, str]]
    """The messages, as JSON."""


@contextmanager
def open_letterbox() -> Iterator[Letterbox]:
    """One that takes messages as long as the block lasts."""
    arrived: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Letterbox(f"json://127.0.0.1:{server.server_port}/sec-ret-token", arrived)
    server.shutdown()
    server.server_close()
    thread.join()
