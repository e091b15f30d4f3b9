"""The NVIDIA driver, asked through its management library (NVML).

Not through torch: that would open a context on every card, which takes memory of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def driver(library: Any = None) -> Iterator[Any]:
    """The driver's library, ready to be asked inside the block; None where there is no driver.

    `library` is `pynvml` unless another is given. What it raises for a card is its `NVMLError`.
    """
    if library is None:
        import pynvml

        library = pynvml
    try:
        library.nvmlInit()
    except library.NVMLError:
        yield None
        return
    try:
        yield library
    finally:
        with suppress(library.NVMLError):
            library.nvmlShutdown()


def text(value: str | bytes) -> str:
    """A name as the library gives it: older ones give bytes."""
    return value.decode() if isinstance(value, bytes) else value
