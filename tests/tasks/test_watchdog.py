"""When a worker is started anew for its memory, and that nobody is inside then."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import LONG

from tasks import watchdog
from tasks.watchdog import GIB, SETTLED, Bounds, Watchdog, outgrown

HOST = 64 * GIB
BOUNDS = Bounds()
levels = st.lists(st.integers(1, HOST), max_size=8)


@given(st.lists(st.integers(1, HOST), max_size=SETTLED))
def test_a_process_that_has_not_settled_is_left_alone(seen: list[int]) -> None:
    """The first takes load what they need: no growth of theirs counts."""
    assert not outgrown(seen, bounds=BOUNDS, host=HOST)


@given(st.integers(1, HOST), st.integers(3, 9))
def test_a_level_that_stays_is_never_too_much(level: int, takes: int) -> None:
    """However large a model is: what it settled at is its own, also where it fills the host."""
    assert not outgrown([level] * takes, bounds=BOUNDS, host=HOST)


@given(levels, st.integers(0, HOST))
def test_more_memory_is_never_better(seen: list[int], more: int) -> None:
    """A process that is to be renewed would be with more memory, too."""
    if seen and outgrown(seen, bounds=BOUNDS, host=HOST):
        assert outgrown([*seen[:-1], seen[-1] + more], bounds=BOUNDS, host=HOST)


@pytest.mark.parametrize(
    ("seen", "too_much"),
    [
        ([1, 4, 5.9], False),  # growth below 2 GiB
        ([1, 4, 6.1], True),
        ([1, 30, 37], False),  # below a quarter of what it settled at
        ([1, 30, 38], True),
        ([50, 54, 54.2], False),  # nearly full, but it does not grow
        ([50, 54, 54.5], True),  # nearly full, and growing
    ],
)
def test_bounds(seen: list[float], too_much: bool) -> None:
    """The two bounds, on either side."""
    resident = [int(level * GIB) for level in seen]
    assert outgrown(resident, bounds=BOUNDS, host=HOST) == too_much


class Growing:
    """A worker whose process grows by a GiB with each piece of work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pid, self.resident, self.inside = 1, 4 * GIB, 0
        self.told: list[str] = []
        monkeypatch.setattr(watchdog, "resident_bytes", lambda pid: self.resident)
        self.dog = Watchdog(
            "card-0",
            pid=lambda: self.pid,
            restart=self._restart,
            tell=self.told.append,
            bounds=Bounds(least=GIB, share=0.0, host_share=99.0),
        )

    async def _restart(self) -> None:
        assert self.inside == 0, "a process is changed only while nobody is inside"
        await asyncio.sleep(0.01)
        self.pid, self.resident = self.pid + 1, 4 * GIB

    async def work(self, kind: str = "render") -> int:
        async with self.dog.guarding(kind):
            self.inside += 1
            pid = self.pid
            await asyncio.sleep(0.001)
            self.resident += GIB
            self.inside -= 1
            assert self.pid == pid, "no work sees its process change"
        return pid

    async def breaks(self) -> None:
        async with self.dog.guarding("render"):
            self.resident += GIB
            raise ValueError("broken")


def test_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process after the fourth: two to settle, then more than a GiB too much."""

    async def night() -> None:
        worker = Growing(monkeypatch)
        assert [await worker.work() for _ in range(9)] == [1, 1, 1, 1, 2, 2, 2, 2, 3]
        assert worker.told[0] == (
            "worker card-0 was started anew between two takes: its memory grew from 6.00 to "
            "8.00 GiB over 4 pieces of work"
        )
        assert len(worker.told) == 2

    asyncio.run(night())


def test_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is inside ends, work that comes waits at the door; all of it is done."""

    async def night() -> None:
        worker = Growing(monkeypatch)
        lives = await asyncio.gather(*(worker.work() for _ in range(6)))
        lives += await asyncio.gather(*(worker.work() for _ in range(6)))
        assert len(lives) == 12
        assert sorted(lives) == lives
        assert worker.told

    asyncio.run(night())


def test_kinds_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model is another level: the first take of it is no growth of the one before."""

    async def night() -> None:
        worker = Growing(monkeypatch)
        for kind in ("render small", "render small", "render large", "render large"):
            assert await worker.work(kind) == 1
        assert worker.told == []

    asyncio.run(night())


def test_a_process_is_not_compared_with_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It died by itself: what the new one holds is its own level, however much more."""

    async def night() -> None:
        worker = Growing(monkeypatch)
        for _ in range(3):
            await worker.work()
        worker.pid, worker.resident = 7, 20 * GIB
        assert [await worker.work() for _ in range(3)] == [7, 7, 7]
        assert worker.told == []

    asyncio.run(night())


def test_the_last_one_inside_may_do_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the first of its kind, and the worker is begun anew for what another kind grew to."""

    async def night() -> None:
        worker = Growing(monkeypatch)
        for _ in range(3):
            await worker.work("render small")
        async with worker.dog.guarding("render large"):
            await worker.work("render small")
            assert worker.pid == 1
        assert worker.pid == 2
        assert worker.told == [
            "worker card-0 was started anew between two takes: its memory grew from 6.00 to "
            "8.00 GiB over 4 pieces of work"
        ]
        async with asyncio.timeout(LONG):
            assert await worker.work("render large") == 2

    asyncio.run(night())


def test_a_worker_that_failed_lets_go_of_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside is looked at like an end, and comes out as it was."""

    async def night() -> None:
        worker = Growing(monkeypatch)
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                await worker.breaks()
        assert worker.pid == 2
        assert await worker.work() == 2

    asyncio.run(night())
