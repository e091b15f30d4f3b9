"""When a card gets no more work of a kind: laws of what is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import (
    ClipUnreadable,
    DiskFull,
    Diverged,
    NonFinite,
    OutOfHours,
    OutOfMemory,
    RenderError,
    WorkerLost,
)
from tasks.blocklist import MOST_FAILURES, MOST_OF_ONE_TAKE, Blocklist, Work

SMALL = Work(model="wan", width=512, height=512, frames=17)
LARGE = replace(SMALL, frames=81)
OTHER = replace(SMALL, model="ltx2")
WORKS = (SMALL, LARGE, OTHER)
CARDS = ("Card #0", "Card #1", "Card #2")

failures = st.tuples(
    st.integers(0, len(CARDS) - 1),
    st.sampled_from("abcdef"),
    st.sampled_from(WORKS),
    st.sampled_from([OutOfMemory("full"), WorkerLost("died")]),
)


def _blocked(found: Blocklist) -> set[tuple[int, Work]]:
    cards = range(len(CARDS))
    return {(card, work) for card in cards for work in WORKS if not found.is_open(card, work)}


@given(st.data(), st.lists(failures, max_size=30))
def test_failures_count_alike_in_any_order(
    data: st.DataObject, seen: list[tuple[int, str, Work, Exception]]
) -> None:
    """Cards that finish side by side report in any order; what is blocked is the same."""
    one, other = Blocklist(CARDS), Blocklist(CARDS)
    for card, take, work, error in seen:
        one.failed(card, take=take, work=work, error=error)
    for card, take, work, error in data.draw(st.permutations(seen)):
        other.failed(card, take=take, work=work, error=error)
    assert _blocked(one) == _blocked(other)


@given(st.lists(failures, max_size=60))
def test_words_come_once_for_each_card_and_class(
    seen: list[tuple[int, str, Work, Exception]],
) -> None:
    """Every card goes out once as a whole and once for each kind of work at most."""
    found = Blocklist(CARDS)
    told = [
        words
        for card, take, work, error in seen
        if (words := found.failed(card, take=take, work=work, error=error)) is not None
    ]
    assert len(told) == len(set(told)) <= len(CARDS) * (1 + len(WORKS))
    assert set(told) == {words for work in WORKS for words in found.why(work)}
    assert bool(told) == bool(_blocked(found))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from("abc"),
            st.sampled_from(WORKS),
            st.sampled_from(
                [
                    NonFinite("nan"),
                    Diverged("x"),
                    OutOfHours("6"),
                    ClipUnreadable("c"),
                    DiskFull("d"),
                ]
            ),
        ),
        max_size=40,
    )
)
def test_pictures_hours_and_disks_never_block_a_card(
    seen: list[tuple[int, str, Work, RenderError]],
) -> None:
    """However often a picture fails, its card goes on."""
    found = Blocklist(CARDS)
    for card, take, work, error in seen:
        assert found.failed(card, take=take, work=work, error=error) is None
    assert _blocked(found) == set()


@pytest.mark.parametrize(
    ("error", "blocked"),
    [(OutOfMemory("full"), {SMALL}), (WorkerLost("died"), {SMALL, LARGE, OTHER})],
)
def test_the_third_failure_takes_the_card_out_for_what_it_says_something_about(
    error: Exception, blocked: set[Work]
) -> None:
    """Memory: this model at this size. A dead worker: everything. Other cards: nothing."""
    found = Blocklist(CARDS)
    for number in range(MOST_FAILURES - 1):
        assert found.failed(1, take=f"t{number}", work=SMALL, error=error) is None
    words = found.failed(1, take="last", work=SMALL, error=error)
    assert words is not None
    assert "Card #1 renders no more takes" in words
    assert type(error).__name__ in words
    assert _blocked(found) == {(1, work) for work in blocked}
    assert found.is_memory_alone(SMALL) == isinstance(error, OutOfMemory)


def test_a_success_between_forgets_what_was_counted_and_brings_no_card_back() -> None:
    """Two failures, a success, two failures: the card stays. Once out it is out for the night."""
    found = Blocklist(CARDS)
    for round_ in range(5):
        for number in range(MOST_FAILURES - 1):
            take = f"{round_}-{number}"
            assert found.failed(0, take=take, work=SMALL, error=WorkerLost("died")) is None
        found.succeeded(0, take="well", work=LARGE)
    for number in range(MOST_FAILURES):
        found.failed(0, take=f"end-{number}", work=SMALL, error=WorkerLost("died"))
    found.succeeded(0, take="well", work=SMALL)
    assert not found.is_open(0, SMALL)


def test_a_small_take_that_fits_says_nothing_of_a_large_one() -> None:
    """Only success of the same kind forgets that memory ran out."""
    found = Blocklist(CARDS)
    for number in range(MOST_FAILURES):
        found.succeeded(0, take="well", work=SMALL)
        found.failed(0, take=f"t{number}", work=LARGE, error=OutOfMemory("full"))
    assert _blocked(found) == {(0, LARGE)}


def test_one_take_alone_takes_no_card_out() -> None:
    """A take that kills every worker may be the cause: a second one must fail too."""
    found = Blocklist(CARDS)
    for _ in range(10):
        assert found.failed(0, take="cursed", work=SMALL, error=WorkerLost("died")) is None
    for number in range(MOST_FAILURES - MOST_OF_ONE_TAKE):
        words = found.failed(0, take=f"next {number}", work=OTHER, error=WorkerLost("died"))
    assert words is not None


def test_a_private_error_is_told_under_its_public_name() -> None:
    """The pool's own subclass of WorkerLost counts as one."""

    class _Inner(WorkerLost):
        pass

    found = Blocklist(CARDS)
    found.failed(0, take="a", work=SMALL, error=_Inner("died"))
    found.failed(0, take="b", work=SMALL, error=WorkerLost("died"))
    words = found.failed(0, take="c", work=SMALL, error=_Inner("died"))
    assert words is not None
    assert "(WorkerLost)" in words


def test_a_take_remembers_where_it_failed_until_it_is_rendered() -> None:
    """Machine failures name the cards that are to be tried last; a full disk names none."""
    found = Blocklist(CARDS)
    found.failed(0, take="a", work=SMALL, error=DiskFull("full"))
    assert found.failed_on("a") == frozenset()
    found.failed(2, take="a", work=SMALL, error=WorkerLost("died"))
    found.failed(1, take="a", work=SMALL, error=OutOfMemory("full"))
    assert (found.failed_on("a"), found.failed_on("b")) == ({1, 2}, frozenset())
    found.succeeded(0, take="a", work=SMALL)
    assert found.failed_on("a") == frozenset()
