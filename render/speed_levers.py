"""Pulling the levers of a speed level on a loaded model, and letting them go again.

The weights stay where they are: a warm model changes from one level to another between takes.
Only 8-bit products replace weights for good; then `spoils` says that the model must be loaded
again.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention_dispatch import attention_backend
from diffusers.utils import logging as diffusers_logging

from manifests.stage import Recipe, Speed
from render.families.base import LoadedModel
from render.speed import STEP_CACHE_THRESHOLD, Lever, kept_level, levers
from render.speed_cache import cache_steps
from render.speed_compile import CompiledBlocks, CompileFailed, Compiler, FailureMemory, Place
from render.speed_fp8 import replace_linears, why_not

if TYPE_CHECKING:
    from render.take import Take

DENOISERS = ("transformer", "transformer_2", "unet")
"""Components that are asked in every step."""
IN_FORCE = "speed: "
"""Before a lever's name in `Take.in_force`."""
NATIVE = "native"
"""Attention as torch chooses it: what the exact level has."""


class Accelerator:
    """The levers of one loaded model."""

    def __init__(
        self, model: LoadedModel, *, failures: FailureMemory, compiler: Compiler | None = None
    ) -> None:
        """`compiler` is a backend of torch.compile; None: inductor on a card, none on a CPU."""
        self._device = model.device
        parts = model.components
        self._nets: dict[str, Any] = {name: parts[name] for name in DENOISERS if name in parts}
        self._failures = failures
        if compiler is None and self._device.type == "cuda":
            compiler = "inductor"
        self._blocks = None if compiler is None else CompiledBlocks(compiler)
        self._attention = NATIVE
        self._fp8 = False
        self._pulled: tuple[Lever, ...] = ()
        self._notes: list[str] = []

    # ------------------------------------------------------------------ what is in force

    @property
    def kept(self) -> Speed:
        """The level really kept to."""
        return kept_level(self._pulled)

    @property
    def notes(self) -> tuple[str, ...]:
        """Levers of the level that could not be pulled, and why."""
        return tuple(self._notes)

    @property
    def in_force(self) -> frozenset[str]:
        """What changes pixels, for the keys of what is kept."""
        told = {
            Lever.STEP_CACHE: f"step-cache {STEP_CACHE_THRESHOLD:g}",
            Lever.ATTENTION: f"attention {self._attention}",
        }
        return frozenset(f"{IN_FORCE}{told.get(lever, lever.value)}" for lever in self._pulled)

    def spoils(self, recipe: Recipe) -> bool:
        """Whether the weights were changed in a way `recipe` does not allow: load them again."""
        failed = self._failures.recall(self._place(recipe), None)
        allowed = Lever.FP8 in levers(recipe.speed) and not has_loras(recipe) and failed is None
        return self._fp8 and not allowed

    # ------------------------------------------------------------------ pulling

    @contextmanager
    def running(self) -> Iterator[None]:
        """Round a take's computing: float32 products as its level has them, then as before.

        That switch is the whole process's, so scoring beside the take may see it.
        """
        before = torch.get_float32_matmul_precision()
        if Lever.TF32 in self._pulled:
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def remember(self, failure: CompileFailed, take: Take) -> None:
        """Keep in mind, in the store too, that this model cannot be compiled here: the next
        `settle` goes without, and says why."""
        store = take.order.store
        try:
            self._failures.remember(self._place(take.recipe), str(failure), store)
        except OSError as error:
            take.notes.append(
                f"that compiling failed could not be written down in {store} ({error.strerror}): "
                "the next worker will try again"
            )

    def settle(self, take: Take) -> None:
        """Have the level of a take in force, and tell the take what it comes to."""
        self.pull(take.recipe, store=take.order.store)
        take.speed = self.kept
        take.notes += [note for note in self._notes if note not in take.notes]
        take.in_force = {name for name in take.in_force if not name.startswith(IN_FORCE)}
        take.in_force |= self.in_force

    def pull(
        self, recipe: Recipe, *, store: Path | None = None, only: Collection[Lever] | None = None
    ) -> None:
        """Pull what the level allows, let go of the rest, and note what cannot be pulled.

        Call it before the LoRAs are loaded, which lie otherwise in compiled blocks. `only`
        stands in for the level's levers, to measure them one by one.
        """
        assert only is not None or not self.spoils(recipe), "the caller loads the model again"
        wanted = tuple(levers(recipe.speed) if only is None else only)
        self._notes = []
        compiled = self._compile(Lever.COMPILE in wanted, recipe, store)
        refused = {
            Lever.COMPILE: compiled,
            Lever.ATTENTION: self._choose_attention(Lever.ATTENTION in wanted),
            Lever.TF32: self._tf32(),
            Lever.STEP_CACHE: self._cache_steps(Lever.STEP_CACHE in wanted),
            Lever.FP8: self._use_fp8(Lever.FP8 in wanted, recipe, compiled=compiled is None),
        }
        self._pulled = tuple(lever for lever in wanted if refused[lever] is None)
        self._notes += [
            f"speed {recipe.speed}: without {lever} ({refused[lever]})"
            for lever in wanted
            if refused[lever] is not None
        ]

    def _compile(self, wanted: bool, recipe: Recipe, store: Path | None) -> str | None:
        blocks = self._blocks
        if blocks is None:
            return "on a CPU it costs more than it gains"
        blocks.on = False
        if not wanted:
            return None
        failed = self._failures.recall(self._place(recipe), store)
        if failed is not None:
            return f"compiling failed: {failed}"
        if not sum(blocks.switch(net) for net in self._nets.values()):
            return f"{self._kinds()} names no repeated blocks, or they are swapped in and out"
        blocks.on = True
        return None

    def _choose_attention(self, wanted: bool) -> str | None:
        best = fastest_attention(self._device, self._dtype()) if wanted else NATIVE
        if best != self._attention:
            level = diffusers_logging.get_verbosity()
            diffusers_logging.set_verbosity_error()  # it warns that the call may change
            try:
                # NOTE: the call also sets the process's default, which exact models would follow.
                with attention_backend(NATIVE):
                    for net in self._nets.values():
                        if hasattr(net, "set_attention_backend"):
                            net.set_attention_backend(best)
            finally:
                diffusers_logging.set_verbosity(level)
            self._attention = best
        if wanted and self._device.type != "cuda":
            return "a CPU has no other"
        return None

    def _tf32(self) -> str | None:
        if self._device.type != "cuda":
            return "the CPU has no such units"
        if torch.cuda.get_device_capability(self._device) < (8, 0):
            return f"{torch.cuda.get_device_name(self._device)} has no such units"
        return None

    def _cache_steps(self, wanted: bool) -> str | None:
        why = None
        for net in self._nets.values():
            cached = bool(getattr(net, "is_cache_enabled", False))
            if cached and not wanted:
                net.disable_cache()
            if wanted and not cached:
                why = why or cache_steps(net)
        return why

    def _use_fp8(self, wanted: bool, recipe: Recipe, *, compiled: bool) -> str | None:
        if not wanted or self._fp8:
            return None
        if not compiled:
            # Scaling and rounding each input costs more than the product saves, unless the
            # compiler lays them into the operations before it: see the benchmark.
            return "the blocks are not compiled: it would be slower than bfloat16"
        if has_loras(recipe):
            return "the recipe has LoRAs, which are added in full precision"
        why = why_not(self._device, self._dtype())
        if why is None:
            count = sum(replace_linears(net, device=self._device) for net in self._nets.values())
            self._fp8 = count > 0
            why = None if count else f"{self._kinds()} has no layers that fit"
        return why

    # ------------------------------------------------------------------ words

    def _dtype(self) -> torch.dtype:
        """Of the transformer's large products."""
        net = next(iter(self._nets.values()), None)
        return torch.float32 if net is None else net.dtype

    def _kinds(self) -> str:
        return " and ".join(sorted({type(net).__name__ for net in self._nets.values()})) or "it"

    def _place(self, recipe: Recipe) -> Place:
        device = self._device
        kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return Place(model_id=recipe.model_id, torch=torch.__version__, device=kind)


def fastest_attention(device: torch.device, dtype: torch.dtype) -> str:
    """diffusers' name of the fastest attention of the same formula that is installed.

    torch's own choice is already cuDNN's kernel on an H200; asking diffusers for it by name gives
    the same bits and costs copies (benchmarks/speed.py, `attention`). FlashAttention 3 is taken
    where it is installed, which no machine was on which this was measured.
    """
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9
    half = dtype in (torch.bfloat16, torch.float16)
    installed = importlib.util.find_spec("flash_attn_interface") is not None
    return "_flash_3" if hopper and half and installed else NATIVE


def has_loras(recipe: Recipe) -> bool:
    """Whether any stage uses one."""
    return any(stage.loras for stage in recipe.stages)
