"""A take is measured while it is decoded, and the scorecard is the one its file gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_order import plain_order, plain_recipe

from manifests.files import sha256_file
from qc import stored
from qc.errors import NotAVideo, SourceMissing
from qc.scorecard import Scorecard
from qc.video import Video
from render.clip import write_clip
from render.order import RenderOrder, ScoreOrder
from render.video import frame_rate
from tasks import worker

# Each measures with LPIPS, whose network takes seconds to load.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fake_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker renders with the fake, which shows its frames as the real one does."""
    monkeypatch.setenv(worker.BACKEND_VARIABLE, "fake_backend:FakeBackend")
    worker._backend.cache_clear()
    yield
    worker._backend.cache_clear()


@pytest.fixture
def order(tmp_path: Path) -> RenderOrder:
    """Five frames over a picture, to be measured as they come."""
    still = tmp_path / "still.png"
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    small.resize((96, 64), Image.Resampling.BICUBIC).save(still)
    folder = tmp_path / "take"
    recipe = plain_recipe(width=96, height=64, fps=23.976, source_sha256=sha256_file(still))
    return plain_order(
        tmp_path,
        "take",
        recipe=recipe,
        source=still,
        score=ScoreOrder(
            clip=folder / "clip.mkv", source=still, frames=5, width=96, height=64, fps=23.976
        ),
    )


def _scored(order: RenderOrder) -> ScoreOrder:
    assert order.score is not None
    return order.score


def _assert_equal(one: Scorecard, other: Scorecard) -> None:
    assert one.metrics == pytest.approx(other.metrics, rel=1e-9, abs=1e-9)
    assert one.curves is not None
    assert other.curves is not None
    assert set(one.curves) == set(other.curves)
    for name, curve in one.curves.items():
        assert curve == pytest.approx(other.curves[name], rel=1e-9, abs=1e-9), name
    plain = {"metrics": {}, "curves": None}
    assert replace(one, **plain) == replace(other, **plain)  # type: ignore[arg-type]


def test_the_scorecard_of_the_frames_is_that_of_the_file(order: RenderOrder) -> None:
    """Every number and curve is equal as two measurements of one file are, to 1e-9: sums of
    floats depend on where they lie in memory. Only the file's names its decoder."""
    receipt = worker.render(order)
    seen = worker.score(_scored(order))
    assert "decoder" not in seen.versions, "it was read, not measured again"
    stored_at = receipt.clip.with_name(stored.NAME)
    stored_at.unlink()
    read = worker.score(_scored(order))
    assert set(read.versions) - set(seen.versions) == {"decoder"}
    assert seen.metrics["conditioning_psnr"] > 30
    assert len(seen.metrics) > 15
    _assert_equal(read, replace(seen, versions=read.versions))


@pytest.mark.parametrize("fps", [8, 12.5, 16, 23.976, 24, 25, 29.97, 48, 59.94, 60])
def test_the_rate_is_known_without_the_file(fps: float, tmp_path: Path) -> None:
    """What the container will say of a take's rate is what the order's rate means."""
    frames = np.zeros((6, 16, 16, 3), np.float32)
    write_clip([frames], tmp_path / "a.mkv", fps=fps)
    with Video(tmp_path / "a.mkv") as video:
        assert len(list(video.frames())) == 6
        # Matroska keeps the time of a frame in whole nanoseconds.
        assert video.fps == pytest.approx(float(frame_rate(fps)), rel=1e-7)


@pytest.mark.parametrize("change", ["clip", "source", "expected", "damage"])
def test_a_scorecard_of_something_else_is_not_used(change: str, order: RenderOrder) -> None:
    """Another clip, source or expectation, or a damaged file: the clip is measured anew."""
    receipt, score = worker.render(order), _scored(order)
    match change:
        case "clip":
            write_clip([np.zeros((5, 64, 96, 3), np.float32)], receipt.clip, fps=24)
        case "source":
            assert order.source is not None
            Image.new("RGB", (96, 64), "red").save(order.source)
        case "expected":
            score = replace(score, frames=7)
        case _:
            path = receipt.clip.with_name(stored.NAME)
            path.write_text(path.read_text()[:-40])
    assert "decoder" in worker.score(score).versions


def test_nothing_is_measured_unless_it_is_asked_for(order: RenderOrder) -> None:
    """Without a score in the order the frames are not looked at."""
    receipt = worker.render(replace(order, score=None))
    assert not stored.is_stored(receipt.clip)
    assert "decoder" in worker.score(_scored(order)).versions


def test_what_cannot_be_measured_does_not_fail_the_render(order: RenderOrder) -> None:
    """A source that is gone when the decode begins is named by `score`, not by `render`."""
    score = replace(_scored(order), source=order.folder / "gone.png")
    watch = worker.Measured(score)
    with pytest.raises(SourceMissing):
        watch.begin()
    receipt = worker.render(replace(order, score=None))
    watch.store(receipt)
    assert not stored.is_stored(receipt.clip)
    with pytest.raises(SourceMissing, match=r"gone\.png"):
        worker.score(score)


def test_a_clip_that_was_not_seen_whole_has_no_scorecard(order: RenderOrder) -> None:
    """Frames that stop half-way, or of a decode that failed before, are not taken for the clip."""
    receipt = worker.render(replace(order, score=None))
    watch = worker.Measured(_scored(order))
    frame = np.zeros((1, 64, 96, 3), np.float32)
    watch.begin()
    watch.see(frame)
    watch.store(receipt)
    assert not stored.is_stored(receipt.clip)
    with pytest.raises(ValueError, match="the first was"):
        watch.see(np.zeros((4, 32, 32, 3), np.float32))
    watch.store(receipt)
    assert not stored.is_stored(receipt.clip)


def test_a_clip_that_is_gone_is_named(order: RenderOrder) -> None:
    """A scorecard without its clip measures nothing."""
    worker.render(order).clip.unlink()
    with pytest.raises(NotAVideo):
        worker.score(_scored(order))
