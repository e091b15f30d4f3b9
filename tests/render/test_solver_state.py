"""What a solver remembers survives its process: a cut run ends as the whole one, to the bit."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from manifests.samplers import SAMPLERS
from manifests.schedules import sigmas
from manifests.stage import Noise, Sampler, Schedule
from render.solver import SolverSetup
from render.solvers import SOLVERS

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 6


def levels(sampler: Sampler, noise: Noise) -> torch.Tensor:
    """Levels of a stage of that sampler."""
    return torch.tensor(
        sigmas(
            schedule=Schedule.SIMPLE,
            steps=STEPS,
            shift=5.0 if noise is Noise.FLOW else 1.0,
            noise=noise,
            sampler=sampler,
        )
    )


def velocity(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """A toy model."""
    return (x - torch.tanh(2 * x / (1 + sigma))) / sigma


def finish(folder: Path) -> None:
    """Go on with every cut run in `folder`, and write each one's end beside it."""
    for path in sorted(folder.glob("*.cut")):
        sampler, noise, done = path.stem.split("|")
        kept = load_file(path)
        x = kept.pop("x")
        # The seed of another run: all that matters is in the state.
        solver = SOLVERS[Sampler(sampler)](SolverSetup(noise=Noise(noise), shift=5.0, seed=99))
        solver.load_state(kept)
        s = levels(Sampler(sampler), Noise(noise))[int(done) :]
        for sigma, sigma_next in pairwise(s):
            x = solver.step(x, velocity, sigma=sigma, sigma_next=sigma_next)
        save_file({"x": x}, path.with_suffix(".end"))


@pytest.mark.slow
def test_a_run_cut_after_any_step_ends_alike_in_another_process(tmp_path: Path) -> None:
    """Every sampler, on flow and on eps models, cut behind each of its steps."""
    wholes: dict[str, torch.Tensor] = {}
    for sampler in Sampler:
        for noise in (Noise.FLOW, Noise.EPS):
            solver = SOLVERS[sampler](SolverSetup(noise=noise, shift=5.0, seed=4))
            s = levels(sampler, noise)
            x = s[0] * torch.linspace(-2, 2, 24).reshape(2, 3, 4)
            for done, (sigma, sigma_next) in enumerate(pairwise(s), start=1):
                x = solver.step(x, velocity, sigma=sigma, sigma_next=sigma_next)
                kept = {"x": x, **solver.state()}
                assert (len(kept) > 1) == SAMPLERS[sampler].remembers
                save_file(
                    {name: tensor.clone() for name, tensor in kept.items()},
                    tmp_path / f"{sampler}|{noise}|{done}.cut",
                )
            wholes[f"{sampler}|{noise}"] = x
    here = Path(__file__)
    code = (
        f"import sys, torch; from pathlib import Path; torch.set_num_threads(1); "
        f"sys.path.insert(0, {str(here.parent)!r}); "
        f"from {here.stem} import finish; finish(Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here.parents[2])
    ends = sorted(tmp_path.glob("*.end"))
    assert len(ends) == len(wholes) * STEPS
    for path in ends:
        assert torch.equal(load_file(path)["x"], wholes[path.stem.rpartition("|")[0]]), path.stem
