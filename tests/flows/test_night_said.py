"""What a person says to a night that runs, and what its disk says, with a pool of fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_night import ledger, night_of, statuses
from fake_pool import FakePool

from reports.records import EventKind
from tasks.control import PAUSED, RESUMED

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


class Meddled(FakePool):
    """A pool with one lane; while the first shot renders, a person says something."""

    lanes = 1

    def __init__(self, said: Callable[[], None], **more: Any) -> None:
        super().__init__(**more)
        self._said: Callable[[], None] | None = said

    async def render(self, order: Any, **more: Any) -> Any:
        if self._said is not None:
            self._said()
            self._said = None
        return await super().render(order, **more)


def test_a_person_can_cancel_and_reorder_while_the_night_runs(studio: Any) -> None:
    """One shot is put first, one is cancelled: the rest keeps the plan's order, and the next
    night renders what was cancelled."""
    from flows.control import cancel, set_priority

    def said() -> None:
        set_priority(studio.root, "sh040", 9)
        cancel(studio.root, ["sh020"])

    rows = [{"shot": f"sh0{n}0"} for n in range(1, 5)]
    pool = Meddled(said)
    result = night_of(studio, rows, pool)
    assert [take.split("/")[1] for take in pool.rendered] == ["sh010", "sh040", "sh030"]
    assert result["shots"]["waiting"] == 1
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.CANCELLED)
    assert event.words == "cancelled for this night"
    again = FakePool()
    night_of(studio, rows, again)
    assert [take.split("/")[1] for take in again.rendered] == ["sh020"]


class Watched(FakePool):
    """A pool with one lane; as a shot of that name is rendered, what was given is called."""

    lanes = 1

    def __init__(self, shot: str, said: Callable[[], object], **more: Any) -> None:
        super().__init__(**more)
        self._shot, self._said = shot, said

    async def render(self, order: Any, **more: Any) -> Any:
        if order.take_id.split("/")[1] == self._shot:
            self._said()
        return await super().render(order, **more)


def test_what_a_person_approves_while_the_night_runs_is_delivered_in_it(studio: Any) -> None:
    """A shot was held; while the next one renders its take 2 is approved. The night finishes and
    delivers that take, renders nothing of it again, and its report says so."""
    from flows.control import approved

    said: list[str] = []

    def say() -> None:
        said.append(approved(studio.root, "sh010", 2, why="it is meant to stand still", undo=False))

    frozen = {"sh010": [{"frozen": 1.0}] * 3}
    pool = Watched("sh020", say, scripts=frozen)
    result = night_of(studio, [{"shot": "sh010"}, {"shot": "sh020"}], pool)
    assert said == [
        "shots/sh010 take 2 is approved; the night that runs delivers it if it has its sheet, "
        "else the next run does."
    ]
    assert result["shots"]["approved"] == 2
    assert statuses(studio, "sh010") == ["rejected", "approved", "held"]
    assert (studio.root / "delivered/shots/sh010/sh010_v001.mp4").exists()
    assert [take.split("/")[1] for take in pool.rendered] == ["sh010"] * 3 + ["sh020"]
    assert "it is meant to stand still" in Path(result["report"]).read_text()


def test_a_cancelled_night_ends_with_what_is_done(studio: Any) -> None:
    """The shot in work is stopped after its step; the night ends, reports, and can go on later."""
    from flows.control import cancel

    rows = [{"shot": f"sh0{n}0"} for n in range(1, 4)]
    result = night_of(studio, rows, Meddled(lambda: print(cancel(studio.root, []))))
    assert result["shots"]["approved"] == 0
    assert statuses(studio, "sh010") == ["rendered"]
    assert Path(result["report"]).exists()
    again = FakePool()
    assert night_of(studio, rows, again)["shots"]["approved"] == 3
    assert sorted(take.split("/")[1] for take in again.rendered) == ["sh020", "sh030"]


def test_a_paused_night_waits_until_it_is_resumed(studio: Any) -> None:
    """While it is paused the shot in work is finished and no other begins."""
    from flows.control import pause

    begun: list[float] = []

    def said() -> None:
        pause(studio.root, paused=True)
        threading.Timer(2.0, lambda: (begun.append(0), pause(studio.root, paused=False))).start()

    class Watching(Meddled):
        async def render(self, order: Any, **more: Any) -> Any:
            if order.shot == "sh020":
                assert begun, "it began in the pause"
            return await super().render(order, **more)

    rows = [{"shot": "sh010"}, {"shot": "sh020"}]
    result = night_of(studio, rows, Watching(said))
    assert result["shots"]["approved"] == 2
    page = Path(result["report"]).read_text()
    assert page.index(PAUSED) < page.index(RESUMED)


def test_a_night_that_is_cancelled_while_it_is_paused_ends(studio: Any) -> None:
    """A pause does not keep it from hearing the rest."""
    from flows.control import cancel, pause

    def said() -> None:
        pause(studio.root, paused=True)
        threading.Timer(1.0, lambda: cancel(studio.root, [])).start()

    result = night_of(studio, [{"shot": "sh010"}, {"shot": "sh020"}], Meddled(said))
    assert result["shots"]["waiting"] == 1
    assert Path(result["report"]).exists()


def test_a_night_without_room_on_the_disk_waits_for_it(
    studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in work is finished, nothing else begins until there is room; the report says so."""
    from tasks import night_book
    from tasks.room import Room

    looks = [10**12]

    def free() -> int:
        return looks.pop() if len(looks) > 1 else looks[0]

    monkeypatch.setattr(night_book, "Room", partial(Room, free=free))

    def fills() -> None:
        looks.extend([10**9] * 3)  # so often it is looked at in vain

    class Watching(Meddled):
        async def render(self, order: Any, **more: Any) -> Any:
            assert looks == [10**12], "it began without room"
            return await super().render(order, **more)

    result = night_of(studio, [{"shot": "sh010"}, {"shot": "sh020"}], Watching(fills))
    assert result["shots"]["approved"] == 2
    assert (
        "the disk has 1.0 GB free, and 2 GB are to stay free" in Path(result["report"]).read_text()
    )


def test_a_disk_that_is_full_again_and_again_costs_a_shot_nothing_but_time(
    studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait may end with the disk full at the next look: the shot has all its steps still."""
    from tasks import night_book
    from tasks.room import Room

    looks = [10**12, 10**9] * 60
    monkeypatch.setattr(night_book, "Room", partial(Room, free=looks.pop))
    assert night_of(studio, [{"shot": "sh010"}], FakePool())["shots"]["approved"] == 1
