"""Calibration of whole cells: what is learned from what, and what is never mixed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.errors import BadInput
from qc.calibration import FEWEST
from qc.cells import Cell, CellProposal, Clip, Measured, propose
from qc.judge import judge
from qc.scorecard import Scorecard
from qc.studio_limits import CellLimits, StudioLimits, read_limits
from qc.thresholds import Learned, load_thresholds, table_version

RANDOM = Measured(versions={"flicker": "1", "flow": "1"}, backbone="alex, random, seed 0")
TRAINED = replace(RANDOM, backbone="alex (trained)")
NEWER = replace(RANDOM, versions={"flicker": "2", "flow": "1"})
HERE = Cell(preset="wan/two-stage", width=832, height=480, fps=16.0)
THERE = replace(HERE, width=416, height=240)
ELSEWHERE = replace(HERE, preset="pocket/two-stage")
SOFT = [limit.metric for limit in load_thresholds("wan") if not limit.hard]


def clip(number: int, **changes: object) -> Clip:
    values: dict[str, object] = {
        "take_id": f"t{number:04}",
        "cell": HERE,
        "approved": True,
        "metrics": {"flicker": 0.002 + 0.00001 * (number * 37 % 100), "frozen": 0.0},
        "measured": RANDOM,
    }
    return Clip(**{**values, **changes})  # type: ignore[arg-type]


def proposal(clips: list[Clip], cell: Cell = HERE, **changes: object) -> CellProposal:
    found = propose(
        clips,
        measured=RANDOM,
        defaults=lambda cell: load_thresholds(cell.family),
        present=lambda cell: load_thresholds(cell.family),
        **changes,  # type: ignore[arg-type]
    )
    return next(each for each in found if each.cell == cell)


def fail_of(found: CellProposal, metric: str = "flicker") -> float | None:
    return next(each.proposed.fail for each in found.limits if each.proposed.metric == metric)


MANY = [clip(number) for number in range(120)]

versions = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), max_size=4)
measures = st.builds(
    Measured, versions=versions, backbone=st.sampled_from(["alex (trained)", "alex, random"])
)


@settings(deadline=None, max_examples=examples(100))
@given(measures, measures)
def test_limits_hold_only_for_what_was_measured_alike(learned_with, clip_with):
    """Another backbone, or another version of anything both name, and no learned limit holds:
    never are two backbones held against one limit."""
    cell = CellLimits(cell=HERE, date="2026-11-20", clips=80, limits={"flicker": (0.003, 0.004)})
    found = StudioLimits(measured=learned_with, defaults=table_version(), cells=(cell,)).learned(
        HERE, measured=clip_with
    )
    assert found is not None
    shared = learned_with.versions.keys() & clip_with.versions.keys()
    alike = learned_with.backbone == clip_with.backbone and all(
        learned_with.versions[name] == clip_with.versions[name] for name in shared
    )
    assert dict(found.limits) == (dict(cell.limits) if alike else {})
    assert found.words.startswith("calibrated" if alike else "not calibrated")


@settings(deadline=None, max_examples=examples(30))
@given(
    st.lists(
        st.builds(
            lambda number, value, measured: clip(
                5000 + number, metrics={"flicker": value}, measured=measured
            ),
            st.integers(0, 99),
            st.floats(0, 1),
            st.sampled_from([TRAINED, NEWER]),
        ),
        max_size=30,
    )
)
def test_clips_measured_otherwise_are_set_aside(others):
    """Clips of another backbone or version change no limit and no rate: they are counted apart."""
    alone, mixed = proposal(MANY), proposal([*MANY, *others])
    assert replace(mixed, set_aside=0) == alone
    assert mixed.set_aside == len(others)


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_ledger_does_not_matter(rng: random.Random):
    """Clips in any order give the same proposals, held-out rate included."""
    clips = [*MANY, *(clip(900 + n, approved=False, metrics={"flicker": 0.1}) for n in range(5))]
    shuffled = [*clips]
    rng.shuffle(shuffled)
    assert proposal(shuffled) == proposal(clips)


def test_only_approved_clips_are_learned_from():
    """Rejected and held clips move no limit; they say what would have been caught."""
    bad = [clip(900 + number, approved=False, metrics={"flicker": 0.004}) for number in range(80)]
    alone, with_bad = proposal(MANY), proposal([*MANY, *bad])
    assert [each.proposed for each in with_bad.limits] == [each.proposed for each in alone.limits]
    assert (with_bad.before.caught.count, with_bad.before.caught.of) == (0, 80)
    assert with_bad.approved == 120


def test_a_small_cell_keeps_the_defaults_and_a_big_one_leans_on_its_family():
    """Under 50 clips nothing is proposed, whatever the family says; with 60 the family's other
    cells are heard, and cells of other families are not."""
    assert proposal(MANY[: FEWEST - 1]).limits == ()
    few = MANY[:60]
    calm = {"flicker": 0.001, "frozen": 0.0}
    family = [clip(2000 + n, cell=THERE, metrics=calm) for n in range(300)]
    strangers = [clip(3000 + n, cell=ELSEWHERE, metrics=calm) for n in range(300)]
    alone, leaning = proposal(few), proposal([*few, *family])
    assert proposal([*few, *strangers]).limits == alone.limits
    assert fail_of(leaning) < fail_of(alone) < load_thresholds("wan")["flicker"].fail


def test_what_the_studio_set_itself_is_left_alone():
    """A metric named in studio.yaml is shown as it is and not proposed."""
    found = proposal(MANY, fixed=("flicker",))
    assert fail_of(found) == load_thresholds("wan")["flicker"].fail
    assert fail_of(proposal(MANY)) != fail_of(found)


def test_gates_are_not_on_offer():
    """Proposals are of soft limits alone."""
    assert {each.present.metric for each in proposal(MANY).limits} == set(SOFT)


def test_false_alarms_are_also_counted_on_clips_left_out():
    """With clips enough, limits are learned on four fifths and tried on the fifth; the worst clips
    that were seen while learning are then unseen."""
    found = proposal(MANY)
    assert found.held_out is not None
    assert found.held_out.of == 120
    assert found.held_out.count >= found.after.alarms.count
    assert proposal(MANY[:55]).held_out is None


def test_clips_left_out_are_held_against_limits_that_never_saw_them():
    """Where all the bad ones are left out together, each is a false alarm of limits learned from
    the others, and none of limits learned from them too."""
    default = load_thresholds("wan")["flicker"].fail
    shares = [0.9 if number % 5 == 0 else 0.1 for number in range(100)]
    clips = [clip(n, metrics={"flicker": share * default}) for n, share in enumerate(shares)]
    found = proposal(clips)
    assert found.held_out is not None
    assert (found.held_out.count, found.held_out.of) == (20, 100)
    assert found.after.alarms.count == 0


def test_a_clip_that_fails_is_not_counted_as_warned_too():
    """False alarms and warnings are two counts: together they are the clips that passed neither."""
    limit = load_thresholds("wan")["flicker"]
    values = [2 * limit.fail] * 3 + [(limit.warn + limit.fail) / 2] * 2 + [0.001] * 60
    clips = [clip(number, metrics={"flicker": value}) for number, value in enumerate(values)]
    before = proposal(clips).before
    assert (before.alarms.count, before.warned.count, before.alarms.of) == (3, 2, 65)


def test_only_approved_clips_of_the_family_are_heard():
    """What was rejected or held in another cell moves no limit here."""
    bad = [
        clip(2000 + n, cell=THERE, approved=False, metrics={"flicker": 0.001}) for n in range(300)
    ]
    assert proposal([*MANY[:60], *bad]).limits == proposal(MANY[:60]).limits


def test_learned_limits_never_move_a_gate_or_a_limit_that_is_not_set():
    """A file that names gates or absent limits changes nothing there, studio.yaml wins, and what
    is moved says from where."""
    learned = Learned(
        limits={
            "frozen": (0.5, 0.9),
            "flicker": (0.003, 0.004),
            "boiling": (0.2, 0.3),
            "motion": (0.0003, 0.0001),
            "unknown": (1.0, 2.0),
        },
        words="calibrated today on 60 clips",
    )
    default = load_thresholds("wan")
    found = load_thresholds("wan", {"boiling": {"fail": 0.5}}, learned=learned)
    assert found["frozen"] == default["frozen"]
    assert (found["flicker"].warn, found["flicker"].fail) == (0.003, 0.004)
    assert found["flicker"].fail_from == "calibrated today on 60 clips"
    assert (found["boiling"].warn, found["boiling"].fail) == (default["boiling"].warn, 0.5)
    assert (found["motion"].warn, found["motion"].fail) == (0.0003, None)
    assert ", calibrated today on 60 clips, studio: boiling fail 0.5" in found.name


def test_a_verdict_keeps_its_limits_versions_and_backbone():
    """Every limit that holds for it with its origin, the versions and the backbone go into it."""
    card = Scorecard(
        frames=17,
        width=128,
        height=128,
        fps=16.0,
        metrics={"flicker": 0.001},
        versions={"flicker": "1"},
        backbone="alex (trained)",
    )
    thresholds = load_thresholds("pocket", {"flicker": {"fail": 0.009}})
    verdict = judge(card, thresholds=thresholds)
    kept = {limit.metric: limit for limit in verdict.limits}
    # The one limit on a number of LPIPS is the random backbone's.
    assert set(kept) == {limit.metric for limit in thresholds} - {"lpips_spike"}
    assert (kept["flicker"].fail, kept["flicker"].fail_from) == (0.009, "studio.yaml")
    assert kept["blur"].fail_from.startswith("pocket ")
    assert kept["frozen"].fail_from.startswith("default ")
    assert (verdict.versions, verdict.backbone) == ({"flicker": "1"}, "alex (trained)")


bounds = st.one_of(st.none(), st.floats(0, 100, allow_nan=False))
cells = st.builds(
    CellLimits,
    cell=st.sampled_from([HERE, THERE, ELSEWHERE]),
    date=st.just("2026-11-20"),
    clips=st.integers(1, 999),
    limits=st.dictionaries(st.sampled_from(SOFT), st.tuples(bounds, bounds), max_size=4),
)


@settings(deadline=None, max_examples=examples(30))
@given(measures, st.lists(cells, max_size=3))
def test_the_file_is_read_as_it_was_written(tmp_path_factory, measured, learned):
    """read_limits is the inverse of to_text."""
    path = tmp_path_factory.mktemp("limits") / "thresholds.yaml"
    written = StudioLimits(measured=measured, defaults="2026", cells=tuple(learned))
    path.write_text(written.to_text(), encoding="utf-8")
    assert read_limits(path) == written


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cells: []\n", "column measured"),
        (
            "defaults: a\nmeasured: {backbone: a, versions: {}}\ncells: [{preset: a}]\n",
            "column cells.0.width",
        ),
        ("defaults: a\nmeasured: {backbone: a, versions: {}}\ncells: []\nmore: 1\n", "column more"),
        (": [\n", "cannot be read"),
        ("\x00", "cannot be read"),
        ("", "Input should be"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_faults(tmp_path: Path, text, words):
    """Nothing is guessed from a damaged file: each fault has its place and what to do."""
    path = tmp_path / "thresholds.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_limits(path)
    told = " ".join(map(str, caught.value.faults))
    assert words in told
    assert "move thresholds.yaml away for the defaults" in told


def test_limits_learned_beside_other_defaults_are_idle():
    """Where the bundled limits have changed since, what was bounded by the old ones is left out."""
    cell = CellLimits(cell=HERE, date="2026-11-20", clips=80, limits={"flicker": (0.003, 0.004)})
    learned = StudioLimits(measured=RANDOM, defaults="2020-01-01", cells=(cell,))
    found = learned.learned(HERE, measured=RANDOM)
    assert found is not None
    assert (found.limits, found.words.startswith("not calibrated")) == ({}, True)
    assert "defaults of 2020-01-01" in found.words


@pytest.mark.parametrize(
    ("metric", "pair", "column"),
    [
        ("flicker", (0.007, 100.0), "flicker.fail: 100 is farther from the default 0.0085"),
        ("flicker", (0.0001, 0.008), "flicker.warn: 0.0001 is farther from the default 0.0065"),
        ("conditioning_ssim", (0.7, -9.0), "conditioning_ssim.fail: -9 is farther"),
        ("flicker", (None, 0.008), "flicker.warn: is no limit that is learned"),
        ("conditioning_psnr", (18.0, 5.0), "conditioning_psnr.fail: is no limit that is learned"),
        ("frozen", (0.05, 0.9), "frozen.fail: is no limit that is learned"),
        ("sharpness", (1.0, 2.0), "sharpness.warn: is no limit that is learned"),
    ],
)
def test_limits_that_calibration_cannot_have_written_are_refused(
    tmp_path: Path, metric, pair, column
):
    """A file that was moved by hand would pass for what so many clips had taught."""
    path = tmp_path / "thresholds.yaml"
    cell = CellLimits(cell=HERE, date="2026-11-20", clips=80, limits={metric: pair})
    written = StudioLimits(measured=RANDOM, defaults=table_version(), cells=(cell,))
    path.write_text(written.to_text())
    with pytest.raises(BadInput) as caught:
        read_limits(path)
    told = " ".join(map(str, caught.value.faults))
    assert f"column cells.0.limits.{column}" in told
    assert "belongs into `thresholds` of studio.yaml" in told
    path.write_text(replace(written, defaults="2020-01-01").to_text())
    assert read_limits(path) is not None


def test_no_file_is_no_limits(tmp_path: Path):
    """A studio that never calibrated has none."""
    assert read_limits(tmp_path / "thresholds.yaml") is None


def test_a_codec_is_no_version():
    """What a file was decoded from does not set its clip aside."""

    def of(**versions: str) -> Measured:
        kept: Mapping[str, str] = versions
        return Measured.of(kept, "alex (trained)")

    assert of(flicker="1", decoder="1 (ffv1)").differs(of(flicker="1", decoder="1 (h264)")) is None
    assert of(flicker="1").differs(of(flicker="2")) == "flicker '2', not '1'"
