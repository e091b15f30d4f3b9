"""SSIM: parity with scikit-image, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from skimage.metrics import structural_similarity

from qc.ssim import check, compute, moments, reduce, ssim


def picture(seed: int, height: int, width: int, kind: str) -> np.ndarray:
    """A random picture of one of the kinds that are hard on float32."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, 3))
    match kind:
        case "noise":
            return noise.astype(np.uint8)
        case "flat":
            return np.full((height, width, 3), rng.integers(0, 256), np.uint8)
        case "bright":
            return (250 + noise % 4).astype(np.uint8)
        case _:
            ramp = np.linspace(0, 255, height * width).reshape(height, width, 1)
            return np.clip(ramp + noise % 9, 0, 255).astype(np.uint8)


sizes = st.tuples(st.integers(11, 70), st.integers(11, 70))
kinds = st.sampled_from(["noise", "flat", "bright", "ramp"])


@settings(deadline=None, max_examples=examples(40))
@given(st.integers(0, 2**32 - 1), sizes, kinds, kinds)
def test_equals_scikit_image(seed, size, first_kind, second_kind):
    """Colour and luma SSIM equal scikit-image's gaussian variant to 1e-5, on any content."""
    first = picture(seed, *size, first_kind)
    second = picture(seed + 1, *size, second_kind)
    settings_ = {"gaussian_weights": True, "sigma": 1.5, "data_range": 255}
    expected = structural_similarity(first, second, channel_axis=2, **settings_)
    assert ssim(first, second) == pytest.approx(expected, abs=1e-5)
    expected = structural_similarity(first[..., 1], second[..., 1], **settings_)
    assert ssim(first[..., 1], second[..., 1]) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), sizes, kinds)
def test_is_symmetric_and_one_on_equals(seed, size, kind):
    """SSIM is symmetric, at most 1, and 1 exactly when a picture meets itself."""
    first, second = picture(seed, *size, kind), picture(seed + 7, *size, "noise")
    one, other = moments(first), moments(second)
    assert compute(one, other) == pytest.approx(compute(other, one), abs=1e-9)
    assert compute(one, one) == 1.0
    assert compute(one, other) <= 1.0


def test_refuses_what_it_cannot_measure():
    """A side under 11 pixels and two sizes in one pair are refused by name."""
    with pytest.raises(ValueError, match="at least 11x11"):
        check(np.zeros((10, 40), np.uint8))
    with pytest.raises(ValueError, match="one size"):
        ssim(np.zeros((20, 20), np.uint8), np.zeros((20, 21), np.uint8))


def test_reduces_to_mean_and_minimum():
    """A clip's values are the mean and the lowest of its pairs; without pairs there are none."""
    assert reduce([0.5, 1.0]) == {"ssim_mean": 0.75, "ssim_min": 0.5}
    assert reduce([]) == {}
