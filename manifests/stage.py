"""A stage of sampling and the recipe that chains them: what one take is made by.

Two kinds of stage that must never be confused:

* **renoise** adds fresh noise up to the level that `denoise` names, then samples down to zero
  (image-to-image on latents). It always runs exactly `steps` model steps.
* **split** runs a window `start_step..end_step` of one schedule of `steps` steps and may hand
  on latents with the noise that is left.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class StageKind(StrEnum):
    """How a stage meets the latents of the stage before it."""

    RENOISE = "renoise"
    """Noise is added up to `denoise`, then all of it is removed."""
    SPLIT = "split"
    """A window of one schedule; leftover noise may be handed on."""


class Sampler(StrEnum):
    """The solver of a stage, as ComfyUI names it."""

    EULER = "euler"
    EULER_A = "euler_a"
    """Ancestral: fresh noise in every step."""
    DPMPP_2M = "dpmpp_2m"
    DPMPP_SDE = "dpmpp_sde"
    """Two model calls a step and fresh noise; for a last stage."""
    UNI_PC = "uni_pc"
    LCM = "lcm"
    """For distilled models: jumps to the clean picture and adds noise again."""


BETAS = (0.00085, 0.012)
"""First and last beta of the eps kinds of noise, over 1000 levels."""


class Noise(StrEnum):
    """How a model mixes noise and picture, and so what its noise levels mean."""

    FLOW = "flow"
    """`x = sigma*noise + (1 - sigma)*clean`, sigma in 0..1 (Wan, LTX)."""
    EPS = "eps"
    """`x = clean + sigma*noise`, sigma from 0.029 to 14.6: Stable Diffusion 1.5's own betas."""
    EPS_LINEAR = "eps_linear"
    """As eps, sigma from 0.029 to 25.1: the linear betas of AnimateDiff's motion modules."""


class Speed(StrEnum):
    """What a preset allows for speed."""

    EXACT = "exact"
    """Nothing: bit-equal to the reference."""
    FAST = "fast"
    """Other kernels, same arithmetic on paper: compile, attention backend, TF32."""
    TURBO = "turbo"
    """Also other arithmetic: step caches, fp8 products."""


class Concession(StrEnum):
    """What a preset allows to be given up when memory is short, dearest last."""

    TILING = "tiling"
    """Decode in tiles: faint seams at worst."""
    FP8 = "fp8"
    """Weights stored in 8 bits: other last bits."""
    FRAMES = "frames"
    """Fewer frames."""
    SIZE = "size"
    """A smaller picture."""
    STAGES = "stages"
    """Without the last stage."""


class Schedule(StrEnum):
    """How the noise levels are spaced, as ComfyUI names it."""

    SIMPLE = "simple"
    NORMAL = "normal"
    SGM_UNIFORM = "sgm_uniform"
    BETA = "beta"
    KARRAS = "karras"
    EXPONENTIAL = "exponential"
    DDIM_UNIFORM = "ddim_uniform"
    LINEAR_QUADRATIC = "linear_quadratic"
    KL_OPTIMAL = "kl_optimal"


class Expert(StrEnum):
    """Which transformer of a model with two experts runs a stage."""

    AUTO = "auto"
    """By noise level: high at and above the model's boundary, low below it."""
    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA and how strongly it is applied."""

    path: str
    """Absolute path of a `.safetensors` file."""
    sha256: str
    """Hash of the file as it was when the sheet was checked."""
    strength: float = 1.0
    """-2..2; 0.8 is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One sampling pass. Every value is explicit: nothing is looked up while rendering."""

    kind: StageKind
    steps: int
    """renoise: model steps that are run. split: steps of the whole schedule."""
    cfg: float
    """Classifier-free guidance scale; 1.0 skips the unconditional call."""
    shift: float
    """`a` in sigma(t) = a*t / (1 + (a-1)*t); 1 on models that are no flow."""
    sampler: Sampler = Sampler.EULER
    schedule: Schedule = Schedule.SIMPLE
    denoise: float = 1.0
    """renoise only: 0 < denoise <= 1; 1 starts from pure noise."""
    start_step: int = 0
    """split only: first step of the window."""
    end_step: int | None = None
    """split only: step after the last one of the window; None runs to the end."""
    leftover_noise: bool = False
    """split only: hand on the noise that is left instead of removing it in the last step."""
    add_noise: bool = True
    """split only: whether fresh noise is added at the start (the first part: yes, later: no)."""
    expert: Expert = Expert.AUTO
    loras: tuple[Lora, ...] = ()
    seed_offset: int = 0
    """Added to the recipe's seed for this stage's noise; no two stages may share a seed."""
    cfg_interval: tuple[float, float] = (0.0, 1.0)
    """(low, high) share of noise, 0..1, inside which `cfg` holds; outside it guidance is 1."""
    carry_history: bool = True
    """split only: whether a solver with a memory keeps it where this stage goes on with the
    schedule of the stage before; without it the solver starts over, as in ComfyUI."""
    noise: Noise = Noise.FLOW
    """Of the model's family, explicit here because every noise level depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the pixels of a take. Equal recipes give equal takes."""

    preset: str
    """Qualified name of the preset it came from: `pocket/two-stage`."""
    family: str
    """Family of the model: `pocket`, `wan`, `ltx2`, `animatediff`."""
    model: str
    """Name of the model in the studio's list."""
    model_id: str
    """What the name stood for: path and revision, or the hash of the bundled weights."""
    prompt: str
    """Final prompt, style snippet included."""
    negative: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    frames: int
    fps: float
    """Frames a second of the finished clip; decides the file, and pixels only where the model is
    told it (LTX-2)."""
    seed: int
    """Base seed of the take, 0..2**63-1."""
    stages: tuple[Stage, ...]
    source_sha256: str | None = None
    """Hash of the source image's file; None for text-to-video."""
    precision: str = "float32"
    """Of the transformer: `float32`, `bfloat16` or `float16`. Latents are always float32."""
    vae_precision: str = "float32"
    boundary: float | None = None
    """Noise level at which experts change (0..1); None for a model with one transformer."""
    speed: Speed = Speed.EXACT
    concessions: tuple[Concession, ...] = ()
    """What may be given up when memory is short; what was given up is in the receipt."""
    candidates: int = 1
    """First stages that are rendered, each of its own seed (`manifests.candidates`); only the
    best is gone on with. 1..8."""

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote. Raises TypeError or ValueError on foreign data."""
        stages = tuple(_stage_from_dict(stage) for stage in data["stages"])
        return cls(
            **{
                **data,
                "stages": stages,
                "speed": Speed(data.get("speed", Speed.EXACT)),
                "concessions": tuple(Concession(name) for name in data.get("concessions", ())),
            }
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of the recipe, hex."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_seed(self, seed: int) -> Recipe:
        """The same recipe with another base seed."""
        return replace(self, seed=seed)


def _stage_from_dict(data: dict[str, Any]) -> Stage:
    return Stage(
        **{
            **data,
            "kind": StageKind(data["kind"]),
            "sampler": Sampler(data["sampler"]),
            "schedule": Schedule(data["schedule"]),
            "expert": Expert(data["expert"]),
            "loras": tuple(Lora(**lora) for lora in data["loras"]),
            "cfg_interval": tuple(data.get("cfg_interval", (0.0, 1.0))),
            "noise": Noise(data.get("noise", Noise.FLOW)),
        }
    )
