"""What crosses to a worker process and what comes back: frozen, picklable, no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manifests.shot import FinishSpec
from manifests.stage import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model as the worker finds it."""

    name: str
    """As the studio names it: `pocket-wan`."""
    family: str
    """Which family file loads it: `pocket`, `wan`, `ltx2`, `animatediff`."""
    location: str
    """Absolute path of a diffusers folder, or a hub id."""
    revision: str | None = None
    """Hub commit; None for a local folder."""
    offline: bool = True
    """Never ask the hub: files must be on this machine."""
    motion_adapter: str | None = None
    """AnimateDiff: absolute folder of the motion adapter, or `owner/name@commit`."""
    transformer: str | None = None
    """Absolute path of a `.safetensors` or `.gguf` file in place of the folder's own."""
    transformer_2: str | None = None
    """The same for the low-noise expert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which card of the worker holds which part; None: the order's own device."""

    text_encoder: str | None = None
    """torch device of text and image encoders: `cuda:1`."""
    low_expert: str | None = None
    """Of the second transformer, where a model has two."""
    vae: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """Several workers on one take, a card each: which of them this one is, and where they meet."""

    size: int
    """Cards over which the take's tokens are spread (context parallel): 2 and more."""
    rank: int
    """0 leads: it encodes, decodes and writes. The others lend their card to its model calls."""
    meeting: Path
    """Absolute path of a file, not there yet, through which the ranks find each other."""
    seconds: float
    """How long one may wait for another, the end of the other's last take included."""
    rungs: tuple[str, ...] = ()
    """Rungs of the memory ladder that every rank begins with: they step down together."""


CLIP_NAME = "clip.mkv"
"""Of a take's clip, in the take's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOrder:
    """One take to render."""

    take_id: str
    """`<manifest>/<shot>/t<number>`: the same in ledger, folders and Prefect tags."""
    shot: str
    take: int
    """1, 2, 3 ...: attempts at the shot."""
    recipe: Recipe
    model: ModelRef
    source: Path | None
    """Absolute; None for text-to-video."""
    folder: Path
    """Absolute; the take's own folder, made by the worker. Checkpoints and the clip go here."""
    device: str = "cpu"
    """torch device string inside the worker."""
    placement: Placement = field(default_factory=Placement)
    gpus: int = 1
    """Cards that the sheet asks for this take; the pool makes a `gang` of as many as there are."""
    best_on: str = ""
    """The worker whose card asked for the shot: the pool waits for it, unless another is idle."""
    gang: Gang | None = None
    """Set by the pool where several cards render the take."""
    score: ScoreOrder | None = None
    """How the clip is to be measured while it is decoded; None: it is measured later, from its
    file. The numbers are the same."""
    look: LookOrder | None = None
    """How it is to be looked at after an early stage; None: it is not."""
    stop_at: float | None = None
    """Seconds since the epoch at which it is to stop, at the next step; None: never."""
    stop_keeps: bool = True
    """Whether it is kept as it stands when it stops, or goes on from its last checkpoint."""
    store: Path | None = None
    """Absolute folder of what need not be computed again; None: nothing is kept."""
    store_bytes: int = 20 * 10**9
    """The store is kept below this size; what was used longest ago leaves first."""
    store_leaves: int = 4 * 10**9
    """Bytes of the disk that the store leaves free, whatever its size."""
    least_memory: int = 0
    """Bytes of the smallest card that it fits on, by the estimate; 0: not known."""
    pace: dict[str, float] = field(default_factory=dict)
    """Seconds of the longest step of takes like this, by kind of card (`tasks.estimate`); empty:
    there were none."""
    rungs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Rungs of the memory ladder to begin with, by card as `Receipt.device` names it: what takes
    of this model and size needed there before. Those that the recipe does not concede are left."""
    room: dict[str, int] = field(default_factory=dict)
    """Bytes that each component of the model needs beside its weights, where that was estimated
    (`Footprint.room`)."""

    @property
    def clip(self) -> Path:
        """Absolute path that the clip will have."""
        return self.folder / CLIP_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class LookReceipt:
    """A look at what an early stage left."""

    stage: int
    """0-based."""
    seed: int
    """Base seed of what was looked at: the recipe's own, or that of a candidate."""
    words: str
    """What was thought of it, for a person."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The numbers behind it."""
    failure: str | None = None
    """Class of the failure of a candidate that was certainly lost; None: it could go on."""
    chosen: bool = True
    """Whether the take went on with it; of several candidates one."""
    seconds: float = 0.0
    """Wall time of the stage; 0.0 where it came from a checkpoint or the store."""
    preview: Path | None = None
    """Small picture strip of it; None: not made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of work in the worker, for its timeline."""

    kind: str
    """`load`, `meet` (a gang connects its cards), `encode`, `stage 1`, `decode`, `write`."""
    begun: float
    """Seconds since the epoch."""
    ended: float
    on_card: bool
    """Whether the take held the card for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReceipt:
    """What one stage did."""

    index: int
    """0-based."""
    start_sigma: float
    """Noise level it started from: a share on a flow model, up to 25 on an eps model."""
    steps: int
    """Model steps it ran."""
    seed: int
    """Seed of its noise."""
    seconds: float
    """Wall time; 0.0 when it was resumed from its checkpoint."""
    resumed: bool
    """Its latents came from a checkpoint and nothing was computed."""
    latents: Path
    """float32 safetensors, shape (1, C, T, H, W)."""
    latents_sha256: str
    latents_std: float
    """Spread of the latents at its end: a sane model stays near 1."""
    preview: Path | None = None
    """Small picture strip of the latents at its end; None: not made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A rendered take."""

    take_id: str
    recipe_fingerprint: str
    clip: Path
    """Absolute; FFV1 in Matroska, >= 10 bit, `frames` frames of `width` x `height` at `fps`."""
    clip_sha256: str
    frames: int
    width: int
    height: int
    fps: float
    stages: tuple[StageReceipt, ...]
    seconds: float
    """Wall time of the whole take in the worker, model load excluded."""
    load_seconds: float
    """Wall time of loading the model; 0.0 when it was warm."""
    encode_seconds: float
    """Wall time of prompt and image conditioning."""
    decode_seconds: float
    """Wall time of the VAE decode and the write of the clip."""
    peak_memory: int
    """Bytes: of the card on CUDA, of the process (RSS) on a CPU."""
    device: str
    """In words: `cpu (2 threads)`, `cuda:0 NVIDIA H200`."""
    card: str = ""
    """UUID of the card, which tells equal cards of a machine apart; empty on a CPU."""
    host: str = ""
    """Name of the host that rendered it; empty on the machine of the night."""
    notes: tuple[str, ...] = ()
    """What a person should know: `the source changed after planning (hash ...)`."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of what decides pixels: torch, diffusers, rushes."""
    rungs: tuple[str, ...] = ()
    """Rungs of the memory ladder that were in force at its end, in order."""
    forced: tuple[str, ...] = ()
    """Those of them that it took because memory ran out under it; with the others it began, or
    room was short by itself."""
    speed: str = "exact"
    """The level that was really kept to: less than asked where a compile failed."""
    reused: tuple[str, ...] = ()
    """What came from the store: `prompt`, `still`, `stage 1`."""
    looks: tuple[LookReceipt, ...] = ()
    """Looks after an early stage: one, or one for each candidate; empty where none was asked."""
    timeline: tuple[Span, ...] = ()
    """What the worker did when; stretches of one take, in order of their start."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data with paths as text; `from_dict` is its inverse."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Receipt:
        """The receipt that `to_dict` wrote."""
        stages = tuple(
            StageReceipt(
                **{
                    **stage,
                    "latents": Path(stage["latents"]),
                    "preview": _path(stage.get("preview")),
                }
            )
            for stage in data["stages"]
        )
        return cls(
            **{
                **data,
                "clip": Path(data["clip"]),
                "stages": stages,
                "notes": tuple(data["notes"]),
                "rungs": tuple(data.get("rungs", ())),
                "forced": tuple(data.get("forced", ())),
                "reused": tuple(data.get("reused", ())),
                "looks": tuple(
                    LookReceipt(**{**look, "preview": _path(look.get("preview"))})
                    for look in data.get("looks", ())
                ),
                "timeline": tuple(Span(**span) for span in data.get("timeline", ())),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a take had used that was stopped after an early stage: it has no receipt."""

    seconds: float
    """Wall time in the worker."""
    device: str
    """As `Receipt.device`."""
    card: str = ""
    """As `Receipt.card`."""
    timeline: tuple[Span, ...] = ()
    """What the worker did when, in order."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spent:
        """What `to_dict` wrote. Raises TypeError or KeyError."""
        return cls(**{**data, "timeline": tuple(Span(**span) for span in data["timeline"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOrder:
    """One clip to measure."""

    clip: Path
    source: Path | None
    """The still to hold frame 0 against; None skips the source metrics."""
    frames: int | None = None
    """Expected number of frames; None: not checked."""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    device: str = "cpu"
    weights_dir: Path | None = None
    """Where LPIPS backbone weights lie; None: the seeded random backbone, named so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOrder:
    """How a take is to be looked at after an early stage."""

    source: Path | None
    """The still to hold its first picture against; None skips that."""
    expects_motion: bool = True
    """Whether a picture that stands still is a failure."""
    stops: bool = True
    """Whether a take that is certainly lost stops there; else it is only looked at, and ranked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishOrder:
    """One approved take to finish."""

    take_id: str
    shot: str
    clip: Path
    """The lossless clip."""
    finish: FinishSpec
    destination: Path
    """Absolute path of the review file; never overwritten."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A finished file and what was done to it."""

    path: Path
    sha256: str
    width: int
    height: int
    frames: int
    fps: float
    upscaler: str
    """`none`, `lanczos 2x`, or the model's file name and hash."""
    grade: str
    """In words: `none`, `CDL slope ...; LUT warm.cube (sha256 ...)`."""
    checks: tuple[str, ...]
    """Checks after the grade, in words, each one passed; a failed one raises."""
    strip: Path | None
    """JPEG contact strip of the finished clip, for the report."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data with paths as text; `from_dict` is its inverse."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Delivery:
        """The delivery that `to_dict` wrote."""
        return cls(
            **{
                **data,
                "path": Path(data["path"]),
                "strip": _path(data["strip"]),
                "checks": tuple(data["checks"]),
            }
        )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
