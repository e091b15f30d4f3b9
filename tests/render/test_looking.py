"""Looks after stage 1: they stop what is lost, choose among candidates, and change nothing else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.candidates import candidate_seeds
from manifests.stage import Stage, StageKind
from render.backend import Progress
from render.candidates import NAME
from render.diffusers_backend import DiffusersBackend
from render.errors import NonFiniteFrames, TakeDoomed
from render.families.wan import WanModel
from render.look import Glimpse, Look, Opinion
from render.order import Receipt, RenderOrder, Spent
from render.preview_factors import PreviewFactors

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
OrderFor = Callable[..., RenderOrder]
FACTORS = PreviewFactors(name="tiny", factors=((0.3, 0.1, 0.0),) * 4, bias=(0.0, 0.0, 0.0))


class Looker(Look):
    """Has an opinion ready for each look, in order, and remembers what it was shown."""

    def __init__(self, *opinions: Opinion | Exception) -> None:
        self._opinions = list(opinions)
        self.seen: list[Glimpse] = []

    def see(self, glimpse: Glimpse) -> Opinion:
        """The next one; the last one for ever."""
        self.seen.append(glimpse)
        opinion = self._opinions.pop(0) if len(self._opinions) > 1 else self._opinions[0]
        if isinstance(opinion, Exception):
            raise opinion
        return opinion


def _good(*rank: float) -> Opinion:
    return Opinion(words="nothing to object to", rank=rank, metrics={"step": 1.0})


DOOMED = Opinion(
    words="stands still", rank=(1.0,), failure="frozen", metrics={"frozen": 1.0}, told={"a": 1}
)


@pytest.fixture(autouse=True)
def _known_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny VAE has factors."""
    monkeypatch.setattr(WanModel, "preview_factors", property(lambda self: FACTORS))


def _render(order: RenderOrder, look: Look | None = None, **more: Any) -> Receipt:
    return DiffusersBackend().render(order, tell=more.get("tell", lambda _: None), look=look)


def _steps(told: Sequence[Progress]) -> list[tuple[int, int]]:
    """(stage, steps done) of every step that was computed."""
    return [(p.stage, p.step) for p in told if p.phase == "stage" and p.step]


def test_a_take_that_passes_is_the_take_without_a_look(order_for: OrderFor, tmp_path: Path) -> None:
    """Clip and latents are equal bit for bit; the look saw the colours of each latent frame of
    stage 1 and every frame decoded, and its opinion is in the receipt."""
    plain = _render(order_for(folder=tmp_path / "plain"))
    look = Looker(_good(0.0))
    seen = _render(order_for(folder=tmp_path / "seen"), look)
    assert seen.clip_sha256 == plain.clip_sha256
    assert [s.latents_sha256 for s in seen.stages] == [s.latents_sha256 for s in plain.stages]
    (shown,) = look.seen
    assert shown.colours is not None
    assert shown.frames is not None
    assert (shown.colours.shape, shown.colours.dtype) == ((2, 4, 4, 3), np.float32)
    assert (shown.frames.shape, shown.frames.dtype) == ((5, 32, 32, 3), np.float32)
    assert plain.looks == ()
    (told,) = seen.looks
    assert (told.stage, told.words, told.chosen, told.metrics) == (
        0,
        "nothing to object to",
        True,
        {"step": 1.0},
    )
    assert told.preview == seen.stages[0].preview
    assert Receipt.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen


def test_a_doomed_take_stops_behind_stage_one(order_for: OrderFor) -> None:
    """No step of stage 2 is computed and there is no receipt; class, words and what the look has
    to say come with the error, also out of another process; asked again it stops at once."""
    order, told = order_for(), list[Progress]()
    with pytest.raises(TakeDoomed, match="stopped after stage 1 of 2: stands still") as caught:
        _render(order, Looker(DOOMED), tell=told.append)
    assert _steps(told) == [(1, 1), (1, 2), (1, 3)]
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.failure, error.told) == (str(caught.value), "frozen", {"a": 1})
    assert sorted(path.name for path in order.folder.iterdir()) == [
        "stage-1.jpg",
        "stage-1.safetensors",
    ]
    spent = Spent.from_dict(json.loads(json.dumps(error.spent)))
    assert [span.kind for span in spent.timeline][:3] == ["load", "encode", "stage 1"]
    assert sum(span.ended - span.begun for span in spent.timeline) <= spent.seconds + 0.1
    told.clear()
    with pytest.raises(TakeDoomed):
        _render(order, Looker(DOOMED), tell=told.append)
    assert _steps(told) == []


def test_a_take_is_looked_at_where_the_noise_is_gone(order_for: OrderFor) -> None:
    """A split that hands on noise is not looked at, the stage that ends it is; with no stage
    after it nothing is."""
    split: dict[str, Any] = {"kind": StageKind.SPLIT, "steps": 4, "cfg": 1.0, "shift": 5.0}
    parts = (
        Stage(end_step=2, leftover_noise=True, **split),
        Stage(start_step=2, add_noise=False, seed_offset=1, **split),
        Stage(kind=StageKind.RENOISE, steps=2, cfg=1.0, shift=5.0, denoise=0.5, seed_offset=2),
    )
    order = order_for(stages=parts)
    with pytest.raises(TakeDoomed, match="after stage 2 of 3"):
        _render(order, Looker(DOOMED))
    look = Looker(DOOMED)
    whole = _render(order_for(stages=parts[:2], folder=order.folder.with_name("two")), look)
    assert look.seen == []
    assert whole.looks == ()


def test_a_look_that_fails_costs_a_note(order_for: OrderFor) -> None:
    """The take is rendered to its end, and says that nobody looked."""
    receipt = _render(order_for(), Looker(RuntimeError("no eyes")))
    assert receipt.looks == ()
    assert receipt.notes == ("no look after stage 1: RuntimeError: no eyes",)


def test_frames_of_nan_end_the_take_at_once(
    order_for: OrderFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not decode after stage 1 would not at the end: its class is known, and no step of
    stage 2 is computed."""

    def decode(self: WanModel, latents: Any) -> Any:
        raise NonFiniteFrames("decode: frame 0 or later holds NaN")

    monkeypatch.setattr(WanModel, "decode", decode)
    told: list[Progress] = []
    with pytest.raises(NonFiniteFrames):
        _render(order_for(), Looker(_good(0.0)), tell=told.append)
    assert _steps(told) == [(1, 1), (1, 2), (1, 3)]


def test_the_best_candidate_is_gone_on_with(order_for: OrderFor, tmp_path: Path) -> None:
    """Of three the best by rank: the take is the plain take of its seed, bit for bit; all three
    are in the receipt, with their seeds, and the stages of the others are let go."""
    order = order_for(candidates=3)
    seeds = candidate_seeds(order.recipe.seed, 3)
    look = Looker(_good(3.0), _good(1.0), _good(2.0))
    receipt = _render(order, look)
    plain = _render(order_for(folder=tmp_path / "plain", seed=seeds[1]))
    assert receipt.clip_sha256 == plain.clip_sha256
    assert receipt.recipe_fingerprint == order.recipe.fingerprint
    assert [stage.seed for stage in receipt.stages] == [stage.seed for stage in plain.stages]
    assert [look.seed for look in receipt.looks] == list(seeds)
    assert [look.chosen for look in receipt.looks] == [False, True, False]
    assert receipt.stages[0].latents == order.folder / "stage-1.safetensors"
    assert receipt.stages[0].seconds > 0
    kept = [path.parent.name for path in order.folder.rglob("stage-1.safetensors")]
    assert kept == [order.folder.name]
    strips = [look.preview for look in receipt.looks]
    assert strips == [order.folder / f"candidate-{n}" / "stage-1.jpg" for n in (1, 2, 3)]


def test_a_lost_candidate_is_not_chosen(order_for: OrderFor) -> None:
    """Whatever its rank; and where all are lost the take stops, of the class of the least bad."""
    lost = replace(DOOMED, rank=(0.0,))
    order = order_for(candidates=2)
    receipt = _render(order, Looker(lost, _good(9.0)))
    assert [look.chosen for look in receipt.looks] == [False, True]
    worse = replace(DOOMED, rank=(2.0,), failure="black")
    again = order_for(candidates=2, folder=order.folder.with_name("lost"))
    with pytest.raises(TakeDoomed, match="all 2 candidates stopped after stage 1") as caught:
        _render(again, Looker(worse, DOOMED))
    assert caught.value.failure == "frozen"


@pytest.mark.parametrize("kept", [(1, 2), (3, 1), (4, 1)])
def test_a_kill_costs_no_finished_candidate(
    kept: tuple[int, int], order_for: OrderFor, tmp_path: Path
) -> None:
    """Stopped in any candidate or in stage 2, the take goes on with what is left to do, and ends
    as one that was not stopped."""
    looks = (_good(3.0), _good(1.0), _good(2.0))
    whole = _render(order_for(candidates=3, folder=tmp_path / "whole"), Looker(*looks))
    order, told = order_for(candidates=3), list[Progress]()

    def tell(progress: Progress) -> None:
        told.append(progress)
        run = sum(1 for p in told if p.phase == "stage" and p.step == 1)
        if (run, progress.step) == kept:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _render(order, Looker(*looks), tell=tell)
    before = sum(1 for p in told if p.phase == "stage" and p.step == p.steps and p.step)
    told.clear()
    again = _render(order, Looker(*looks), tell=told.append)
    after = sum(1 for p in told if p.phase == "stage" and p.step == p.steps and p.step)
    assert before + after == 4
    assert again.clip_sha256 == whole.clip_sha256
    assert [look.seed for look in again.looks] == [look.seed for look in whole.looks]
    assert [look.chosen for look in again.looks] == [False, True, False]


def test_candidates_of_other_plans_are_chosen_anew(order_for: OrderFor) -> None:
    """A choice that was written down for other candidates, or is damaged, is not gone by."""
    order = order_for(candidates=2)
    first = _render(order, Looker(_good(1.0), _good(2.0)))
    for written in (json.dumps({"plans": ["x"], "looks": []}), "{"):
        (order.folder / "receipt.json").unlink()
        (order.folder / NAME).write_text(written)
        again = _render(order, Looker(_good(2.0), _good(1.0)))
        assert [look.chosen for look in again.looks] == [False, True]
    assert first.looks[0].chosen


def test_candidates_nobody_can_tell_apart_are_not_rendered(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """Without a look the first seed is taken, and the receipt says why."""
    plain = _render(order_for(folder=tmp_path / "plain"))
    receipt = _render(order_for(candidates=3))
    assert receipt.clip_sha256 == plain.clip_sha256
    assert receipt.notes == ("candidates 3: only the first (nobody looks at them)",)
    blind = _render(order_for(candidates=2, folder=tmp_path / "b"), Looker(RuntimeError("dark")))
    assert blind.clip_sha256 == plain.clip_sha256
    assert blind.notes[1] == "candidates 2: only the first (they cannot be looked at)"


def test_candidates_come_from_the_store(order_for: OrderFor, tmp_path: Path) -> None:
    """The plain take of a candidate's seed left its stage 1 in the store: it is not sampled."""
    store = tmp_path / "store"
    seeds = candidate_seeds(11, 2)
    _render(replace(order_for(folder=tmp_path / "plain", seed=seeds[1]), store=store))
    told: list[Progress] = []
    order = replace(order_for(candidates=2), store=store)
    receipt = _render(order, Looker(_good(1.0), _good(2.0)), tell=told.append)
    assert _steps(told) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert "stage 1" in receipt.reused
