"""Upscaling: by a network, by Lanczos, and never by a file that could run code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from spandrel import ModelLoader

from manifests.shot import Upscale
from render.errors import ModelUnavailable, OutOfMemory
from render.post.resize import fitted_size, resize, scaled_size
from render.post.upscale import HALO, Upscaler, upscale_tiled

Make = Callable[..., np.ndarray]
Compact = Callable[..., tuple[Path, str]]
CPU = torch.device("cpu")


def _upscaler(upscale: Upscale | None, frame: np.ndarray, tile: int = 512) -> Upscaler:
    height, width = frame.shape[:2]
    return Upscaler(upscale, width=width, height=height, device="cpu", tile=tile)


def _delivered(upscaler: Upscaler, frame: np.ndarray) -> np.ndarray:
    """The frame as it is delivered."""
    return upscaler.sized(upscaler.enlarge(frame))


def _reference(path: Path, frame: np.ndarray) -> np.ndarray:
    """The network's own formula with torch's functions, without spandrel."""
    w = safetensors.torch.load_file(path)
    x = torch.from_numpy(frame).permute(2, 0, 1)[None]
    f = torch.nn.functional
    y = f.prelu(f.conv2d(x, w["body.0.weight"], w["body.0.bias"], padding=1), w["body.1.weight"])
    y = f.prelu(f.conv2d(y, w["body.2.weight"], w["body.2.bias"], padding=1), w["body.3.weight"])
    y = f.conv2d(y, w["body.4.weight"], w["body.4.bias"], padding=1)
    scale = round((y.shape[1] / 3) ** 0.5)
    y = f.pixel_shuffle(y, scale) + f.interpolate(x, scale_factor=scale, mode="nearest")
    return y.clamp(0, 1)[0].permute(1, 2, 0).numpy()


def test_a_network_is_run_as_it_is(moving: Make, compact: Compact) -> None:
    """At its own scale the result is the network's, to 1e-6, and its name and hash are told."""
    path, digest = compact(scale=2)
    frame = moving()[0]
    upscaler = _upscaler(Upscale(factor=2, model=path, model_sha256=digest), frame)
    np.testing.assert_allclose(_delivered(upscaler, frame), _reference(path, frame), atol=1e-6)
    assert upscaler.words == f"tiny.safetensors (sha256 {digest[:12]}), RealESRGAN Compact 2x"


def test_another_factor_goes_through_lanczos(moving: Make, compact: Compact) -> None:
    """A 4x network asked for 1.5x is run at 4x and shrunk; both are told."""
    path, digest = compact(scale=4)
    frame = moving()[0]
    upscaler = _upscaler(Upscale(factor=1.5, model=path, model_sha256=digest), frame)
    got = _delivered(upscaler, frame)
    assert upscaler.size == (96, 72)
    assert got.shape == (72, 96, 3)
    np.testing.assert_allclose(got, resize(_reference(path, frame), width=96, height=72), atol=1e-6)
    assert upscaler.words.endswith("RealESRGAN Compact 4x, then lanczos to 1.5x")


@pytest.mark.parametrize("tile", [24, 33, 1000])
def test_tiles_leave_no_seams(moving: Make, compact: Compact, tile: int) -> None:
    """Tiled and whole agree to 1e-6: the halo is wider than the network looks."""
    path, _ = compact(scale=2)
    network = ModelLoader().load_from_state_dict(safetensors.torch.load_file(path))
    frame = moving(1, HALO + 25, 2 * HALO + 9)[0]
    got = upscale_tiled(network, frame, tile=tile, device=CPU)
    np.testing.assert_allclose(got, _reference(path, frame), atol=1e-6)


def test_lanczos_is_named_when_there_is_no_model(moving: Make) -> None:
    """Without a model the words say Lanczos, the factor, and that none was configured."""
    frame = moving()[0]
    upscaler = _upscaler(Upscale(factor=2), frame)
    assert upscaler.words == "lanczos 2x (no upscaling model configured)"
    assert _delivered(upscaler, frame).shape == (96, 128, 3)
    assert upscaler.size == (128, 96)


def test_lanczos_keeps_a_smooth_picture() -> None:
    """Enlarged by 2, a sine is the sine sampled twice as finely (inner part, within 0.005)."""
    width = 64
    coarse = 0.5 + 0.4 * np.sin((np.arange(width) + 0.5) / 6)
    fine = 0.5 + 0.4 * np.sin((np.arange(2 * width) + 0.5) / 12)
    frame = np.broadcast_to(coarse[None, :, None], (8, width, 3)).astype(np.float32)
    got = resize(frame, width=2 * width, height=16)
    assert np.abs(got[8, 8:-8, 0] - fine[8:-8]).max() < 0.005


def test_lanczos_does_not_move_or_mix_channels() -> None:
    """A flat colour stays that colour, and nothing leaves 0..1 at a hard edge."""
    flat = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (10, 14, 3))
    want = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (20, 28, 3))
    np.testing.assert_allclose(resize(flat, width=28, height=20), want, atol=1e-6)
    edge = np.zeros((8, 8, 3), np.float32)
    edge[:, 4:] = 1
    big = resize(edge, width=31, height=17)
    assert big.min() >= 0
    assert big.max() <= 1


@settings(deadline=None, max_examples=examples(50))
@given(width=st.integers(1, 4000), height=st.integers(1, 4000), factor=st.floats(0.05, 4))
def test_sizes_are_even_and_near(width: int, height: int, factor: float) -> None:
    """A delivered side is even, at least 2, and within one pixel of what was asked."""
    for length, wanted in zip(scaled_size(width, height, factor), (width, height), strict=True):
        assert length % 2 == 0
        assert length >= 2
        assert abs(length - wanted * factor) <= 1 or length == 2


@settings(deadline=None, max_examples=examples(50))
@given(width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_a_fitted_size_never_grows(width: int, height: int) -> None:
    """A preview's long side is at most what is allowed and never larger than the clip's."""
    fitted = fitted_size(width, height, 320)
    assert max(fitted) <= max(2, min(320, max(width, height) + 1))


def test_nothing_asked_changes_nothing(moving: Make) -> None:
    """Without an upscale an even frame is given back as it is."""
    frame = moving()[0]
    upscaler = _upscaler(None, frame)
    np.testing.assert_array_equal(_delivered(upscaler, frame), frame)
    assert (upscaler.words, upscaler.size, upscaler.changes) == ("none", (64, 48), False)


def test_an_odd_frame_is_padded_not_resampled(moving: Make) -> None:
    """Odd sizes get their last row and column once more; the picture itself is untouched."""
    frame = moving(1, 23, 37)[0]
    upscaler = _upscaler(None, frame)
    got = _delivered(upscaler, frame)
    assert (got.shape, upscaler.size) == ((24, 38, 3), (38, 24))
    np.testing.assert_array_equal(got[:23, :37], frame)
    np.testing.assert_array_equal(got[23, :37], frame[22])
    assert "repeated" in upscaler.words


def test_a_changed_model_is_refused(compact: Compact) -> None:
    """A model that is not the one that was planned is refused, with both hashes."""
    path, digest = compact(scale=2)
    planned = "0" * 64
    with pytest.raises(ModelUnavailable, match="changed since it was planned") as caught:
        Upscaler(
            Upscale(factor=2, model=path, model_sha256=planned), width=8, height=8, device="cpu"
        )
    assert digest[:12] in str(caught.value)


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.ckpt", "model"])
def test_files_that_can_run_code_are_refused(tmp_path: Path, name: str) -> None:
    """A pickle is refused by its name and never opened: what it would run does not run."""
    path, mark = tmp_path / name, tmp_path / "ran"
    torch.save({"body.0.weight": _Bomb(mark)}, path)
    with pytest.raises(ModelUnavailable, match=r"only \.safetensors"):
        Upscaler(Upscale(factor=2, model=path), width=8, height=8, device="cpu")
    assert not mark.exists()


def test_a_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    """A pickle that calls itself .safetensors is no safetensors, and does not run either."""
    path, mark = tmp_path / "model.safetensors", tmp_path / "ran"
    torch.save({"body.0.weight": _Bomb(mark)}, path)
    with pytest.raises(ModelUnavailable, match="spandrel knows no upscaling model"):
        Upscaler(Upscale(factor=2, model=path), width=8, height=8, device="cpu")
    assert not mark.exists()


def test_a_foreign_or_missing_model_is_refused(tmp_path: Path) -> None:
    """Weights of something else and a missing file are refused by name."""
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(ModelUnavailable, match=r"other\.safetensors: spandrel knows no"):
        Upscaler(Upscale(factor=2, model=path), width=8, height=8, device="cpu")
    gone = tmp_path / "gone.safetensors"
    with pytest.raises(ModelUnavailable, match=r"gone\.safetensors: .* cannot be read"):
        Upscaler(Upscale(factor=2, model=gone), width=8, height=8, device="cpu")


def test_a_wrapped_model_is_understood(moving: Make, compact: Compact) -> None:
    """Weights saved from inside a wrapper (`module.`) are the same network."""
    plain, _ = compact(scale=2)
    wrapped, _ = compact(scale=2, name="wrapped.safetensors", prefix="module.")
    frame = moving()[0]
    one = _delivered(_upscaler(Upscale(factor=2, model=plain), frame), frame)
    two = _delivered(_upscaler(Upscale(factor=2, model=wrapped), frame), frame)
    np.testing.assert_array_equal(one, two)


class _Small:
    """A network on a card that holds no part wider than `room` pixels."""

    scale = 2
    tiling = None

    def __init__(self, inner: object, room: int) -> None:
        self.inner, self.room = inner, room
        self.tiling = inner.tiling  # type: ignore[attr-defined]

    def __call__(self, part: torch.Tensor) -> torch.Tensor:
        if max(part.shape[-2:]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(part)  # type: ignore[operator,no-any-return]


def test_smaller_tiles_when_memory_runs_out(moving: Make, compact: Compact) -> None:
    """Out of memory halves the tile, down to 128; the picture stays the same."""
    path, _ = compact(scale=2)
    frame = moving(1, 300, 400)[0]
    upscaler = _upscaler(Upscale(factor=2, model=path), frame)
    upscaler._network = _Small(upscaler._network, room=200)
    np.testing.assert_allclose(_delivered(upscaler, frame), _reference(path, frame), atol=1e-6)


def test_out_of_memory_is_named(moving: Make, compact: Compact) -> None:
    """When even the smallest tile does not fit, that is a machine failure by name."""
    path, _ = compact(scale=2)
    frame = moving(1, 300, 400)[0]
    upscaler = _upscaler(Upscale(factor=2, model=path), frame)
    upscaler._network = _Small(upscaler._network, room=100)
    with pytest.raises(OutOfMemory, match="no memory to upscale"):
        _delivered(upscaler, frame)
