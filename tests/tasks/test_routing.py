"""Which worker is asked for what, and on which device it works: no process is started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_order import plain_order
from recording_engine import CARD, CPU, NETWORK, OTHER, Answer, RecordingEngine, finish_order
from waiting import in_time

from manifests.shot import Upscale
from render.errors import WorkerLost
from render.footprint import GIB
from render.order import ScoreOrder
from tasks.crew import Post
from tasks.gpus import Machine
from tasks.neighbours import Neighbours
from tasks.worker_pool import WorkerPool


def _pool(machine: Machine, threads: int, scratch: Path, engine: Any) -> WorkerPool:
    return WorkerPool(
        machine, threads=threads, scratch=scratch, listener=lambda progress: None, engine=engine
    )


SCORE = ScoreOrder(clip=Path("/take/clip.mkv"), source=None, device="cuda:0")
CALLS: dict[str, Callable[[WorkerPool, Path], Awaitable[Any]]] = {
    "score": lambda pool, folder: pool.score(SCORE, budget=1.0),
    "picture": lambda pool, folder: pool.picture(folder / "clip.mkv", budget=1.0),
    "finish": lambda pool, folder: pool.finish(finish_order(folder, None), budget=1.0),
    "lanczos": lambda pool, folder: pool.finish(
        finish_order(folder, Upscale(factor=2.0)), budget=1.0
    ),
    "network": lambda pool, folder: pool.finish(finish_order(folder, NETWORK), budget=1.0),
}


@pytest.mark.parametrize(
    ("machine", "work", "asked"),
    [
        (Machine(cards=(CARD,)), "score", ("score", "hand-0", "cpu")),
        (Machine(cards=(CARD,)), "picture", ("picture", "hand-0", "")),
        (Machine(cards=(CARD,)), "finish", ("finish", "hand-0", "cpu")),
        (Machine(cards=(CARD,)), "lanczos", ("finish", "hand-0", "cpu")),
        (Machine(cards=(CARD,)), "network", ("finish", "card-0", "cuda:0")),
        (
            Machine(cards=(CARD,), upscaler=OTHER),
            "network",
            ("finish", "upscaler", "cuda:0"),
        ),
        (Machine(cards=(CARD,), upscaler=OTHER), "lanczos", ("finish", "hand-0", "cpu")),
        (Machine(cards=(CPU,)), "score", ("score", "card-0", "cpu")),
        (Machine(cards=(CPU,)), "network", ("finish", "card-0", "cpu")),
    ],
)
def test_who_does_what(
    machine: Machine, work: str, asked: tuple[str, str, str], tmp_path: Path
) -> None:
    """Without a card by the hands; a network on the upscaler's card, else on one that renders;
    on a machine without cards everything by its one worker."""
    engine: Any = RecordingEngine()
    pool = _pool(machine, 8, tmp_path, engine)
    asyncio.run(CALLS[work](pool, tmp_path))
    assert engine.asked == [asked]


def test_takes_that_are_scored_leave_the_card_to_others(tmp_path: Path) -> None:
    """More calls than hands: each hand has one, the others wait, no card is asked."""
    engine: Any = RecordingEngine()
    pool = _pool(Machine(cards=(CARD,)), 16, tmp_path, engine)

    async def night() -> None:
        await asyncio.gather(*(CALLS["score"](pool, tmp_path) for _ in range(9)))

    asyncio.run(night())
    assert len(engine.asked) == 9
    assert {name for _, name, _ in engine.asked} <= {post.name for post in pool.crew.hands}


SMALL = replace(CARD, memory=24 * GIB)
LARGE = replace(OTHER, memory=80 * GIB)


def _rendered_at(machine: Machine, root: Path, *needs: int) -> list[str]:
    """Workers that takes of these bytes were sent to, all of them at once."""
    engine: Any = RecordingEngine()
    pool = _pool(machine, 8, root, engine)

    async def night() -> None:
        orders = [
            plain_order(root, f"sh{number:04d}", least_memory=need)
            for number, need in enumerate(needs)
        ]
        await asyncio.gather(*(pool.render(order, budget=60.0) for order in orders))

    in_time(night())
    return [name for function, name, _ in engine.asked if function == "render"]


def test_takes_go_only_to_cards_that_they_fit_on(tmp_path: Path) -> None:
    """Six large ones wait for the one large card, while a small one beside them is idle."""
    machine = Machine(cards=(SMALL, LARGE))
    assert set(_rendered_at(machine, tmp_path, *[40 * GIB] * 6)) == {"card-1"}
    assert "card-0" in _rendered_at(machine, tmp_path, *[8 * GIB] * 6)


def test_a_night_that_was_planned_for_larger_cards_is_tried_on_those_that_are_here(
    tmp_path: Path,
) -> None:
    """Where no card is large enough the estimate has no say: the ladder has, from its start."""
    assert _rendered_at(Machine(cards=(SMALL,)), tmp_path, 40 * GIB) == ["card-0"]


def test_a_card_of_unknown_size_is_tried(tmp_path: Path) -> None:
    """A driver that does not tell how much memory there is does not keep a card from work."""
    assert _rendered_at(Machine(cards=(CARD,)), tmp_path, 40 * GIB) == ["card-0"]


class _BrokenDriver(Neighbours):
    def look(self, *_: object) -> Any:
        raise RuntimeError("the driver and its library do not match")


class _Lost(Answer):
    """A call whose worker was killed."""

    died = True

    def result(self) -> Any:
        raise WorkerLost("the worker process died")


class _YieldingEngine(RecordingEngine):
    """The first call's card is left to others under it."""

    pool: WorkerPool

    def call(self, function: str, order: Any, *, post: Post, door: Path | None = None) -> Answer:
        answer = super().call(function, order, post=post, door=door)
        if len(self.asked) > 1:
            return answer
        self.pool.left_to_others(post.name, away=True)
        return _Lost(None)


def test_what_is_upscaled_on_a_card_that_is_left_goes_on_another(tmp_path: Path) -> None:
    """As a take does: nobody's failure, and no try of Prefect's is used up."""
    engine: Any = _YieldingEngine()
    engine.pool = pool = _pool(Machine(cards=(CARD, OTHER)), 4, tmp_path, engine)
    in_time(_upscaled(pool, tmp_path))
    assert [name for _, name, _ in engine.asked] == ["card-0", "card-1"]


async def _upscaled(pool: WorkerPool, folder: Path) -> None:
    await CALLS["network"](pool, folder)


def test_a_night_that_cannot_begin_leaves_no_worker_behind(tmp_path: Path) -> None:
    """What fails after the workers were started is told as it is, and they are ended."""
    engine: Any = RecordingEngine()
    pool = WorkerPool(
        Machine(cards=(CARD,)),
        threads=1,
        scratch=tmp_path,
        listener=lambda progress: None,
        neighbours=_BrokenDriver(),
        engine=engine,
    )

    async def night() -> None:
        async with pool:
            raise AssertionError("it cannot begin")

    with pytest.raises(RuntimeError, match="do not match"):
        asyncio.run(night())
    assert engine.closed
