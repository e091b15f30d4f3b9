"""The pool on cards that fail: stuck takes, broken contexts, cards that are taken out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fake_driver import FakeDriver
from plain_order import plain_order
from waiting import LONG, in_time, until

from render.errors import CardsBlocked, MachineFailure, OutOfHours, OutOfMemory, Stuck, WorkerLost
from render.order import Receipt, RenderOrder
from tasks.gpus import Device, Machine
from tasks.neighbours import Courtesy, Neighbours
from tasks.pulse import Patience
from tasks.worker_pool import WorkerPool

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _faulty_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = str(ROOT / "tests" / "fakes")
    monkeypatch.setenv("RUSHES_BACKEND", "faulty_backend:FaultyBackend")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([fakes, str(ROOT)]))


async def _render(pool: WorkerPool, order: RenderOrder) -> Receipt:
    return await pool.render(order, budget=LONG)


def _in_pool(
    cards: int, root: Path, work: Callable[[WorkerPool, list[str]], Awaitable[None]]
) -> None:
    machine = Machine(
        cards=tuple(
            Device(name=f"Card #{index}", torch_device="cpu", visible="") for index in range(cards)
        )
    )

    async def night() -> None:
        news: list[str] = []
        async with WorkerPool(
            machine,
            threads=2,
            scratch=root / "scratch",
            listener=lambda progress: None,
            # Far more than a step takes on a busy machine, far less than the budget.
            patience=Patience(times=5.0, least=8.0, long=LONG),
        ) as pool:
            pool.on_news(news.append)
            await work(pool, news)

    in_time(night())


def test_a_stuck_take_is_restarted_and_tried_elsewhere(tmp_path: Path) -> None:
    """Its worker gets a new process long before its budget ends, the take beside it is rendered
    there, its next try goes to the other card; a take that keeps its pace is left alone."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        before = pool.worker_pids()
        stalls, beside = (
            plain_order(tmp_path, "stalls", "[stall once]"),
            plain_order(tmp_path, "beside"),
        )
        other = asyncio.create_task(_render(pool, plain_order(tmp_path, "steady", "[steps]" * 2)))
        stuck, receipt = await asyncio.gather(
            _render(pool, stalls), _render(pool, beside), return_exceptions=True
        )
        assert isinstance(stuck, Stuck)
        assert "stage 1 of 1, step 3 of 10 (" in str(stuck)
        assert isinstance(receipt, Receipt)
        assert isinstance(await other, Receipt)
        after = pool.worker_pids()
        (changed,) = [name for name in before if before[name] != after.get(name)]
        again = await _render(pool, stalls)
        (elsewhere,) = {"card-0", "card-1"} - {changed}
        assert again.device == str(after[elsewhere])
        assert news == [], "one failure takes no card out"

    _in_pool(2, tmp_path, work)


def test_a_broken_context_gets_a_new_process(tmp_path: Path) -> None:
    """A worker that says itself that its card failed is restarted: what follows is rendered."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        first = pool.worker_pids()["card-0"]
        with pytest.raises(WorkerLost, match="CUDA error"):
            await _render(pool, plain_order(tmp_path, "fault", "[fault once]"))
        receipt = await _render(pool, plain_order(tmp_path, "after"))
        assert receipt.device == str(pool.worker_pids()["card-0"]) != str(first)

    _in_pool(1, tmp_path, work)


def test_a_card_that_fails_is_taken_out_and_the_night_goes_on(tmp_path: Path) -> None:
    """Memory: takes of that size end by name, others go on. A card that kills its workers gets
    nothing more, one that waits for it is told so, and nothing is tried for ever."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        for name in ("large1", "large2", "large3"):
            with pytest.raises(OutOfMemory):
                await _render(pool, plain_order(tmp_path, name, "[oom]"))
        with pytest.raises(CardsBlocked, match="no card is left tonight for fake at 32x32") as out:
            await _render(pool, plain_order(tmp_path, "large4"))
        assert out.value.memory
        assert not isinstance(out.value, MachineFailure), "Prefect must not try it again"
        (words,) = news
        assert words.startswith("Card #0 renders no more takes of fake at 32x32, 5 frames tonight")

    _in_pool(1, tmp_path, work)


def test_who_waits_for_a_card_that_is_taken_out_ends_by_name(tmp_path: Path) -> None:
    """Eight takes that kill the only worker: it dies three times, and once more where the next
    take was sent before the third death was known; the rest ends by name, and so does what comes
    later."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        orders = [plain_order(tmp_path, f"dies{number}", "[die]") for number in range(8)]
        results = await asyncio.gather(
            *(_render(pool, order) for order in orders), return_exceptions=True
        )
        assert {type(result) for result in results} == {WorkerLost, CardsBlocked}
        had = [len(log.read_text().splitlines()) for log in tmp_path.glob("*/had_the_card.log")]
        assert sum(had) in (3, 4)
        assert len(news) == 1
        with pytest.raises(CardsBlocked):
            await _render(pool, plain_order(tmp_path, "well"))

    _in_pool(1, tmp_path, work)


def _tell_to_go_on(*orders: RenderOrder) -> None:
    for order in orders:
        order.folder.mkdir(parents=True, exist_ok=True)
        (order.folder / "go_on").touch()


def test_a_wait_for_a_card_ends_with_the_hours(tmp_path: Path) -> None:
    """A take that got no card before the night's hours ended was never sent."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        held = [plain_order(tmp_path, f"holds{n}", "[hold until told]") for n in range(3)]
        holders = [asyncio.create_task(_render(pool, order)) for order in held]
        await until(lambda: list(tmp_path.glob("holds*/had_the_card.log")))
        late = plain_order(tmp_path, "late", stop_at=time.time() + 0.3)
        with pytest.raises(OutOfHours, match="while it waited for a card"):
            await _render(pool, late)
        assert not late.folder.exists()
        _tell_to_go_on(*held)
        await asyncio.gather(*holders)

    _in_pool(1, tmp_path, work)


def test_artists_go_first(tmp_path: Path) -> None:
    """A take whose card an artist takes goes on elsewhere without a failure; what waits is
    rendered when the artist has gone; the worker that left has a new process, and each change is
    told in words."""
    driver = FakeDriver({"FAKE-0": [], "FAKE-1": []}, each=2**27)
    courtesy = Courtesy(every=0.1, stays=0.3, quiet=1.0)

    async def night() -> None:
        news: list[str] = []
        async with WorkerPool(
            Machine(
                cards=tuple(
                    Device(name=f"Card #{n}", torch_device="cpu", visible=f"FAKE-{n}")
                    for n in range(2)
                )
            ),
            threads=2,
            scratch=tmp_path / "scratch",
            listener=lambda progress: None,
            neighbours=Neighbours(driver, exists=lambda pid: True, courtesy=courtesy),
        ) as pool:
            pool.on_news(news.append)
            before = pool.worker_pids()
            take = plain_order(tmp_path, "take", "[hold until told]")
            running = asyncio.create_task(_render(pool, take))
            await until((take.folder / "had_the_card.log").exists)
            (had,) = (take.folder / "had_the_card.log").read_text().split()
            (card,) = [n for n in range(2) if str(before[f"card-{n}"]) == had]
            driver.cards[f"FAKE-{card}"].append(4242)
            await until(lambda: news)
            _tell_to_go_on(take)
            receipt = await running
            assert receipt.device == str(before[f"card-{1 - card}"])
            assert news == [
                f"Card #{card} is used by others (process 4242): "
                "it is left until it has been free for 1 s"
            ]
            driver.cards[f"FAKE-{1 - card}"].append(4343)
            await until(lambda: len(news) == 2)
            waiting = plain_order(tmp_path, "waits")
            waits = asyncio.create_task(_render(pool, waiting))
            looked = driver.looks
            await until(lambda: driver.looks >= looked + 20)
            assert not waiting.folder.exists()
            driver.clear()
            late = await waits
            assert late.device not in {str(pid) for pid in before.values()}
            assert any(words.endswith("is free again: takes are rendered on it") for words in news)

    in_time(night())


def test_a_gang_that_is_short_of_memory_steps_down_together(tmp_path: Path) -> None:
    """It runs out once: all ranks begin anew with the next rung, in one call of the pool. Where
    no rung is left it fails by name, with what was tried."""

    async def work(pool: WorkerPool, news: list[str]) -> None:
        hero = plain_order(tmp_path, "hero", "[short of memory]", gpus=2)
        receipt = await _render(pool, hero)
        assert receipt.device.endswith("leads 2")
        assert receipt.rungs == receipt.forced == ("cache",)
        again = plain_order(tmp_path, "again", "[oom]", gpus=2, rungs={"a card": ("cache",)})
        with pytest.raises(OutOfMemory) as raised:
            await _render(pool, again)
        assert raised.value.rungs == ()
        assert news == [], "which card was at fault is not known"

    _in_pool(2, tmp_path, work)
