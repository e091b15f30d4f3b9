"""Photographs that the bench films: scikit-image's own, and those of a few Debian packages.

The packages' files are found where they are installed, or under a folder into which they were
unpacked (`dpkg-deb -x`), named by the environment variable RUSHES_BENCH_PHOTOS. A picture may lie
inside a Qt resource archive of the package. Each picture's hash is checked: figures are only
comparable over the same pictures.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image
from skimage import data

from benchmarks.qc_bench.qt_resource import ResourceUnreadable, stored

FOLDER = "RUSHES_BENCH_PHOTOS"
_LIST = Path(__file__).with_name("photographs.yaml")
_OF_SKIMAGE = (
    "chelsea", "coffee", "hubble_deep_field", "retina", "camera", "coins", "gravel",
    "astronaut", "rocket", "motorcycle", "immunohistochemistry", "brick", "grass", "moon",
)  # fmt: skip
_GREY = frozenset({"camera", "coins", "gravel", "hubble_deep_field", "brick", "grass", "moon"})
_LONG, _SHORT = 900, 430


class PhotographMissing(Exception):
    """A package's picture is not on this machine, or is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One picture and where it is found."""

    name: str
    half: str
    """`training` or `held out`."""
    package: str
    """Debian package; empty for scikit-image's."""
    path: str
    """Inside the package."""
    entry: str
    """Inside the Qt resource archive at `path`; empty where that is the picture itself."""
    sha256: str
    """First 16 hexadecimal digits of the picture's bytes, packed in an archive or not."""
    colourful: bool
    drawn: bool


@cache
def photographs() -> dict[str, Photograph]:
    """Name -> photograph, of both halves."""
    found = {
        name: Photograph(
            name=name,
            half="training",
            package="",
            path="",
            entry="",
            sha256="",
            colourful=name not in _GREY,
            drawn=False,
        )
        for name in _OF_SKIMAGE
    }
    for half, listed in yaml.safe_load(_LIST.read_text(encoding="utf-8")).items():
        for name, row in listed.items():
            found[name] = Photograph(
                name=name,
                half=half,
                package=row["package"],
                path=row["path"],
                entry=row.get("entry", ""),
                sha256=row["sha256"],
                colourful=row.get("is") != "grey",
                drawn=row.get("is") == "drawn",
            )
    return found


def names(half: str, *, drawn: bool = False, colourful: bool = False) -> tuple[str, ...]:
    """Pictures of a half: drawn ones, or photographs; with `colourful` those with colours."""
    return tuple(
        photo.name
        for photo in photographs().values()
        if photo.half == half and photo.drawn == drawn and (photo.colourful or not colourful)
    )


def missing(half: str) -> list[str]:
    """What stands in the way of filming a half, in words; empty when everything is there."""
    faults = []
    for photo in photographs().values():
        if photo.half == half and photo.package:
            try:
                _bytes_of(photo)
            except PhotographMissing as fault:
                faults.append(str(fault))
    return faults


@cache
def picture(name: str) -> npt.NDArray[np.float32]:
    """(H, W, 3) float 0..255; the long side at most 900 px, the short one at least 430.

    Raises:
        PhotographMissing: it is not there, or its hash is another one.
    """
    photo = photographs()[name]
    image = _of_package(photo) if photo.package else _of_skimage(name)
    scale = max(min(1.0, _LONG / max(image.shape[:2])), _SHORT / min(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), np.float32).clip(0, 255)


def _of_skimage(name: str) -> npt.NDArray[np.uint8]:
    raw = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    return np.dstack([raw] * 3) if raw.ndim == 2 else np.asarray(raw[..., :3], np.uint8)


def _of_package(photo: Photograph) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(_bytes_of(photo))) as still:
        still.draft("RGB", (2 * _LONG, 2 * _LONG))
        return np.array(still.convert("RGB"), np.uint8)


def _bytes_of(photo: Photograph) -> bytes:
    """The picture as it is stored, its hash checked."""
    path = _located(photo)
    kept = path.read_bytes()
    try:
        found = stored(kept, photo.entry) if photo.entry else kept
    except ResourceUnreadable as fault:
        raise PhotographMissing(f"{path}: {fault}; {_whose(photo)}") from fault
    digest = hashlib.sha256(found).hexdigest()
    if not digest.startswith(photo.sha256):
        inside = f" holds {photo.entry} that" if photo.entry else ""
        raise PhotographMissing(
            f"{path}{inside} has SHA-256 {digest[:16]}..., expected {photo.sha256}...: "
            f"{_whose(photo)}"
        )
    return found


def _whose(photo: Photograph) -> str:
    return f"another version of {photo.package}; the figures are those of Debian 12's"


def _located(photo: Photograph) -> Path:
    """Where the picture, or the archive that it is in, lies."""
    unpacked = os.environ.get(FOLDER)
    places = [Path("/")]
    if unpacked:
        places = [Path(unpacked), Path(unpacked, photo.package), *places]
    for place in places:
        path = place / photo.path
        if path.is_file():
            return path
    raise PhotographMissing(
        f"photograph {photo.name!r} is not here: install Debian's {photo.package}, or unpack it "
        f"(apt-get download {photo.package}; dpkg-deb -x) into a folder and name that in {FOLDER}"
    )
