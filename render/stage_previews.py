"""A small strip of pictures after each stage, made of the latents without a decode.

It costs the card nothing that can be measured: a few latent frames are copied to host memory, and
a thread makes the picture while the next stage samples. It is a look ahead, no part of the take:
what goes wrong with it becomes a note in the receipt.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from manifests.door import remove_through
from render.backend import Progress, Tell
from render.order import RenderOrder, StageReceipt
from render.post.strip import chosen, write_strip
from render.preview_factors import PreviewFactors

COUNT = 5
"""Latent frames of a strip: the first, the last and evenly between."""
QUALITY = 70
"""JPEG's: enough for colours without detail, at half the bytes of a strip of frames."""


def preview_path(folder: Path, k: int) -> Path:
    """Where the strip of stage `k` (0-based) lies; people count from 1."""
    return folder / f"stage-{k + 1}.jpg"


class StagePreviews:
    """The strips of one take. `finish` must be called before its receipt is written."""

    def __init__(self, order: RenderOrder, tell: Tell, notes: list[str]) -> None:
        """`notes` are those of the take: what went wrong is added to them."""
        self._order = order
        self._tell = tell
        self._notes = notes
        self._threads: dict[int, threading.Thread] = {}

    def add(self, k: int, clean: torch.Tensor | None, factors: PreviewFactors | None) -> None:
        """Make the strip of stage `k` (0-based) from its clean latents (1, C, T, h, w).

        Nothing is made without latents (a stage that leaves noise and was not computed here) or
        without the factors of the model's VAE. A strip of an earlier try is gone in any case.
        """
        path = preview_path(self._order.folder, k)
        if k in self._threads:
            self._threads[k].join()  # of a try that ran out of memory behind this stage
        try:
            remove_through(path)
            if clean is None or factors is None:
                return
            shown = sorted(chosen(clean.shape[2], COUNT))
            # Only what is shown is copied, and the copy waits for the stage to be computed:
            # the checkpoint before it did so too.
            latents = clean[:, :, shown].float().cpu().numpy()
        except Exception as error:
            self._note(k, error)
            return
        thread = threading.Thread(
            target=self._make, args=(k, path, latents, factors), name="stage preview", daemon=True
        )
        self._threads[k] = thread
        thread.start()

    def finish(self, stages: Sequence[StageReceipt]) -> tuple[StageReceipt, ...]:
        """The receipts of the stages, each with its strip where there is one."""
        for thread in self._threads.values():
            thread.join()
        paths = (preview_path(self._order.folder, stage.index) for stage in stages)
        return tuple(
            replace(stage, preview=path if path.is_file() else None)
            for stage, path in zip(stages, paths, strict=True)
        )

    def _make(
        self, k: int, path: Path, latents: NDArray[np.float32], factors: PreviewFactors
    ) -> None:
        try:
            pictures = factors.colours(latents)
            write_strip(iter(pictures), path, total=len(pictures), count=COUNT, quality=QUALITY)
            self._tell(
                Progress(
                    take_id=self._order.take_id,
                    phase="stage",
                    stage=k + 1,
                    stages=len(self._order.recipe.stages),
                    preview=path,
                )
            )
        except Exception as error:
            self._note(k, error)

    def _note(self, k: int, error: Exception) -> None:
        self._notes.append(f"no preview of stage {k + 1}: {type(error).__name__}: {error}")
