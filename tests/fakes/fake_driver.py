"""The NVIDIA driver's library over cards that a test fills, for machines that have none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace

GIB = 2**30


class FakeDriver:
    """What Rushes asks of `pynvml`. A test changes `cards` and `drawn` as the night goes on."""

    NVMLError = RuntimeError
    nvmlMemory_v2 = 2  # noqa: N815 - as the driver's library has it
    NVML_TEMPERATURE_GPU = 0

    def __init__(
        self,
        cards: Mapping[str, Sequence[int]],
        *,
        each: int = 4 * GIB,
        drawn: int = 0,
        total: int = 24 * GIB,
        busy: int = 0,
        lost: Collection[str] = (),
    ) -> None:
        """`cards` holds the processes that compute on each card, by UUID, `each` of which has so
        many bytes of it (`bytes_used` says otherwise). `drawn` are those of whoever only draws,
        `total` a card's, `busy` per cent. Cards in `lost` have fallen off the bus.
        """
        self.cards = {uuid: list(pids) for uuid, pids in cards.items()}
        self.drawn = drawn
        self.bytes_used: dict[int, int | None] = {}
        """By process; None: the driver does not tell."""
        self.looks = 0
        """How often it was asked who computes on a card."""
        self._each, self._total, self._busy, self._lost = each, total, busy, frozenset(lost)

    def clear(self) -> None:
        """Nobody computes on any card any more."""
        for pids in self.cards.values():
            pids.clear()

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return self.nvmlDeviceGetHandleByUUID(list(self.cards)[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.cards or uuid in self._lost:
            raise self.NVMLError("GPU is lost")
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return b"Card"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        self.looks += 1
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=self.bytes_used.get(pid, self._each))
            for pid in self.cards[handle]
        ]

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int = 1) -> SimpleNamespace:
        held = (self.bytes_used.get(pid, self._each) or self._each for pid in self.cards[handle])
        return SimpleNamespace(total=self._total, used=self.drawn + sum(held))

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._busy)

    def nvmlDeviceGetTemperature(self, handle: str, kind: int) -> int:
        raise self.NVMLError("not supported")
