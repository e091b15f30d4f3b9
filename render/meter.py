"""What a module needs in memory, measured on tensors that have shapes and no values.

Modules are built from their settings on torch's `meta` device: no weights, no card, no values,
and no time. Whatever an operation returns is counted until nothing refers to it any more.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from render.errors import ModelUnavailable
from render.footprint import Part
from render.ladder import Phase, phase_of

GRAIN = 512
"""torch's allocator rounds every block up to this many bytes."""
AHEAD = 2
"""Swapped blocks on the card at once: the one that computes and the one that is copied."""


class Meter(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes that live."""
        self.peak = 0
        """Bytes that lived at once, at most."""
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count what it made."""
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        size = -(-storage.nbytes() // GRAIN) * GRAIN
        self._seen[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


class FusedAttention(TorchFunctionMode):
    """Attention as a card's fused kernels do it: no matrix of all pairs is ever made."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """An output of the right shape for attention; anything else as it is."""
        given = kwargs or {}
        if function is not nn.functional.scaled_dot_product_attention:
            return function(*args, **given)
        query = args[0] if args else given["query"]
        value = args[2] if len(args) > 2 else given["value"]
        return query.new_empty(*query.shape[:-1], value.shape[-1])


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that `work` has alive at once, at most; it runs on `meta` tensors."""
    meter = Meter()
    with torch.device("meta"), torch.inference_mode(), meter, FusedAttention():
        work()
    return meter.peak


def build(make: Callable[[], nn.Module], dtype: torch.dtype) -> Any:
    """A module without weights, stored as its loader would store it in `dtype`."""
    with torch.device("meta"):
        module: Any = make()
    kept = _kept_wide(module, dtype)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and not kept & set(name.split(".")):
            tensor.data = tensor.data.to(dtype)
    return module.requires_grad_(False).eval()


def _kept_wide(module: Any, dtype: torch.dtype) -> set[str]:
    """Names of submodules that the loaders keep in float32."""
    kept = set(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
    # NOTE: transformers means this list for float16 alone, diffusers for bfloat16 too.
    if dtype is torch.float16 or not isinstance(module, PreTrainedModel):
        kept |= set(getattr(module, "_keep_in_fp32_modules", None) or ())
    return kept


def read_json(path: Path, *, model: str) -> dict[str, Any]:
    """Settings of a model or of one of its components. Raises ModelUnavailable."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(
            f"model {model}: cannot read {path} ({error}); download or copy the model again"
        ) from error


def weight_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers, each once."""
    return sum(_sizes(module).values())


def swapped_bytes(module: nn.Module) -> int:
    """Bytes on the card at once while the blocks of `module` come from host memory: all that
    lies in no block, and the largest block as often as blocks are there at once. A module
    without blocks comes layer by layer."""
    lists = [child for child in module.children() if isinstance(child, nn.ModuleList)]
    if not lists:
        return max(_sizes(module).values(), default=0)
    blocks = [weight_bytes(block) for blocks in lists for block in blocks]
    return weight_bytes(module) - sum(blocks) + AHEAD * max(blocks, default=0)


def part_of(name: str, module: Any) -> Part:
    """What the weights of a component take, by its name in the pipeline.

    NOTE: what samples is stored in 8 bits to see how many bytes it is then; measure its work
    before.
    """
    whole, swapped = weight_bytes(module), swapped_bytes(module)
    phase = phase_of(name)
    if phase is not Phase.SAMPLE:
        held = whole if phase is Phase.DECODE else swapped
        encoder = phase is Phase.ENCODE
        return Part(whole=whole, swapped=held, narrow=whole, narrow_swapped=held, encoder=encoder)
    # The layer that computes is widened beside its 8 bits.
    widest = max(p.numel() * p.element_size() for p in module.parameters())
    module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=module.dtype)
    narrow, narrow_swapped = weight_bytes(module) + widest, swapped_bytes(module) + widest
    return Part(
        whole=whole, swapped=swapped, narrow=narrow, narrow_swapped=narrow_swapped, encoder=False
    )


def _sizes(module: nn.Module) -> Mapping[int, int]:
    tensors = [*module.parameters(), *module.buffers()]
    return {id(t): -(-t.numel() * t.element_size() // GRAIN) * GRAIN for t in tensors}
