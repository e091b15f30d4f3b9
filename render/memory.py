"""Memory of the card and of the process: what is resident, how it is freed, how it peaked.

The rule is the simplest safe one: a module comes to the card when it is used; when it would not
fit beside what is there, the modules used longest ago leave first; a module that does not fit an
empty card is run block by block from host memory. The ladder (`render.ladder`) tightens it. On a
CPU all of it does nothing.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import resource
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from render.errors import DiskFull, OutOfMemory, WorkerLost
from render.ladder import Rung

HEADROOM_SHARE = 0.15
"""Share of the card kept free of weights, for activations, where no estimate says better."""
HEADROOM_LEAST = 2 * 1024**3
"""And at least this many bytes."""
RESERVE = 512 * 1024**2
"""Bytes that stay free when a module comes beside others: what samples next wants room too."""
PINNED_SHARE = 0.4
"""Of the host's memory, at most this share is locked for one swapped module."""
PINNED_LEAST = 32 * 1024**2
"""Weights from this many bytes on are locked in place: they have pages of their own."""


class Residence:
    """Which modules are on one card, used longest ago first."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resident: list[nn.Module] = []
        self._streamed: list[nn.Module] = []
        self._pinned: dict[int, list[torch.Tensor]] = {}
        """By module: weights that are locked in host memory."""
        self._last: nn.Module | None = None
        self._rungs: frozenset[Rung] = frozenset()
        self._room: Mapping[nn.Module, int] = {}
        self._shares: dict[nn.Module, float] = {}
        """Of its usual work, what a module is to do now; all of it where nothing is said."""
        self.used: set[Rung] = set()
        """Rungs that came into force since `begin`, asked for or because room was short."""

    def begin(
        self, rungs: Collection[Rung] = (), *, room: Mapping[nn.Module, int] | None = None
    ) -> None:
        """A take begins, or goes on, with these rungs in force.

        `room`: bytes that each module needs beside its weights while it runs, where that was
        estimated; for the others a share of the card is kept free.
        """
        self._rungs, self._room, self.used = frozenset(rungs), room or {}, set()
        if self._device.type != "cuda":
            return
        for module in list(self._streamed):
            if not self._to_swap(module) and self._fits_empty(module):
                self._unstream(module)

    def bring(self, module: nn.Module) -> None:
        """Have `module` ready to run on the device."""
        if self._device.type != "cuda":
            return
        if Rung.CACHE in self._rungs and module is not self._last:
            self.used.add(Rung.CACHE)
            release(self._device)
        self._last = module
        if module not in self._streamed:
            self._bring(module)
        if module in self._streamed:
            self.used.add(Rung.SWAP)

    def holds(self, module: nn.Module) -> bool:
        """Whether `module` is on the card now, or need not be brought to one."""
        return self._device.type != "cuda" or module in self._resident

    def has_room(self, module: nn.Module, *, share: float) -> bool:
        """Whether `module` could come beside what is there, for `share` (0..1) of its usual work.

        Never where only one module may be on the card.
        """
        if self._device.type != "cuda":
            return True
        if Rung.ALONE in self._rungs or module in self._streamed:
            return False
        return self._fits_beside(module, share)

    @contextmanager
    def beside(self, module: nn.Module, *, share: float) -> Iterator[None]:
        """While `module` does `share` (0..1) of its usual work: where `has_room` said so nothing
        leaves the card for it, and it leaves again unless it was there before."""
        there = self.holds(module)
        self._shares[module] = share
        try:
            yield
        finally:
            del self._shares[module]
            if not there:
                self.send_away(module)

    def send_away(self, module: nn.Module) -> None:
        """Move `module` to host memory and give its memory back to the card."""
        if module in self._resident:
            self._resident.remove(module)
            _move(module, torch.device("cpu"))
            release(self._device)

    def _bring(self, module: nn.Module) -> None:
        if module in self._resident:
            self._resident.remove(module)
            if not self._to_swap(module):
                if Rung.ALONE in self._rungs:
                    self._clear()
                self._resident.append(module)
                return
            _move(module, torch.device("cpu"))
        if Rung.ALONE in self._rungs:
            self._clear()
        while self._resident and not self._fits(module):
            self._evict()
        if self._to_swap(module) or not self._fits(module):
            self._stream(module)
            self._streamed.append(module)
            return
        _move(module, self._device)
        self._resident.append(module)

    def _clear(self) -> None:
        while self._resident:
            self._evict()

    def _evict(self) -> None:
        self.used.add(Rung.ALONE)
        self.send_away(self._resident[0])

    def _fits(self, module: nn.Module) -> bool:
        if module in self._shares:
            return self._fits_beside(module, self._shares[module])
        return module_bytes(module) + self._headroom(module) <= free_bytes(self._device)

    def _fits_beside(self, module: nn.Module, share: float) -> bool:
        needed = module_bytes(module) + int(self._headroom(module) * share)
        return needed + RESERVE <= free_bytes(self._device)

    def _fits_empty(self, module: nn.Module) -> bool:
        return module_bytes(module) + self._headroom(module) <= card_bytes(self._device)

    def _to_swap(self, module: nn.Module) -> bool:
        # A VAE is small beside what it computes: swapping it would gain nothing.
        return Rung.SWAP in self._rungs and not hasattr(module, "enable_tiling")

    def _headroom(self, module: nn.Module) -> int:
        if module in self._room:
            return self._room[module]
        return max(HEADROOM_LEAST, int(card_bytes(self._device) * HEADROOM_SHARE))

    def _stream(self, module: nn.Module) -> None:
        from diffusers.hooks.group_offloading import apply_group_offloading

        blocks = any(isinstance(child, nn.ModuleList) for child in module.children())
        # While one block computes, the next one is copied from pinned memory. Encoders are cut
        # layer by layer and run once or twice a take: not worth the pinning.
        ahead = blocks and self._device.type == "cuda"
        with torch.inference_mode(False):
            apply_group_offloading(
                module,
                onload_device=self._device,
                offload_device=torch.device("cpu"),
                offload_type="block_level" if blocks else "leaf_level",
                num_blocks_per_group=1 if blocks else None,
                use_stream=ahead,
                record_stream=ahead,
                # Without room to pin, each block is pinned anew when it is its turn: slower.
                low_cpu_mem_usage=ahead and not self._pin(module),
            )

    def _unstream(self, module: nn.Module) -> None:
        from diffusers.hooks import group_offloading
        from diffusers.hooks.hooks import HookRegistry

        torch.cuda.synchronize(self._device)
        registry = HookRegistry.check_if_exists_or_initialize(module)
        for hook in (
            group_offloading._GROUP_OFFLOADING,
            group_offloading._LAYER_EXECUTION_TRACKER,
            group_offloading._LAZY_PREFETCH_GROUP_OFFLOADING,
        ):
            registry.remove_hook(hook, recurse=True)
        _move(module, torch.device("cpu"))
        self._streamed.remove(module)
        _unpin(self._pinned.pop(id(module), ()))

    def _pin(self, module: nn.Module) -> bool:
        """Lock the weights of `module` where they lie, for copies beside the work; False where
        host memory is too short to lock so much of it.

        NOTE: torch's own pinned memory is a copy, and each block of it is rounded up to a power
        of two: half as much again for a large transformer.
        """
        if module_bytes(module) > PINNED_SHARE * psutil.virtual_memory().total:
            return False
        pinned = self._pinned.setdefault(id(module), [])
        for parameter in module.parameters():
            size = parameter.numel() * parameter.element_size()
            if size >= PINNED_LEAST and parameter.device.type == "cpu":
                # A copy of its own: weights of one file share its pages.
                parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
                if int(torch.cuda.cudart().cudaHostRegister(parameter.data_ptr(), size, 0)) == 0:
                    pinned.append(parameter.data)
        return True

    def let_go(self) -> None:
        """The model goes: what was locked in host memory for it is unlocked."""
        for pinned in self._pinned.values():
            _unpin(pinned)
        self._pinned.clear()


def _unpin(pinned: Iterable[torch.Tensor]) -> None:
    for tensor in pinned:
        torch.cuda.cudart().cudaHostUnregister(tensor.data_ptr())


def _move(module: nn.Module, device: torch.device) -> None:
    # NOTE: parameters moved inside inference mode could not be given LoRA layers afterwards.
    with torch.inference_mode(False):
        module.to(device)


def module_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def card_bytes(device: torch.device) -> int:
    """Bytes of the card that this process may use: all, or the share it was given."""
    total = torch.cuda.get_device_properties(device).total_memory
    return int(total * torch.cuda.get_per_process_memory_fraction(device))


def free_bytes(device: torch.device) -> int:
    """Bytes of the card that can still be had, torch's own reserve included."""
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_allocated(device)
    reserve = torch.cuda.memory_reserved(device) - held
    return min(free + reserve, card_bytes(device) - held)


def shortages(device: torch.device) -> int:
    """How often this process was refused memory of the card so far.

    Not all of them are errors: a kernel that is refused its workspace is passed over for a slower
    one that needs less, which rounds otherwise (seen in the VAE's convolutions).
    """
    if device.type != "cuda":
        return 0
    return int(torch.cuda.memory_stats(device).get("num_ooms", 0))


def release(device: torch.device) -> None:
    """Find what nothing uses any more, also in cycles, and give its memory back."""
    gc.collect()
    trim(device)


def trim(device: torch.device) -> None:
    """Give unused memory back to the card and the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # Long nights grow: glibc keeps freed pages unless it is told.
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def start_peak(device: torch.device) -> None:
    """Begin to watch the peak anew."""
    if device.type == "cuda":
        torch.empty(1, device=device)  # the count exists once the card has been used
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Peak since `start_peak`: of the card on CUDA, else of the process (RSS).

    Where the system cannot start the count anew (no Linux), the peak is the process's own.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        high_water = next(line for line in lines if line.startswith("VmHWM:"))
        return int(high_water.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def machine_failures_named(place: str, device: torch.device) -> Iterator[None]:
    """Turn what torch and the system raise when a machine gives out into named errors.

    Raises:
        OutOfMemory: of the card or of the host; the cache has been freed.
        DiskFull: no space is left.
        WorkerLost: the card's context is broken: only a new process can use it again.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        named = _named(error, place, device)
        if named is None:
            raise
        # The frames hold the tensors that filled the memory: let them go before it is freed.
        traceback.clear_frames(error.__traceback__)
        if isinstance(named, OutOfMemory):
            error.__traceback__ = None
            release(device)
        raise named from error


def _named(error: Exception, place: str, device: torch.device) -> Exception | None:
    text = str(error)
    if is_out_of_memory(error):
        return OutOfMemory(
            f"{place}: out of memory on {device}: {text.splitlines()[0] if text else 'no room'}; "
            "render fewer frames or a smaller size, or close other programs"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{place}: no space left: {text}; free some or choose another folder")
    lost: Any = getattr(torch, "AcceleratorError", ())
    if isinstance(error, lost) or "CUDA error" in text:
        return WorkerLost(f"{place}: the card failed ({text.splitlines()[0]}); start a new worker")
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or the system ran out of memory, on the card or the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text  # the CPU allocator raises a bare RuntimeError
        or "not enough memory" in text
        or "CUDA out of memory" in text
        or "CUBLAS_STATUS_ALLOC_FAILED" in text
    )
