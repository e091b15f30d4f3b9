"""A clip while it is decoded: seen, bounded, told of early, and never spoilt by who looks on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from waiting import LONG

from render import developing
from render.backend import Progress, Watch
from render.clip import clip_info, read_clip
from render.developing import Developing
from render.diffusers_backend import DiffusersBackend
from render.errors import DiskFull, NonFinite
from render.first_frames import FIRST_FRAMES
from render.order import RenderOrder
from render.take import Take

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]


class Seen(Watch):
    """Keeps what it sees; fails at the `bad`-th chunk (0-based)."""

    def __init__(self, *, bad: int | None = None) -> None:
        self.begun = 0
        self.chunks: list[np.ndarray] = []
        self._bad = bad

    def begin(self) -> None:
        self.begun += 1
        self.chunks.clear()

    def see(self, chunk: Any) -> None:
        if len(self.chunks) == self._bad:
            raise RuntimeError("cannot look")
        self.chunks.append(chunk)


class _Slow(Watch):
    """Lets nothing through until it is told."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def begin(self) -> None:
        pass

    def see(self, chunk: Any) -> None:
        assert self.go.wait(LONG)


@pytest.fixture
def take(order_for: OrderFor) -> Iterator[Callable[..., Take]]:
    """A take of 5 frames of 32 x 32 that tells `tell` and is seen by `watch`."""

    def make(tell: Callable[[Progress], None] = lambda _: None, watch: Watch | None = None) -> Take:
        order = order_for()
        order.folder.mkdir()
        return Take(order, tell, torch.device("cpu"), None, watch)

    return make


def _frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 32, 32, 3), dtype=np.float32)


def _develop(take: Take, chunks: list[np.ndarray]) -> Path:
    film = Developing(take)
    for chunk in chunks:
        film.add(chunk)
    film.end()
    return film.finish()


def test_what_is_seen_is_what_is_in_the_file(take: Callable[..., Take]) -> None:
    """The watcher gets every frame, bit by bit as the clip gives it back."""
    seen = Seen()
    frames = _frames(9) * 1.2 - 0.1  # also what the file clips
    clip = _develop(take(watch=seen), [frames[:1], frames[1:5], frames[5:]])
    assert seen.begun == 1
    assert [len(chunk) for chunk in seen.chunks] == [1, 4, 4]
    np.testing.assert_array_equal(np.concatenate(seen.chunks), np.stack(list(read_clip(clip))))


def test_a_real_take_is_seen_frame_for_frame(order_for: OrderFor) -> None:
    """The backend shows its watcher what its clip holds, and a finished take is shown no more."""
    seen, backend, order = Seen(), DiffusersBackend(), order_for("t2v-2.1")
    receipt = backend.render(order, tell=lambda _: None, watch=seen)
    shown = np.concatenate(seen.chunks)
    np.testing.assert_array_equal(shown, np.stack(list(read_clip(receipt.clip))))
    assert receipt.notes == ()
    again = Seen()
    backend.render(order, tell=lambda _: None, watch=again)
    assert again.begun == 0


@pytest.mark.parametrize("bad", [0, 1])
def test_a_watcher_that_fails_costs_a_note(take: Callable[..., Take], bad: int) -> None:
    """The clip is the one that nobody watched; the watcher is told no more of it."""
    seen, frames = Seen(bad=bad), _frames(9)
    one = take(watch=seen)
    clip = _develop(one, [frames[:1], frames[1:5], frames[5:]])
    assert len(seen.chunks) == bad
    assert clip_info(clip).frames == 9
    assert [note for note in one.notes if "RuntimeError: cannot look" in note] == one.notes != []


def test_a_failed_decode_is_seen_from_its_start_again(take: Callable[..., Take]) -> None:
    """A second decode of the same take begins anew: the watcher ends with one clip's frames."""
    seen, frames = Seen(), _frames(5)
    one = take(watch=seen)
    first = Developing(one)
    first.add(frames[:1])
    first.give_up(MemoryError("card"))
    assert not (one.order.folder / developing.CLIP).exists()
    clip = _develop(one, [frames[:1], frames[1:]])
    assert seen.begun == 2
    np.testing.assert_array_equal(np.concatenate(seen.chunks), np.stack(list(read_clip(clip))))


def test_the_first_frames_are_there_before_the_last_are_decoded(
    take: Callable[..., Take],
) -> None:
    """Five frames are enough for a picture; it is whole when it is told of."""
    told: list[Progress] = []
    there = threading.Event()

    def tell(progress: Progress) -> None:
        told.append(progress)
        assert progress.preview is not None
        with Image.open(progress.preview) as picture:
            picture.load()
        there.set()

    one, frames = take(tell), _frames(9)
    film = Developing(one)
    film.add(frames[:1])
    film.add(frames[1:5])
    assert there.wait(LONG)
    assert not (one.order.folder / developing.CLIP).exists()
    film.add(frames[5:])
    film.end()
    film.finish()
    assert [p.preview for p in told] == [one.order.folder / FIRST_FRAMES]
    with Image.open(one.order.folder / FIRST_FRAMES) as picture:
        assert picture.size == (5 * 96 + 4 * 2, 96)


@pytest.mark.parametrize(("chunks", "pictures"), [([3], 3), ([1, 1], 2), ([40], 5)])
def test_short_clips_and_whole_ones_have_a_picture_too(
    take: Callable[..., Take], chunks: list[int], pictures: int
) -> None:
    """Fewer than five frames are all shown; a clip that comes at once is shown to its last."""
    one = take()
    _develop(one, [_frames(count) for count in chunks])
    with Image.open(one.order.folder / FIRST_FRAMES) as picture:
        assert picture.width == pictures * 96 + (pictures - 1) * 2


def test_a_picture_that_cannot_be_written_costs_a_note(take: Callable[..., Take]) -> None:
    """The clip is whole, and the receipt will say that there is no picture."""
    one = take()
    (one.order.folder / FIRST_FRAMES).mkdir()
    assert clip_info(_develop(one, [_frames(5)])).frames == 5
    assert len(one.notes) == 1
    assert one.notes[0].startswith("no picture of the first frames: ")


def test_a_slow_writer_holds_the_decode_at_the_bound(take: Callable[..., Take]) -> None:
    """No more than the bound waits in memory, however far ahead the decode could be."""
    watch, frame = _Slow(), _frames(1)
    film = Developing(take(watch=watch), buffer_bytes=3 * frame.nbytes)
    added: list[int] = []

    def decode() -> None:
        for index in range(12):
            film.add(frame)
            added.append(index)
        film.end()

    decoder = threading.Thread(target=decode, daemon=True)
    decoder.start()
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        time.sleep(0.01)
        # One is with the writer, three wait.
        assert len(added) <= 4
    watch.go.set()
    decoder.join(LONG)
    assert clip_info(film.finish()).frames == 12


def test_what_stops_the_writer_stops_the_decode(take: Callable[..., Take]) -> None:
    """A frame of NaN is named by the next `add`, not after the whole decode; no clip is left."""
    one = take()
    film = Developing(one)

    def decode() -> None:
        for _ in range(1000):
            film.add(np.full((1, 32, 32, 3), np.nan, np.float32))
            time.sleep(0.001)

    with pytest.raises(NonFinite, match="frame 0"):
        decode()
    film.give_up(RuntimeError())
    assert not (one.order.folder / developing.CLIP).exists()


def test_a_full_disk_is_named(take: Callable[..., Take], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the writing raises comes out of `finish`, by its name."""

    def full(*_: object, **__: object) -> None:
        raise DiskFull("no space left")

    monkeypatch.setattr(developing, "write_clip", full)
    film = Developing(take())
    film.end()
    with pytest.raises(DiskFull):
        film.finish()
