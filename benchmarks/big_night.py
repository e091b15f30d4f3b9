"""A night of 500 shots through the real Prefect server, with renders that take no time.

    python -m benchmarks.big_night [--shots 500] [--database URL] [--hold 600] [--json FILE]

Answers what orchestration costs: seconds a shot, the memory of server and night, how large ledger
and Prefect's database become, how long the page of the night takes to be read. The database is
SQLite; `--database` names another one, which must be empty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

FAKES = Path(__file__).parents[1] / "tests/fakes"
STILLS = Path(__file__).parents[1] / "manifests/examples/demo/stills"
EVERY_TENTH_FROZEN = 10
"""So many shots have one that needs a second take."""


class Peak:
    """The largest resident memory of processes, in bytes, looked at twice a second."""

    def __init__(self, **processes: psutil.Process) -> None:
        self.bytes = dict.fromkeys(processes, 0)
        self._processes = processes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            for name, process in self._processes.items():
                self.bytes[name] = max(self.bytes[name], process.memory_info().rss)


def make_sheet(root: Path, shots: int) -> Path:
    """A sheet of so many shots from one photograph."""
    with Image.open(min(STILLS.glob("*.*"))) as image:
        image.convert("RGB").resize((192, 192)).save(root / "still.png")
    lines = ["shot,source,preset,prompt"]
    for number in range(1, shots + 1):
        prompt = "pan left [frozen]" if number % EVERY_TENTH_FROZEN == 0 else "pan left"
        lines.append(f"sh{10 * number:05d},still.png,two-stage,{prompt}")
    sheet = root / "seq010.csv"
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return sheet


@contextmanager
def server_for(root: Path, database: str | None) -> Iterator[tuple[str, psutil.Process]]:
    """The server as `rushes serve` starts it; its address and its process."""
    from flows.prefect_env import prepare
    from flows.prefect_server import PrefectServer

    if database is not None:
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    os.environ.pop("PREFECT_API_URL", None)
    prepare(root / ".rushes")
    server = PrefectServer(port=_free_port(), log=root / ".rushes/server.log", root=root)
    server.start()
    os.environ["PREFECT_API_URL"] = f"{server.url}/api"
    children = psutil.Process().children()
    (process,) = [child for child in children if "flows.prefect_server" in child.cmdline()]
    try:
        yield server.url, process
    finally:
        server.stop()


async def run_night(root: Path, sheet: Path) -> dict[str, Any]:
    """The night itself, with a pool that renders at once in this process."""
    from fake_pool import FakePool

    from flows.night import POOL, night

    def pool_of(_: object, listener: Callable[..., None]) -> FakePool:
        return FakePool(listener=listener)

    POOL.set(pool_of)
    return await night(manifests=[sheet], root=root, now=True)


def read_page(api: str, run: str) -> dict[str, float]:
    """Seconds that what the page of the night asks for takes; the median of five times."""
    asked = {
        "graph": lambda: httpx.get(f"{api}/flow_runs/{run}/graph-v2", timeout=60),
        "subflows": lambda: _post(api, "flow_runs/paginate", page=1, limit=10),
        "artifacts": lambda: _post(api, "artifacts/filter", limit=50),
    }
    found = {}
    for name, ask in asked.items():
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            ask().raise_for_status()
            took.append(time.perf_counter() - begun)
        found[name] = sorted(took)[2]
    return found


def counted(api: str, run: str) -> dict[str, Any]:
    """What Prefect holds of the night: runs by state, artifacts by type, logs."""
    within = {"parent_flow_run_id": {"any_": [run]}}
    states: Counter[str] = Counter()
    page, pages = 1, 1
    while page <= pages:
        found = _post(api, "flow_runs/paginate", flow_runs=within, page=page, limit=200).json()
        states.update(each["state_name"] for each in found["results"])
        page, pages = page + 1, found["pages"]
    artifacts = {
        kind: _post(api, "artifacts/count", artifacts={"type": {"any_": [kind]}}).json()
        for kind in ("table", "progress", "image", "markdown")
    }
    tasks = _post(api, "task_runs/count").json()
    unfinished = {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    left = _post(api, "task_runs/count", task_runs=unfinished).json()
    return {"pages": dict(states), "artifacts": artifacts, "tasks": tasks, "tasks_unfinished": left}


def _post(api: str, path: str, **data: Any) -> httpx.Response:
    return httpx.post(f"{api}/{path}", json=data, timeout=60)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bare_seconds(root: Path, shots: int) -> float:
    """Seconds that the pool alone needs for such takes: what is no cost of orchestration."""
    from fake_pool import FakePool

    from manifests.load import load_manifest
    from manifests.settings import load_studio
    from render.order import RenderOrder
    from tasks.model_ref import model_ref

    studio = load_studio(root)
    (shot, *_) = load_manifest(root / "seq010.csv", studio=studio).shots
    pool, begun = FakePool(listener=lambda _: None), time.perf_counter()
    for number in range(shots):
        order = RenderOrder(
            take_id=f"s/{number}/x/t1",
            shot=str(number),
            take=1,
            recipe=shot.recipe,
            model=model_ref(shot.recipe.model, studio.models[shot.recipe.model]),
            source=None if shot.source is None else shot.source.path,
            folder=root / "bare" / str(number),
            device="cpu",
        )
        asyncio.run(pool.render(order, budget=60.0))
    return (time.perf_counter() - begun) / shots


def main() -> None:
    """Run the night and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=500)
    parser.add_argument("--database", help="postgresql+asyncpg://...; SQLite where it is left out")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds to keep the server for")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sys.path.insert(0, str(FAKES))
    root = Path(tempfile.mkdtemp(prefix="big-night-"))
    sheet = make_sheet(root, given.shots)
    try:
        with server_for(root, given.database) as (url, server):
            with Peak(server=server, night=psutil.Process()) as peak:
                begun = time.perf_counter()
                result = asyncio.run(run_night(root, sheet))
                seconds = time.perf_counter() - begun
            time.sleep(5)  # what the server writes late is written
            worked = {"server": server.cpu_times(), "night": psutil.Process().cpu_times()}
            found = {
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{os.cpu_count()} cores, {platform.machine()}",
                "python": platform.python_version(),
                "database": "sqlite" if given.database is None else "postgresql",
                "shots": result["shots"],
                "seconds_a_shot": seconds / given.shots,
                "processor_seconds_a_shot": {
                    name: (each.user + each.system) / given.shots for name, each in worked.items()
                },
                "of_which_the_fake_render": _bare_seconds(root, 20),
                "peak_megabytes": {name: size / 2**20 for name, size in peak.bytes.items()},
                "ledger_megabytes": (root / "rushes.db").stat().st_size / 2**20,
                "report_megabytes": Path(result["report"]).stat().st_size / 2**20,
                "page_seconds": read_page(f"{url}/api", result["run"]),
                **counted(f"{url}/api", result["run"]),
            }
            database = root / ".rushes/prefect/prefect.db"
            if database.exists():
                found["database_megabytes"] = database.stat().st_size / 2**20
            print(json.dumps(found, indent=2))
            print(f"{url}/runs/flow-run/{result['run']}", flush=True)
            if given.json:
                given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            time.sleep(given.hold)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
