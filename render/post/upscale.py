"""Larger frames: an upscaling network for spandrel, or Lanczos when none is configured.

A network has its own scale (2x, 4x); its picture is brought to the factor that was asked for by
Lanczos. Each frame is upscaled by itself: a network for stills knows nothing of its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from spandrel import (
    ImageModelDescriptor,
    ModelLoader,
    ModelTiling,
    UnsupportedModelError,
    canonicalize_state_dict,
)

from manifests.shot import Upscale
from render.clip import Frame
from render.errors import ModelUnavailable, OutOfMemory
from render.post.colour import HASH_DIGITS
from render.post.resize import pad_even, resize, scaled_size

TILE = 512
"""Pixels on a side that go through the network at once; less only when memory runs out."""
SMALLEST_TILE = 128
HALO = 32
"""Pixels around a tile that the network sees and that are cut off again: wider than most
networks look, so that tiles leave no seams."""


class Upscaler:
    """An upscale made ready for clips of one size."""

    def __init__(
        self, upscale: Upscale | None, *, width: int, height: int, device: str, tile: int = TILE
    ) -> None:
        """Check and load the model, if there is one. `width` and `height` are the clip's pixels.

        Raises ModelUnavailable.
        """
        self._upscale = upscale
        self._size = (width, height)
        self._tile = tile
        self._device = torch.device(device)
        self._network: Any = None
        self._digest = ""
        if upscale is not None and upscale.model is not None:
            self._network, self._digest = _load(upscale.model, upscale.model_sha256)
            self._network.to(self._device).eval()

    @property
    def changes(self) -> bool:
        """Whether frames are scaled; padding to even sizes does not count."""
        return self._upscale is not None

    @property
    def size(self) -> tuple[int, int]:
        """Delivered width and height, even numbers."""
        width, height = self._size
        if self._upscale is None:
            return width + width % 2, height + height % 2
        return scaled_size(width, height, self._upscale.factor)

    @property
    def words(self) -> str:
        """What it does, for the sidecar: `lanczos 2x (no upscaling model configured)`."""
        if self._upscale is None:
            odd = self.size != self._size
            return "none (last row or column repeated: yuv420p needs even sizes)" if odd else "none"
        factor = f"{self._upscale.factor:g}x"
        if self._upscale.model is None:
            return f"lanczos {factor} (no upscaling model configured)"
        scale = self._network.scale
        words = f"{self._upscale.model.name} (sha256 {self._digest[:HASH_DIGITS]}), "
        words += f"{self._network.architecture.name} {scale}x"
        if scale != self._upscale.factor:
            words += f", then lanczos to {factor}"
        return words

    @property
    def enlarged_bytes(self) -> int:
        """Of a frame that `enlarge` gives."""
        width, height = self._size
        scale = 1 if self._network is None else int(self._network.scale)
        return 3 * 4 * width * height * scale**2

    def enlarge(self, frame: Frame) -> Frame:
        """A frame (H, W, 3), float32 RGB 0..1, as the network gives it, at the network's own
        scale: the work of the card.

        Raises OutOfMemory when even a small tile does not fit; ModelUnavailable when the network
        fails for another reason.
        """
        return frame if self._network is None else self._through_network(frame)

    def sized(self, frame: Frame) -> Frame:
        """What `enlarge` gave, at the delivered size."""
        if self._upscale is None:
            return pad_even(frame)
        width, height = self.size
        return resize(frame, width=width, height=height)

    def rest(self) -> None:
        """Give back what of the card's memory is not the network's own: others work there now."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Let go of the network and its memory on the card."""
        self._network = None
        self.rest()

    def _through_network(self, frame: Frame) -> Frame:
        whole = self._network.tiling is not ModelTiling.SUPPORTED
        while True:
            tile = max(frame.shape[:2]) if whole else self._tile
            try:
                return upscale_tiled(self._network, frame, tile=tile, device=self._device)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if whole or self._tile // 2 < SMALLEST_TILE:
                    raise OutOfMemory(
                        f"{self._device}: no memory to upscale a tile of {tile} pixels by "
                        f"{self._digest[:HASH_DIGITS]}; choose a smaller model or another card"
                    ) from error
                self._tile //= 2
                self.rest()
            except RuntimeError as error:
                raise ModelUnavailable(
                    f"{self._upscale and self._upscale.model}: the model fails on a frame of "
                    f"{frame.shape[1]}x{frame.shape[0]} ({error}); choose another model"
                ) from error


@torch.inference_mode()
def upscale_tiled(network: Any, frame: Frame, *, tile: int, device: torch.device) -> Frame:
    """A frame (H, W, 3) through the network, tile by tile; (H * scale, W * scale, 3), 0..1.

    Each tile is given HALO pixels of its surroundings, which are cut off the result.
    """
    height, width = frame.shape[:2]
    scale = int(network.scale)
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
    out = torch.empty((3, height * scale, width * scale))
    for top, bottom in _spans(height, tile):
        for left, right in _spans(width, tile):
            y, x = max(0, top - HALO), max(0, left - HALO)
            part = picture[:, :, y : bottom + HALO, x : right + HALO].to(device)
            big = network(part)[0].float().cpu()
            out[:, top * scale : bottom * scale, left * scale : right * scale] = big[
                :,
                (top - y) * scale : (bottom - y) * scale,
                (left - x) * scale : (right - x) * scale,
            ]
    return np.ascontiguousarray(out.permute(1, 2, 0).numpy())


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, tile):
        yield start, min(start + tile, length)


def _load(path: Path, planned: str | None) -> tuple[Any, str]:
    """The network in a `.safetensors` file and the file's hash, of the very bytes that were read.

    Other formats can run code when they are loaded (pickle) and are refused.
    """
    if path.suffix.lower() != ".safetensors":
        raise ModelUnavailable(
            f"{path}: only .safetensors upscaling models are loaded, because loading "
            f"{path.suffix or 'others'} can run code; convert it to .safetensors"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(
            f"{path}: the upscaling model cannot be read ({error.strerror}); restore it"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if planned is not None and digest != planned:
        raise ModelUnavailable(
            f"{path}: the upscaling model changed since it was planned (sha256 "
            f"{digest[:HASH_DIGITS]}, planned {planned[:HASH_DIGITS]}); restore it, or run again "
            "to plan with the new one"
        )
    try:
        state = canonicalize_state_dict(safetensors.torch.load(data))
        network = ModelLoader().load_from_state_dict(state)
    except (
        SafetensorError,
        UnsupportedModelError,
        RuntimeError,
        KeyError,
        AssertionError,
    ) as error:
        raise ModelUnavailable(
            f"{path}: spandrel knows no upscaling model in it "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); "
            "configure another model"
        ) from error
    _check_purpose(path, network)
    return network.float(), digest


def _check_purpose(path: Path, network: Any) -> None:
    channels = (network.input_channels, network.output_channels)
    image = isinstance(network, ImageModelDescriptor) and network.purpose in ("SR", "Restoration")
    if not image or channels != (3, 3):
        raise ModelUnavailable(
            f"{path}: {network.architecture.name} is for {network.purpose} with {channels[0]} to "
            f"{channels[1]} channels; configure a model that upscales RGB images"
        )
