"""How busy the cards of this machine are, as the driver says."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tasks.nvml import driver, text


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLoad:
    """One card, now."""

    name: str
    """`NVIDIA H200 #0`."""
    uuid: str
    busy: float
    """Share of the last second in which a kernel ran, 0..1."""
    memory_used: int
    """Bytes, by anybody."""
    memory_total: int
    """Bytes."""
    temperature: float
    """Degrees Celsius; NaN where the card does not tell."""


def card_loads(library: Any = None) -> tuple[CardLoad, ...]:
    """Every card of this machine; none where there is no NVIDIA driver.

    `library` speaks to the driver, `pynvml` unless another is given. A card that falls off the
    bus while it is read is left out.
    """
    found = []
    with driver(library) as nvml:
        for index in range(0 if nvml is None else nvml.nvmlDeviceGetCount()):
            with suppress(nvml.NVMLError):
                found.append(_load(nvml, index))
    return tuple(found)


def _load(nvml: Any, index: int) -> CardLoad:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    temperature = float("nan")
    with suppress(nvml.NVMLError):
        temperature = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return CardLoad(
        name=f"{text(nvml.nvmlDeviceGetName(handle))} #{index}",
        uuid=text(nvml.nvmlDeviceGetUUID(handle)),
        busy=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0,
        memory_used=int(memory.used),
        memory_total=int(memory.total),
        temperature=temperature,
    )
