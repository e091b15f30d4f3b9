"""What a look is shown: a part of the clip, from where the latents change most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_family import CHANNELS, SIDE, ToyModel, build_toy, load_toy

from render.families.base import LoadRequest
from render.glimpse import LEAST, PART, glimpse, window
from render.order import ModelRef
from render.preview_factors import PreviewFactors

FACTORS = PreviewFactors(name="toy", factors=((0.3, 0.1, 0.0),) * CHANNELS, bias=(0.0, 0.0, 0.0))


@pytest.fixture
def toy(tmp_path: Path) -> ToyModel:
    """A model whose VAE decodes each latent pixel by itself."""
    folder = build_toy(tmp_path / "toy")
    model = ModelRef(name="toy", family="toy", location=str(folder))
    return load_toy(
        LoadRequest(
            model=model, precision="float32", vae_precision="float32", device="cpu",
            image_to_video=False, boundary=None,
        )
    )  # fmt: skip


def _moving(rows: int, columns: int, *, top: int, left: int) -> torch.Tensor:
    """Latents of 5 frames that stand still but for 3 x 3 of them."""
    x = torch.zeros(1, CHANNELS, 5, rows, columns)
    x[..., top : top + 3, left : left + 3] = torch.randn(
        1, CHANNELS, 5, 3, 3, generator=torch.Generator().manual_seed(1)
    )
    return x


@given(
    rows=st.integers(3, 80), columns=st.integers(3, 120),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)  # fmt: skip
def test_the_window_holds_what_moves(rows: int, columns: int, at: tuple[float, float]) -> None:
    """Wherever that is; inside of the picture, with a quarter of its sides or the least."""
    top, left = round(at[0] * (rows - 3)), round(at[1] * (columns - 3))
    y, x, height, width = window(_moving(rows, columns, top=top, left=left))
    assert height == min(rows, max(LEAST, -(-rows // PART)))
    assert width == min(columns, max(LEAST, -(-columns // PART)))
    assert 0 <= y <= top
    assert top + 3 <= y + height <= rows
    assert 0 <= x <= left
    assert left + 3 <= x + width <= columns


def test_one_latent_frame_is_seen_in_its_middle() -> None:
    """Nothing changes in a single one."""
    assert window(torch.randn(1, 4, 1, 40, 64)) == (15, 24, 10, 16)


def test_the_frames_are_those_of_the_clip(toy: ToyModel) -> None:
    """The window's pixels are the clip's own, at the place that the box names; without factors
    there are no colours."""
    latents = _moving(24, 40, top=5, left=30)
    with torch.inference_mode():
        shown = glimpse(toy, latents)
        whole = np.concatenate(list(toy.decode(latents)))
    assert shown is not None
    assert shown.colours is None
    assert shown.frames is not None
    y, x = round(shown.box.top * 24) * SIDE, round(shown.box.left * 40) * SIDE
    height, width = shown.frames.shape[1:3]
    np.testing.assert_array_equal(shown.frames, whole[:, y : y + height, x : x + width])
    assert (height, width) == (8 * SIDE, 10 * SIDE)
    assert round(shown.box.bottom * 24) * SIDE == y + height
    assert round(shown.box.right * 40) * SIDE == x + width


def test_without_room_only_colours_are_shown(
    toy: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VAE that would push something off the card is not used; without factors nothing is left
    to be shown."""
    monkeypatch.setattr(ToyModel, "may_decode_beside", lambda self, share: False)
    latents = _moving(24, 40, top=5, left=30)
    assert glimpse(toy, latents) is None
    monkeypatch.setattr(ToyModel, "preview_factors", FACTORS)
    shown = glimpse(toy, latents)
    assert shown is not None
    assert shown.frames is None
    assert shown.colours is not None
    assert shown.colours.shape == (5, 24, 40, 3)
