"""A machine with cards, for tests that have none."""

from __future__ import annotations

import pytest

from tasks import gpus
from tasks.gpus import Device


@pytest.fixture
def three_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three cards, as NVML would name them."""
    cards = tuple(
        Device(name=f"Card #{index}", torch_device="cuda:0", visible=f"GPU-{index}")
        for index in range(3)
    )
    monkeypatch.setattr(gpus, "_cuda_cards", lambda: cards)
