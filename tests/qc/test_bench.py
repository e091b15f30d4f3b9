"""The defect bench runs: halves apart, seeds repeat, an area under the curve is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.qc_bench.bench import auc, cases, summary
from benchmarks.qc_bench.defects import DEFECTS, GRADES
from benchmarks.qc_bench.photographs import PhotographMissing, missing, photographs, picture
from benchmarks.qc_bench.reels import Plan
from benchmarks.qc_bench.scenes import HALVES, clean_scene, defect_scene, film


def test_the_halves_share_no_photograph_and_no_seed():
    """What limits are chosen on is never what they are judged on."""
    training, held_out = ({p for p in photographs().values() if p.half == h} for h in HALVES)
    assert not {p.sha256 for p in training if p.sha256} & {p.sha256 for p in held_out}
    assert not {p.package for p in training} & {p.package for p in held_out}
    assert len(training) + len(held_out) == len(photographs())
    seeds = [
        {clean_scene(half, i).seed for i in range(60)}
        | {defect_scene(half, i, salt=3, colourful=False, kind=None).seed for i in range(60)}
        for half in HALVES
    ]
    assert not seeds[0] & seeds[1]
    assert [len(s) for s in seeds] == [120, 120]


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
    photo = photographs()["fruits"]
    other = tmp_path / photo.path
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another picture")
    monkeypatch.setenv("RUSHES_BENCH_PHOTOS", str(tmp_path))
    assert any(photo.package in words and "SHA-256" in words for words in missing("held out"))
    with pytest.raises(PhotographMissing, match=photo.sha256):
        picture("fruits")


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
