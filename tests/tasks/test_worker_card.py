"""A worker renders on the cards it was given, or not at all."""

from __future__ import annotations

import pytest

from render.errors import WorkerLost
from tasks.worker import _check_card


@pytest.mark.parametrize("visible", ["", "0", "0,1"])
def test_cards_that_are_not_named_by_uuid_are_a_persons_own_choice(visible: str) -> None:
    """On a CPU, and where somebody set the variable by hand, nothing is checked."""
    _check_card(visible)


@pytest.mark.slow
def test_a_card_that_is_not_seen_is_named() -> None:
    """The words name what was given, what is seen, and where to look."""
    with pytest.raises(WorkerLost, match=r"was given GPU-no-such-card and sees .*check the driver"):
        _check_card("GPU-no-such-card")
