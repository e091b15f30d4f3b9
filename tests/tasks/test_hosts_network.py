"""A host on a network of its own: keys, and a cable that is pulled in the middle of a take."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from free_port import free_port
from host_processes import HERE, HostProcess, hosting, hostless_pool
from plain_order import plain_order
from waiting import in_time, until

from tasks.engine import Gate
from tasks.host_keys import make_keys

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _lively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_BACKEND", "lively_backend:LivelyBackend")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE / "tests/fakes"), str(HERE)]))


@dataclass(frozen=True)
class Cable:
    """A network namespace and the pair of interfaces that joins it to this one."""

    name: str
    here: str
    """Address of this end."""

    def pull(self) -> None:
        _ip("link", "set", self.name, "down")

    def plug(self) -> None:
        _ip("link", "set", self.name, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@pytest.fixture
def cable() -> Iterator[Cable]:
    """Needs root and `ip`: where they are not, nothing can be said of a real network."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    name, there = f"rt{os.getpid() % 100000}", f"rp{os.getpid() % 100000}"
    subnet = f"10.{os.getpid() // 256 % 256}.{os.getpid() % 256}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()}")
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", there)
        _ip("link", "set", there, "netns", name)
        _ip("addr", "add", f"{subnet}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "addr", "add", f"{subnet}.2/24", "dev", there)
        _ip("-n", name, "link", "set", there, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield Cable(name, f"{subnet}.1")
    finally:
        _ip("netns", "del", name)


def test_a_host_whose_cable_is_pulled_stops_by_itself(cable: Cable, tmp_path: Path) -> None:
    """Over TLS. Cut off, its workers end within its lease and the take is rendered by another one;
    nothing that it did is in the folder; it joins again when the cable is back. One with other
    keys never gets in."""
    root, keys, others = tmp_path / "studio", tmp_path / "keys", tmp_path / "others"
    root.mkdir()
    make_keys(keys)
    make_keys(others)
    rules = hosting(root, gate=Gate(host=cable.here, port=free_port(), tls=keys))
    hosts: list[HostProcess] = []

    def join(name: str, address: str, folder: Path, *prefix: str) -> HostProcess:
        tls = {"RUSHES_HOSTS__TLS": str(folder)}
        hosts.append(HostProcess(root, address, name, prefix=prefix, **tls))
        return hosts[-1]

    async def night() -> None:
        news: list[str] = []
        async with hostless_pool(root, rules=rules) as pool:
            pool.on_news(news.append)
            assert pool.address.startswith("tls://")
            stranger = join("stranger", pool.address, others)
            join("far", pool.address, keys, "ip", "netns", "exec", cable.name)
            order = plain_order(root / "takes", "sh0010", "[until go]")
            take = asyncio.create_task(pool.render(order, budget=120))
            midway = order.folder / "midway.txt"
            await until(midway.exists)
            far = int(midway.read_text().split()[0])
            join("near", pool.address, keys)
            await until(lambda: pool.cards == 2)
            cable.pull()
            await until(lambda: any("far has said nothing for" in words for words in news))
            await until(lambda: midway.read_text().split()[0] != str(far))
            (order.folder / "go").touch()
            receipt = await take
            assert receipt.host == "near"
            await until(lambda: not psutil.pid_exists(far))
            assert midway.read_text().split()[0] == receipt.device
            cable.plug()
            await until(lambda: pool.cards == 2)
            assert not any(words.startswith("stranger") for words in news)
            assert "joined" not in stranger.said

    try:
        in_time(night())
    finally:
        for host in hosts:
            host.end()
