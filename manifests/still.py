"""The still a shot starts from: read upright as 8-bit sRGB, and fitted to the shot's frame.

Rendering conditions on the result and scoring holds frame 0 against it; both take it from here,
so that they see the same pixels.
"""

from __future__ import annotations

from PIL import Image


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
