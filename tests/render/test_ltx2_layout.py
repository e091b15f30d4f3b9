"""LTX-2: picture and sound in one row, and the noise levels of its presets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from hypothesis import given
from hypothesis import strategies as st

from manifests.preset import load_preset
from manifests.schedules import stage_sigmas
from manifests.settings import load_studio
from render.families.ltx2_layout import Layout, TextLayout
from render.sampling import draw_noise

pytestmark = pytest.mark.usefixtures("one_thread")


@given(sizes=st.tuples(*[st.integers(1, 4)] * 4), sound=st.tuples(*[st.integers(1, 4)] * 3))
def test_a_row_holds_picture_and_sound(
    sizes: tuple[int, int, int, int], sound: tuple[int, int, int]
) -> None:
    """What is joined into a row is split out of it again, value by value."""
    layout = Layout(picture=(1, *sizes), sound=(1, *sound))
    row = torch.arange(layout.row[1], dtype=torch.float32).unsqueeze(0)
    picture, heard = layout.split(row)
    assert (tuple(picture.shape), tuple(heard.shape)) == (layout.picture, layout.sound)
    assert torch.equal(layout.join(picture, heard), row)


@given(frames=st.integers(1, 3), side=st.integers(1, 3), moments=st.integers(2, 9))
def test_the_noise_of_a_seed_is_drawn_as_the_stock_pipeline_draws_it(
    frames: int, side: int, moments: int
) -> None:
    """At the published widths one draw for the row is a draw for the picture, then the sound."""
    layout = Layout(picture=(1, 128, frames, side, side), sound=(1, 8, moments, 16))
    picture, sound = layout.split(draw_noise(layout.row, seed=3))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(picture, torch.randn(layout.picture, generator=generator))
    assert torch.equal(sound, torch.randn(layout.sound, generator=generator))


def test_text_for_both_lies_side_by_side() -> None:
    """Embeddings for picture and sound and their mask come apart as they were put together."""
    picture, sound = torch.randn(1, 5, 4), torch.randn(1, 5, 3)
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    layout = TextLayout(picture=4, sound=3)
    found = layout.split(layout.join(picture, sound, mask))
    assert torch.equal(found[0], picture)
    assert torch.equal(found[1], sound)
    assert torch.equal(found[2].long(), mask)


def test_the_distilled_preset_runs_the_distilled_levels(tmp_path: Path) -> None:
    """The fixed levels of the distilled models are `linear_quadratic` in eight steps."""
    [stage] = load_preset("ltx2", "distilled", load_studio(tmp_path)).stages
    assert stage_sigmas(stage) == pytest.approx([*DISTILLED_SIGMA_VALUES, 0.0], abs=1e-12)
    assert stage.cfg == 1.0


def test_the_presets_stand_where_the_stock_scheduler_stands_at_4096_tokens(tmp_path: Path) -> None:
    """Its levels at mu 2.05; stretched to end at 0.1, as it has them, no level is 0.115 away."""
    stage = load_preset("ltx2", "single", load_studio(tmp_path)).stages[0]
    ours = stage_sigmas(stage)[:-1]
    for terminal, near in ((None, 4e-3), (0.1, 0.115)):
        stock = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=terminal)
        uniform = np.linspace(1.0, 1 / stage.steps, stage.steps)
        stock.set_timesteps(sigmas=uniform, mu=2.05)
        assert ours == pytest.approx(stock.sigmas[:-1].tolist(), abs=near)
