"""Stills: opened the same way when the sheet is checked and when a take is rendered."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, ImageCms

from manifests.errors import BadInput
from manifests.refusal import Refusal
from manifests.shot import Source

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Pillow's names of the formats that are read."""

MAX_PIXELS = 100_000_000
"""More is refused before it is decoded."""

MIN_SIDE = 16
"""Pixels; less is no still to film."""

_MAX_BYTES = 512 * 2**20
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF orientation tag."""
_WIDE_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

T = TypeVar("T")


def open_source(path: Path) -> Image.Image:
    """The still as 8-bit RGB, upright, alpha over black, in sRGB where it names a profile.

    Mode `RGB`, size as Source says. Raises BadInput with one fault that says what to do.
    """
    try:
        return _decode(_read(path))[0]
    except Refusal as refusal:
        raise BadInput([refusal.at(path)]) from None


def inspect_source(path: Path) -> Source:
    """Open a still wholly and hash it. Raises BadInput with one fault that says what to do."""
    try:
        return check_source(path)
    except Refusal as refusal:
        raise BadInput([refusal.at(path)]) from None


def check_source(path: Path) -> Source:
    """As `inspect_source`, but raises Refusal, for a sheet that knows row and column."""
    data = _read(path)
    image, notes = _decode(data)
    return Source(
        path=path.absolute(),
        sha256=hashlib.sha256(data).hexdigest(),
        width=image.width,
        height=image.height,
        notes=tuple(notes),
    )


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size == 0:
            raise Refusal("is empty (0 bytes)", "export or copy the still again")
        if size > _MAX_BYTES:
            raise Refusal(f"is {size / 2**20:.0f} MiB", "give a still below 512 MiB")
        return path.read_bytes()
    except OSError as error:
        raise Refusal(
            f"cannot be read ({error.strerror or error})",
            "check that it is there and may be read",
        ) from None


def _decode(data: bytes) -> tuple[Image.Image, list[str]]:
    notes: list[str] = []
    image = _open(data)
    _check_size(image)
    frames = _guarded(lambda: getattr(image, "n_frames", 1))
    if frames > 1 and image.format != "MPO":
        notes.append(f"first of its {frames} frames")
    if image.mode.startswith("RGB") and ";16" in str(getattr(image, "tile", "")):
        notes.append("16-bit colour reduced to 8 bit")
    marked = _orientation(image, notes)
    _guarded(image.load)
    # NOTE: Pillow turns TIFF while it loads, and takes the tag away; others are turned here.
    turn = _TURNS.get(_orientation(image, []))
    rgb = _guarded(lambda: _to_rgb(image, notes))
    if turn is not None:
        rgb = rgb.transpose(turn)
    if marked in _TURNS:
        notes.append("turned upright by its EXIF tag")
    return rgb, notes


def _open(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # NOTE: Pillow warns below our own limit; its error above twice that still refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refusal("has far too many pixels", "scale it down") from None
    except Exception as error:  # NOTE: decoders raise anything on hostile bytes
        raise Refusal(
            f"is no still that can be read ({_short(error)})", "export it as PNG, JPEG or TIFF"
        ) from None


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Refusal(
            f"has {width}x{height} pixels, more than {MAX_PIXELS // 10**6} million",
            "scale it down",
        )
    if min(width, height) < MIN_SIDE:
        raise Refusal(
            f"has only {width}x{height} pixels", f"give a still of at least {MIN_SIDE}x{MIN_SIDE}"
        )


def _guarded(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except Refusal:
        raise
    except Exception as error:  # NOTE: decoders raise anything on hostile bytes
        raise Refusal(
            f"is cut short or damaged ({_short(error)})", "export or copy the still again"
        ) from None


def _short(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image of a known format" if "cannot identify" in text else text[:80]


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # NOTE: a broken tag is no reason to refuse good pixels
        notes.append(f"its EXIF cannot be read ({_short(error)}): orientation taken as upright")
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode in _WIDE_MODES or (image.mode == "I" and image.format == "PNG"):
        notes.append("16-bit grey scaled to 8 bit")
        return _eight_bits(image).convert("RGB")
    if image.mode in ("I", "F"):
        raise Refusal(f"holds 32-bit data (mode {image.mode})", "export an 8 or 16-bit still")
    if image.mode == "LAB":
        raise Refusal("holds Lab colours", "export it as RGB")
    if image.mode == "CMYK":
        return _from_cmyk(image, notes)
    if _has_alpha(image):
        image = _over_black(image, notes)
    elif image.mode == "1" or image.mode.startswith("L"):
        return image.convert("L").convert("RGB")
    profile = image.info.get("icc_profile")
    rgb = image.convert("RGB")
    return (profile and _through_profile(rgb, profile, notes)) or rgb


def _eight_bits(image: Image.Image) -> Image.Image:
    """65535 becomes 255, 0 stays 0, rounded to the nearest level."""
    linear: Any = lambda value: value * (1 / 257) + 0.5  # noqa: E731 - Pillow wants this form
    return image.convert("I").point(linear).convert("L")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _over_black(image: Image.Image, notes: list[str]) -> Image.Image:
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema() == (255, 255):
        return layered.convert("RGB")
    notes.append("alpha over black")
    black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
    flat = Image.alpha_composite(black, layered).convert("RGB")
    if not image.mode.startswith("L"):
        flat.info["icc_profile"] = image.info.get("icc_profile")
    return flat


def _from_cmyk(image: Image.Image, notes: list[str]) -> Image.Image:
    profile = image.info.get("icc_profile")
    converted = _through_profile(image, profile, notes) if profile else None
    if converted is not None:
        return converted
    notes.append("CMYK converted to RGB without a profile: colours are approximate")
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image | None:
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(given).strip()
        if "srgb" in name.lower() and image.mode == "RGB":
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, given, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notes.append(f"its colour profile cannot be read ({_short(error)}): taken as sRGB")
        return None
    notes.append(f"converted from its colour profile {name!r} to sRGB")
    return converted
