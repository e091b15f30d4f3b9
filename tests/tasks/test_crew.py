"""Every machine gets a crew that fits it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.crew import SEATS, crew_for
from tasks.gpus import Device, Machine

CPU = Device(name="cpu", torch_device="cpu", visible=None)


def cards(number: int) -> tuple[Device, ...]:
    return tuple(
        Device(name=f"Card #{index}", torch_device="cuda:0", visible=f"GPU-{index}")
        for index in range(number)
    )


def test_without_cards_one_worker_does_everything() -> None:
    """As many threads as there are cores, one shot at a time, and no further process."""
    crew = crew_for(Machine(cards=(CPU,)), cores=8)
    (post,) = crew.posts
    assert (post.threads, post.seats, post.hand, crew.lanes) == (8, 1, True, 1)


@given(st.integers(1, 8), st.integers(1, 256), st.booleans())
def test_every_card_has_hands_and_takes_that_wait(number: int, cores: int, upscales: bool) -> None:
    """Names differ, nobody is without a thread, and there is work for every card at any time."""
    machine = Machine(cards=cards(number), upscaler=cards(9)[8] if upscales else None)
    crew = crew_for(machine, cores=cores)
    assert len({post.name for post in crew.posts}) == len(crew.posts)
    assert len(crew.cards) == number <= len(crew.hands)
    assert all(post.threads >= 1 for post in crew.posts)
    assert crew.lanes >= SEATS * number + len(crew.hands)
    assert (crew.upscaler is not None) == upscales
    assert not any(post.hand and post.device for post in crew.posts)
    if cores >= 2 * len(crew.hands):
        assert sum(post.threads for post in (*crew.cards, *crew.hands)) <= cores
