"""LPIPS: parity with the lpips package, its weights, and its laws."""

from __future__ import annotations

import hashlib

import cv2
import lpips
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from qc import bfloat16, conditioning
from qc.bfloat16 import diffused, rounded
from qc.errors import BackboneUnavailable
from qc.lpips import (
    RANDOM,
    TRUNK_FILES,
    LpipsBackbone,
    load_backbone,
    self_test_value,
)

pytestmark = pytest.mark.slow


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def trunk_of(backbone: LpipsBackbone, *, gain: float = 1.0) -> dict[str, torch.Tensor]:
    """The trunk's tensors under torchvision's names."""
    state = backbone.network.net.state_dict()
    named = ((f"features.{key.split('.', 1)[1]}", value) for key, value in state.items())
    return {name: (value * gain).contiguous() for name, value in named}


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(32, 90), st.integers(32, 90))
def test_equals_the_lpips_package(random_backbone, seed, height, width):
    """Embedding once and subtracting gives lpips' own distance to 1e-4, at any size."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = float(random_backbone.network(tensor(first), tensor(second)))
    one, other = random_backbone.embed(first), random_backbone.embed(second)
    assert random_backbone.distance(one, other) == pytest.approx(expected, abs=1e-4)
    assert random_backbone.distance(one, other) == random_backbone.distance(other, one)
    assert random_backbone.distance(one, one) == 0.0


@pytest.mark.filterwarnings("ignore::UserWarning")  # lpips calls torchvision the old way
def test_random_backbone_is_lpips_own_with_seed_0(random_backbone):
    """The fallback is lpips.LPIPS(pnet_rand=True) after manual_seed(0), and is named so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = float(network(tensor(image), tensor(image[::-1].copy())))
    one, other = random_backbone.embed(image), random_backbone.embed(image[::-1])
    assert random_backbone.distance(one, other) == pytest.approx(expected, abs=1e-5)
    assert random_backbone.name == RANDOM == "alex, random, seed 0 (uncalibrated)"


def test_loading_leaves_the_random_state_alone():
    """A render's noise does not depend on whether LPIPS was loaded before it."""
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    load_backbone(weights_dir=None)
    assert torch.equal(torch.rand(4), expected)


def test_missing_weights_are_an_error_not_a_fallback(tmp_path):
    """A weights folder without weights names the files to bring; nothing random steps in."""
    with pytest.raises(BackboneUnavailable, match=r"alexnet-owt-7be5be79\.pth"):
        load_backbone(weights_dir=tmp_path)


def test_damaged_weights_are_noticed_by_their_hash(tmp_path):
    """A file whose bytes do not give the hash in its name is refused."""
    (tmp_path / TRUNK_FILES[0]).write_bytes(b"not weights")
    with pytest.raises(BackboneUnavailable, match="damaged"):
        load_backbone(weights_dir=tmp_path)


@pytest.mark.parametrize("damage", [b"", b"not weights", bytes(range(256)) * 8])
def test_damaged_safetensors_are_told_by_their_file(tmp_path, damage):
    """Whatever its bytes are: by name, as weights that cannot be read."""
    (tmp_path / "alexnet.safetensors").write_bytes(damage)
    with pytest.raises(BackboneUnavailable, match=r"alexnet\.safetensors: cannot be read"):
        load_backbone(weights_dir=tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    """Tensors that are no AlexNet are named."""
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "alexnet.safetensors")
    with pytest.raises(BackboneUnavailable, match="not an AlexNet"):
        load_backbone(weights_dir=tmp_path)


def test_given_weights_are_used_and_named(tmp_path, random_backbone):
    """Weights from a folder replace the random trunk, and the name carries their hash."""
    path = tmp_path / "alexnet.safetensors"
    save_file(trunk_of(random_backbone, gain=0.5), path)
    backbone = load_backbone(weights_dir=tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert backbone.name == f"alex (trained, sha256 {digest[:8]})"
    assert self_test_value(backbone) != pytest.approx(self_test_value(random_backbone), rel=1e-3)


def test_published_file_format_is_read(tmp_path, random_backbone, monkeypatch):
    """A torch file whose name carries its hash loads with weights_only and is `alex (trained)`."""
    raw = tmp_path / "raw.pth"
    torch.save(trunk_of(random_backbone), raw)
    digest = hashlib.sha256(raw.read_bytes()).hexdigest()[:8]
    name = f"alexnet-owt-{digest}.pth"
    raw.rename(tmp_path / name)
    monkeypatch.setattr("qc.lpips.TRUNK_FILES", (name,))
    backbone = load_backbone(weights_dir=tmp_path)
    assert backbone.name == "alex (trained)"
    assert self_test_value(backbone) == pytest.approx(self_test_value(random_backbone))


def test_dead_weights_fail_the_self_test(tmp_path, random_backbone):
    """A trunk that sees nothing is caught when it is loaded."""
    save_file(trunk_of(random_backbone, gain=0.0), tmp_path / "alexnet.safetensors")
    with pytest.raises(BackboneUnavailable, match="self-test"):
        load_backbone(weights_dir=tmp_path)


def test_small_images_are_refused(random_backbone):
    """AlexNet has no features below 32 pixels: refused by name, not by a torch traceback."""
    with pytest.raises(ValueError, match="at least 32"):
        random_backbone.embed(np.zeros((31, 64, 3), np.uint8))


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32 - 1), st.integers(256, 300), st.integers(0, 60))
def test_large_pictures_equal_the_lpips_package_in_bfloat16_too(
    random_backbone, seed, height, smooth
):
    """What bfloat16 loses is under 1e-4 for pictures of its size, noise and smooth ones alike."""
    short = LpipsBackbone(random_backbone.network, name=RANDOM, device="cpu", short=True)
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, height, 256, 3), dtype=np.uint8)
    if smooth:
        second = cv2.GaussianBlur(second, (0, 0), smooth / 10)
    with torch.inference_mode():
        expected = float(random_backbone.network(tensor(first), tensor(second)))
    one, other = short.embed(first), short.embed(second)
    assert short.distance(one, other) == pytest.approx(expected, abs=1e-4)
    exact = short.distance(short.embed(first, exactly=True), short.embed(second, exactly=True))
    assert exact == pytest.approx(expected, abs=1e-6)
    assert exact != short.distance(one, other)


def test_small_pictures_are_embedded_in_float32(random_backbone):
    """Under 65,536 pixels too little is averaged: a backbone with a short trunk lets it be."""
    short = LpipsBackbone(random_backbone.network, name=RANDOM, device="cpu", short=True)
    image = np.random.default_rng(0).integers(0, 256, (255, 256, 3), dtype=np.uint8)
    used, exact = short.embed(image), short.embed(image, exactly=True)
    assert all(torch.equal(a, b) for a, b in zip(used.layers, exact.layers, strict=True))


@pytest.mark.parametrize(("gain", "kept"), [(1.0, True), (1.1, False), (float("nan"), False)])
def test_bfloat16_is_used_only_where_it_gives_what_float32_gives(monkeypatch, gain, kept):
    """Weights that it does not suit, or a processor that gets it wrong, cost time and no clip."""
    right = bfloat16.shortened

    def spoilt(network: torch.nn.Module) -> torch.nn.Module:
        short = right(network)
        with torch.no_grad():
            next(short.parameters()).mul_(gain)
        return short

    monkeypatch.setattr(bfloat16, "multiplied_here", lambda: True)
    monkeypatch.setattr(bfloat16, "shortened", spoilt)
    backbone = load_backbone(weights_dir=None)
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    used, exact = backbone.embed(image), backbone.embed(image, exactly=True)
    assert all(map(torch.equal, used.layers, exact.layers)) is not kept


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([1, 3, 5]))
def test_diffused_weights_lose_no_sum(seed, channels, side):
    """Every weight is a number of bfloat16, a step off at most; sums of filters are kept."""
    weight = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (7, channels, side, side)))
    weight = weight.float()
    short = diffused(weight)
    assert torch.equal(short, short.to(torch.bfloat16).float())
    step = 2.0**-7 * float(weight.abs().max())
    assert float((short - weight).abs().max()) <= step
    assert float((short - weight).sum(dim=(1, 2, 3)).abs().max()) <= step


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30))
def test_rounding_to_bfloat16_is_torchs(values):
    """Ties to even, and both signs, as torch rounds them."""
    plane = np.asarray(values, np.float32)
    expected = torch.from_numpy(plane).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(rounded(plane), expected)


def test_the_source_is_compared_at_half_size_from_240_pixels_on(random_backbone):
    """As neighbours are, so that both are on one scale; small pictures as they are."""
    rng = np.random.default_rng(0)
    for height, width, of in [(240, 256, (120, 128)), (239, 256, (239, 256))]:
        pictures = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        sizes = [cv2.resize(at, of[::-1], interpolation=cv2.INTER_AREA) for at in pictures]
        expected = random_backbone.distance(*map(random_backbone.embed, sizes))
        found = conditioning.compute(*pictures, lpips=random_backbone).lpips
        assert found == expected
