"""The plan says what fits on which card before the night, and refuses what fits on none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_order import plain_recipe

from manifests.hosts import HostRules
from manifests.models import ModelSpec
from manifests.settings import Studio, load_studio
from manifests.shot import FinishSpec, Shot
from manifests.stage import Concession, Recipe, Stage, StageKind
from render.errors import WorkerLost
from render.footprint import GIB, Footprint, FootprintOrder, Part, Work, least_card
from render.ladder import Phase
from tasks.cards import Card
from tasks.footprints import Footprints
from tasks.plan_memory import ShotMemory, Verdict, look_at_memory


def _shot(**changes: Any) -> Shot:
    values: dict[str, Any] = {
        "model": "big",
        "width": 1280,
        "height": 720,
        "frames": 81,
        "fps": 16.0,
        "stages": (Stage(kind=StageKind.RENOISE, steps=4, cfg=3.0, shift=5.0),),
        **changes,
    }
    return Shot(
        id="010",
        row=2,
        recipe=plain_recipe(**values),
        source=None,
        finish=FinishSpec(),
        priority=0,
        title="pan left",
    )


class FakeWorker:
    """Answers as `tasks.worker footprint` does: 28 GiB of weights, work in proportion to pixels."""

    def __init__(self) -> None:
        self.asked: list[FootprintOrder] = []

    def __call__(self, work: str, asked: dict[str, Any]) -> Any:
        assert work == "footprint"
        orders = [FootprintOrder.from_dict(order) for order in asked["orders"]]
        self.asked += orders
        return [self._answer(order) for order in orders]

    def _answer(self, order: FootprintOrder) -> dict[str, Any]:
        if order.model.family != "wan":
            return {"error": "not estimated for models of the family x"}
        share = order.width * order.height / (1280 * 720)
        net = Part(
            whole=28 * GIB,
            swapped=2 * GIB,
            narrow=14 * GIB,
            narrow_swapped=GIB,
            encoder=False,
        )
        vae = Part(whole=GIB, swapped=GIB, narrow=GIB, narrow_swapped=GIB, encoder=False)
        sampling = int(8 * GIB * share * order.frames / 81)
        decode = int(16 * GIB * share)
        works = (
            Work(name="sampling", phase=Phase.SAMPLE, part="transformer", room=sampling),
            Work(
                name="decode",
                phase=Phase.DECODE,
                part="vae",
                room=decode,
                tiled_room=decode // 4,
            ),
        )
        return Footprint(parts={"transformer": net, "vae": vae}, works=works).to_dict()


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    big = ModelSpec(family="wan", location=str(tmp_path / "big"))
    return load_studio(tmp_path, models={"big": big}, device="cpu")


Look = Callable[..., Verdict]


@pytest.fixture
def look(studio: Studio) -> Look:
    def looking(shot: Shot, *, card_gb: float | None, ask: Any = None) -> Verdict:
        (found,) = look_at_memory(
            [("shots", shot)], studio=studio, card_gb=card_gb, ask=ask or FakeWorker()
        )
        return found

    return looking


def test_on_a_cpu_nothing_is_asked_and_nothing_refused(look: Look) -> None:
    """No child process for a night without cards: check and plan stay quick."""
    worker = FakeWorker()
    assert look(_shot(), card_gb=None, ask=worker) == Verdict(memory=None)
    assert worker.asked == []


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (80, "a card of 80 GiB: fits ("),
        (48, "a card of 48 GiB: fits with one module at a time on the card ("),
        (24, "one module at a time on the card, blocks swapped from host memory ("),
    ],
)
def test_the_plan_says_how_a_shot_fits(look: Look, card: float, words: str) -> None:
    """With nothing, with one module at a time, with blocks swapped; in GiB of the card."""
    found = look(_shot(), card_gb=card)
    assert found.fault is None
    assert found.memory is not None
    assert found.memory.anywhere
    assert words in next(found.memory.words())


def test_what_fits_on_no_card_is_refused_with_what_would_fit(look: Look) -> None:
    """Row and shot are named, the work that needs most, and the nearest things that fit."""
    found = look(_shot(), card_gb=16)
    assert found.fault is not None
    assert (found.fault.row, found.fault.shot) == (2, "010")
    assert found.fault.problem.startswith("1280x720, 81 frames: does not fit with one module")
    assert found.fault.problem.endswith("decode)")
    assert found.fault.remedy == "let its preset allow tiling, or write width 1024 and height 576"


def test_a_permission_makes_it_fit(look: Look) -> None:
    """With tiling conceded the same shot fits on the same card, and the plan says with what."""
    found = look(_shot(concessions=(Concession.TILING,)), card_gb=16)
    assert found.fault is None
    assert found.memory is not None
    assert "decoded in tiles" in found.memory.best.words


def test_what_may_be_made_smaller_is_not_refused(look: Look) -> None:
    """A recipe that concedes its size runs: the plan warns that the night makes it smaller."""
    found = look(_shot(concessions=(Concession.SIZE,)), card_gb=16)
    assert found.fault is None
    assert found.memory is not None
    assert not found.memory.anywhere
    assert found.warnings[-1].endswith("the night makes it smaller, as its preset allows")


def test_what_fits_on_no_card_here_waits_for_a_host(studio: Studio) -> None:
    """Where hosts may join it is measured, warned of, and not refused: also without a card here."""
    hosts = HostRules(listen="127.0.0.1:8786")
    open_studio = studio.model_copy(update={"hosts": hosts})

    def looked(card_gb: float | None) -> Verdict:
        shots = [("shots", _shot())]
        (found,) = look_at_memory(shots, studio=open_studio, card_gb=card_gb, ask=FakeWorker())
        return found

    small = looked(2.0)
    assert small.fault is None
    assert small.memory is not None
    assert small.memory.anywhere
    assert not small.memory.here
    assert any("it waits for a host with a larger card" in words for words in small.warnings)
    none = looked(None)
    assert (none.fault, none.warnings) == (None, ())
    assert none.memory is not None
    assert least_card(none.memory.footprint) > 4 * GIB


def test_little_to_spare_is_a_warning(look: Look) -> None:
    """Over 90 % of the card is said; it may still run."""
    found = look(_shot(), card_gb=20.1)
    assert found.fault is None
    assert found.warnings[0].startswith("memory: over 90 % of a card of 20.1 GiB: fits with")


def test_a_family_without_an_estimate_runs_with_a_word(look: Look, studio: Studio) -> None:
    """What is not known is said, and refuses nothing."""
    found = look(_shot(model="pocket-wan"), card_gb=24)
    assert found == Verdict(
        memory=None, warnings=("memory: not estimated for models of the family x",)
    )


def test_an_estimate_that_dies_costs_a_warning_and_no_night(look: Look) -> None:
    """Where the child process cannot measure, the plan says so and refuses nothing."""

    def dies(work: str, asked: dict[str, Any]) -> Any:
        raise WorkerLost("the worker ended with code -9: killed")

    found = look(_shot(), card_gb=24, ask=dies)
    assert (found.memory, found.fault) == (None, None)
    assert found.warnings == ("memory: not estimated (the worker ended with code -9: killed)",)


def test_the_card_where_it_fits_is_enough() -> None:
    """On a machine with two sizes of cards a shot is refused only if it fits on neither."""
    footprint = Footprint.from_dict(FakeWorker()._answer(_order()))
    small, large = (Card(name=f"{n} GiB", memory=n * GIB) for n in (16, 48))
    from render.footprint import fit

    fits = tuple(fit(footprint, card=card.memory) for card in (small, large))
    memory = ShotMemory(footprint=footprint, cards=(small, large), fits=fits)
    assert memory.anywhere
    assert memory.best is fits[1]
    assert [plain["fits"] for plain in memory.to_dict()] == [False, True]


def _order() -> FootprintOrder:
    from render.order import ModelRef

    return FootprintOrder(
        model=ModelRef(name="big", family="wan", location="big"),
        precision="bfloat16",
        vae_precision="float32",
        width=1280,
        height=720,
        frames=81,
        image_to_video=False,
    )


def test_what_was_measured_is_kept(studio: Studio, tmp_path: Path) -> None:
    """The second plan asks nothing; a damaged file is measured again; another size is asked."""
    path, worker = tmp_path / "state" / "footprints.json", FakeWorker()
    recipe = _shot().recipe

    def measured(made: Recipe) -> Footprint | str:
        return Footprints(path, studio.models, ask=worker).of([made, made])[0]

    first = measured(recipe)
    assert measured(recipe) == first
    assert len(worker.asked) == 1
    measured(replace(recipe, frames=17))
    assert len(worker.asked) == 2
    path.write_text('{"format": 1, "kept": {"x": {"parts": 3}}}')
    assert measured(recipe) == first
    assert len(worker.asked) == 3


def test_a_refusal_is_asked_again(studio: Studio, tmp_path: Path) -> None:
    """A model that was not there tonight may be there tomorrow: no refusal is kept."""
    path, worker = tmp_path / "footprints.json", FakeWorker()
    recipe = _shot(model="pocket-wan").recipe
    for _ in range(2):
        assert Footprints(path, studio.models, ask=worker).of([recipe]) == [
            "not estimated for models of the family x"
        ]
    assert len(worker.asked) == 2


@pytest.mark.slow
def test_the_worker_measures_the_bundled_model(tmp_path: Path) -> None:
    """Through the real child process: a footprint of some hundred MiB, its weights 24 MB."""
    studio = load_studio(tmp_path)
    recipe = _shot(family="pocket", model="pocket-wan", width=128, height=128, frames=17).recipe
    (found,) = Footprints(tmp_path / "f.json", studio.models).of(
        [replace(recipe, precision="float32", source_sha256="0")]
    )
    assert isinstance(found, Footprint)
    assert 15e6 < found.host_bytes < 60e6
    assert found.host_bytes < found.peak() < GIB
