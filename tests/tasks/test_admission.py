"""Who is let in as a host, and what the others are told: everything that is wrong, at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hellos import FACTS, OTHER, SESSION, crew_with, hello_from, hosting_at
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.admission import refusal, unreadable
from tasks.host_talk import Hello, Said, ToldPost, told_posts

HAND = ToldPost(name="hand-0", seats=1, threads=1)


def card(number: int, **changes: Any) -> ToldPost:
    """A worker `card-<number>` with a card of its own."""
    values: dict[str, Any] = {"device": f"Card #{number}", "uuid": f"GPU-{number}", **changes}
    return ToldPost(**{"name": f"card-{number}", "seats": 3, "threads": 1, **values})


def words_for(folder: Path, *posts: ToldPost, **changes: Any) -> list[str]:
    """The faults of a hello with these workers."""
    refused = refusal(hello_from(folder, posts=posts, **changes), hosting_at(folder), here=())
    return [] if refused is None else refused.words.split("; ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"facts": {**FACTS, "code": "xyz"}}, "code xyz there, abc here; install the same"),
        ({"facts": {"code": "abc"}}, "torch missing there, 2.11.0 here"),
        ({"root": "/elsewhere"}, "mount it under the same path"),
        ({"token": "another"}, "is another folder there"),
        ({"models": {"pocket-wan": "/opt/pocket"}}, "models lie elsewhere"),
    ],
)
def test_one_that_differs_is_refused_in_words(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """Another version, another folder, another model: it need not ask again."""
    refused = refusal(hello_from(tmp_path, **changes), hosting_at(tmp_path), here=())
    assert refused is not None
    assert not refused.again
    assert words in refused.words


def test_everything_that_differs_is_said_at_once(tmp_path: Path) -> None:
    """Nobody mends one thing to be told of the next; the name is then no reason to wait."""
    wrong = hello_from(tmp_path, facts={}, models={}, clock=0.0, posts=(card(0), card(0)))
    refused = refusal(wrong, hosting_at(tmp_path), here={"a"})
    assert refused is not None
    assert not refused.again
    for each in ("run the same", "models lie", "its clock", "named card-0", "named a is here"):
        assert each in refused.words, each


def test_a_name_that_is_taken_alone_may_be_asked_for_again(tmp_path: Path) -> None:
    """The one that has it may be lost, and not be given up yet."""
    refused = refusal(hello_from(tmp_path), hosting_at(tmp_path), here={"a"})
    assert refused is not None
    assert refused.again


@pytest.mark.parametrize("off", [-28.0, 3600.0])
def test_a_clock_that_is_off_may_be_asked_for_again(tmp_path: Path, off: float) -> None:
    """NTP may not have set it yet; and a hello that was long under way looks like a late clock."""
    late = hello_from(tmp_path, clock=time.time() + off)
    refused = refusal(late, hosting_at(tmp_path), here=())
    assert refused is not None
    assert refused.again
    assert refused.words.startswith("its clock is ")


def test_workers_that_could_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    """Every name that comes twice, every card that has two workers."""
    found = words_for(tmp_path, card(0), card(0), card(1), card(2, uuid="GPU-1"), HAND, HAND, HAND)
    assert found == [
        "two of its workers are named card-0",
        "two of its workers are named hand-0",
        "two of its workers have the card GPU-0",
        "two of its workers have the card GPU-1",
    ]


def test_workers_that_share_the_card_of_a_part_are_let_in(tmp_path: Path) -> None:
    """Two that render, with their VAE on a third card."""
    assert words_for(tmp_path, card(0, uuid="GPU-0,GPU-2"), card(1, uuid="GPU-1,GPU-2")) == []


def test_workers_are_what_they_are_called(tmp_path: Path) -> None:
    """A hand has no card, one that renders or upscales has one."""
    bare = {"device": None, "uuid": None}
    hand = card(0, name="hand-0", device="Card #0")
    assert words_for(tmp_path, hand, card(1, **bare), card(2, name="upscaler", **bare)) == [
        "its hand-0 has a card (Card #0), which hands have not",
        "its card-1 names no card",
        "its upscaler names no card",
    ]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=8))
def test_a_crew_as_it_is_made_is_let_in(
    tmp_path_factory: pytest.TempPathFactory, memories: list[int]
) -> None:
    """However many cards a machine has."""
    posts = told_posts(crew_with(memories))
    assert words_for(tmp_path_factory.mktemp("root"), *posts) == []


def told_of(message: Any) -> tuple[str, str] | None:
    """What is answered to a message that cannot be read."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Hello | Said).validate_python(message)
    return unreadable(message, caught.value)


def test_a_hello_of_another_version_is_answered(tmp_path: Path) -> None:
    """What cannot be read in it is named, all at once; it would else wait for an answer."""
    message = hello_from(tmp_path).model_dump(mode="json")
    found = told_of({**message, "posts": [], "memory": -1, "colour": "green"})
    assert found is not None
    session, words = found
    assert session == SESSION
    for each in ("posts: ", "memory: ", "colour: extra inputs are not permitted", "install the"):
        assert each in words, each


@pytest.mark.parametrize(
    "message",
    [
        {"says": "hello"},
        {"says": "hello", "session": "../x"},
        {"says": "hello", "session": 7},
        {"says": "sing", "session": OTHER},
        "hello",
        None,
    ],
)
def test_what_is_no_hello_is_not_answered(message: Any) -> None:
    """Nobody is spoken to whose name is not known."""
    assert told_of(message) is None
