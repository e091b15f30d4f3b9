"""Compiled blocks that can be switched off again, and a memory of where compiling failed.

Only the blocks that a model repeats are compiled (`_repeated_blocks` of the diffusers class): all
blocks share one graph, so do the two experts, and `dynamic=True` makes it serve every size and
length. The switch lies inside whatever hooks a block has or gets later (step caches, block swap).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from manifests.files import write_atomic
from render.memory import is_out_of_memory

Compiler = str | Callable[..., Any]
"""A backend of torch.compile, by name or itself."""

FAILED = "compile-failed"
"""Folder in the store of what could not be compiled; a file for each model, torch and card."""


class CompileFailed(Exception):
    """A block raised when compiled and not when plain: the take must start again without."""


class CompiledBlocks:
    """The repeated blocks of a model's transformers, run compiled or as they are."""

    def __init__(self, compiler: Compiler) -> None:
        self.on = False
        self._compiler = compiler

    def switch(self, net: nn.Module) -> int:
        """Put the switch into every repeated block of `net`; how many can run compiled.

        Blocks that are swapped in and out, or whose weights are stored otherwise than they are
        used, have hooks inside the switch: they stay as they are.
        """
        names = getattr(net, "_repeated_blocks", None) or ()
        blocks = [block for block in net.modules() if type(block).__name__ in names]
        for block in blocks:
            if _switch_of(block) is None and not _hooked(block, inside=False):
                plain = block.forward
                compiled = torch.compile(
                    plain, backend=self._compiler, dynamic=True, fullgraph=True
                )
                block.forward = _Switch(self, plain=plain, compiled=compiled)
        return sum(
            _switch_of(block) is not None and not _hooked(block, inside=True) for block in blocks
        )


class _Switch:
    """A block's forward: compiled while that is on, plain while it is off."""

    def __init__(
        self, blocks: CompiledBlocks, *, plain: Callable[..., Any], compiled: Callable[..., Any]
    ) -> None:
        self.blocks = blocks
        self._plain = plain
        self._compiled = compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.blocks.on:
            return self._plain(*args, **kwargs)
        try:
            return self._run(*args, **kwargs)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # A block does not write to its inputs, so the plain one can be asked. If it raises
            # too, the fault is not the compiler's and the error is its own.
            self._plain(*args, **kwargs)
            raise CompileFailed(_in_words(error)) from error

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._compiled(*args, **kwargs)
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            # A long night of many models and LoRA sets: forget all graphs and begin again.
            torch._dynamo.reset()
            return self._compiled(*args, **kwargs)


def _switch_of(block: nn.Module) -> _Switch | None:
    """The switch of a block, also where hooks were put around it later."""
    forward = vars(block).get("forward")
    registry = getattr(block, "_diffusers_hook", None)
    if registry is not None and registry.hooks:
        first = registry._fn_refs[0]
        forward = first.original_forward or first.forward
    return forward if isinstance(forward, _Switch) else None


def is_compiled(net: nn.Module) -> bool:
    """Whether blocks of `net` run compiled now."""
    switches = (_switch_of(block) for block in net.modules())
    return any(switch is not None and switch.blocks.on for switch in switches)


def _hooked(block: nn.Module, *, inside: bool) -> bool:
    parts = [part for part in block.modules() if part is not block or not inside]
    registries = [getattr(part, "_diffusers_hook", None) for part in parts]
    return any(registry is not None and registry.hooks for registry in registries)


def _in_words(error: Exception) -> str:
    # dynamo wraps what its backend raised
    inner = getattr(error, "inner_exception", None) or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return f"{type(inner).__name__}: {lines[0][:200] if lines else 'no message'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a compile failure belongs to."""

    model_id: str
    torch: str
    """Version."""
    device: str
    """Kind of device: the card's name, or `cpu`."""

    @property
    def file(self) -> str:
        """Name of its file."""
        told = json.dumps([self.model_id, self.torch, self.device])
        return f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.json"


class FailureMemory:
    """Where compiling failed: in this process, and in the store where there is one."""

    def __init__(self) -> None:
        self._known: dict[Place, str] = {}

    def recall(self, place: Place, store: Path | None) -> str | None:
        """Why compiling failed at `place`, and what to do to have it tried again, or None."""
        if place in self._known:
            return self._known[place]
        if store is None:
            return None
        path = store / FAILED / place.file
        try:
            why = str(json.loads(path.read_text(encoding="utf-8"))["why"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there or damaged: tried again, and written anew if it fails
        return _with_remedy(why, path)

    def remember(self, place: Place, why: str, store: Path | None) -> None:
        """Keep in mind that compiling failed. Raises OSError when the store cannot take it."""
        path = None if store is None else store / FAILED / place.file
        self._known[place] = _with_remedy(why, path)
        if path is not None:
            told = {
                "why": why,
                "model": place.model_id,
                "torch": place.torch,
                "device": place.device,
            }
            write_atomic(path, json.dumps(told, indent=2) + "\n")


def _with_remedy(why: str, path: Path | None) -> str:
    again = "start a new worker to have it tried again"
    return f"{why}; {again}" if path is None else f"{why}; delete {path} and {again}"
