"""Others on our cards: who is foreign, when we leave and when we come back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_driver import FakeDriver
from hypothesis import given
from hypothesis import strategies as st

from manifests.cards import CardRules
from manifests.errors import BadInput
from manifests.settings import load_studio
from tasks.crew import crew_for
from tasks.gpus import Device, Machine, find_machine
from tasks.neighbours import COURTESY, Courtesy, Manners, Neighbours
from tasks.yielding import Yielding

GIB = 2**30


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


looks = st.lists(st.tuples(st.booleans(), st.floats(0.1, 100.0)), min_size=1, max_size=60)


@given(looks)
def test_we_leave_for_those_who_stay_and_come_back_after_quiet(
    seen: list[tuple[bool, float]],
) -> None:
    """Wherever we are, we changed because the looks before agreed for as long as is due."""
    clock = Clock()
    manners, agreed, was = Manners(clock=clock), 0.0, False
    last: float | None = None
    prior = False
    for index, (others, gap) in enumerate(seen):
        agreed = agreed + (clock.now - last) if last is not None and others == prior else 0.0
        away = manners.look(others=others)
        if away != was:
            due = COURTESY.quiet if was else 0.0 if index == 0 else COURTESY.stays
            assert away == others
            assert agreed >= due - 1e-9
        elif others != was:
            assert agreed < (COURTESY.quiet if was else COURTESY.stays) + 1e-9
        was, prior, last = away, others, clock.now
        clock.now += gap


def test_a_card_in_use_when_the_night_begins_is_left_at_once() -> None:
    """Nothing of ours is lost by it; later on a visit must last."""
    clock = Clock()
    assert Manners(clock=clock).look(others=True)
    later = Manners(clock=clock)
    later.look(others=False)
    assert not later.look(others=True)


def others(
    neighbours: Neighbours, uuids: Sequence[str], ours: Sequence[int]
) -> dict[str, frozenset[int]]:
    """Foreign processes on each of these cards."""
    return {uuid: use.others for uuid, use in neighbours.look(uuids, ours).items()}


def test_what_is_not_ours_is_foreign_and_what_was_ours_stays_ours() -> None:
    """Our worker, one that was just killed and a process nobody can see are no neighbours."""
    driver = FakeDriver({"GPU-1": [10, 11], "GPU-2": [10, 77, 999]})
    neighbours = Neighbours(driver, exists=lambda pid: pid != 999)
    assert others(neighbours, ["GPU-1"], [10, 11]) == {"GPU-1": frozenset()}
    found = others(neighbours, ["GPU-1", "GPU-2", "GPU-3"], [12])
    assert found == {"GPU-1": frozenset(), "GPU-2": frozenset({77})}


def room_of(driver: FakeDriver) -> int | None:
    """What others leave of the card, where 10 is ours and 999 is nobody that can be seen."""
    neighbours = Neighbours(driver, exists=lambda pid: pid != 999)
    return neighbours.look(["GPU-1"], [10])["GPU-1"].room


def test_the_room_of_a_card_is_what_others_leave_of_it() -> None:
    """Ours counts as free, theirs does not, also of who only draws; a little is nothing."""
    assert room_of(FakeDriver({"GPU-1": [10]})) is None
    assert room_of(FakeDriver({"GPU-1": [10]}, drawn=GIB // 2)) is None
    assert room_of(FakeDriver({"GPU-1": [10]}, drawn=6 * GIB)) == 18 * GIB
    assert room_of(FakeDriver({"GPU-1": [10, 77]}, drawn=2 * GIB)) == 18 * GIB


def test_the_room_is_not_guessed() -> None:
    """A driver that does not tell what ours holds, and a process that may be ours, hide it."""
    driver = FakeDriver({"GPU-1": [10]}, drawn=6 * GIB)
    driver.bytes_used[10] = None
    assert room_of(driver) is None
    assert room_of(FakeDriver({"GPU-1": [999]}, drawn=6 * GIB)) is None


class Places:
    """Writes down what it is told of the cards."""

    def __init__(self) -> None:
        self.rooms: dict[int, int | None] = {}

    def leave(self, card: int) -> None:
        raise AssertionError("nobody computes on it")

    def come_back(self, card: int) -> None:
        raise AssertionError("it was never left")

    def squeeze(self, card: int, room: int | None) -> None:
        self.rooms[card] = room


def test_a_card_that_others_fill_is_told_of_once_and_until_it_is_free() -> None:
    """Seats learn the room at every look, people only when it begins and ends."""

    async def never(_: str) -> None:
        raise AssertionError("nothing is restarted")

    async def looks() -> tuple[Places, list[str]]:
        card = Device(name="Card #0", torch_device="cuda:0", visible="GPU-1", memory=24 * GIB)
        posts = crew_for(Machine(cards=(card,)), cores=2).cards
        driver, places, said = FakeDriver({"GPU-1": [10]}, drawn=6 * GIB), Places(), list[str]()
        neighbours = Neighbours(driver, exists=lambda _: True, courtesy=Courtesy(every=0.01))
        yielding = Yielding(
            posts,
            neighbours,
            seats=places,
            pids=lambda: {posts[0].name: 10},
            restart=never,
            tell=said.append,
        )
        await yielding.start()
        assert places.rooms == {0: 18 * GIB}
        driver.drawn = 8 * GIB
        while places.rooms != {0: 16 * GIB}:
            await asyncio.sleep(0.01)
        driver.drawn = 0
        while places.rooms != {0: None}:
            await asyncio.sleep(0.01)
        await yielding.stop()
        return places, said

    _, said = asyncio.run(looks())
    assert said == [
        "Card #0: others leave 18 GiB of its memory: larger takes wait",
        "Card #0: its memory is free again",
    ]


def test_children_of_ours_are_ours() -> None:
    """The parent of this very process has it as a child."""
    neighbours = Neighbours(FakeDriver({"GPU-1": [os.getpid()]}))
    assert others(neighbours, ["GPU-1"], [os.getppid()]) == {"GPU-1": frozenset()}


@pytest.mark.usefixtures("three_cards")
@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (CardRules(), ["GPU-0", "GPU-1", "GPU-2"]),
        (CardRules(include=("0", "GPU-2")), ["GPU-0", "GPU-2"]),
        (CardRules(exclude=("1",)), ["GPU-0", "GPU-2"]),
        (CardRules(include=("0", "1"), exclude=("GPU-1",)), ["GPU-0"]),
    ],
)
def test_only_the_cards_that_the_studio_allows_render(rules: CardRules, left: list[str]) -> None:
    """By number or UUID."""
    assert [card.visible for card in find_machine("auto", rules=rules).cards] == left


@pytest.mark.usefixtures("three_cards")
@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (CardRules(include=("7",)), "card '7' is not on this machine"),
        (CardRules(exclude=("GPU-x",)), "card 'GPU-x' is not on this machine"),
        (CardRules(exclude=("0", "1", "2")), "no card is left to render"),
    ],
)
def test_rules_that_name_nothing_or_leave_nothing_are_refused(rules: CardRules, words: str) -> None:
    """A mistyped card must not end in a night on an artist's card, or on the CPU."""
    with pytest.raises(BadInput, match=words):
        find_machine("auto", rules=rules)


def test_rules_are_read_from_studio_yaml(tmp_path: Path) -> None:
    """Numbers and UUIDs in one list; without the block every card is used and yielded."""
    assert load_studio(tmp_path).cards == CardRules()
    (tmp_path / "studio.yaml").write_text("cards: {include: [0, GPU-5a], yield_to_others: false}\n")
    cards = load_studio(tmp_path).cards
    assert cards == CardRules(include=("0", "GPU-5a"), yield_to_others=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cards: {exclude: [cuda0]}", "'cuda0' is no card"),
        ("cards: {include: [1], exclude: [1]}", "'1' is included and excluded"),
        ("cards: {inclde: [1]}", "there is no setting 'inclde'"),
        ("cards: {include: 1}", "cards.include"),
    ],
)
def test_mistyped_rules_are_refused_in_words(text: str, words: str, tmp_path: Path) -> None:
    """The fault names the place in studio.yaml."""
    (tmp_path / "studio.yaml").write_text(text + "\n")
    with pytest.raises(BadInput, match=r"studio\.yaml") as caught:
        load_studio(tmp_path)
    assert words in str(caught.value)
