"""What a planner may know of each sampler. No torch here; `render.solvers` holds the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from manifests.stage import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerFacts:
    """A sampler in a few figures."""

    order: int
    """Order of accuracy, once it has a history; stochastic ones: of their deterministic part."""
    calls: int = 1
    """Times a step asks the model, guidance aside; the step down to 0 asks once."""
    stochastic: bool = False
    """Whether it adds fresh noise in every step but the last."""
    remembers: bool = False
    """Whether the next step needs more than the latents."""
    skips_last_level: bool = False
    """Whether its schedule is laid out for one step more, and the last level above 0 left out."""


SAMPLERS: MappingProxyType[Sampler, SamplerFacts] = MappingProxyType(
    {
        Sampler.EULER: SamplerFacts(order=1),
        Sampler.EULER_A: SamplerFacts(order=1, stochastic=True, remembers=True),
        Sampler.DPMPP_2M: SamplerFacts(order=2, remembers=True),
        Sampler.DPMPP_SDE: SamplerFacts(order=2, calls=2, stochastic=True, remembers=True),
        Sampler.UNI_PC: SamplerFacts(order=2, remembers=True, skips_last_level=True),
        Sampler.LCM: SamplerFacts(order=1, stochastic=True, remembers=True),
    }
)
"""Every sampler a stage may name."""


def nearest_to_noise(shift: float) -> float:
    """The level that dpmpp_sde takes for 1 on a flow model: that of t = 0.9999.

    At 1 the weight of the picture is 0, and its logarithm without end.
    """
    t = 0.9999
    return shift * t / (1.0 + (shift - 1.0) * t)
