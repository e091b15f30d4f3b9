"""The pool over real worker processes, on a machine whose cards are CPU processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from plain_order import plain_order
from waiting import in_time, until

from render.backend import Progress
from render.errors import OutOfMemory, WorkerLost
from render.order import Receipt
from tasks.crew import SEATS
from tasks.gpus import Device, Machine
from tasks.watchdog import Bounds
from tasks.worker_pool import WorkerPool

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MIB = 2**20


@pytest.fixture(autouse=True)
def _fake_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = str(ROOT / "tests" / "fakes")
    monkeypatch.setenv("RUSHES_BACKEND", "card_backend:CardBackend")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([fakes, str(ROOT)]))


def _machine(cards: int) -> Machine:
    return Machine(
        cards=tuple(
            Device(name=f"fake #{index}", torch_device="cpu", visible="") for index in range(cards)
        )
    )


def _had_the_card(root: Path, name: str) -> int:
    return len((root / name / "had_the_card.log").read_text().splitlines())


def _go_on(root: Path, name: str) -> None:
    """Let a take end that holds its card until it is told."""
    (root / name / "go_on").touch()


class Clock:
    """The seconds by which takes count as stuck: they pass when the test says so."""

    now = 0.0
    asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now

    async def pass_by(self, seconds: float, *, calls: int) -> None:
        """Let them pass, and wait until each of so many calls has seen it."""
        self.now += seconds
        # One look at a call asks four times, and all are looked at equally often.
        seen = self.asked + 8 * calls
        await until(lambda: self.asked >= seen)


@dataclass
class Heard:
    """What the takes of a pool told of themselves."""

    takes: set[str] = field(default_factory=set)

    def __call__(self, progress: Progress) -> None:
        self.takes.add(progress.take_id)

    async def begun(self, *names: str) -> str:
        """Wait until one of these takes has told that it has a card; which."""
        await until(lambda: any(f"sheet/{name}/f/t1" in self.takes for name in names))
        return next(name for name in names if f"sheet/{name}/f/t1" in self.takes)


def _in_pool(
    cards: int,
    root: Path,
    work: Callable[[WorkerPool, Heard], Awaitable[None]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    async def night() -> None:
        heard = Heard()
        async with WorkerPool(
            _machine(cards), threads=2, scratch=root / "scratch", listener=heard, clock=clock
        ) as pool:
            await work(pool, heard)

    in_time(night())


def test_waiting_for_the_card_counts_against_no_budget(tmp_path: Path) -> None:
    """Takes wait for one card far longer than their budgets while each uses nearly all of its own:
    none counts as stuck, and they have the card one after the other, in one process."""
    clock = Clock()

    async def work(pool: WorkerPool, heard: Heard) -> None:
        left = {
            f"wait{n}": asyncio.create_task(
                pool.render(plain_order(tmp_path, f"wait{n}", "[hold until told]"), budget=100.0)
            )
            for n in range(4)
        }
        receipts = []
        while left:
            name = await heard.begun(*left)
            await clock.pass_by(90.0, calls=min(SEATS, len(left)))
            _go_on(tmp_path, name)
            receipts.append(await left.pop(name))
        spans = [receipt.timeline[0] for receipt in receipts]
        assert all(a.ended <= b.begun + 0.01 for a, b in pairwise(spans))
        assert {receipt.device for receipt in receipts} == {str(pool.worker_pids()["card-0"])}

    _in_pool(1, tmp_path, work, clock=clock)


def test_a_take_that_hangs_and_one_that_kills_its_worker_fail_alone(tmp_path: Path) -> None:
    """Each by name, and each had the card once; those beside them are rendered."""
    clock = Clock()
    words = {"hangs": "[hang]", "beside1": "", "dies": "[hold until told][die]"}
    budgets = {"hangs": 1.0}

    async def work(pool: WorkerPool, heard: Heard) -> None:
        calls = {
            name: asyncio.create_task(
                pool.render(
                    plain_order(tmp_path, name, words.get(name, "")),
                    budget=budgets.get(name, 60.0),
                    place=place,
                )
            )
            for place, name in enumerate(["hangs", "beside1", "dies", "beside2", "beside3"])
        }
        await heard.begun("hangs")
        clock.now += 2.0
        await heard.begun("dies")
        _go_on(tmp_path, "dies")
        results = dict(
            zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True)
        )
        assert isinstance(results["hangs"], WorkerLost)
        assert "render took longer than 1 s" in str(results["hangs"])
        assert isinstance(results["dies"], WorkerLost)
        assert "died during render" in str(results["dies"])
        assert [_had_the_card(tmp_path, name) for name in ("hangs", "dies")] == [1, 1]
        for name in ("beside1", "beside2", "beside3"):
            assert isinstance(results[name], Receipt), results[name]
        assert "sheet/beside3/f/t1" in heard.takes

    _in_pool(1, tmp_path, work, clock=clock)


def test_two_cards(tmp_path: Path) -> None:
    """Two takes at once on two cards; a gang gets both, and a rank that dies ends it by name
    and leaves a pool that renders on."""

    async def work(pool: WorkerPool, heard: Heard) -> None:
        both = [
            asyncio.create_task(
                pool.render(plain_order(tmp_path, name, "[hold until told]"), budget=60)
            )
            for name in ("both0", "both1")
        ]
        for name in ("both0", "both1"):
            await heard.begun(name)
        for name in ("both0", "both1"):
            _go_on(tmp_path, name)
        one, two = await asyncio.gather(*both)
        assert one.device != two.device

        pids = pool.worker_pids()
        hero = plain_order(tmp_path, "hero", "[hold 0.3]", gpus=3)
        after = plain_order(tmp_path, "after", "")
        receipt, last = await asyncio.gather(
            pool.render(hero, budget=60), pool.render(after, budget=60, place=1)
        )
        assert receipt.device == f"{pids['card-0']} leads 2"
        assert (tmp_path / "hero/lent_by_rank_1").read_text() == str(pids["card-1"])
        assert last.timeline[0].begun >= receipt.timeline[0].ended
        assert not list((tmp_path / "scratch").glob("meeting-*"))

        broken = plain_order(tmp_path, "broken", "[die lending][hang]", gpus=2)
        with pytest.raises(WorkerLost, match="died during lend"):
            await pool.render(broken, budget=60)
        again = await pool.render(plain_order(tmp_path, "again", "", gpus=2), budget=60)
        assert again.device.endswith("leads 2")
        assert set(pids) == {"card-0", "card-1", "hand-0", "hand-1"}
        assert len(set(pids.values())) == 4

    _in_pool(2, tmp_path, work)


def _in_watched_pool(
    tmp_path: Path, work: Callable[[WorkerPool, list[str]], Awaitable[None]]
) -> None:
    """Work on one card whose worker may grow by 48 MiB, and all that is told of renewals."""

    async def night() -> None:
        async with WorkerPool(
            _machine(1),
            threads=2,
            scratch=tmp_path / "scratch",
            listener=lambda progress: None,
            bounds=Bounds(least=48 * MIB, share=0.0),
        ) as pool:
            told: list[str] = []
            pool.on_renewal(told.append)
            await work(pool, told)

    in_time(night())


def test_a_worker_that_leaks_is_started_anew_between_two_takes(tmp_path: Path) -> None:
    """Every take of a leaking worker is rendered, one after the other and side by side; its
    process is changed more than once, never under a take, and each change is told in words."""

    async def work(pool: WorkerPool, told: list[str]) -> None:
        orders = [plain_order(tmp_path, f"leaks{n}", "[leak 40]") for n in range(9)]
        receipts = [await pool.render(order, budget=60) for order in orders[:5]]
        receipts += await asyncio.gather(*(pool.render(order, budget=60) for order in orders[5:]))
        assert [receipt.take_id for receipt in receipts] == [o.take_id for o in orders]
        assert all(_had_the_card(tmp_path, order.shot) == 1 for order in orders)
        lives = [receipt.device for receipt in receipts]
        assert len(set(lives)) >= 2
        assert lives == sorted(lives, key=lives.index), "no process comes back"
        assert len(told) >= len(set(lives)) - 1
        assert all("card-0 was started anew between two takes" in words for words in told)

    _in_watched_pool(tmp_path, work)


def test_blocks_that_wait_in_host_memory_are_no_leak(tmp_path: Path) -> None:
    """A take that swaps locks memory of the host on purpose: its worker is not started anew for it,
    though takes without swapping had settled below."""

    async def work(pool: WorkerPool, told: list[str]) -> None:
        prompts = ["", "", "", "[swaps 120]", "[swaps 120]", "[swaps 120]"]
        receipts = [
            await pool.render(plain_order(tmp_path, f"take{n}", prompt), budget=60)
            for n, prompt in enumerate(prompts)
        ]
        assert len({receipt.device for receipt in receipts}) == 1
        assert told == []

    _in_watched_pool(tmp_path, work)


def test_a_take_that_failed_with_blocks_in_host_memory_is_no_leak(tmp_path: Path) -> None:
    """By which rungs it came is not known: it is not held against takes that did not swap."""

    async def work(pool: WorkerPool, told: list[str]) -> None:
        for number in range(3):
            await pool.render(plain_order(tmp_path, f"take{number}"), budget=60)
        with pytest.raises(OutOfMemory):
            await pool.render(plain_order(tmp_path, "fails", "[swaps 120][oom]"), budget=60)
        assert told == []

    _in_watched_pool(tmp_path, work)
