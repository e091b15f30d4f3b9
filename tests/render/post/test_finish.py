"""The finish: from a lossless clip to a delivered version, the whole chain for real."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.shot import FinishSpec, Grade, Upscale
from render.backend import Progress
from render.clip import clip_info, read_clip, write_clip
from render.errors import ClipUnreadable, GradeUnusable, ModelUnavailable, VersionExists
from render.order import Delivery, FinishOrder
from render.post.finish import finish, picture
from render.post.resize import resize

Make = Callable[..., np.ndarray]
INVERT = "LUT_3D_SIZE 2\n" + "\n".join(
    f"{1 - r} {1 - g} {1 - b}" for b in (0, 1) for g in (0, 1) for r in (0, 1)
)


def _order(clip: Path, finish_spec: FinishSpec, name: str = "sh010_v001.mp4") -> FinishOrder:
    return FinishOrder(
        take_id="sheet/sh010/t1",
        shot="sh010",
        clip=clip,
        finish=finish_spec,
        destination=clip.parents[2] / "delivered" / name,
    )


def _quiet(_: Progress) -> None:
    pass


def test_a_card_is_held_while_a_network_upscales_and_at_no_other_time(
    clip: Path, compact: Callable[..., tuple]
) -> None:
    """Nine frames in bursts of two: five turns at the card beside the loading, none of them while
    a frame is encoded; the file is the one of a finish that has no card to give back."""
    model, model_hash = compact(scale=2)
    upscale = Upscale(factor=1.5, model=model, model_sha256=model_hash)
    turns: list[list[str]] = []
    outside: list[str] = []
    here = outside

    @contextmanager
    def card() -> Iterator[None]:
        nonlocal here
        assert here is outside, "it is held once at a time"
        turns.append([])
        here = turns[-1]
        yield
        here = outside

    def tell(progress: Progress) -> None:
        here.append(progress.phase)

    info = clip_info(clip)
    delivery = finish(
        _order(clip, FinishSpec(upscale=upscale)),
        tell=tell,
        card=card,
        burst_bytes=2 * 3 * 4 * info.width * info.height * 4,
    )
    assert [len(turn) for turn in turns] == [0, 2, 2, 2, 2, 1]
    assert {phase for turn in turns for phase in turn} == {"upscale"}
    assert outside == ["encode-video"] * 9
    plain = finish(_order(clip, FinishSpec(upscale=upscale), "plain.mp4"), tell=_quiet)
    assert delivery.sha256 == plain.sha256


def test_the_whole_chain(clip: Path, tmp_path: Path, compact: Callable[..., tuple]) -> None:
    """Upscaled by a network, graded by CDL and LUT: the file shows what the formulas give."""
    lut = tmp_path / "invert.cube"
    lut.write_text(INVERT)
    model, model_hash = compact(scale=2)
    grade = Grade(
        slope=(0.9, 0.8, 0.7),
        lut=lut,
        lut_sha256=hashlib.sha256(lut.read_bytes()).hexdigest(),
    )
    spec = FinishSpec(
        grade=grade, upscale=Upscale(factor=1.5, model=model, model_sha256=model_hash)
    )
    told: list[Progress] = []
    delivery = finish(_order(clip, spec), tell=told.append)

    info = clip_info(delivery.path)
    assert (info.frames, info.width, info.height) == (9, 96, 72)
    assert (delivery.frames, delivery.width, delivery.height) == (9, 96, 72)
    assert delivery.fps == info.fps == 24000 / 1001
    assert delivery.sha256 == hashlib.sha256(delivery.path.read_bytes()).hexdigest()
    assert delivery.upscaler.startswith("tiny.safetensors (sha256 ")
    assert delivery.grade.startswith("CDL slope 0.9 0.8 0.7")
    assert "LUT invert.cube" in delivery.grade
    assert len(delivery.checks) == 8
    for shown, source in zip(read_clip(delivery.path), read_clip(clip), strict=True):
        want = 1 - resize(source, width=96, height=72) * np.float32([0.9, 0.8, 0.7])
        # The small random network adds a little of its own to the enlarged picture.
        assert np.abs(shown - want).mean() < 0.03
    for phase in ("upscale", "grade", "encode-video"):
        steps = [(p.step, p.steps) for p in told if p.phase == phase]
        assert steps == [(i, 9) for i in range(1, 10)]
    assert {p.take_id for p in told} == {"sheet/sh010/t1"}


def test_nothing_asked_is_told_as_nothing(clip: Path) -> None:
    """Without upscale and grade the picture is the clip's, and the words say none."""
    told: list[Progress] = []
    delivery = finish(_order(clip, FinishSpec(crf=8)), tell=told.append)
    assert (delivery.upscaler, delivery.grade) == ("none", "none")
    assert {p.phase for p in told} == {"encode-video"}
    for shown, source in zip(read_clip(delivery.path), read_clip(clip), strict=True):
        assert np.abs(shown - source).mean() < 2 / 255


def test_lanczos_is_named(clip: Path) -> None:
    """Without a model the delivery says that none was configured."""
    delivery = finish(_order(clip, FinishSpec(upscale=Upscale(factor=2))), tell=_quiet)
    assert delivery.upscaler == "lanczos 2x (no upscaling model configured)"
    assert (delivery.width, delivery.height) == (128, 96)


def test_crf_is_that_of_the_spec(clip: Path) -> None:
    """A higher crf delivers a smaller file."""
    fine = finish(_order(clip, FinishSpec(crf=10), "fine.mp4"), tell=_quiet)
    coarse = finish(_order(clip, FinishSpec(crf=40), "coarse.mp4"), tell=_quiet)
    assert coarse.path.stat().st_size < fine.path.stat().st_size


def test_versions_are_immutable(clip: Path) -> None:
    """A destination that exists is refused and stays as it was; the next version is free."""
    first = finish(_order(clip, FinishSpec()), tell=_quiet)
    with pytest.raises(VersionExists, match=r"sh010_v001\.mp4"):
        finish(_order(clip, FinishSpec(crf=40)), tell=_quiet)
    assert hashlib.sha256(first.path.read_bytes()).hexdigest() == first.sha256
    assert finish(_order(clip, FinishSpec(), "sh010_v002.mp4"), tell=_quiet).path.exists()


def test_equal_orders_give_equal_files(clip: Path) -> None:
    """Finishing a take again gives the same bytes."""
    spec = FinishSpec(upscale=Upscale(factor=2), grade=Grade(power=(0.9, 1.0, 1.1)))
    one = finish(_order(clip, spec, "a_v001.mp4"), tell=_quiet)
    two = finish(_order(clip, spec, "a_v002.mp4"), tell=_quiet)
    assert one.sha256 == two.sha256


def test_an_odd_clip_is_delivered(tmp_path: Path, moving: Make) -> None:
    """Odd sizes are padded to even ones, and that is told."""
    path = tmp_path / "takes" / "t1" / "clip.mkv"
    write_clip([moving(5, 23, 37)], path, fps=16)
    delivery = finish(_order(path, FinishSpec()), tell=_quiet)
    assert (delivery.width, delivery.height) == (38, 24)
    assert "repeated" in delivery.upscaler


def test_a_single_frame_is_delivered(tmp_path: Path, moving: Make) -> None:
    """A clip of one frame is a clip."""
    path = tmp_path / "takes" / "t1" / "clip.mkv"
    write_clip([moving(1)], path, fps=16)
    assert finish(_order(path, FinishSpec()), tell=_quiet).frames == 1


def test_failures_leave_nothing(clip: Path, tmp_path: Path) -> None:
    """A LUT or model that is gone, or a damaged clip, publishes nothing and leaves no rest."""
    delivered = tmp_path / "delivered"
    gone = FinishSpec(grade=Grade(lut=tmp_path / "gone.cube"))
    with pytest.raises(GradeUnusable):
        finish(_order(clip, gone), tell=_quiet)
    pickle_file = FinishSpec(upscale=Upscale(factor=2, model=tmp_path / "model.pth"))
    with pytest.raises(ModelUnavailable):
        finish(_order(clip, pickle_file), tell=_quiet)
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 0xFF
    clip.write_bytes(data)
    with pytest.raises(ClipUnreadable):
        finish(_order(clip, FinishSpec()), tell=_quiet)
    assert list(delivered.iterdir()) == []


def test_a_killed_teller_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    """When telling fails in the middle of the clip, nothing is published."""

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(_order(clip, FinishSpec()), tell=stop)
    assert list((tmp_path / "delivered").iterdir()) == []


def test_strip_and_preview_show_the_finished_picture(clip: Path, tmp_path: Path) -> None:
    """They lie in the take's folder and have the grade's colours."""
    grade = Grade(slope=(1.0, 0.0, 0.0))
    delivery = finish(_order(clip, FinishSpec(grade=grade)), tell=_quiet)
    assert delivery.strip == clip.parent / "strip.jpg"
    strip = np.asarray(Image.open(delivery.strip)).astype(float) / 255
    assert strip[..., 0].mean() > 0.3
    assert strip[..., 1:].mean() < 0.05
    assert clip_info(clip.parent / "preview.mp4").frames == 9
    assert [p.name for p in (tmp_path / "delivered").iterdir()] == ["sh010_v001.mp4"]


def test_a_delivery_crosses_processes(clip: Path) -> None:
    """Order and delivery survive pickling, and the delivery its own dictionary."""
    delivery = finish(pickle.loads(pickle.dumps(_order(clip, FinishSpec()))), tell=_quiet)
    assert pickle.loads(pickle.dumps(delivery)) == delivery
    assert Delivery.from_dict(delivery.to_dict()) == delivery


def test_pictures_are_made_once(clip: Path) -> None:
    """Strip and preview of a take that is not delivered; asked again, they are left alone."""
    pictures = picture(clip)
    assert Image.open(pictures.strip).size == (5 * 128 + 4 * 2, 96)
    assert clip_info(pictures.preview).frames == 9
    before = (pictures.strip.stat().st_mtime_ns, pictures.preview.stat().st_mtime_ns)
    assert picture(clip) == pictures
    assert before == (pictures.strip.stat().st_mtime_ns, pictures.preview.stat().st_mtime_ns)


def test_pictures_of_a_new_clip_are_new(clip: Path, moving: Make) -> None:
    """When the clip is newer than its pictures they are made again."""
    old = picture(clip).strip.read_bytes()
    write_clip([1 - moving()], clip, fps=23.976)
    assert picture(clip).strip.read_bytes() != old


def test_pictures_survive_a_lost_half(clip: Path) -> None:
    """When one of the two is missing both are made again."""
    pictures = picture(clip)
    pictures.preview.unlink()
    assert picture(clip).preview.exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Finishing 60 frames takes as much Python memory as finishing 15 (within 4 frames)."""
    peaks = []
    for count in (15, 60):
        path = tmp_path / str(count) / "takes" / "t1" / "clip.mkv"
        frame = np.random.default_rng(0).random((1, 96, 128, 3), dtype=np.float32)
        write_clip((frame for _ in range(count)), path, fps=16)
        tracemalloc.start()
        finish(_order(path, FinishSpec(upscale=Upscale(factor=2))), tell=_quiet)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4 * frame.nbytes * 4
