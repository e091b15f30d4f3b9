"""Which devices are found."""

from __future__ import annotations

import pytest

from manifests.errors import BadInput
from tasks.gpus import find_devices


def test_the_cpu_is_always_there() -> None:
    """`cpu` gives one device that hides no card."""
    (device,) = find_devices("cpu")
    assert (device.torch_device, device.visible) == ("cpu", None)


def test_auto_finds_at_least_one_device() -> None:
    """`auto` never comes back with nothing."""
    assert find_devices("auto")


def test_a_card_that_is_not_there_is_refused_with_what_is() -> None:
    """The fault names the setting, the value and the remedy."""
    with pytest.raises(BadInput) as caught:
        find_devices("cuda:99")
    (fault,) = caught.value.faults
    assert fault.column == "device"
    assert "write auto or cpu" in fault.remedy
