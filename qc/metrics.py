"""Every number a scorecard may hold, described once. Torch-free: reports read it too."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way a metric gets worse."""

    HIGHER_IS_WORSE = "higher is worse"
    LOWER_IS_WORSE = "lower is worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a scorecard."""

    name: str
    """Key in `Scorecard.metrics`."""
    title: str
    """For a table's head."""
    unit: str
    """Empty for a plain ratio."""
    direction: Direction
    meaning: str
    """One sentence for a tooltip."""
    digits: int = 3
    """Decimals worth showing."""

    @property
    def higher_is_worse(self) -> bool:
        """Whether a larger value is a worse picture."""
        return self.direction is Direction.HIGHER_IS_WORSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One per-frame series of a scorecard."""

    name: str
    """Key in `Scorecard.curves`."""
    title: str
    unit: str
    meaning: str


def _worse_up(name: str, title: str, meaning: str, *, unit: str = "", digits: int = 3) -> Metric:
    return Metric(
        name=name,
        title=title,
        unit=unit,
        digits=digits,
        meaning=meaning,
        direction=Direction.HIGHER_IS_WORSE,
    )


def _worse_down(name: str, title: str, meaning: str, *, unit: str = "", digits: int = 3) -> Metric:
    return Metric(
        name=name,
        title=title,
        unit=unit,
        digits=digits,
        meaning=meaning,
        direction=Direction.LOWER_IS_WORSE,
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _worse_up(
            "decode_faults",
            "Decoding faults",
            "Things that went wrong while the file was decoded.",
            digits=0,
        ),
        _worse_up(
            "length_error",
            "Length",
            "Frames more or fewer than were ordered.",
            unit="frames",
            digits=0,
        ),
        _worse_up(
            "size_error", "Size", "Pixels of width and height off the order.", unit="px", digits=0
        ),
        _worse_up(
            "fps_error",
            "Frame rate",
            "How far the frame rate is off the order, as a share; 1 when it varies.",
        ),
        _worse_up(
            "non_finite", "NaN", "Largest share of a frame's values that were NaN or infinite."
        ),
        _worse_up("black", "Black frames", "Share of frames with nothing brighter than black."),
        _worse_up(
            "luma_dip",
            "Dark dip",
            "How far a frame goes dark and comes back, as a share of the brightness around it.",
        ),
        _worse_up(
            "luma_flash",
            "Flash",
            "How far a frame flashes up and comes back, as a share of its own brightness.",
        ),
        _worse_up("frozen", "Frozen", "Share of frame pairs in which nothing changes."),
        _worse_up(
            "cut", "Cut", "How much two neighbouring frames look like different pictures, 0 to 1."
        ),
        _worse_down(
            "conditioning_ssim",
            "Source SSIM",
            "Structure that frame 0 shares with the source; 1 is the same picture.",
        ),
        _worse_down(
            "conditioning_psnr",
            "Source PSNR",
            "How close frame 0 is to the source, pixel by pixel.",
            unit="dB",
            digits=1,
        ),
        _worse_up(
            "conditioning_lpips", "Source LPIPS", "Perceptual distance of frame 0 from the source."
        ),
        _worse_up(
            "flicker",
            "Flicker",
            "Brightness that jumps from frame to frame, motion taken out, as a share of itself.",
            digits=4,
        ),
        _worse_up(
            "flicker_local",
            "Local flicker",
            "The same tile by tile: lamps and patches that flicker on their own.",
            digits=4,
        ),
        _worse_up(
            "boiling",
            "Boiling",
            "Texture that crawls with the motion taken out, against how much texture there is.",
        ),
        _worse_up(
            "wobble",
            "Wobble",
            "How the ground sways beside the camera's own move, against how far it moves.",
        ),
        _worse_up(
            "saturation_shift",
            "Saturation",
            "How far the scene's colourfulness leaves the source's; .2 is about a fifth.",
        ),
        _worse_up(
            "colour_drift",
            "Colour drift",
            "The cast over the source's colours, exposure and strength aside; 4 can be seen.",
            unit="dE",
            digits=1,
        ),
        _worse_up(
            "identity_drift",
            "Identity drift",
            "How far, and how evenly, a part turned into something else, against the usual part.",
        ),
        _worse_up(
            "identity_lpips",
            "Identity LPIPS",
            "The same as eyes see it; its scale is the backbone's.",
        ),
        _worse_up(
            "collapse",
            "Collapse",
            "Change in the last frames against those before; near 1 in a clip that holds.",
            digits=2,
        ),
        _worse_up(
            "blur",
            "Softening",
            "Detail lost from the first frames to the last, as a logarithm; .35 is a third.",
        ),
        _worse_up(
            "banding",
            "Banding",
            "How far smooth ramps are in steps, beyond the source's; about 1 where steps are of 4.",
        ),
        _worse_up(
            "dropped",
            "Longest step",
            "Longest step against the even steps around it; 2 where one frame is missing.",
            digits=2,
        ),
        _worse_down(
            "duplicate_ratio",
            "Duplicates",
            "Smallest step between frames against the steps around it; 0 is a repeated frame.",
            digits=2,
        ),
        _worse_down(
            "motion",
            "Motion",
            "How far the picture moves from frame to frame, as a share of its diagonal.",
            digits=5,
        ),
        _worse_down(
            "ssim_mean",
            "Neighbour SSIM",
            "Mean similarity of neighbouring frames: tells motion, not quality.",
        ),
        _worse_down(
            "ssim_min",
            "Lowest neighbour SSIM",
            "Similarity of the two neighbouring frames that differ most.",
        ),
        _worse_up(
            "lpips_mean",
            "Neighbour LPIPS",
            "Mean perceptual distance of neighbouring frames: tells motion, not quality.",
        ),
        _worse_up(
            "lpips_spike",
            "LPIPS spike",
            "Largest perceptual step between frames over the usual one: dropped frames and jumps.",
            digits=1,
        ),
    )
}
"""Name -> description, hard faults first, then in the order a person asks about them."""

CURVES: dict[str, Curve] = {
    curve.name: curve
    for curve in (
        Curve(name="luma", title="Brightness", unit="0-255", meaning="Mean luma of each frame."),
        Curve(name="motion", title="Motion", unit="of diagonal", meaning="Mean flow of each pair."),
        Curve(
            name="flicker",
            title="Brightness jumps",
            unit="levels",
            meaning="Mean change of each pair with the motion taken out: s_t.",
        ),
        Curve(
            name="ssim", title="SSIM", unit="", meaning="Luma similarity of each pair of frames."
        ),
        Curve(name="lpips", title="LPIPS", unit="", meaning="Perceptual distance of each pair."),
        Curve(
            name="drift", title="Colour drift", unit="dE", meaning="Colour distance of each frame."
        ),
    )
}
"""Name -> description of the per-frame series."""
