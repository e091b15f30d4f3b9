"""Who is let in and who is not, and what a crew is on the other side: no process is started."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_guests import Guests, Wire
from hellos import OTHER, SESSION, crew_with, hello_from, hosting_at
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from waiting import in_time

from tasks.host_book import read_book
from tasks.host_facts import differences, leave_token
from tasks.host_talk import EVERYBODY, Answer, Hello, Said, told_posts
from tasks.hosts import Hosts


def _door(root: Path) -> tuple[Hosts, Wire, Guests]:
    wire, guests = Wire(), Guests()
    engine: Any = wire
    return Hosts(engine, hosting_at(root), guests), wire, guests


def _ask(folder: Path, /, **changes: Any) -> Answer:
    hosts, wire, _ = _door(folder)
    hosts._heard(hello_from(folder, **changes).model_dump(mode="json"))
    (answer,) = wire.said
    return answer


def test_a_host_like_the_others_is_let_in(tmp_path: Path) -> None:
    """It is told the lease and a word that it finds in the shared folder; asked twice, twice."""
    hosts, wire, guests = _door(tmp_path)
    for _ in range(2):
        hosts._heard(hello_from(tmp_path).model_dump(mode="json"))
    first, second = wire.said
    assert first == second
    assert (first.says, first.session, first.lease) == ("welcome", SESSION, 60.0)
    assert (tmp_path / f".rushes/hosts/{SESSION}.head").read_text() == first.token
    assert guests.told == ["admitted a"]
    assert guests.here == []
    hosts._heard(Said(session=SESSION, says="ready").model_dump())
    assert guests.here == ["a"]
    book = read_book(tmp_path / ".rushes/hosts.json")
    assert book is not None
    assert [(line["host"], line["state"]) for line in book["hosts"]] == [("a", "here")]


def test_one_that_differs_in_more_than_an_answer_holds_is_refused_too(tmp_path: Path) -> None:
    """Its words are cut; without an answer it would wait for one for ever."""
    models = {f"model-{n}": "/opt/" + 80 * "x" for n in range(40)}
    answer = _ask(tmp_path, models=models)
    assert (answer.says, answer.again) == ("refused", False)
    assert answer.words.startswith("models lie elsewhere: model-0 /opt/")


def test_a_name_that_is_taken_may_be_asked_for_again(tmp_path: Path) -> None:
    """The one that has it may be lost, and not be given up yet."""
    hosts, wire, _ = _door(tmp_path)
    hosts._heard(hello_from(tmp_path).model_dump(mode="json"))
    token = leave_token(tmp_path / ".rushes/hosts", f"{OTHER}.host")
    hosts._heard(hello_from(tmp_path, session=OTHER, token=token).model_dump(mode="json"))
    assert (wire.said[-1].says, wire.said[-1].again) == ("refused", True)


def test_who_is_not_known_is_told_so(tmp_path: Path) -> None:
    """A host whose stay ended while it was frozen learns of it at its first word."""
    hosts, wire, _ = _door(tmp_path)
    hosts._heard(Said(session=OTHER, says="pulse").model_dump())
    assert [answer.says for answer in wire.said] == ["lost"]


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text())))
def test_nonsense_changes_nothing(tmp_path_factory: pytest.TempPathFactory, told: Any) -> None:
    """What is no message is not heard, and nobody is answered."""
    hosts, wire, guests = _door(tmp_path_factory.mktemp("root"))
    hosts._heard(told)
    assert (wire.said, guests.told) == ([], [])


@pytest.mark.parametrize("name", ["../b", "", "a/b", "-x", "a" * 64, "a\n"])
def test_a_host_is_named_so_that_it_is_no_path(tmp_path: Path, name: str) -> None:
    """Names of hosts stand in resources and files."""
    with pytest.raises(ValidationError):
        hello_from(tmp_path, host=name)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=8))
def test_a_crew_is_the_same_on_the_other_side(
    tmp_path_factory: pytest.TempPathFactory, memories: list[int]
) -> None:
    """Cards, their memory and seats, and the hands, under names that begin with the host's."""
    root, crew = tmp_path_factory.mktemp("root"), crew_with(memories)
    there = Hello.model_validate(
        hello_from(root, posts=told_posts(crew)).model_dump(mode="json")
    ).crew()
    assert [post.device for post in there.cards] == [post.device for post in crew.cards]
    for ours, theirs in zip(crew.posts, there.posts, strict=True):
        assert theirs.name == f"a/{ours.name}"
        assert (theirs.seats, theirs.threads, theirs.hand) == (ours.seats, ours.threads, ours.hand)
        assert (theirs.host, theirs.session) == ("a", SESSION)


def test_a_card_that_others_use_gets_a_new_process(tmp_path: Path) -> None:
    """The host tells, the pool leaves it; a card that is not the host's is not touched."""

    async def work() -> Guests:
        hosts, _, guests = _door(tmp_path)
        hosts._heard(hello_from(tmp_path).model_dump(mode="json"))
        for card in ("card-0", "card-7", "hand-0"):
            hosts._heard(Said(session=SESSION, says="away", card=card, words="used").model_dump())
        await asyncio.sleep(0)
        assert guests.away == {"a/card-0"}
        hosts._heard(Said(session=SESSION, says="back", card="card-0", words="free").model_dump())
        return guests

    guests = asyncio.run(work())
    assert guests.away == set()
    assert guests.renewed == ["a/card-0"]


def test_people_are_told_of_a_worker_that_could_not_be_renewed(tmp_path: Path) -> None:
    """Nobody waits for that, so its failure would be lost."""

    async def work() -> Guests:
        hosts, _, guests = _door(tmp_path)

        async def broken(name: str) -> None:
            raise OSError(f"no way to {name}")

        guests.restart = broken  # type: ignore[method-assign]
        hosts._heard(hello_from(tmp_path).model_dump(mode="json"))
        hosts._heard(Said(session=SESSION, says="away", card="card-0", words="used").model_dump())
        await asyncio.gather(*hosts._tasks)
        return guests

    words = "a host's worker was not put in order: OSError: no way to a/card-0"
    assert words in asyncio.run(work()).told


def test_people_are_told_when_hosts_are_not_watched_any_more(tmp_path: Path) -> None:
    """Without word of life the hosts leave within their lease: that has a reason, in words."""

    async def work() -> Guests:
        hosts, wire, guests = _door(tmp_path)

        def broken(topic: str, message: dict[str, Any]) -> None:
            raise RuntimeError("the line is dead")

        hosts._hosting = replace(hosts._hosting, lease=0.01)
        wire.say = broken  # type: ignore[method-assign]
        await hosts._go_on()
        return guests

    guests = in_time(work())
    assert guests.told == [
        "hosts are not watched any more, and leave: RuntimeError: the line is dead"
    ]


def test_differences_name_both_sides() -> None:
    """What is missing on one side differs too."""
    assert differences({"a": "1"}, {"a": "1"}) == []
    assert differences({"a": "1"}, {"a": "2", "b": "3"}) == [
        "a 1 there, 2 here",
        "b missing there, 3 here",
    ]


def test_everybody_is_nobodys_session() -> None:
    """The name under which all are spoken to has the form of a session: it passes the check."""
    assert Answer(session=EVERYBODY, says="beat").session == EVERYBODY
