"""Fitting a still to the frame of a shot."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from manifests.source import open_source
from manifests.still import prepare_still


def test_a_still_of_that_size_is_kept_pixel_for_pixel(tmp_path, still):
    """Nothing is resampled that need not be."""
    image = open_source(still(tmp_path / "a.png", size=(48, 32)))
    assert prepare_still(image, width=48, height=32) is image


@pytest.mark.parametrize("size", [(96, 32), (32, 96), (33, 97)])
def test_the_centre_is_kept_and_the_frame_is_covered(size):
    """A white cross in the middle stays in the middle; what lies outside the frame is cut."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[size[1] // 2 - 4 : size[1] // 2 + 4, size[0] // 2 - 4 : size[0] // 2 + 4] = 255
    fitted = np.asarray(prepare_still(Image.fromarray(picture), width=32, height=32)).mean(axis=2)
    assert fitted.shape == (32, 32)
    rows, columns = np.nonzero(fitted > 128)
    assert abs(rows.mean() - 15.5) < 1
    assert abs(columns.mean() - 15.5) < 1
