"""The vocabulary and the prompts made from it."""

from __future__ import annotations

import pytest

from render.pocket.moves import DIRECTED, PHRASES, TRAVEL, Move
from render.pocket.prompts import dice, draw_move, say_move, say_nothing, say_prompt


def test_no_phrase_asks_for_two_moves() -> None:
    """A phrase belongs to one move."""
    said = [p for phrases in PHRASES.values() for p in phrases]
    assert len(said) == len(set(said))


def test_opposite_moves_travel_opposite_ways() -> None:
    """Left is minus right, up is minus down, one roll is minus the other."""
    assert TRAVEL[Move.PAN_LEFT].right == -TRAVEL[Move.PAN_RIGHT].right
    assert TRAVEL[Move.TILT_UP].down == -TRAVEL[Move.TILT_DOWN].down
    assert TRAVEL[Move.ROLL_CLOCKWISE].roll == -TRAVEL[Move.ROLL_COUNTER].roll
    assert TRAVEL[Move.ZOOM_OUT].zoom < 1 < TRAVEL[Move.ZOOM_IN].zoom


@pytest.mark.parametrize("move", [m for m in Move if m is not Move.GENTLE])
@pytest.mark.parametrize("speed", [-1, 0, 1])
def test_every_slot_of_every_phrase_is_filled(move: Move, speed: int) -> None:
    """No brace is left in a prompt, and a speed is always said when there is one."""
    rng = dice(3)
    plain = {p.lower() for p in PHRASES[move]}
    for _ in range(60):
        said = say_move(move=move, speed=speed, rng=rng)
        assert "{" not in said
        assert said == " ".join(said.split())
        if speed:
            assert said not in plain


def test_gentle_says_nothing_of_a_camera() -> None:
    """No move word stands for the gentle move."""
    assert say_move(move=Move.GENTLE, speed=0, rng=dice(0)) == ""


def test_prompts_repeat_with_their_seed() -> None:
    """Same seed, same prompts."""

    def prompts(seed: int) -> list[str]:
        rng = dice(seed)
        made = [say_prompt(moves=[draw_move(rng=rng)], speed=0, rng=rng) for _ in range(20)]
        return [*made, say_nothing(rng=rng)]

    assert prompts(7) == prompts(7)
    assert prompts(7) != prompts(8)


def test_every_directed_move_has_a_name_that_is_its_own_phrase() -> None:
    """The move's plain name works as a prompt."""
    for move in DIRECTED:
        plain = {p.replace("{a}", "").replace("{v}", "") for p in PHRASES[move]}
        assert str(move) in plain
