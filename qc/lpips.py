"""LPIPS: perceptual distance by a network's features. The only module that knows `lpips`.

Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018; AlexNet, version 0.1. Range 0..; 0 for equal images.

LPIPS is a squared distance between embeddings: with f_l the channel-normalised features of
layer l, w_l >= 0 its learned weights and H_l W_l its size,

    e_l = sqrt(w_l / (H_l W_l)) f_l,    d(a, b) = sum_l |e_l(a) - e_l(b)|^2

so each frame is embedded once and any pair costs one subtraction. Parity with `lpips`: 1e-4.
Pictures of 65,536 pixels and more are embedded in bfloat16 where the processor multiplies it
(`qc.bfloat16`), which takes half the time; so many pixels average its rounding out, and the parity
holds for them too. Smaller ones, and all on a card, are embedded in float32, and so is everything
where the two disagree on a pair of test pictures.

The AlexNet trunk must be brought (nothing is ever downloaded): put one of `TRUNK_FILES` into the
folder given as `weights_dir`. Without a folder the trunk is random with seed 0; its distances
order pictures much as the trained one's do, but its scale is its own, and every scorecard says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lpips as reference
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.functional import mse_loss

from qc import bfloat16
from qc.errors import BackboneUnavailable
from qc.frame import Image
from qc.trunk import TRUNK_FILES as TRUNK_FILES

RANDOM = "alex, random, seed 0 (uncalibrated)"
SMALLEST = 32
"""Pixels: AlexNet has no features for an image with a shorter side."""
LARGE = 2**16
"""Pixels from which on bfloat16 is exact enough."""
VERSION = "2"
_SEED = 0
_SELF_TEST = 0.319756
_TOLERANCE = 1e-3
_TINY = 1e-10


Batch = npt.NDArray[np.uint8]
"""(n, H, W, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """One image as LPIPS sees it."""

    layers: tuple[torch.Tensor, ...]
    """Per layer (C_l, H_l, W_l), weighted so that LPIPS is their squared distance."""


class LpipsBackbone:
    """LPIPS with one set of weights on one device, self-tested when it is made."""

    def __init__(
        self, network: reference.LPIPS, *, name: str, device: str, short: bool = False
    ) -> None:
        """`short`: pictures of `LARGE` pixels and more are embedded in bfloat16."""
        self.name = name
        """As it stands in scorecards: `alex (trained)` or the name of the random one."""
        self.device = torch.device(device)
        # Pixels come with their channels last: with weights alike nothing is put in another order.
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self._short = bfloat16.shortened(self.network.net) if short else None
        self._roots = [
            layer.model[-1].weight.detach().clamp(min=0).sqrt()[0] for layer in self.network.lins
        ]
        scaling = self.network.scaling_layer
        self._gain = (1 / (127.5 * scaling.scale)).detach().flatten()
        self._offset = (-(1 + scaling.shift) / scaling.scale).detach().flatten()

    def measures(self, image: Image) -> bool:
        """Whether `image` (H, W, 3) is large enough to be embedded."""
        return min(image.shape[:2]) >= SMALLEST

    def embed(self, image: Image, *, exactly: bool = False) -> Embedding:
        """Embedding of `image` (H, W, 3) uint8; `exactly`: in float32, however large it is.

        Raises ValueError under 32 px.
        """
        if image.ndim != 3:
            raise ValueError(f"LPIPS of shape {image.shape}: wants (H, W, 3)")
        return self.embed_all(image[None], exactly=exactly)[0]

    @torch.inference_mode()
    def embed_all(self, images: Batch, *, exactly: bool = False) -> list[Embedding]:
        """Embedding of each of `images` (n, H, W, 3) uint8, n above 0; see `embed`.

        Takes less than one by one: the weights are read once.
        """
        if images.ndim != 4 or images.shape[3] != 3 or not self.measures(images[0]):
            raise ValueError(f"LPIPS of shape {images.shape}: wants (n, H, W, 3), at least 32 px")
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        layers = []
        short = None if exactly else self._short_for(images[0])
        for layer, root in zip(self._features(pixels, short), self._roots, strict=True):
            height, width = layer.shape[2:]
            layers.append(_normalised(layer).mul_(root / (height * width) ** 0.5))
        return [Embedding(layers=of_one) for of_one in zip(*layers, strict=True)]

    @torch.inference_mode()
    def distance(self, first: Embedding, second: Embedding) -> float:
        """LPIPS of two images of one size that it embedded, 0..; see `compute`."""
        return compute(first, second)

    @torch.inference_mode()
    def distances(self, first: Batch, second: Batch) -> list[float]:
        """LPIPS of each pair of two batches (n, H, W, 3) uint8 of one size, at least 32 px."""
        if first.shape != second.shape or first.ndim != 4 or not self.measures(first[0]):
            raise ValueError(f"LPIPS of {first.shape} and {second.shape}: want one (n, H, W, 3)")
        pixels = torch.from_numpy(np.concatenate([first, second])).to(self.device)
        total = torch.zeros(len(first), device=self.device)
        short = self._short_for(first[0])
        for layer, root in zip(self._features(pixels, short), self._roots, strict=True):
            normal = _normalised(layer).mul_(root)
            apart = (normal[: len(first)] - normal[len(first) :]).square()
            total += apart.sum(dim=1).mean(dim=(1, 2))
        return [float(value) for value in total]

    def _short_for(self, image: Image) -> torch.nn.Module | None:
        return self._short if image.shape[0] * image.shape[1] >= LARGE else None

    def _features(self, pixels: torch.Tensor, short: torch.nn.Module | None) -> list[torch.Tensor]:
        """Features of each layer, float32, of uint8 pixels (n, H, W, 3)."""
        # As rows of W * 3 numbers: over three at a time torch takes five times as long.
        width = pixels.shape[2]
        rows = pixels.reshape(*pixels.shape[:2], -1).float()
        rows.mul_(self._gain.repeat(width)).add_(self._offset.repeat(width))
        scaled = rows.view(pixels.shape).permute(0, 3, 1, 2)
        if short is None:
            return list(self.network.net(scaled))
        return [layer.float() for layer in short(scaled.to(torch.bfloat16))]


def _normalised(layer: torch.Tensor) -> torch.Tensor:
    """`layer` (n, C, H, W) itself, at length 1 in every place; as `lpips` does it."""
    length = torch.linalg.vector_norm(layer, dim=1, keepdim=True)
    return layer.div_(length.add_(_TINY))


def compute(first: Embedding, second: Embedding) -> float:
    """LPIPS of two images of one size as one backbone embedded them, 0... Symmetric."""
    pairs = zip(first.layers, second.layers, strict=True)
    return float(sum(mse_loss(one, other, reduction="sum") for one, other in pairs))


def check(values: Sequence[float]) -> bool:
    """Whether there are distances to reduce."""
    return len(values) > 0


def reduce(values: Sequence[float]) -> dict[str, float]:
    """Mean of a clip's consecutive distances, and its spike: the largest over the median."""
    if not check(values):
        return {}
    middle = float(np.median(values))
    result = {"lpips_mean": float(np.mean(values))}
    if middle > 1e-5:
        result["lpips_spike"] = float(np.max(values)) / middle
    return result


def load_backbone(*, weights_dir: Path | None, device: str = "cpu") -> LpipsBackbone:
    """The trained backbone from `weights_dir`, or without a folder the seeded random one.

    Raises:
        BackboneUnavailable: the folder has no weights, they are damaged, or the self-test
            differs from its stored value. Never falls back to the random one by itself.

    In bfloat16 (see above) only where that gives what float32 gives, with these weights.
    """
    network = _random_network()
    name = RANDOM
    if weights_dir is not None:
        trunk, name = _trained_trunk(weights_dir)
        _put(network, trunk, weights_dir)
    backbone = LpipsBackbone(network, name=name, device=device)
    _self_test(backbone)
    if torch.device(device).type == "cpu" and bfloat16.multiplied_here():
        short = LpipsBackbone(network, name=name, device=device, short=True)
        return short if _agrees(short) else backbone
    return backbone


def self_test_value(backbone: LpipsBackbone) -> float:
    """LPIPS of two fixed 64x64 pictures: a ramp, and the ramp turned upside down."""
    return _of_ramps(backbone, 64, exactly=True)


def _of_ramps(backbone: LpipsBackbone, side: int, *, exactly: bool) -> float:
    ramp = np.linspace(0, 255, side * side * 3).reshape(side, side, 3).astype(np.uint8)
    one, turned = (backbone.embed(at, exactly=exactly) for at in (ramp, ramp[::-1]))
    return backbone.distance(one, turned)


def _random_network() -> reference.LPIPS:
    """AlexNet with torch's own initialisation from seed 0, and LPIPS' bundled linear layers."""
    quiet = contextlib.redirect_stdout(io.StringIO())
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), quiet:
        warnings.simplefilter("ignore")
        torch.manual_seed(_SEED)
        return reference.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)


def _trained_trunk(folder: Path) -> tuple[dict[str, torch.Tensor], str]:
    for file_name in TRUNK_FILES:
        path = folder / file_name
        if path.is_file():
            break
    else:
        raise BackboneUnavailable(
            f"{folder}: no LPIPS weights; put {' or '.join(TRUNK_FILES)} there, "
            "or leave weights_dir unset for the random backbone"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        if path.suffix == ".safetensors":
            return load_file(path), f"alex (trained, sha256 {digest[:8]})"
        if not digest.startswith(path.stem.rsplit("-", 1)[1]):
            raise BackboneUnavailable(
                f"{path}: damaged: its SHA-256 begins with {digest[:8]}; fetch it again"
            )
        return torch.load(path, map_location="cpu", weights_only=True), "alex (trained)"
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise BackboneUnavailable(f"{path}: cannot be read: {error}") from error


def _put(network: reference.LPIPS, trunk: dict[str, torch.Tensor], folder: Path) -> None:
    """Load torchvision's `features.N.*` into the slices of LPIPS' AlexNet."""
    wanted = network.net.state_dict()
    given = {f"features.{key.split('.', 1)[1]}": key for key in wanted}
    missing = sorted(set(given) - set(trunk))
    if missing:
        raise BackboneUnavailable(f"{folder}: weights without {', '.join(missing)}: not an AlexNet")
    wrong = [name for name, key in given.items() if trunk[name].shape != wanted[key].shape]
    if wrong:
        raise BackboneUnavailable(f"{folder}: weights of another shape: {', '.join(wrong)}")
    network.net.load_state_dict({key: trunk[name].float() for name, key in given.items()})


def _self_test(backbone: LpipsBackbone) -> None:
    """Weights that are silently missing give random scores: compare with a known one."""
    value = self_test_value(backbone)
    if not np.isfinite(value) or value <= 0:
        raise BackboneUnavailable(f"LPIPS self-test of {backbone.name} gave {value}")
    if backbone.name == RANDOM and abs(value - _SELF_TEST) > _TOLERANCE * _SELF_TEST:
        raise BackboneUnavailable(
            f"LPIPS self-test gave {value:.6f}, {_SELF_TEST:.6f} expected: this torch "
            f"({torch.__version__}) draws other random weights, scores would not compare"
        )


def _agrees(backbone: LpipsBackbone) -> bool:
    """Whether what large pictures are embedded with gives what float32 gives: other weights, or a
    processor or torch that gets bfloat16 wrong, may not."""
    exact, used = (_of_ramps(backbone, 256, exactly=exactly) for exactly in (True, False))
    return abs(used - exact) <= _TOLERANCE * exact
