"""A picture of a clip's first frames, there while the rest is still being decoded."""

from __future__ import annotations

import numpy as np

from render.backend import Progress
from render.clip import Frame
from render.families.base import Frames
from render.post.strip import chosen, write_strip
from render.take import Take

FIRST_FRAMES = "first-frames.jpg"
"""Its name in the take's folder."""
COUNT = 5
"""Frames of it, where a clip has so many."""
QUALITY = 75
"""JPEG's: it is looked at once, and lies in Prefect's database."""


class FirstFrames:
    """Collects the first frames, writes their picture once and tells where it is.

    It is a look ahead, no part of the take: what goes wrong with it becomes a note.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._frames: list[Frame] | None = []
        """None once the picture is made."""

    def add(self, chunk: Frames) -> None:
        """The next frames of the clip."""
        if self._frames is None:
            return
        if not self._frames and len(chunk) > COUNT:
            # A clip that is decoded at once is shown from its first frame to its last.
            self._frames = [chunk[index] for index in sorted(chosen(len(chunk), COUNT))]
        else:
            self._frames += list(chunk[: COUNT - len(self._frames)])
        if len(self._frames) == COUNT:
            self.end()

    def end(self) -> None:
        """No frame follows that the picture could wait for."""
        frames, self._frames = self._frames, None
        if not frames:
            return
        take, path = self._take, self._take.order.folder / FIRST_FRAMES
        try:
            shown = (np.nan_to_num(frame.astype(np.float32)) for frame in frames)
            write_strip(shown, path, total=len(frames), count=COUNT, quality=QUALITY)
            stages = len(take.recipe.stages)
            take.tell(
                Progress(take_id=take.order.take_id, phase="decode", stages=stages, preview=path)
            )
        except Exception as error:
            take.notes.append(f"no picture of the first frames: {type(error).__name__}: {error}")
