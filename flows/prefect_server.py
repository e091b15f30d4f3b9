"""The embedded Prefect server: a child process on loopback that dies with its parent.

Prefect's own temporary server outlives a parent that is killed and shows no pages; this one
serves the UI while the night runs and ends within a second of its parent's death.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120.0
"""How long the server may take to answer; a fresh database on a busy disk takes 10-20 s."""


class ServerDidNotStart(Exception):
    """The embedded Prefect server did not answer in time; the message names its log."""


@contextmanager
def embedded_server(*, port: int, log: Path) -> Iterator[str]:
    """Start the server, wait until it answers, give its address; stop it at the end.

    `port` is used when it is free, any other free one otherwise. Yields the UI's address,
    `http://127.0.0.1:<port>`. Raises ServerDidNotStart.
    """
    port = _free_port(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "flows.prefect_server", str(port), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for the night; the server goes when the night has said so.
            start_new_session=True,
            # NOTE: the page asks where it came from, so that it works on any port and through a
            # tunnel; left alone it would ask port 4200.
            env={**os.environ, "PREFECT_UI_ENABLED": "true", "PREFECT_UI_API_URL": "/api"},
        )
    try:
        _wait_until_it_answers(process, f"http://127.0.0.1:{port}/api/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerDidNotStart("no free port on 127.0.0.1")


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerDidNotStart(
                f"the Prefect server ended with code {process.returncode}; its log is {log}"
            )
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback only
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ServerDidNotStart(f"no answer at {url} in {START_SECONDS:.0f} s; its log is {log}")


def _die_with(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _main() -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    port, parent = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    uvicorn.run(
        create_app, factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on"
    )


if __name__ == "__main__":
    _main()
