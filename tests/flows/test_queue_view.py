"""The part of the queue that its page shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.queue_view import PER_PAGE, Queue, Row, Standing, page_of


def row(index: int, place: int | None, sheet: str = "shots") -> Row:
    """A shot of the queue."""
    name = f"sh{index:04d}"
    return Row(key=f"{sheet}/{name}", name=name, sheet=sheet, place=place, typed=0, holds=0)


QUEUE = (
    *(row(index, index + 1, "shots" if index % 2 else "Night_Two") for index in range(250)),
    *(row(index, None) for index in range(250, 260)),
)


@given(rows=st.integers(0, 450), looked_for=st.sampled_from(["", "sh", "sh01", "waiting", "x"]))
def test_the_pages_together_are_all_that_was_found(rows: int, looked_for: str) -> None:
    """Each row once, in the queue's order, and no page longer than the others."""
    queue = [row(index, index + 1) for index in range(rows)]
    first = page_of(queue, looked_for, "1")
    pages = [page_of(queue, looked_for, str(number + 1)) for number in range(first.pages)]
    together = [each for page in pages for each in page.rows]
    assert together == [each for each in queue if looked_for in f"{each.key} {each.status}"]
    assert first.found == len(together)
    assert all(len(page.rows) == PER_PAGE for page in pages[:-1])
    assert [page.first for page in pages] == [1 + PER_PAGE * at for at in range(len(pages))]


@pytest.mark.parametrize("number", ["", "0", "-1", "soon", "1.5", "٣", "9" * 4000])
def test_a_number_that_is_no_page_leads_to_the_first(number: str) -> None:
    """Whatever stands in an address."""
    assert page_of(QUEUE, "", number).number == 1


def test_a_number_beyond_the_pages_leads_to_the_last() -> None:
    """The queue has become shorter since the link was made."""
    page = page_of(QUEUE, "", "99")
    assert (page.number, page.pages, len(page.rows)) == (3, 3, 60)


@pytest.mark.parametrize(
    ("looked_for", "found"),
    [("SH0010", 1), ("night_two", 125), ("night sh000", 5), ("in work", 10), (" ", 260)],
)
def test_every_word_is_found_in_sheet_shot_or_status(looked_for: str, found: int) -> None:
    """Whatever its case; blanks alone look for nothing."""
    assert page_of(QUEUE, looked_for, "").found == found


def test_no_more_is_looked_for_than_a_person_types() -> None:
    """An address may be as long as a server lets it be."""
    assert len(page_of(QUEUE, "sh " * 5000, "").looked_for) <= 200


def test_shots_are_counted_by_where_they_stand() -> None:
    """Over all pages."""
    queue = Queue(night="2026-11-20", rows=QUEUE)
    assert [queue.count(each) for each in Standing] == [250, 10]
