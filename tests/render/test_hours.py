"""A take at the end of the night's hours: stopped at a step, kept, and gone on with unchanged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from render.backend import Progress
from render.diffusers_backend import DiffusersBackend
from render.errors import OutOfHours
from render.order import Receipt, RenderOrder

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
OrderFor = Callable[..., RenderOrder]


def _render(order: RenderOrder, tell: Callable[[Progress], None] = lambda told: None) -> Receipt:
    return DiffusersBackend().render(order, tell=tell)


def _stop_at(order: RenderOrder, step: int) -> tuple[list[int], OutOfHours]:
    """Let the hours end while stage 1 is at `step`; the steps that were done, and the error."""
    steps: list[int] = []
    stop_at = time.time() + 1.5

    def tell(told: Progress) -> None:
        if told.phase == "stage" and told.stage == 1 and told.step:
            steps.append(told.step)
            if told.step == step:
                time.sleep(max(0.0, stop_at - time.time()) + 0.01)

    with pytest.raises(OutOfHours) as caught:
        _render(replace(order, stop_at=stop_at), tell)
    return steps, caught.value


def test_it_stops_at_a_step_and_goes_on_bit_for_bit(order_for: OrderFor, tmp_path: Path) -> None:
    """Kept as it stands when the hours end, no step is done twice and no bit differs."""
    whole = _render(order_for(folder=tmp_path / "whole"))
    order = order_for(folder=tmp_path / "cut")
    steps, error = _stop_at(order, 2)
    assert steps == [1, 2]
    assert "in stage 1, after step 2" in str(error)
    done: list[int] = []
    resumed = _render(order, lambda told: done.append(told.step) if told.stage == 1 else None)
    assert 1 not in done
    assert resumed.clip_sha256 == whole.clip_sha256


def test_abort_writes_nothing_more(order_for: OrderFor, tmp_path: Path) -> None:
    """With `abort` it stops at the next step and goes on from its last checkpoint."""
    order = replace(order_for(folder=tmp_path / "cut"), stop_keeps=False)
    _stop_at(order, 2)
    assert not (order.folder / "midway.safetensors").exists()
    assert _render(order).frames == order.recipe.frames


def test_a_take_that_comes_too_late_does_not_take_the_card(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """One that waited for the card past the end of the hours loads no model."""
    backend = DiffusersBackend()
    late = replace(order_for(folder=tmp_path / "late"), stop_at=time.time() - 1)
    with pytest.raises(OutOfHours, match="before it had the card"):
        backend.render(late, tell=lambda told: None)
    assert backend._model is None
