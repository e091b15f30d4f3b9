"""Photographs for training: only those that installed packages carry inside themselves.

scikit-image is enough; scikit-learn and matplotlib add three more where they are installed.
Nothing is downloaded. The held-out pictures are never returned by ``find_photos``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HELD_OUT: tuple[str, ...] = ("chelsea.png", "camera.png", "rocket.jpg", "coffee.png")
"""scikit-image pictures never trained on: they measure the model and may star in a demo."""

_TAKEN: tuple[tuple[str, str, str], ...] = (
    ("skimage", "data", "astronaut.png"),
    ("skimage", "data", "motorcycle_left.png"),
    ("skimage", "data", "motorcycle_right.png"),
    ("skimage", "data", "hubble_deep_field.jpg"),
    ("skimage", "data", "retina.jpg"),
    ("skimage", "data", "ihc.png"),
    ("skimage", "data", "grass.png"),
    ("skimage", "data", "gravel.png"),
    ("skimage", "data", "brick.png"),
    ("skimage", "data", "coins.png"),
    ("skimage", "data", "cell.png"),
    ("skimage", "data", "moon.png"),
    ("skimage", "data", "page.png"),
    ("skimage", "data", "text.png"),
    ("skimage", "data", "color.png"),
    ("sklearn", "datasets/images", "china.jpg"),
    ("sklearn", "datasets/images", "flower.jpg"),
    ("matplotlib", "mpl-data/sample_data", "grace_hopper.jpg"),
)


@dataclass(frozen=True)
class Photo:
    """One picture and where it came from."""

    name: str
    """"package/file"."""
    sha256: str
    """Hash of the file as installed."""
    pixels: NDArray[np.uint8]
    """(H, W, 3), RGB, 0..255."""


def read_picture(*, path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) RGB, 0..255; grey pictures get three equal channels."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise FileNotFoundError(f"{path}: no picture that OpenCV can read")
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8)


def package_file(*, package: str, folder: str, name: str) -> Path | None:
    """Path of a file inside an installed package, or None where either is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / folder / name
    return path if path.is_file() else None


def find_photos() -> list[Photo]:
    """Every training photograph installed here, in a fixed order; never a held-out one."""
    photos = []
    for package, folder, name in _TAKEN:
        path = package_file(package=package, folder=folder, name=name)
        if path is None:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        photos.append(Photo(f"{package}/{name}", digest, read_picture(path=path)))
    return photos


def held_out() -> dict[str, NDArray[np.uint8]]:
    """The held-out pictures installed here, by stem: (H, W, 3) RGB, 0..255."""
    found = {}
    for name in HELD_OUT:
        path = package_file(package="skimage", folder="data", name=name)
        if path is not None:
            found[Path(name).stem] = read_picture(path=path)
    return found
