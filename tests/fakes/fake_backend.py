"""A backend that speaks the real order and receipt, and renders a moving photograph in no time.

Words in the prompt make it misbehave, once per take folder where `once` is said:
`[die once]` kills its own process, `[oom once]` runs out of memory, `[oom]` always does,
`[nan]` turns to NaN at the first seed, `[frozen]` gives a still at the first seed,
`[large]` fits in no memory with more than 13 frames, whatever rung is taken,
`[frozen seed]` gives one at the recipe's own seed only, so that another candidate moves,
`[slow]` takes half a second for each stage, `[long]` ten minutes for each but the first,
`[no model]` cannot load its model.
Every stage that was computed to its end is a line in `work.log` of the take's folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from manifests.candidates import candidate_seeds
from manifests.files import sha256_file, write_atomic
from manifests.source import open_source
from manifests.stage import Recipe
from manifests.still import prepare_still
from render.backend import Progress, RenderBackend, Tell, Watch
from render.clip import quantised, write_clip
from render.errors import ModelUnavailable, NonFinite, OutOfHours, OutOfMemory, TakeDoomed
from render.look import Glimpse, Look
from render.order import LookReceipt, Receipt, RenderOrder, Span, Spent, StageReceipt
from render.post.strip import write_strip


class FakeBackend(RenderBackend):
    """Renders by sliding a window over the source."""

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """See `RenderBackend.render`: resumes from stage files, returns a finished clip at once."""
        order.folder.mkdir(parents=True, exist_ok=True)
        done = order.folder / "receipt.json"
        if done.exists():
            receipt = Receipt.from_dict(json.loads(done.read_text()))
            if receipt.clip_sha256 == sha256_file(receipt.clip):
                return receipt
        self._misbehave(order)
        first = self._stage(order, 0, tell)
        order, looks = _looked_at(order, look)
        more = range(1, len(order.recipe.stages))
        stages = (first, *(self._stage(order, index, tell) for index in more))
        tell(Progress(take_id=order.take_id, phase="decode"))
        strip = _write_strip(order, "first-frames.jpg")
        tell(Progress(take_id=order.take_id, phase="decode", preview=strip))
        clip, frames = order.folder / "clip.mkv", _frames(order)
        write_clip([frames], clip, fps=order.recipe.fps)
        if watch is not None:
            watch.begin()
            watch.see(quantised(frames))
        receipt = replace(_receipt(order, clip, stages), looks=looks)
        write_atomic(done, json.dumps(receipt.to_dict()))
        return receipt

    def close(self) -> None:
        """Nothing is held."""

    def _misbehave(self, order: RenderOrder) -> None:
        prompt, first_time = order.recipe.prompt, not (order.folder / "tried").exists()
        (order.folder / "tried").touch()
        if "[die once]" in prompt and first_time:
            os.kill(os.getpid(), signal.SIGKILL)
        if "[oom]" in prompt or ("[oom once]" in prompt and first_time):
            raise OutOfMemory("the card has 0 bytes free; take fewer frames")
        if "[large]" in prompt and order.recipe.frames > 13:
            raise OutOfMemory("no rung is left", phase="sample", rungs=("cache",))
        if "[no model]" in prompt:
            raise ModelUnavailable("no such folder; correct studio.yaml")
        if "[nan]" in prompt and order.take == 1:
            raise NonFinite("stage 1, step 2: latents hold NaN")

    def _stage(self, order: RenderOrder, index: int, tell: Tell) -> StageReceipt:
        stage = order.recipe.stages[index]
        path = order.folder / f"stage{index + 1}.safetensors"
        resumed = path.exists()
        if not resumed:
            if "[slow]" in order.recipe.prompt:
                time.sleep(0.5)
            if "[long]" in order.recipe.prompt and index:
                time.sleep(600)
            write_atomic(path, f"{order.recipe.fingerprint} {index}")
            with (order.folder / "work.log").open("a") as log:
                log.write(f"stage {index + 1}\n")
        if order.stop_at is not None and time.time() >= order.stop_at:
            raise OutOfHours(f"the night's hours ended after stage {index + 1}")
        tell(
            Progress(
                take_id=order.take_id,
                phase="stage",
                stage=index + 1,
                stages=len(order.recipe.stages),
                step=stage.steps,
                steps=stage.steps,
            )
        )
        preview = _write_strip(order, f"stage-{index + 1}.jpg")
        tell(
            Progress(
                take_id=order.take_id,
                phase="stage",
                stage=index + 1,
                stages=len(order.recipe.stages),
                preview=preview,
            )
        )
        return StageReceipt(
            preview=preview,
            index=index,
            start_sigma=1.0,
            steps=stage.steps,
            seed=order.recipe.seed + stage.seed_offset,
            seconds=0.0 if resumed else 0.01,
            resumed=resumed,
            latents=path,
            latents_sha256=sha256_file(path),
            latents_std=1.0,
        )


def _looked_at(
    order: RenderOrder, look: Look | None
) -> tuple[RenderOrder, tuple[LookReceipt, ...]]:
    """The order of the candidate that is gone on with, and what was thought of each."""
    recipe = order.recipe
    if look is None or len(recipe.stages) == 1:
        return order, ()
    found = []
    for seed in candidate_seeds(recipe.seed, recipe.candidates):
        one = replace(order, recipe=recipe.with_seed(seed))
        frames = _frames(one, own=seed == recipe.seed)
        found.append((look.see(Glimpse(colours=frames[::4, 4::8, 4::8], frames=frames)), one))
    best, chosen = min(found, key=lambda pair: (pair[0].failure is not None, pair[0].rank))
    if best.failure is not None:
        doomed = TakeDoomed(
            f"stopped after stage 1: {best.words}", failure=best.failure, told=best.told
        )
        spans = (Span(kind="stage 1", begun=100.0, ended=103.5, on_card=True),)
        doomed.spent = Spent(seconds=4.0, device="fake", card="GPU-fake", timeline=spans).to_dict()
        raise doomed
    return chosen, tuple(
        LookReceipt(
            stage=0,
            seed=one.recipe.seed,
            words=opinion.words,
            metrics=opinion.metrics,
            failure=opinion.failure,
            chosen=one is chosen,
        )
        for opinion, one in found
    )


def _frames(order: RenderOrder, *, own: bool = False) -> np.ndarray:
    """float32 (T, H, W, 3): a slow pan over the source, or a still when told to freeze."""
    recipe = order.recipe
    picture = _picture(order.source, recipe)
    still = "[frozen]" in recipe.prompt and order.take == 1
    still |= "[frozen seed]" in recipe.prompt and own
    frames = []
    for index in range(recipe.frames):
        x = 0 if still else index
        frames.append(picture[: recipe.height, x : x + recipe.width])
    return np.stack(frames)


def _write_strip(order: RenderOrder, name: str) -> Path:
    """A small strip beside the take, as the real backend writes them."""
    path = order.folder / name
    frames = _frames(order)[:2]
    write_strip(iter(frames), path, total=len(frames), count=2, height=32)
    return path


def _picture(source: Path | None, recipe: Recipe) -> np.ndarray:
    if source is None:
        rng = np.random.default_rng(recipe.seed)
        noise = (rng.random((12, 16, 3)) * 255).astype(np.uint8)
        size = (recipe.width, recipe.height)
        image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    else:
        image = prepare_still(open_source(source), width=recipe.width, height=recipe.height)
    picture = np.asarray(image, dtype=np.float32) / 255.0
    # What slides in from the right is the picture mirrored.
    return np.pad(picture, ((0, 0), (0, recipe.frames), (0, 0)), mode="reflect")


def _receipt(order: RenderOrder, clip: Path, stages: tuple[StageReceipt, ...]) -> Receipt:
    return Receipt(
        take_id=order.take_id,
        recipe_fingerprint=order.recipe.fingerprint,
        clip=clip,
        clip_sha256=sha256_file(clip),
        frames=order.recipe.frames,
        width=order.recipe.width,
        height=order.recipe.height,
        fps=order.recipe.fps,
        stages=stages,
        seconds=0.1,
        load_seconds=0.0,
        encode_seconds=0.0,
        decode_seconds=0.0,
        peak_memory=1,
        device="fake",
        versions={"fake": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]},
    )
