"""What the dispatcher keeps in mind while cards come and go and shots are dropped."""

from __future__ import annotations

from tasks.card_groups import Card
from tasks.chains import Work
from tasks.dispatch import Dispatcher

TWO = [Card(name="x", memory=80), Card(name="y", memory=80)]


def test_a_card_that_stays_keeps_its_model_when_another_joins() -> None:
    """It goes on with the model that it holds, though another one has more work left."""
    works = [
        *(Work(id=f"a{n}", model="a", seconds=60.0, priority=n == 0) for n in range(2)),
        *(Work(id=f"b{n}", model="b", seconds=90.0) for n in range(9)),
    ]
    dispatcher = Dispatcher(works, cards=TWO[:1], load_seconds={"a": 30.0, "b": 30.0})
    first = dispatcher.pull("x", 0.0)
    assert first is not None
    assert first.id == "a0"
    dispatcher.set_cards(TWO)
    assert dispatcher.is_warm("x", "a")
    second = dispatcher.pull("x", 60.0)
    assert second is not None
    assert second.id == "a1"


def test_a_shot_that_is_dropped_in_work_takes_nothing_else_off_what_is_left() -> None:
    """It had been taken off when a card took it: what is left lasts as long as it did."""
    works = [Work(id=f"s{n}", model="a", seconds=60.0) for n in range(5)]
    dispatcher = Dispatcher(works, cards=TWO[:1])
    taken = dispatcher.pull("x", 0.0)
    assert taken is not None
    dispatcher.drop(taken.id)
    assert dispatcher.waiting == 4
    assert dispatcher.lower_bound() == 240.0
