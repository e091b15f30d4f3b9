"""When memory runs out: exact rungs first, nothing that is not conceded, and the take goes on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_render import hashes, render

from manifests.stage import Concession
from render import diffusers_backend
from render.diffusers_backend import DiffusersBackend
from render.errors import OutOfMemory
from render.ladder import (
    CONCEDED,
    RUNG_WORDS,
    Phase,
    Rung,
    allowed_rungs,
    eases,
    known_rungs,
    next_rung,
    pixel_rungs,
    rung_words,
)
from render.order import Gang, RenderOrder

OrderFor = Callable[..., RenderOrder]
EXACT = (Rung.CACHE, Rung.ALONE, Rung.SWAP)

phases = st.sampled_from(Phase)
conceded = st.sets(st.sampled_from(Concession))


def _climb(phase: Phase, allowed: tuple[Rung, ...]) -> list[Rung]:
    taken: list[Rung] = []
    while (rung := next_rung(phase, taken, allowed=allowed)) is not None:
        taken.append(rung)
    return taken


@given(phases, conceded, st.booleans())
def test_a_ladder_ends_exact_rungs_first(
    phase: Phase, given_up: set[Concession], on_card: bool
) -> None:
    """Every rung that helps is taken once, in order; those that change pixels only if conceded."""
    allowed = allowed_rungs(given_up, on_card=on_card)
    taken = _climb(phase, allowed)
    assert taken == [rung for rung in Rung if rung in allowed and eases(rung, phase)]
    changing = [rung for rung in taken if rung in CONCEDED]
    assert taken[len(taken) - len(changing) :] == changing
    assert {CONCEDED[rung] for rung in changing} <= given_up


@given(conceded, st.lists(st.text(max_size=5) | st.sampled_from([r.value for r in Rung])))
def test_what_was_learned_is_taken_only_where_it_is_allowed(
    given_up: set[Concession], names: list[str]
) -> None:
    """Names of other versions and forbidden rungs are left out; the order is the ladder's."""
    allowed = allowed_rungs(given_up, on_card=True)
    found = known_rungs(names, allowed=allowed)
    assert set(found) <= set(allowed)
    assert list(found) == [rung for rung in Rung if rung in found]
    assert {rung.value for rung in found} <= set(names)


def test_every_rung_has_words_and_only_8_bits_change_latents() -> None:
    """For plans and reports; and what checkpoints must not mix."""
    assert set(RUNG_WORDS) == set(Rung)
    assert rung_words(["alone", "of-tomorrow"]) == "one module at a time on the card, of-tomorrow"
    assert pixel_rungs(Rung) == ("fp8",)


def test_out_of_memory_crosses_the_process_boundary_whole() -> None:
    """Phase and rungs arrive with the words: the retake policy needs them."""
    error = OutOfMemory("no room", phase="decode", rungs=("cache",))
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.phase, back.rungs) == ("no room", "decode", ("cache",))


class ShortOfMemory:
    """Makes a named part of a real render run out of memory, until enough was given up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: list[str] = []
        self.loads = 0
        self._part: dict[str, Callable[[Any], bool]] = {}
        load = diffusers_backend.load_model

        def loading(request: Any, **more: Any) -> Any:
            self.loads += 1
            model: Any = load(request, **more)
            for name, is_enough in self._part.items():
                setattr(model, name, self._refusing(name, getattr(model, name), model, is_enough))
            return model

        monkeypatch.setattr(diffusers_backend, "load_model", loading)

    def until(self, part: str, is_enough: Callable[[Any], bool]) -> ShortOfMemory:
        """Refuse `part` (a method of the model) until `is_enough` of the model is true."""
        self._part[part] = is_enough
        return self

    def times(self, part: str, count: int) -> ShortOfMemory:
        """Refuse `part` so many times in all."""
        return self.until(part, lambda _: self.refused.count(part) >= count)

    def _refusing(self, name: str, work: Any, model: Any, is_enough: Callable[[Any], bool]) -> Any:
        def refusing(*args: Any, **kwargs: Any) -> Any:
            if not is_enough(model):
                self.refused.append(name)
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
            return work(*args, **kwargs)

        return refusing


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> ShortOfMemory:
    return ShortOfMemory(monkeypatch)


def _conceding(order: RenderOrder, *conceded: Concession) -> RenderOrder:
    return replace(order, recipe=replace(order.recipe, concessions=conceded))


@pytest.mark.slow
def test_a_freed_cache_changes_no_bit_and_costs_no_stage(
    short: ShortOfMemory, order_for: OrderFor, tmp_path: Path
) -> None:
    """The decode runs out once: the take goes on behind its last stage and is the same."""
    expected = hashes(render(order_for(folder=tmp_path / "a")))
    short.times("decode", 1)
    receipt = render(order_for(folder=tmp_path / "b"))
    assert hashes(receipt) == expected
    assert receipt.rungs == ("cache",)
    assert "out of memory in decode: caches freed before each phase from there on" in receipt.notes
    assert all(stage.resumed for stage in receipt.stages)


@pytest.mark.slow
def test_the_decode_is_tiled_only_where_that_is_conceded(
    short: ShortOfMemory, order_for: OrderFor, tmp_path: Path
) -> None:
    """Without permission the take fails by name; with it, it goes on from its own latents, and
    the next take of that size begins so."""
    short.until("decode", lambda model: model.components["vae"].use_tiling)
    backend, order = DiffusersBackend(), order_for(folder=tmp_path / "a")
    with pytest.raises(OutOfMemory, match="sheet/001/t1: out of memory on cpu in decode") as raised:
        render(order, backend)
    assert (raised.value.phase, raised.value.rungs) == ("decode", ("cache",))
    receipt = render(_conceding(order, Concession.TILING), backend)
    assert receipt.rungs == ("cache", "tiling")
    assert all(stage.resumed for stage in receipt.stages)
    refused = len(short.refused)
    again = render(
        _conceding(order_for(folder=tmp_path / "b", seed=12), Concession.TILING), backend
    )
    assert again.rungs == ("cache", "tiling")
    assert (receipt.forced, again.forced) == (("tiling",), ())
    assert len(short.refused) == refused, "what is known to be too much is not tried again"
    model: Any = backend._model
    assert not model.components["vae"].use_tiling, "the next take decodes whole again"


@pytest.mark.slow
def test_a_rung_that_the_order_names_is_begun_with(
    short: ShortOfMemory, order_for: OrderFor, tmp_path: Path
) -> None:
    """What earlier nights needed on this card comes with the order; other cards' rungs do not."""
    probe = render(order_for(folder=tmp_path / "a"))
    short.until("decode", lambda model: model.components["vae"].use_tiling)
    order = _conceding(order_for(folder=tmp_path / "b"), Concession.TILING)
    known = {probe.device: ("tiling",), "cuda:0 another card": ("fp8",)}
    assert render(replace(order, rungs=known)).rungs == ("tiling",)
    assert not short.refused


@pytest.mark.slow
def test_weights_in_8_bits_leave_other_latents_and_no_trace(
    short: ShortOfMemory, order_for: OrderFor, tmp_path: Path
) -> None:
    """The model is loaded anew for it and anew to leave it; what it computed is no exact take's,
    and an exact take never goes on from it."""
    backend = DiffusersBackend()
    exact = hashes(render(order_for(folder=tmp_path / "a"), backend))
    stored = torch.float8_e4m3fn

    def is_narrow(model: Any) -> bool:
        return any(p.dtype is stored for p in model.components["transformer"].parameters())

    short.until("velocity", is_narrow)
    order = _conceding(order_for(folder=tmp_path / "b"), Concession.FP8)
    backend.close()
    receipt = render(order, backend)
    assert receipt.rungs == ("cache", "fp8")
    assert not set(hashes(receipt)) & set(exact)
    short.until("velocity", lambda model: True)
    (order.folder / "receipt.json").unlink()
    plain = replace(order, recipe=replace(order.recipe, concessions=()))
    assert hashes(render(plain, backend)) == exact


@pytest.mark.slow
def test_what_no_rung_reaches_is_raised_as_it_came(
    short: ShortOfMemory, order_for: OrderFor
) -> None:
    """A bug in the decode is no lack of memory."""

    def broken(model: Any) -> bool:
        raise RuntimeError("a bug")

    short.until("decode", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        render(order_for())


@pytest.mark.slow
def test_a_rank_of_a_gang_says_what_it_was_short_of_and_steps_down_with_the_others(
    short: ShortOfMemory, order_for: OrderFor, tmp_path: Path
) -> None:
    """It takes no rung by itself, and begins with those that all ranks are told, not with what
    its own process learned."""
    gang = Gang(size=2, rank=0, meeting=tmp_path / "meeting", seconds=10.0)
    # Three tokens: two cards cannot share them, and nobody is met.
    small = {"width": 16, "height": 16, "frames": 9}
    order = replace(order_for("t2v-2.1", folder=tmp_path / "a", **small), gpus=2, gang=gang)
    short.times("decode", 1)
    backend = DiffusersBackend()
    with pytest.raises(OutOfMemory, match="in decode") as raised:
        render(order, backend)
    assert (raised.value.phase, raised.value.rungs) == ("decode", ())
    told = render(replace(order, gang=replace(gang, rungs=("cache",))), backend)
    assert told.rungs == ("cache",)
    assert all(stage.resumed for stage in told.stages)
    fresh = render(replace(order, folder=tmp_path / "b", rungs={told.device: ("cache",)}), backend)
    assert fresh.rungs == ()
