"""Hosts over real processes: they join, leave, die and freeze while takes render on them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from free_port import free_port
from host_processes import HERE, HostProcess, hosting, hostless_pool
from plain_order import plain_order
from waiting import LONG, in_time, until

from render.errors import CardsBlocked, MachineFailure, WorkerLost
from render.order import Receipt
from tasks.watchdog import Bounds
from tasks.worker_pool import WorkerPool

pytestmark = pytest.mark.slow

Work = Callable[[WorkerPool, list[str]], Awaitable[None]]


@pytest.fixture(autouse=True)
def _lively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_BACKEND", "lively_backend:LivelyBackend")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE / "tests/fakes"), str(HERE)]))


class Hosts:
    """The hosts of one test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.all: list[HostProcess] = []

    def join(self, pool: WorkerPool, name: str, **more: Any) -> HostProcess:
        host = HostProcess(self.root, pool.address, name, **more)
        self.all.append(host)
        return host


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    root = tmp_path / "studio"
    root.mkdir()
    made = Hosts(root)
    yield made
    for host in made.all:
        host.end()


def _night(root: Path, work: Work) -> None:
    async def night() -> None:
        news: list[str] = []
        async with hostless_pool(root) as pool:
            pool.on_news(news.append)
            await work(pool, news)

    in_time(night())


async def _render(pool: WorkerPool, root: Path, name: str, words: str = "") -> Receipt:
    return await pool.render(plain_order(root / "takes", name, words), budget=120)


def test_a_night_without_cards_waits_for_the_first_host(hosts: Hosts) -> None:
    """It says so in words; the take is rendered by the host's process, and named after it."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        waiting = asyncio.create_task(_render(pool, hosts.root, "sh0010"))
        await until(lambda: any("wait for a host" in words for words in news))
        assert pool.cards == 0
        hosts.join(pool, "a")
        receipt = await waiting
        assert receipt.host == "a"
        assert pool.cards == 1
        assert receipt.device == str(pool.worker_pids()["a/card-0"])
        assert any(words == "a joined with 1 card(s): cpu" for words in news), news
        told = json.loads((hosts.root / ".rushes/hosts.json").read_text())
        assert [line["host"] for line in told["hosts"]] == ["a"]

    _night(hosts.root, work)
    assert not (hosts.root / ".rushes/hosts.json").exists()


def _go(root: Path, name: str) -> None:
    """Let a take end at its next step."""
    (root / "takes" / name / "go").touch()


async def _at_work(root: Path, name: str, step: int = 3) -> int:
    """Wait until a take has made some steps; the process that makes them."""
    midway = root / "takes" / name / "midway.txt"

    def steps() -> int:
        return int(midway.read_text().split()[1]) if midway.exists() else 0

    await until(lambda: steps() >= step)
    return int(midway.read_text().split()[0])


def test_a_host_that_leaves_finishes_what_it_has(hosts: Hosts) -> None:
    """SIGTERM: its take ends there, what comes later goes to the other one, which joined in the
    middle of the night; the host ends well, and says what it does."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        first = hosts.join(pool, "a")
        take = asyncio.create_task(_render(pool, hosts.root, "sh0010", "[until go]"))
        await _at_work(hosts.root, "sh0010")
        hosts.join(pool, "b")
        await until(lambda: pool.cards == 2)
        ended = asyncio.create_task(asyncio.to_thread(first.leave))
        await until(lambda: pool.cards == 1)
        later = asyncio.create_task(_render(pool, hosts.root, "sh0020"))
        _go(hosts.root, "sh0010")
        assert (await take).host == "a"
        assert (await later).host == "b"
        assert await ended == 0
        assert "leaving: what is in work has 20 s to end" in first.said
        await until(lambda: "a left" in news)

    _night(hosts.root, work)


def test_a_host_that_has_no_time_gives_back_what_it_has(hosts: Hosts) -> None:
    """With no seconds to drain its take goes on elsewhere, once, and nobody counts a failure."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        first = hosts.join(pool, "a", drain=0.0)
        take = asyncio.create_task(_render(pool, hosts.root, "sh0010", "[until go]"))
        await _at_work(hosts.root, "sh0010")
        hosts.join(pool, "b")
        await until(lambda: pool.cards == 2)
        assert await asyncio.to_thread(first.leave) == 0
        _go(hosts.root, "sh0010")
        assert (await take).host == "b"
        assert not any("renders no more" in words for words in news)

    _night(hosts.root, work)


def test_a_host_leaves_while_its_workers_start(hosts: Hosts, tmp_path: Path) -> None:
    """SIGTERM once, and workers that take ten minutes to start: it is gone at once, with all of
    them, and was never given a take."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import sys, time\nif '--multiprocessing-fork' in sys.orig_argv:\n    time.sleep(600)\n"
    )

    async def work(pool: WorkerPool, news: list[str]) -> None:
        path = os.pathsep.join([str(slow), os.environ["PYTHONPATH"]])
        host = hosts.join(pool, "a", PYTHONPATH=path)
        await until(lambda: len(_processes(host)) > 1)
        family = _processes(host)
        assert await asyncio.to_thread(host.leave) == 0
        assert not psutil.wait_procs(family, timeout=LONG)[1]
        assert "left before its workers were up" in host.said
        assert "joined" not in host.said
        await until(lambda: "a left before its workers were up" in news)
        assert pool.cards == 0

    _night(hosts.root, work)


def _processes(host: HostProcess) -> list[psutil.Process]:
    """The host's, and those of its workers."""
    top = psutil.Process(host.process.pid)
    return [top, *(each for each in top.children(recursive=True) if _is_worker(each))]


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "--multiprocessing-fork" in process.cmdline()
    return False


def test_a_host_that_is_unplugged_in_the_middle_of_a_take(hosts: Hosts) -> None:
    """kill -9 of all its processes: the take is rendered by the other one within its first try,
    the host is told of in words, and when it is plugged in again it joins under its name."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        first = hosts.join(pool, "a")
        take = asyncio.create_task(_render(pool, hosts.root, "sh0010", "[until go]"))
        await _at_work(hosts.root, "sh0010")
        hosts.join(pool, "b")
        await until(lambda: pool.cards == 2)
        await asyncio.to_thread(first.kill)
        _go(hosts.root, "sh0010")
        receipt = await take
        assert receipt.host == "b"
        assert any(words.startswith("a was cut off") for words in news), news
        folder = hosts.root / "takes/sh0010"
        assert not list(folder.glob(".*door*")), "what it had begun to write is gone"
        hosts.join(pool, "a")
        await until(lambda: pool.cards == 2)

    _night(hosts.root, work)


def test_a_host_that_comes_back_from_a_freeze_writes_nothing_into_a_take_of_another(
    hosts: Hosts,
) -> None:
    """Stopped past its lease; its worker wakes first and goes on with the take that the other one
    has by now, then the rest of it. It tries to write, and all that is in the folder is by the
    second one, during its render and afterwards; the host joins anew."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        first = hosts.join(pool, "a")
        take = asyncio.create_task(_render(pool, hosts.root, "sh0010", "[until go]"))
        frozen = await _at_work(hosts.root, "sh0010")
        hosts.join(pool, "b")
        await until(lambda: pool.cards == 2)
        first.signal_all(signal.SIGSTOP)
        await until(lambda: any("a has said nothing for" in words for words in news))
        folder = hosts.root / "takes/sh0010"
        midway = folder / "midway.txt"
        await until(lambda: midway.read_text().split()[0] != str(frozen))
        steps = _steps(folder, frozen)
        psutil.Process(frozen).resume()
        await until(lambda: _steps(folder, frozen) > steps)
        first.signal_all(signal.SIGCONT)
        asyncio.get_running_loop().call_later(3.0, _go, hosts.root, "sh0010")
        seen: set[str] = set()
        while not take.done():
            seen.add(midway.read_text().split()[0])
            await asyncio.sleep(0.01)
        receipt = await take
        assert receipt.host == "b"
        assert seen == {receipt.device}, "the first one wrote after it was given up"
        before = _contents(folder)
        await until(lambda: [words for words in news if words.startswith("a joined")][1:])
        assert _contents(folder) == before

    _night(hosts.root, work)


def _steps(folder: Path, pid: int) -> int:
    """Steps after which this process was about to write."""
    lines = (folder / "steps.log").read_text().splitlines()
    return sum(line.split()[0] == str(pid) for line in lines)


def _contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file() and path.name != "steps.log"
    }


def test_a_host_joins_the_next_night_by_itself(hosts: Hosts) -> None:
    """The night ends, its workers end with it; another night at the same address is joined."""
    rules = hosting(hosts.root)
    port = free_port()
    rules = replace(rules, gate=replace(rules.gate, port=port))

    async def nights() -> None:
        host = None
        for name in ("sh0010", "sh0020"):
            async with hostless_pool(hosts.root, rules=rules) as pool:
                host = host or hosts.join(pool, "a")
                assert (await _render(pool, hosts.root, name)).host == "a"
                pids = pool.worker_pids()
            await until(lambda pid=pids["a/card-0"]: not psutil.pid_exists(pid))
        assert host is not None
        # Of the first night's end it hears by a farewell or, where it was slow, from the next one.
        assert host.said.count("joined tcp://") == 2

    in_time(nights())


def test_a_host_that_is_not_the_same_is_sent_away(hosts: Hosts) -> None:
    """Other code than the night's: it ends with the code of bad input and says what differs; so
    does one over another folder, and one whose night is elsewhere waits."""
    rules = hosting(hosts.root)
    older = replace(rules, facts={**rules.facts, "code": "0123456789ab"})

    async def night() -> None:
        async with hostless_pool(hosts.root, rules=older) as pool:
            host = hosts.join(pool, "a")
            assert await asyncio.to_thread(host.process.wait, LONG) == 2
            assert "it does not run the same as the night: code" in host.said
            elsewhere = hosts.root.parent / "elsewhere"
            elsewhere.mkdir()
            other = HostProcess(elsewhere, pool.address, "b")
            hosts.all.append(other)
            assert await asyncio.to_thread(other.process.wait, LONG) == 2
            assert pool.cards == 0

    in_time(night())


def test_a_worker_that_dies_or_hangs_on_a_host_gets_a_new_process_there(hosts: Hosts) -> None:
    """Each is an error of its take, by name; the host stays, and renders what comes next."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        hosts.join(pool, "a")
        first = await _render(pool, hosts.root, "sh0010")
        with pytest.raises(WorkerLost, match="died during render"):
            await _render(pool, hosts.root, "sh0020", "[die]")
        second = await _render(pool, hosts.root, "sh0030")
        hangs = plain_order(hosts.root / "takes", "sh0040", "[hang]")
        with pytest.raises(WorkerLost, match="took longer than 2 s"):
            await pool.render(hangs, budget=2.0)
        third = await _render(pool, hosts.root, "sh0050")
        assert len({first.device, second.device, third.device}) == 3
        assert {receipt.host for receipt in (first, second, third)} == {"a"}
        assert [words for words in news if words.startswith("a ")] == [
            "a joined with 1 card(s): cpu"
        ]

    _night(hosts.root, work)


def test_a_take_waits_for_a_host_as_long_as_the_studio_does(hosts: Hosts) -> None:
    """Then it ends by name, and not as a failure of a machine that Prefect would try again."""

    async def night() -> None:
        async with hostless_pool(hosts.root, rules=hosting(hosts.root, patience=0.5)) as pool:
            with pytest.raises(CardsBlocked, match="none that is large enough is here") as caught:
                await _render(pool, hosts.root, "sh0010")
            assert not isinstance(caught.value, MachineFailure)
            assert not caught.value.memory, "a smaller take would not help: nobody is here"

    in_time(night())


def test_a_worker_that_leaks_on_a_host_is_started_anew_there(hosts: Hosts) -> None:
    """Its memory is told by the host; no take is lost, and no process has all of them."""

    async def night() -> None:
        bounds = Bounds(least=48 * 2**20, share=0.0)
        async with hostless_pool(hosts.root, bounds=bounds) as pool:
            hosts.join(pool, "a")
            lives, told = [], list[str]()
            pool.on_renewal(told.append)
            for number in range(12):
                receipt = await _render(pool, hosts.root, f"sh{number:04d}", "[hold 0.6][leak 40]")
                lives.append(receipt.device)
            assert len(set(lives)) >= 2
            assert told
            assert all("a/card-0 was started anew" in words for words in told)

    in_time(night())
