"""A stage kept between its steps: how often, for which plan, and until when."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from render.midway import NAME, Cadence, Keeper, load_cut
from render.sampling import StepEnd, draw_noise
from render.solver import SolverSetup
from render.solver_sde import EulerA

X = draw_noise((1, 4, 2, 4, 4), seed=0)
OFTEN = Cadence(every_seconds=0.0, most_share=math.inf)


def _end(done: int, *, steps: int = 9) -> StepEnd:
    return StepEnd(done=done, steps=steps, x=X + done, solver=EulerA(SolverSetup(seed=5)))


def _kept(folder: Path) -> int:
    cut, _ = load_cut(folder, plan="p")
    return 0 if cut is None else cut.midway.done


@given(
    steps=st.lists(st.floats(0.001, 90.0), min_size=1, max_size=60),
    cost=st.floats(0.0, 30.0),
    cadence=st.builds(
        Cadence,
        every_seconds=st.floats(0.0, 60.0),
        least_steps=st.integers(1, 5),
        most_share=st.floats(0.001, 0.2),
    ),
)
@settings(deadline=None, max_examples=examples(100))
def test_what_a_crash_costs_and_what_keeping_costs(
    steps: list[float], cost: float, cadence: Cadence
) -> None:
    """Writing takes at most its share of the time but for the last write, and nothing that took
    longer than the cadence asks for stays unwritten."""
    since, count, last, spent, passed = 0.0, 0, 0.0, [], 0.0
    for seconds in steps:
        since, count, passed = since + seconds, count + 1, passed + seconds
        if cadence.due(seconds=since, steps=count, cost=last):
            since, count, last = 0.0, 0, cost
            spent.append(cost)
        else:
            asked = max(cadence.every_seconds, last / cadence.most_share)
            assert since < asked * (1 + 1e-9) or count < cadence.least_steps
    assert sum(spent[:-1]) <= cadence.most_share * passed * (1 + 1e-9)


@given(st.floats(0, 1e4), st.integers(0, 100), st.floats(0, 100))
def test_waiting_never_makes_it_less_due(seconds: float, steps: int, cost: float) -> None:
    """What is due stays due as time and steps go on."""
    cadence = Cadence()
    if cadence.due(seconds=seconds, steps=steps, cost=cost):
        assert cadence.due(seconds=seconds + 1, steps=steps + 1, cost=cost)


def test_what_was_cut_comes_back(tmp_path: Path) -> None:
    """Latents, step, time and all the solver remembers are read back as they were."""
    solver = EulerA(SolverSetup(seed=5))
    solver.step(X, lambda x, _sigma: x, sigma=torch.tensor(0.8), sigma_next=torch.tensor(0.5))
    end = StepEnd(done=4, steps=9, x=X, solver=solver)
    Keeper(tmp_path, plan="p", cadence=OFTEN).after_step(end)
    cut, note = load_cut(tmp_path, plan="p")
    assert cut is not None
    assert note == ""
    assert cut.midway.done == 4
    assert cut.seconds > 0
    assert torch.equal(cut.midway.x, X)
    assert {name: int(kept) for name, kept in cut.midway.history.items()} == {
        "noise_seed": 5,
        "noise_drawn": 1,
    }


def test_it_is_kept_as_often_as_the_cadence_says(tmp_path: Path) -> None:
    """Every third step, never the last one, counted from where the stage went on."""
    cadence = Cadence(every_seconds=0.0, least_steps=3, most_share=math.inf)
    keeper, seen = Keeper(tmp_path, plan="p", cadence=cadence), list[int]()
    for done in range(1, 10):
        keeper.after_step(_end(done))
        seen.append(_kept(tmp_path))
    assert seen == [0, 0, 3, 3, 3, 6, 6, 6, 6]
    cut, _ = load_cut(tmp_path, plan="p")
    again = Keeper(tmp_path, plan="p", cadence=cadence, cut=cut)
    again.after_step(_end(7, steps=12))
    again.after_step(_end(8, steps=12))
    assert _kept(tmp_path) == 6
    again.after_step(_end(9, steps=12))
    assert _kept(tmp_path) == 9
    keeper.forget()
    assert list(tmp_path.iterdir()) == []
    keeper.forget()


def test_what_is_broken_is_not_kept(tmp_path: Path) -> None:
    """Latents of NaN are nothing to go on with."""
    broken = StepEnd(done=4, steps=9, x=X * torch.nan, solver=EulerA(SolverSetup()))
    Keeper(tmp_path, plan="p", cadence=OFTEN).after_step(broken)
    assert list(tmp_path.iterdir()) == []


def test_time_before_the_cut_is_counted(tmp_path: Path) -> None:
    """A stage that was cut took the time of both its parts."""
    Keeper(tmp_path, plan="p", cadence=OFTEN).after_step(_end(4))
    cut, _ = load_cut(tmp_path, plan="p")
    assert cut is not None
    later = Keeper(tmp_path, plan="p", cadence=OFTEN, cut=cut)
    assert later.seconds > cut.seconds > 0


def test_a_foreign_one_is_refused_by_name(tmp_path: Path) -> None:
    """A stage of another plan is not gone on with; the leftover of a finished one is no news."""
    Keeper(tmp_path, plan="another", cadence=OFTEN).after_step(_end(4))
    assert load_cut(tmp_path, plan="p") == (
        None,
        "midway.safetensors belongs to another recipe or machine: ignored",
    )
    assert load_cut(tmp_path, plan="p", older=["another"]) == (None, "")
    assert load_cut(tmp_path / "absent", plan="p") == (None, "")


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "checkpoint"])
def test_a_damaged_one_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    """A file that is not what was written is named, and the stage begins again."""
    Keeper(tmp_path, plan="p", cadence=OFTEN).after_step(_end(4))
    path = tmp_path / NAME
    data = bytearray(path.read_bytes())
    match damage:
        case "cut":
            path.write_bytes(data[:-5])
        case "flipped":
            data[-1] ^= 1
            path.write_bytes(data)
        case "text":
            path.write_text("no tensors")
        case _:
            from render.tensor_file import write_tensors

            write_tensors(path, {"latents": X}, {"plan": "p", "sigma": 0.5})
    cut, note = load_cut(tmp_path, plan="p")
    assert cut is None
    assert note.startswith(NAME)
    assert note.endswith("ignored")
