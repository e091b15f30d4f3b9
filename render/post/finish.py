"""Finish: an approved take becomes a delivered version.

Frames run through the whole chain one by one, or a few at a time where a card upscales them, from
the lossless clip over upscale and grade to the encoder, so that memory does not grow with length.
The file is checked before it is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

from manifests.files import sha256_file
from render.backend import Progress, Tell
from render.clip import ClipInfo, Frame, clip_info, read_clip
from render.order import Delivery, FinishOrder
from render.post.check import Witness, inspect
from render.post.colour import Grader, describe
from render.post.encode import write_review
from render.post.pictures import Pictures, picture, write_pictures
from render.post.publish import new_version
from render.post.upscale import Upscaler
from render.video import disk_full_named

__all__ = ["Pictures", "finish", "picture"]


Card = Callable[[], AbstractContextManager[None]]
"""Asks for the card, and gives it back when the block ends."""
BURST_BYTES = 2**30
"""Upscaled frames that are held in host memory: so many pass the network in one go."""


def finish(
    order: FinishOrder,
    *,
    tell: Tell,
    card: Card = nullcontext,
    burst_bytes: int = BURST_BYTES,
) -> Delivery:
    """Upscale, grade, encode, check and publish one take.

    The card is held while a network upscales a burst of frames, and not while they are graded,
    encoded and checked: a take that waits for it goes in between.

    Strip and preview of the finished picture are written beside the clip, into the take's folder.
    `order.destination` appears last and whole.

    Raises:
        VersionExists: the destination is there; nothing published is overwritten.
        ClipUnreadable, NonFinite: the clip cannot be finished.
        GradeUnusable, ModelUnavailable: LUT or upscaling model is missing, changed or unfit.
        DeliveryFlawed: the file failed a check and was not published.
        DiskFull, OutOfMemory: the machine failed, not the picture.
    """
    started = time.monotonic()
    with disk_full_named(order.destination), new_version(order.destination) as temporary:
        info = clip_info(order.clip)
        upscaler, witness = _upscaler(order, info, card), Witness()
        # Said before it is closed: part of it is the network's.
        (width, height), words = upscaler.size, upscaler.words
        chain = _Chain(
            order=order,
            info=info,
            upscaler=upscaler,
            grader=Grader(order.finish.grade),
            tell=tell,
            card=card,
            # Without a card to give back a frame goes the whole way before the next one is read.
            burst=1 if card is nullcontext else max(1, burst_bytes // upscaler.enlarged_bytes),
        )
        try:
            frames = chain.frames(witness)
            write_review(frames, temporary, rate=info.rate, crf=order.finish.crf)
        finally:
            upscaler.close()
        size = {"frames": info.frames, "width": width, "height": height}
        checks = inspect(temporary, **size, rate=info.rate, witness=witness)
        pictures = write_pictures(temporary, order.clip.parent)
        digest = sha256_file(temporary)
    return Delivery(
        path=order.destination,
        sha256=digest,
        **size,
        fps=info.fps,
        upscaler=words,
        grade=describe(order.finish.grade),
        checks=checks,
        strip=pictures.strip,
        seconds=time.monotonic() - started,
    )


def _upscaler(order: FinishOrder, info: ClipInfo, card: Card) -> Upscaler:
    with card():
        return Upscaler(
            order.finish.upscale, width=info.width, height=info.height, device=order.device
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """The clip's frames on their way to the encoder, and the telling of it."""

    order: FinishOrder
    info: ClipInfo
    upscaler: Upscaler
    grader: Grader
    tell: Tell
    card: Card
    burst: int
    """Frames that pass the network while the card is held once."""

    def frames(self, witness: Witness) -> Iterator[Frame]:
        """Finished frames one by one, each seen by the witness."""
        for done, enlarged in enumerate(self._enlarged(), 1):
            large = self.upscaler.sized(enlarged)
            graded = self.grader.apply(large)
            if self.grader.changes:
                self._tell("grade", done)
            witness.see(large, graded)
            yield graded
            self._tell("encode-video", done)

    def _enlarged(self) -> Iterator[Frame]:
        """All frames as the network gives them, burst by burst."""
        frames, done = read_clip(self.order.clip), 0
        while burst := list(islice(frames, self.burst)):
            with self.card():
                for index, frame in enumerate(burst):
                    burst[index] = self.upscaler.enlarge(frame)
                    done += 1
                    if self.upscaler.changes:
                        self._tell("upscale", done)
                self.upscaler.rest()
            yield from burst

    def _tell(self, phase: str, done: int) -> None:
        self.tell(
            Progress(take_id=self.order.take_id, phase=phase, step=done, steps=self.info.frames)
        )
