"""Models of real size with random weights, and what benchmarks ask of them.

Time, memory and the number of graphs do not depend on the values of weights; what a lever does
to pictures does, and is measured on a trained model instead.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

import torch
from diffusers.hooks.first_block_cache import FBCHeadBlockHook
from torch import Tensor

from manifests.stage import Recipe, Speed, Stage, StageKind
from render.families.base import Conditioning, LoadedModel, LoadRequest
from render.families.wan import WanModel
from render.order import ModelRef
from render.sampling import Latents, run_chain_stage
from render.speed import Lever
from render.speed_cache import forget_steps
from render.speed_compile import FailureMemory
from render.speed_levers import Accelerator

KEPT_IN_FLOAT32 = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
"""As `from_pretrained` keeps them (`_keep_in_fp32_modules`)."""

FAST = (Lever.COMPILE, Lever.ATTENTION, Lever.TF32)
VARIANTS: dict[str, tuple[Lever, ...]] = {
    "exact": (),
    "TF32": (Lever.TF32,),
    "fast": FAST,
    "fast + fp8": (*FAST, Lever.FP8),
    "fast + step cache": (*FAST, Lever.STEP_CACHE),
    "turbo": (*FAST, Lever.STEP_CACHE, Lever.FP8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a clip."""

    frames: int
    width: int
    height: int

    @property
    def name(self) -> str:
        """As in the results."""
        return f"{self.frames} frames {self.width}x{self.height}"


SMALL, LARGE = Shape(frames=17, width=512, height=512), Shape(frames=81, width=832, height=480)
OTHER = Shape(frames=49, width=480, height=832)

SIZES = {
    "tiny": {"num_attention_heads": 2, "attention_head_dim": 128, "num_layers": 3, "ffn_dim": 512},
    "1.3B": {
        "num_attention_heads": 12,
        "attention_head_dim": 128,
        "num_layers": 30,
        "ffn_dim": 8960,
    },
    "14B": {
        "num_attention_heads": 40,
        "attention_head_dim": 128,
        "num_layers": 40,
        "ffn_dim": 13824,
    },
}


def random_wan(size: str, *, dtype: torch.dtype, device: str) -> LoadedModel:
    """Wan 2.1 text-to-video of `size` with random weights and the real VAE's layout."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            net = WanTransformer3DModel(**SIZES[size])
            vae = AutoencoderKLWan(**({"base_dim": 8} if size == "tiny" else {}))
    finally:
        torch.set_default_dtype(before)
    for name, parameter in net.named_parameters():
        if any(part in KEPT_IN_FLOAT32 for part in name.split(".")):
            parameter.data = parameter.data.float()
    # NOTE: rope's tables are made in the default type; the real model has them in float32.
    for name, buffer in net.rope.named_buffers():
        setattr(net.rope, name, buffer.float())
    pipe = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae.requires_grad_(False).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        transformer=net.requires_grad_(False).eval(),
    )
    request = LoadRequest(
        model=ModelRef(name=f"wan-{size}", family="wan", location="random"),
        precision=str(dtype).removeprefix("torch."),
        vae_precision=str(dtype).removeprefix("torch."),
        device=device,
        image_to_video=False,
        boundary=None,
    )
    return WanModel(pipe, request, boundary=None)


class Bench:
    """A model with its accelerator, and what is asked of it."""

    def __init__(self, size: str, *, dtype: torch.dtype = torch.bfloat16, device: str) -> None:
        self.size, self.dtype = size, dtype
        self.model = random_wan(size, dtype=dtype, device=device)
        compiler = None if device.startswith("cuda") else "aot_eager"
        self.accelerator = Accelerator(self.model, failures=FailureMemory(), compiler=compiler)
        generator = torch.Generator().manual_seed(1)
        texts = [torch.randn(1, 512, 4096, generator=generator) for _ in range(2)]
        prompt, negative = (text.to(self.model.device, dtype) for text in texts)
        self.conditioning = Conditioning(prompt=prompt, negative=negative)

    def recipe(self, shape: Shape, *steps: int) -> Recipe:
        """A stage for each number of steps, re-noise, CFG 4, shift 5, the second at 0.5."""
        stages = tuple(
            Stage(
                kind=StageKind.RENOISE,
                steps=n,
                cfg=4.0,
                shift=5.0,
                denoise=1.0 if k == 0 else 0.5,
                seed_offset=k,
            )
            for k, n in enumerate(steps)
        )
        return Recipe(
            preset="bench",
            family="wan",
            model=self.size,
            model_id=self.size,
            prompt="p",
            negative="n",
            width=shape.width,
            height=shape.height,
            frames=shape.frames,
            fps=16.0,
            seed=7,
            stages=stages,
            precision=str(self.dtype).removeprefix("torch."),
            speed=Speed.TURBO,
        )

    def pull(self, levers: tuple[Lever, ...], shape: Shape = SMALL) -> tuple[str, ...]:
        """Have exactly these levers in force; what could not be pulled."""
        self.accelerator.pull(self.recipe(shape, 1), only=levers)
        return self.accelerator.notes

    def sample(self, recipe: Recipe) -> tuple[Tensor, list[float]]:
        """Latents at the end of all stages, and the seconds of each step."""
        marks: list[float] = []

        def step_done(done: int, steps: int) -> None:
            synchronize()
            marks.append(time.perf_counter())

        latents: Latents | None = None
        seconds: list[float] = []
        with self.accelerator.running(), torch.inference_mode():
            for k in range(len(recipe.stages)):
                forget_steps(self.model)
                synchronize()
                marks.append(time.perf_counter())
                latents = run_chain_stage(
                    recipe,
                    k,
                    latents,
                    model=self.model,
                    conditioning=self.conditioning,
                    step_done=step_done,
                )
                seconds += [b - a for a, b in pairwise(marks)]
                marks.clear()
        assert latents is not None, "a recipe has a stage"
        return latents.x, seconds


def synchronize() -> None:
    """Wait for the card."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def peak() -> Iterator[Callable[[], float]]:
    """GiB of the card at most, within the block."""
    if not torch.cuda.is_available():
        yield lambda: 0.0
        return
    torch.cuda.reset_peak_memory_stats()
    yield lambda: torch.cuda.max_memory_allocated() / 2**30


@contextmanager
def decisions() -> Iterator[list[bool]]:
    """For each forward pass under a step cache: whether all blocks were computed."""
    told: list[bool] = []
    plain = FBCHeadBlockHook._should_compute_remaining_blocks

    def listen(self: Any, residual: Tensor) -> bool:
        told.append(bool(plain(self, residual)))
        return told[-1]

    FBCHeadBlockHook._should_compute_remaining_blocks = listen
    try:
        yield told
    finally:
        FBCHeadBlockHook._should_compute_remaining_blocks = plain


@contextmanager
def skipping() -> Iterator[None]:
    """A step cache that takes everything from the step before, to see what that costs."""
    plain = FBCHeadBlockHook._should_compute_remaining_blocks

    def never(self: Any, residual: Tensor) -> bool:
        plain(self, residual)
        return self.state_manager.get_state().head_block_residual is None

    FBCHeadBlockHook._should_compute_remaining_blocks = never
    try:
        yield
    finally:
        FBCHeadBlockHook._should_compute_remaining_blocks = plain


def graphs() -> int:
    """Graphs that were compiled in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def rms_ratio(x: Tensor, reference: Tensor) -> float:
    """RMS of the difference over the RMS of the reference."""
    return float((x - reference).pow(2).mean().sqrt() / reference.pow(2).mean().sqrt())


def psnr(x: Tensor, reference: Tensor) -> float:
    """Decibels between pictures in 0..1."""
    error = float((x - reference).pow(2).mean())
    return 999.0 if error == 0 else -10 * float(torch.log10(torch.tensor(error)))


def frames_of(model: LoadedModel, latents: Tensor) -> Tensor:
    """Decoded frames (T, H, W, 3), 0..1."""
    with torch.inference_mode():
        chunks = [torch.from_numpy(chunk) for chunk in model.decode(latents.float())]
    return torch.cat(chunks)


def machine() -> dict[str, Any]:
    """Where and with what this was run."""
    names = ("torch", "triton", "diffusers", "transformers", "peft")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "card": card,
        "python": platform.python_version(),
        "cudnn": torch.backends.cudnn.version(),
        **versions,
    }


def tell(text: str) -> None:
    """Say it at once."""
    print(text, file=sys.stderr, flush=True)
