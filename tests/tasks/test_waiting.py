"""In which words a shot is told what it waits for."""

from __future__ import annotations

import pytest

from reports.take import ShotStatus
from tasks.waiting import standing, waits_words, why_not

OPEN = [status for status in ShotStatus if status is not ShotStatus.APPROVED]


@pytest.mark.parametrize("status", OPEN)
def test_only_an_approved_shot_can_be_followed(status: ShotStatus) -> None:
    """Every other status is a reason of its own."""
    assert why_not(ShotStatus.APPROVED, tonight=True) is None
    said = why_not(status, tonight=True)
    assert said
    assert [why_not(other, tonight=True) for other in OPEN].count(said) == 1


@pytest.mark.parametrize("status", OPEN)
def test_of_a_sheet_that_is_not_in_the_night_that_is_told_too(status: ShotStatus) -> None:
    """Its shot may still be waited for in vain all night; one that is held waits for a person,
    whichever sheets are run."""
    said = why_not(status, tonight=False)
    assert said
    assert said.endswith("its sheet is not part of this night") is (status is not ShotStatus.HELD)


def test_another_sheet_s_shot_is_named_with_its_sheet() -> None:
    """In its own sheet a shot's name is enough."""
    assert waits_words("monday/sh1", "is held", sheet="monday") == "waits for sh1, which is held"
    assert waits_words("monday/sh1", "failed", sheet="x") == "waits for monday/sh1, which failed"
    assert standing("monday/sh1", ledger=None) == "no night has had yet"
