"""When a take counts as standing still: laws of the bounds, and its messages one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import BadInput
from manifests.settings import load_studio
from render.backend import Progress
from tasks.calls import expected_step
from tasks.crew import crew_for
from tasks.gpus import Device, Machine
from tasks.pulse import Patience, Pulse

PATIENCE = Patience(times=10.0, least=30.0, long=600.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _step(step: int, *, stage: int = 1, steps: int = 40) -> Progress:
    return Progress(take_id="t", phase="stage", stage=stage, stages=3, step=step, steps=steps)


def _phase(name: str) -> Progress:
    return Progress(take_id="t", phase=name, stages=3)


@given(
    st.floats(0.01, 1e4),
    st.floats(2.1, 50.0),
    st.integers(1, 39),
    st.integers(1, 3),
    st.lists(st.floats(0.5, 1.0), min_size=40, max_size=40),
)
def test_a_take_that_keeps_its_pace_is_never_stuck(
    pace: float, times: float, steps: int, stages: int, jitter: list[float]
) -> None:
    """Whatever the pace, and twice as long as the longest before, a step is waited for."""
    clock = Clock()
    pulse = Pulse(replace(PATIENCE, times=times, long=1e5), clock)
    for stage in range(1, stages + 1):
        pulse.told(_step(0, stage=stage))
        for step in range(1, steps + 1):
            clock.now += pace * jitter[step]
            assert pulse.seconds_left >= 0
            pulse.told(_step(step, stage=stage))


@given(st.floats(0.01, 1e3), st.integers(2, 38))
def test_silence_between_steps_ends_a_take_in_bounded_time(pace: float, steps: int) -> None:
    """It is stuck after `times` its longest step or the least, whichever is more; never later."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock)
    for step in range(steps + 1):
        pulse.told(_step(step))
        clock.now += pace
    clock.now -= pace
    bound = max(30.0, 10.0 * pace)
    clock.now += bound * 0.999
    assert pulse.seconds_left > 0
    clock.now += bound * 0.002
    assert pulse.seconds_left < 0


def test_what_has_no_pace_yet_gets_the_long_bound() -> None:
    """Loading, encoding, a stage's first step, also where it is gone on with, and its end."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock)
    for message in (_phase("load"), _phase("encode"), _step(0), _step(0, stage=2)):
        pulse.told(message)
        assert pulse.allowed == 600.0
    clock.now += 2.0
    pulse.told(_step(1, stage=2))
    assert pulse.allowed == 30.0
    pulse.told(_step(17, stage=3))
    assert pulse.allowed == 600.0, "a stage that is gone on with compiles and loads like another"
    clock.now += 2.0
    pulse.told(_step(40, stage=3))
    assert pulse.allowed == 600.0, "looks, strips and the change of experts follow a stage"


def test_a_stage_that_begins_again_has_no_pace() -> None:
    """After a step down the memory ladder the stage goes on from before: a first step again."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock)
    for step in range(4):
        pulse.told(_step(step))
        clock.now += 1.0
    assert pulse.allowed == 30.0
    pulse.told(_step(2))
    assert pulse.allowed == 600.0


def test_nothing_is_expected_before_the_first_message_and_from_the_decode_on() -> None:
    """There the take's budget alone counts."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock)
    assert math.isinf(pulse.seconds_left)
    pulse.told(_step(0))
    pulse.told(_phase("decode"))
    clock.now += 1e6
    assert math.isinf(pulse.seconds_left)


def test_a_picture_is_no_sign_of_life() -> None:
    """Strips are written by another thread, which may live on while the card hangs."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock)
    pulse.told(_step(1))
    clock.now += 100.0
    pulse.told(replace(_step(0), preview=Path("stage-1.jpg")))
    assert pulse.seconds_left == 500.0


def test_the_words_say_where_it_stands_and_what_was_allowed() -> None:
    """Stage, step, silence, bound and pace."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock)
    assert pulse.words == "it has told nothing yet"
    pulse.told(_step(2))
    clock.now += 4.0
    pulse.told(_step(3))
    clock.now += 41.0
    assert pulse.words == (
        "nothing for 41 s after stage 1 of 3, step 3 of 40 "
        "(40 s are allowed; its longest step so far took 4.0 s)"
    )


@given(st.floats(0.01, 1e3), st.floats(0.01, 1e3))
def test_a_pace_that_is_expected_holds_before_the_first_step_and_widens_what_follows(
    expected: float, own: float
) -> None:
    """The first step has the time of compiling or `times` what is expected, instead of the long
    bound; later ones `times` the longer of what was expected and what was seen.
    """
    clock = Clock()
    patience = replace(PATIENCE, long=1e5, compiling=60.0)
    pulse = Pulse(patience, clock, expected=expected)
    pulse.told(_step(0))
    assert pulse.allowed == max(60.0, patience.times * expected)
    clock.now += own
    pulse.told(_step(1))
    clock.now += own
    pulse.told(_step(2))
    longest = max(expected, own)
    assert math.isclose(pulse.allowed, max(30.0, patience.times * longest), rel_tol=1e-6)
    pulse.told(_step(40))
    assert pulse.allowed == patience.long


def test_what_is_expected_of_steps_says_nothing_of_loads() -> None:
    """Loading and encoding keep the long bound; the words name what was expected."""
    clock = Clock()
    pulse = Pulse(PATIENCE, clock, expected=2.0)
    for phase in ("load", "encode"):
        pulse.told(_phase(phase))
        assert pulse.allowed == 600.0
    pulse.told(_step(3))
    assert pulse.words.endswith("s are allowed; 2.0 s were expected of one)")


def test_a_step_is_expected_as_on_such_cards_else_as_on_the_slowest() -> None:
    """History names cards as their workers do; none is no bound."""
    card = Device(name="NVIDIA H200 #1", torch_device="cuda:0", visible="GPU-1")
    (post,) = crew_for(Machine(cards=(card,)), cores=2).cards
    assert expected_step({"NVIDIA H200": 2.0, "NVIDIA L4": 9.0}, post) == 2.0
    assert expected_step({"NVIDIA L4": 9.0, "NVIDIA A100": 3.0}, post) == 9.0
    assert expected_step({}, post) == 0.0


def test_how_long_a_take_may_stand_still_is_the_studios_to_say(tmp_path: Path) -> None:
    """`stuck_after` in studio.yaml; less than twice its pace is refused."""
    assert load_studio(tmp_path).stuck_after == 10.0
    (tmp_path / "studio.yaml").write_text("stuck_after: 3\n")
    assert load_studio(tmp_path).stuck_after == 3.0
    with pytest.raises(BadInput, match="stuck_after"):
        load_studio(tmp_path, stuck_after=1.0)
