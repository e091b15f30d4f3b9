"""The memory of a take, told from its model's settings; what fits where, and with which rungs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_render import load_plain

from manifests.stage import Concession
from render.errors import ModelUnavailable
from render.families.registry import measure_footprint
from render.footprint import FIT_SHARE, Footprint, FootprintOrder, Part, Work, card_peak, fit
from render.ladder import Phase, Rung, allowed_rungs
from render.memory import module_bytes
from render.meter import FusedAttention, Meter, peak_of
from render.order import ModelRef

MB = 2**20


def _order(folder: Path, **changes: object) -> FootprintOrder:
    made = FootprintOrder(
        model=ModelRef(name="tiny", family="wan", location=str(folder)),
        precision="float32",
        vae_precision="float32",
        width=64,
        height=64,
        frames=9,
        image_to_video="i2v" in folder.name,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["i2v-2.1", "t2v-2.2", "ti2v-5b"])
def test_weights_are_counted_as_the_loader_stores_them(
    kind: str, tiny_wan: Callable[[str], Path]
) -> None:
    """To the byte (up to the allocator's grain), without opening a weight file."""
    folder = tiny_wan(kind)
    found = measure_footprint(_order(folder))
    assert found is not None
    ref = ModelRef(name="tiny", family="wan", location=str(folder))
    model = load_plain(ref, image_to_video="i2v" in kind)
    for name, module in model.components.items():
        tensors = len([*module.parameters(), *module.buffers()])
        counted = found.parts[name].whole
        assert 0 <= counted - module_bytes(module) < 512 * tensors, name


@pytest.mark.slow
def test_a_footprint_grows_with_the_clip(tiny_wan: Callable[[str], Path]) -> None:
    """More pixels and more frames need more room, and the same order always the same."""
    folder = tiny_wan("i2v-2.2")
    small = measure_footprint(_order(folder))
    assert small is not None
    assert small == measure_footprint(_order(folder))
    for larger in ({"width": 128}, {"frames": 17}):
        grown = measure_footprint(_order(folder, **larger))
        assert grown is not None
        rooms = [(b.room, a.room) for b, a in zip(small.works, grown.works, strict=True)]
        assert all(before <= after for before, after in rooms)
        assert any(before < after for before, after in rooms)


def test_a_folder_without_settings_is_named(tmp_path: Path) -> None:
    """What cannot be estimated says which file is missing."""
    with pytest.raises(ModelUnavailable, match=r"model_index\.json"):
        measure_footprint(_order(tmp_path))


def test_the_meter_counts_what_lives_at_once() -> None:
    """Two tensors that live together count together, one after the other only once."""

    def together() -> None:
        one, two = torch.empty(MB, dtype=torch.uint8), torch.empty(MB, dtype=torch.uint8)
        del one, two

    def in_turn() -> None:
        for _ in range(3):
            torch.empty(MB, dtype=torch.uint8)

    assert (peak_of(together), peak_of(in_turn)) == (2 * MB, MB)


def test_a_view_is_no_memory() -> None:
    """What shares its bytes is counted once."""
    with torch.device("meta"), Meter() as meter:
        whole = torch.empty(4, MB, dtype=torch.uint8)
        part = whole[1:3].reshape(-1)
    assert meter.now == meter.peak == 4 * MB
    del whole
    assert meter.now == 4 * MB, "a part keeps the whole alive"
    del part
    assert meter.now == 0


def test_attention_makes_no_matrix_of_all_pairs() -> None:
    """As on a card: an attention over 100,000 tokens needs its output and no more."""
    with torch.device("meta"), Meter() as meter, FusedAttention():
        q = torch.empty(1, 1, 100_000, 8)
        out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert out.shape == q.shape
    assert meter.peak == 2 * q.numel() * 4


def _footprint(*, expert: int, block: int, text: int, sampling: int, decode: int) -> Footprint:
    transformer = Part(
        whole=expert * MB,
        swapped=min(block, expert) * MB,
        narrow=expert * MB // 2,
        narrow_swapped=min(block, expert) * MB // 2,
        encoder=False,
    )
    one = {"narrow": text * MB, "narrow_swapped": text * MB // 4}
    encoder = Part(whole=text * MB, swapped=text * MB // 4, encoder=True, **one)
    vae = Part(whole=MB, swapped=MB, narrow=MB, narrow_swapped=MB, encoder=False)
    return Footprint(
        parts={"text_encoder": encoder, "transformer": transformer, "vae": vae},
        works=(
            Work(name="text", phase=Phase.ENCODE, part="text_encoder", room=MB),
            Work(name="sampling", phase=Phase.SAMPLE, part="transformer", room=sampling * MB),
            Work(
                name="decode",
                phase=Phase.DECODE,
                part="vae",
                room=decode * MB,
                tiled_room=decode * MB // 3,
            ),
        ),
    )


sizes = st.integers(min_value=4, max_value=50_000)
footprints = st.builds(
    _footprint, expert=sizes, block=sizes, text=sizes, sampling=sizes, decode=sizes
)
concessions = st.sets(st.sampled_from(Concession))


@given(footprints, st.sets(st.sampled_from(Rung)), st.sampled_from(Rung))
def test_a_rung_never_needs_more(footprint: Footprint, rungs: set[Rung], more: Rung) -> None:
    """Whatever is in force, one rung more makes no peak higher."""
    assert footprint.peak({*rungs, more}) <= footprint.peak(rungs)


@given(footprints, st.integers(min_value=1, max_value=200_000), concessions)
def test_the_plan_takes_no_rung_it_may_not(
    footprint: Footprint, card: int, conceded: set[Concession]
) -> None:
    """Only allowed rungs; it fits if and only if the peak with them is inside the share; and a
    refusal has tried all that could have helped."""
    found = fit(footprint, card=card * MB, concessions=conceded)
    allowed = allowed_rungs(conceded, on_card=True)
    assert set(found.rungs) <= set(allowed)
    assert found.peak == card_peak(footprint.peak(found.rungs))
    assert found.fits == (found.peak <= FIT_SHARE * card * MB)
    if not found.fits:
        assert footprint.peak(found.rungs) == footprint.peak(allowed)


@given(footprints, st.integers(min_value=1, max_value=200_000), concessions)
def test_more_card_and_more_permission_never_hurt(
    footprint: Footprint, card: int, conceded: set[Concession]
) -> None:
    """What fits a card fits a larger one, with no more rungs, and fits with every permission."""
    found = fit(footprint, card=card * MB, concessions=conceded)
    larger = fit(footprint, card=2 * card * MB, concessions=conceded)
    freer = fit(footprint, card=card * MB, concessions=tuple(Concession))
    if found.fits:
        assert larger.fits
        assert set(larger.rungs) <= set(found.rungs)
        assert freer.fits


@given(footprints)
def test_a_footprint_survives_the_process_boundary(footprint: Footprint) -> None:
    """Writing and reading is the identity."""
    assert Footprint.from_dict(footprint.to_dict()) == footprint


def test_the_words_name_figures_and_rungs() -> None:
    """A line of the plan says how a take fits, or what needs too much."""
    footprint = _footprint(expert=28_000, block=1_500, text=11_000, sampling=3_600, decode=7_000)
    assert fit(footprint, card=80 * 1024 * MB).words.startswith("fits (")
    swapped = fit(footprint, card=24 * 1024 * MB)
    assert swapped.words.startswith(
        "fits with one module at a time on the card, blocks swapped from host memory ("
    )
    assert swapped.words.endswith(" of 24 GiB)")
    assert "does not fit" in fit(footprint, card=4 * 1024 * MB).words
