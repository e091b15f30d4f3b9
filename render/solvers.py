"""Every sampler that a stage may name, with the solver that runs it."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from manifests.stage import Sampler
from render.solver import Solver, SolverSetup
from render.solver_ode import DPMpp2M, Euler
from render.solver_sde import LCM, DPMppSDE, EulerA
from render.solver_unipc import UniPC

SOLVERS: MappingProxyType[Sampler, Callable[[SolverSetup], Solver]] = MappingProxyType(
    {
        Sampler.EULER: Euler,
        Sampler.EULER_A: EulerA,
        Sampler.DPMPP_2M: DPMpp2M,
        Sampler.DPMPP_SDE: DPMppSDE,
        Sampler.UNI_PC: UniPC,
        Sampler.LCM: LCM,
    }
)
"""A new sampler is a member of `Sampler`, a line in `manifests.samplers` and one here."""
