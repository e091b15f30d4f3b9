"""`rushes metrics`: the studio's figures for Prometheus, printed or served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from rich.console import Console

from manifests.errors import BadInput, Fault
from manifests.settings import Studio, load_studio
from tasks.metrics import StudioCollector


def metrics_text(studio: Studio) -> str:
    """Every figure once, in Prometheus' text format."""
    return generate_latest(_registry(studio)).decode()


@contextmanager
def metrics_server(studio: Studio, *, port: int, address: str = "127.0.0.1") -> Iterator[str]:
    """Serve the figures while the block runs; gives the page's address. Port 0: any free one.

    Raises BadInput when the port is taken.
    """
    try:
        server, thread = start_http_server(port, addr=address, registry=_registry(studio))
    except OSError as error:
        problem = f"port {port} on {address} cannot be used ({error.strerror or error})"
        remedy = "give another --port"
        raise BadInput([Fault(file=studio.settings_file, problem=problem, remedy=remedy)]) from None
    try:
        host = f"[{address}]" if ":" in address else address
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def serve(root: Path, *, port: int, address: str, console: Console) -> None:
    """Serve the figures until interrupted."""
    with metrics_server(load_studio(root), port=port, address=address) as url:
        console.print(f"{url}; Ctrl-C ends it", highlight=False)
        threading.Event().wait()


def _registry(studio: Studio) -> CollectorRegistry:
    # NOTE: a registry of our own: the library's has this process's figures in it, not a studio's.
    registry = CollectorRegistry()
    registry.register(StudioCollector(studio))
    return registry
