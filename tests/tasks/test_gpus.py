"""Which devices are found, and what is placed where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from manifests.errors import BadInput
from manifests.placement import CardPlacement
from manifests.settings import load_studio
from render.footprint import GIB
from render.order import Placement
from tasks import gpus
from tasks.cards import Card, cards_of
from tasks.gpus import Device, find_devices, find_machine
from tasks.plan import _card_words


def test_the_cpu_is_always_there() -> None:
    """`cpu` gives one device that hides no card."""
    (device,) = find_devices("cpu")
    assert (device.torch_device, device.visible) == ("cpu", None)


def test_auto_finds_at_least_one_device() -> None:
    """`auto` never comes back with nothing."""
    assert find_devices("auto")


def test_a_card_that_is_not_there_is_refused_with_what_is() -> None:
    """The fault names the setting, the value and the remedy."""
    with pytest.raises(BadInput) as caught:
        find_devices("cuda:99")
    (fault,) = caught.value.faults
    assert fault.column == "device"
    assert "write auto or cpu" in fault.remedy


@pytest.mark.usefixtures("three_cards")
def test_without_placement_every_card_renders() -> None:
    """Three cards, three workers, each sees its own alone."""
    machine = find_machine("auto")
    assert [card.visible for card in machine.cards] == ["GPU-0", "GPU-1", "GPU-2"]
    assert machine.upscaler is None


@pytest.mark.usefixtures("three_cards")
def test_a_card_that_holds_parts_is_seen_second_and_renders_nothing() -> None:
    """Encoder and VAE on cuda:2, the upscaler on cuda:1: one card renders and sees cuda:2 too."""
    placement = CardPlacement(text_encoder="cuda:2", vae="cuda:2", upscale="cuda:1")
    machine = find_machine("auto", placement)
    (card,) = machine.cards
    assert card.visible == "GPU-0,GPU-2"
    assert card.placement == Placement(text_encoder="cuda:1", vae="cuda:1")
    assert machine.upscaler is not None
    assert machine.upscaler.visible == "GPU-1"


@pytest.mark.usefixtures("three_cards")
@pytest.mark.parametrize(
    ("wanted", "placement", "column"),
    [
        ("auto", CardPlacement(vae="cuda:7"), "placement.vae"),
        ("cpu", CardPlacement(upscale="cuda:1"), "placement.upscale"),
        ("cuda:1", CardPlacement(low_expert="cuda:1"), "placement"),
        (
            "auto",
            CardPlacement(text_encoder="cuda:0", vae="cuda:1", upscale="cuda:2"),
            "placement",
        ),
    ],
)
def test_a_placement_that_cannot_be_is_refused(
    wanted: str, placement: CardPlacement, column: str
) -> None:
    """A missing card, a card on a night without cards, and no card left to render."""
    with pytest.raises(BadInput) as caught:
        find_machine(wanted, placement)
    (fault,) = caught.value.faults
    assert fault.column == column
    assert fault.remedy


@pytest.mark.usefixtures("three_cards")
def test_the_cards_that_render_are_counted_where_they_are_here() -> None:
    """A plan made on another machine knows no number."""
    assert gpus.count_cards("auto", CardPlacement(vae="cuda:2")) == 2
    assert gpus.count_cards("cpu") == 1
    assert gpus.count_cards("cuda:7") is None


@pytest.mark.parametrize(
    ("asked", "here", "words"),
    [
        (1, 1, ()),
        (2, None, ()),
        (2, 2, ()),
        (2, 1, ("gpus 2: one card renders here, so the shot takes longer, and is the same",)),
        (4, 2, ("gpus 4: 2 cards render here, so the shot takes longer, and is the same",)),
    ],
)
def test_the_plan_warns_where_more_cards_are_asked_for_than_there_are(
    asked: int, here: int | None, words: tuple[str, ...]
) -> None:
    """The shot renders on what there is; where that is not known, nothing is said."""
    assert _card_words(SimpleNamespace(gpus=asked), here) == words


def test_the_plan_reckons_with_the_memory_of_the_cards_that_were_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that the driver tells no memory of is none that anything could be held against."""
    known = Device(name="Card #0", torch_device="cuda:0", visible="GPU-0", memory=24 * GIB)
    cards = (known, replace(known, name="Card #1", visible="GPU-1", memory=None))
    monkeypatch.setattr(gpus, "_cuda_cards", lambda: cards)
    assert cards_of(load_studio(tmp_path)) == (Card(name="Card #0", memory=24 * GIB),)
