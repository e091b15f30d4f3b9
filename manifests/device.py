"""What a machine renders on, as it is typed."""

from __future__ import annotations

import re

from manifests.refusal import Refusal

NO_DEVICE = "none"
"""Of a machine that renders nothing itself: its hosts do."""
_DEVICE = re.compile(rf"auto|cpu|{NO_DEVICE}|cuda(:[0-9]{{1,2}})?")


def known_device(device: str) -> str:
    """The device as it was typed. Raises Refusal where it is none."""
    if not _DEVICE.fullmatch(device):
        raise Refusal(f"{device!r} is no device", "write auto, cpu, cuda, cuda:0 or none")
    return device
