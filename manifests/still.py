"""The still a shot starts from: read upright as 8-bit sRGB, and fitted to the shot's frame.

Rendering conditions on the result and scoring holds frame 0 against it; both take it from here,
so that they see the same pixels.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

MAX_PIXELS = 200_000_000
"""A still larger than this is refused: 200 megapixels decode to 600 MB."""


def read_still(path: Path) -> Image.Image:
    """The picture in `path`: mode RGB, sRGB, turned upright as its EXIF tag says.

    Transparency is laid over black. 16-bit grey is scaled, not clipped. An embedded ICC profile
    (Display P3, Adobe RGB, CMYK) is converted to sRGB; without one, CMYK is converted plainly.

    Raises:
        OSError: there is no such file, or it is not a whole picture that Pillow can decode.
        ValueError: it has more than `MAX_PIXELS` pixels.
    """
    with Image.open(path) as opened:
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise ValueError(
                f"{path}: {width} x {height} is more than {MAX_PIXELS} pixels; scale it down"
            )
        try:
            opened.load()
        except (SyntaxError, ValueError, EOFError) as error:  # how Pillow names some damage
            raise OSError(f"{path}: the picture is damaged: {error}") from error
        upright = ImageOps.exif_transpose(opened)
        return _srgb(_over_black(_eight_bit(upright)), opened.info.get("icc_profile"))


def prepare_still(image: Image.Image, *, width: int, height: int) -> Image.Image:
    """Scale `image` (Lanczos) until it covers `width` x `height`, then crop its centre.

    Returns a picture of mode RGB and exactly that size; one of that size already comes back as
    it is, pixel for pixel. Raises ValueError when `width` or `height` is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a still cannot be fitted to {width} x {height}; give positive pixels")
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if rgb.size == (width, height):
        return rgb
    # The crop is taken in source coordinates, so the picture is resampled once.
    scale = max(width / rgb.width, height / rgb.height)
    kept_width, kept_height = width / scale, height / scale
    left, top = (rgb.width - kept_width) / 2, (rgb.height - kept_height) / 2
    box = (left, top, min(left + kept_width, rgb.width), min(top + kept_height, rgb.height))
    return rgb.resize((width, height), Image.Resampling.LANCZOS, box=box)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit and float grey scaled to 8 bit; every other mode as it is."""
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda code: code / 257).convert("L")
    return image


def _over_black(image: Image.Image) -> Image.Image:
    """Without its alpha channel; what was transparent is black."""
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a profile for another mode, or damaged: the pixels are taken as sRGB
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")
