"""The embedded Prefect server: a child process that dies with its parent, on loopback unless told.

It shows the root's pictures, films and reports too (`flows.shown`), and the queue, where people
set priorities (`flows.queue_page`).

Prefect's own temporary server outlives a parent that is killed and shows no pages; this one
serves the UI while its parent runs and ends within a second of its parent's death.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.parent import die_with
from flows.queue_page import steer
from flows.shown import QUEUE, SHOWN, begin, show
from manifests.errors import RushesError

START_SECONDS = 120.0
"""How long the server may take to answer; a fresh database on a busy disk takes 10-20 s."""
STARTS = 3
"""How often a night's server is started at most: its port may be taken while it does."""
LOOPBACK = "127.0.0.1"
ONLY_HERE = frozenset({LOOPBACK, "::1", "localhost"})
"""Where nobody from elsewhere comes in."""
_REACHED_AT = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - what a person may ask
"""How this machine reaches what listens on all of its addresses: a server on those of IPv6 is not
there on those of IPv4."""


class ServerDidNotStart(RushesError):
    """The embedded Prefect server did not answer in time; the message names its log."""


class PrefectServer:
    """A server process that can be looked at, and started again where it ended."""

    def __init__(self, *, port: int, log: Path, host: str = LOOPBACK, root: Path) -> None:
        """`port` must be free; `host` is where it listens; what `root` holds can be looked at."""
        self._port, self._log, self._host, self._root = port, log, host, root
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where this machine reaches it: `http://127.0.0.1:<port>`, `http://[::1]:<port>`."""
        host = _REACHED_AT.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def ended(self) -> int | None:
        """The exit code of a server that ended by itself; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerDidNotStart."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "flows.prefect_server"]
        command += [str(self._port), str(os.getpid()), self._host, str(self._root)]
        # Nights of this process and its children are to know where.
        begin(self._log.parent)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the night; the server goes when the night has said so.
                start_new_session=True,
                # NOTE: the page asks where it came from, so that it works on any port and through
                # a tunnel; left alone it would ask port 4200.
                env={**os.environ, "PREFECT_UI_ENABLED": "true", "PREFECT_UI_API_URL": "/api"},
            )
        try:
            _wait_until_it_answers(self._process, f"{self.url}/api/health", self._log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; by force where it does not listen for 10 s."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def embedded_server(*, port: int, log: Path, root: Path) -> Iterator[str]:
    """Start a server on loopback, wait until it answers, give its address; stop it at the end.

    `port` is used when it is free, any other free one otherwise. Raises ServerDidNotStart.
    """
    server = _started_near(port, log, root)
    try:
        yield server.url
    finally:
        server.stop()


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. Raises ServerDidNotStart for no address of ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise ServerDidNotStart(f"{host!r} is no address of this machine") from None
        except OSError:
            return False
        return True


def _started_near(wanted: int, log: Path, root: Path) -> PrefectServer:
    """On another port where somebody takes the one that was free: two nights of one evening look
    at the same moment, and their servers listen seconds later."""
    for attempt in range(1, STARTS + 1):
        port = _port_near(wanted)
        server = PrefectServer(port=port, log=log, root=root)
        try:
            server.start()
        except ServerDidNotStart:
            if attempt == STARTS or port_is_free(port):
                raise
        else:
            return server
    raise AssertionError("the last attempt raises")


def _port_near(wanted: int) -> int:
    if port_is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerDidNotStart(
                f"the Prefect server ended with code {process.returncode}; its log is {log}"
            )
        # NOTE: another server may have taken the port since it was looked at.
        if _is_well(url) and _listens(process.pid):
            return
        time.sleep(0.1)
    raise ServerDidNotStart(f"no answer at {url} in {START_SECONDS:.0f} s; its log is {log}")


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _listens(pid: int) -> bool:
    """Whether the process can be reached at some port; not, where it has ended."""
    try:
        sockets = psutil.Process(pid).net_connections("inet")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN for each in sockets)


def _main() -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    port, parent, host = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    die_with(parent, grace=5.0)
    app = create_app()
    root = Path(sys.argv[4])
    show(app, root, os.environ[SHOWN])
    steer(app, root, os.environ[QUEUE])
    uvicorn.run(app, host=host, port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    _main()
