"""The defect bench runs: halves apart, seeds repeat, an area under the curve is one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from benchmarks.qc_bench import visible
from benchmarks.qc_bench.bench import Case, auc, cases, summary
from benchmarks.qc_bench.defects import DEFECTS, GRADES
from benchmarks.qc_bench.photographs import PhotographMissing, missing, photographs, picture
from benchmarks.qc_bench.reels import VERSION, Plan, _known, reels
from benchmarks.qc_bench.scenes import HALVES, Film, clean_scene, defect_scene, film


def test_the_halves_share_no_photograph_and_no_seed():
    """What limits are chosen on is never what they are judged on."""
    training, held_out = ({p for p in photographs().values() if p.half == h} for h in HALVES)
    assert not {p.sha256 for p in training if p.sha256} & {p.sha256 for p in held_out}
    where = [
        {(p.package, p.path, p.entry) for p in half if p.package} for half in (training, held_out)
    ]
    assert not where[0] & where[1]
    assert len(training) + len(held_out) == len(photographs())
    seeds = [
        {clean_scene(half, i).seed for i in range(60)}
        | {defect_scene(half, i, salt=3, colourful=False, kind=None).seed for i in range(60)}
        for half in HALVES
    ]
    assert not seeds[0] & seeds[1]
    assert [len(s) for s in seeds] == [120, 120]


@pytest.mark.slow
def test_a_scene_is_filmed_alike_twice():
    """A scene says all that its pixels depend on."""
    scene = replace(clean_scene("training", 2), picture="camera", other="moon")
    np.testing.assert_array_equal(film(scene).clip, film(scene).clip)


@pytest.mark.parametrize(
    ("clean", "spoilt", "expected"), [([1, 2], [3, 4], 1.0), ([3, 4], [1, 2], 0.0), ([1], [1], 0.5)]
)
def test_auc_is_the_share_of_pairs_in_order(clean, spoilt, expected):
    """All pairs in order is 1, all in reverse 0, a tie half."""
    assert auc(clean, spoilt, higher_is_worse=True) == expected
    assert auc(clean, spoilt, higher_is_worse=False) == 1 - expected


def test_a_photograph_that_is_missing_is_told_with_its_package(monkeypatch, tmp_path):
    """Another file under its name is refused by its hash, before anything is filmed."""
    photo = photographs()["cheetah"]
    other = tmp_path / photo.path
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another picture")
    monkeypatch.setenv("RUSHES_BENCH_PHOTOS", str(tmp_path))
    assert any(photo.package in words and "SHA-256" in words for words in missing(photo.half))
    with pytest.raises(PhotographMissing, match=photo.sha256):
        picture("cheetah")


@pytest.mark.slow
@pytest.mark.skipif(bool(missing("training")), reason="Debian's wallpapers are not here")
def test_a_short_bench_finds_flicker_and_black(tmp_path):
    """A plan of two defects runs to its summary, and finds what is plain."""
    chosen = tuple(d for d in DEFECTS if d.name in {"global flicker", "black or flash"})
    plan = Plan(clean=2, scenes=1, frames=17, defects=chosen)
    result = summary(list(cases("training", plan, lpips=None, folder=tmp_path)), plan)
    assert result["clean_clips"] == 2
    for row in result["defects"].values():
        assert set(row["sent_back"]) == set(GRADES)
        assert row["sent_back"]["strong"] == 1.0


def test_a_grey_picture_is_not_labelled_oversaturated():
    """Where no tenth of the picture is off by a noticeable difference, there is no defect."""
    still = data.coffee()[100:196, 200:328]
    grey = np.repeat(still.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    for picture_, seen in ((grey, False), (still, True)):
        clip = np.repeat(picture_[None], 9, 0)
        middle = picture_.mean(axis=2, keepdims=True)
        stronger = (middle + (picture_ - middle) * 2).clip(0, 255).astype(np.uint8)
        shot = Film(clip=clip, masks=np.zeros(clip.shape[:3], np.float32))
        assert visible.over_the_picture(shot, np.repeat(stronger[None], 9, 0)) is seen


def test_a_plain_thing_is_not_labelled_as_having_turned_into_another():
    """An object of one colour, or one that is hidden at first, has no identity to lose."""
    masks = np.zeros((9, 120, 160), np.float32)
    masks[:, 30:90, 50:110] = 1
    plain = np.full((9, 120, 160, 3), 120, np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (10, 10, 3), np.uint8)
    patterned = plain.copy()
    patterned[:, 30:90, 50:110] = noise.repeat(6, 0).repeat(6, 1)
    turned = patterned.copy()
    turned[:, 30:90, 50:110] = noise[::-1, ::-1].repeat(6, 0).repeat(6, 1)
    other = np.full_like(plain, 160)
    hidden = masks * (np.arange(9) > 4)[:, None, None]
    assert visible.in_the_object(Film(clip=patterned, masks=masks), turned)
    assert not visible.in_the_object(Film(clip=patterned, masks=masks), patterned)
    assert not visible.in_the_object(Film(clip=plain, masks=masks), other)
    assert not visible.in_the_object(Film(clip=patterned, masks=hidden), turned)


@pytest.mark.skipif(bool(missing("training")), reason="Debian's wallpapers are not here")
def test_a_folder_of_reels_is_filmed_once(tmp_path):
    """What was filmed before is taken as it is; another length is filmed anew."""
    plan = Plan(clean=1, scenes=0, frames=3, defects=())
    first = next(reels("training", plan, folder=tmp_path))
    before = first.clip.stat().st_mtime_ns
    assert next(reels("training", plan, folder=tmp_path)) == first
    assert first.clip.stat().st_mtime_ns == before
    next(reels("training", replace(plan, frames=4), folder=tmp_path))
    assert first.clip.stat().st_mtime_ns > before


def test_a_kept_folder_gives_the_grades_that_are_asked_for(tmp_path):
    """What a larger plan filmed beyond them is left out; what a smaller one left out is filmed."""
    defect, scene = DEFECTS[0], asdict(clean_scene("training", 0))
    name = f"training-{defect.name}-000.json".replace(" ", "_")

    def label(*grades: str) -> Path:
        told = {"version": VERSION, "frames": 9, "scene": scene, "grades": grades}
        (tmp_path / name).write_text(json.dumps(told))
        return tmp_path / name

    def grades_of(graded: int) -> list[str]:
        plan = Plan(clean=0, scenes=1, graded=graded, frames=9, defects=(defect,))
        return [reel.grade for reel in reels("training", plan, folder=tmp_path)]

    label(*GRADES)
    assert grades_of(1) == ["middle", "weak", "strong"]
    assert grades_of(0) == ["middle"]
    plan, middle = Plan(clean=0, scenes=1, frames=9), label("middle")
    assert grades_of(0) == ["middle"]
    assert _known(middle, plan, graded=True) is None
    assert _known(middle, replace(plan, size=(832, 480)), graded=False) is None


def test_a_plan_with_a_size_films_all_its_scenes_at_it():
    """The seed's own size is replaced, and the clip has the plan's."""
    plan = Plan(clean=1, scenes=0, frames=3, size=(96, 64))
    for index in range(4):
        scene = plan.of(clean_scene("training", index))
        assert (scene.width, scene.height, scene.frames) == (96, 64, 3)
    scene = replace(scene, picture="camera", other="moon")
    assert film(scene).clip.shape == (3, 64, 96, 3)


def test_a_bench_that_is_broken_off_has_seen_clean_clips_and_middle_grades_first(tmp_path):
    """All clean clips come in the first half of the turns, outer grades behind every middle one."""
    chosen, scene = DEFECTS[:2], asdict(clean_scene("training", 0))
    plan = Plan(clean=7, scenes=5, graded=2, frames=9, defects=chosen)
    told = {"version": VERSION, "frames": 9, "scene": scene}
    for name, count, grades in [("clean", 7, [""]), *((d.name, 5, GRADES) for d in chosen)]:
        for index in range(count):
            label = tmp_path / f"training-{name}-{index:03d}.json".replace(" ", "_")
            label.write_text(json.dumps({**told, "grades": grades}))
    seen = [(reel.defect, reel.grade) for reel in reels("training", plan, folder=tmp_path)]
    middles = [at for at, (_, grade) in enumerate(seen) if grade == "middle"]
    cleans = [at for at, (defect, _) in enumerate(seen) if defect == "clean"]
    outers = [at for at, (_, grade) in enumerate(seen) if grade in {"weak", "strong"}]
    assert (len(cleans), len(middles), len(outers)) == (7, 10, 8)
    assert cleans[-1] < middles[3 * len(chosen) - 1]
    assert middles[-1] < outers[0]


def test_a_metric_that_was_left_out_has_no_auc():
    """Without LPIPS its metrics are missing from the summary, not as good as a coin."""
    chosen = tuple(d for d in DEFECTS if d.name == "dropped")
    measured = [
        Case(
            half="training",
            defect=defect,
            grade=grade,
            scene={},
            metrics={"dropped": value},
            failures=(),
            warnings=(),
            beyond={},
        )
        for defect, grade, value in (("clean", "", 0.5), ("dropped", "middle", 2.0))
    ]
    found = summary(measured, Plan(clean=1, scenes=1, defects=chosen))["defects"]["dropped"]["auc"]
    assert set(found) == {"dropped", "all by their limits"}
    assert found["dropped"]["middle"] == 1.0
