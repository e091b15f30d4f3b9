"""Parts of a model on other cards: the same take, whichever card holds what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_render import hashes

from render.diffusers_backend import DiffusersBackend
from render.order import Placement, Receipt, RenderOrder
from render.placement import Rooms

OrderFor = Callable[..., RenderOrder]
ELSEWHERE = Placement(text_encoder="cuda:1", low_expert="cuda:1", vae="cuda:1")


def _render(order: RenderOrder, backend: DiffusersBackend) -> Receipt:
    return backend.render(replace(order, device="cuda:0"), tell=lambda progress: None)


def test_a_part_that_is_not_named_lies_where_the_take_renders() -> None:
    """Without a placement there is one residence; with one, one for each card."""
    base = torch.device("cuda:0")
    assert len(Rooms(base, Placement()).residences) == 1
    assert len(Rooms(base, Placement(vae="cuda:0")).residences) == 1
    assert len(Rooms(base, ELSEWHERE).residences) == 2
    assert len(Rooms(base, replace(ELSEWHERE, vae="cuda:2")).residences) == 3


def test_a_part_is_sent_home_only_from_the_card_that_renders() -> None:
    """An encoder leaves the card that samples; on a card of its own it stays."""
    base, encoder = torch.device("cpu"), torch.nn.Linear(1, 1)
    left: list[str] = []
    for placement in (Placement(), Placement(text_encoder="meta")):
        rooms = Rooms(base, placement)
        rooms._residences[base].send_away = lambda module: left.append("sent")  # type: ignore[method-assign]
        rooms.leave("text_encoder", encoder)
    assert left == ["sent"]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA cards")
@pytest.mark.parametrize("kind", ["i2v-2.1", "t2v-2.2", "i2v-2.2"])
def test_two_cards_make_the_take_of_one(kind: str, order_for: OrderFor, tmp_path: Path) -> None:
    """Encoders, second expert and VAE on another card of the same kind: every bit is equal, and
    each part is where it was placed."""
    expected = hashes(_render(order_for(kind, folder=tmp_path / "a"), DiffusersBackend()))
    backend = DiffusersBackend()
    order = replace(order_for(kind, folder=tmp_path / "b"), placement=ELSEWHERE)
    assert hashes(_render(order, backend)) == expected
    model: Any = backend._model
    places = {name: next(part.parameters()).device.index for name, part in model.components.items()}
    expected_places = {"transformer": 0, "transformer_2": 1, "text_encoder": 1, "vae": 1}
    assert places == {name: expected_places[name] for name in places}
