"""The stages of a take: what is encoded for them, where they go on from, what they leave behind."""

from __future__ import annotations

import time
from typing import Any

import torch

from manifests.errors import BadInput
from manifests.source import open_source
from manifests.still import prepare_still
from render.backend import Progress
from render.checkpoint import checkpoint_path, resume, save_checkpoint
from render.errors import SourceUnreadable
from render.families.base import Conditioning, ImageCondition, LoadedModel
from render.keys import plan_hash
from render.order import StageReceipt
from render.sampling import Latents, run_chain_stage
from render.schedules import stage_sigmas
from render.take import Take
from render.tensor_file import tensor_sha256


class Encodings:
    """Text and image conditioning of the last take: the next one may share some of it."""

    def __init__(self) -> None:
        self._texts: dict[str, torch.Tensor] = {}
        self._still: tuple[tuple[Any, ...], ImageCondition] | None = None

    def forget(self) -> None:
        """Let go of everything: another model comes."""
        self._texts.clear()
        self._still = None

    def condition(self, take: Take, model: LoadedModel) -> Conditioning:
        """Text and still, encoded once; what the last take had in common is kept."""
        recipe = take.recipe
        guided = any(stage.cfg != 1.0 for stage in recipe.stages)
        wanted = {recipe.prompt, recipe.negative} if guided else {recipe.prompt}
        kept = {text: self._texts[text] for text in wanted if text in self._texts}
        self._texts = kept | {t: model.encode_text(t) for t in sorted(wanted - set(kept))}
        image = self._encode_still(take, model)
        model.encoded()
        negative = self._texts[recipe.negative] if guided else None
        return Conditioning(prompt=self._texts[recipe.prompt], negative=negative, image=image)

    def _encode_still(self, take: Take, model: LoadedModel) -> ImageCondition | None:
        source, recipe = take.order.source, take.recipe
        if source is None:
            return None
        key = (take.source_sha256, recipe.width, recipe.height, recipe.frames)
        if self._still is None or self._still[0] != key:
            try:
                still = open_source(source)
            except BadInput as error:
                raise SourceUnreadable(f"{error}; then run again") from error
            fitted = prepare_still(still, width=recipe.width, height=recipe.height)
            self._still = (key, model.encode_still(fitted, frames=recipe.frames))
        return self._still[1]


def sample(
    take: Take, model: LoadedModel, encodings: Encodings
) -> tuple[Latents, tuple[StageReceipt, ...]]:
    """Latents at the end of the last stage, going on from the furthest checkpoint."""
    recipe, around = take.recipe, take.surroundings()
    plans = [plan_hash(recipe, k, around) for k in range(len(recipe.stages))]
    found = resume(take.order.folder, plans)
    take.notes += found.notes
    latents = None if found.checkpoint is None else found.checkpoint.latents
    receipts = [] if found.checkpoint is None else list(found.checkpoint.receipts)
    with take.phase("encode"):
        conditioning = encodings.condition(take, model)
    for k in range(len(receipts), len(recipe.stages)):
        begun = time.perf_counter()
        model.use_loras(recipe.stages[k].loras)
        with take.span(f"stage {k + 1}"):
            latents = run_chain_stage(
                recipe,
                k,
                latents,
                model=model,
                conditioning=conditioning,
                step_done=_step_teller(take, k),
            )
        receipts.append(_stage_receipt(take, k, latents, time.perf_counter() - begun))
        save_checkpoint(take.order.folder, latents, receipts, plan=plans[k])
    assert latents is not None, "a recipe has at least one stage"
    finished = model.finish_latents(latents.x.to(model.device), conditioning.image)
    return Latents(x=finished, sigma=latents.sigma), tuple(receipts)


def _stage_receipt(take: Take, k: int, latents: Latents, seconds: float) -> StageReceipt:
    stage = take.recipe.stages[k]
    levels = stage_sigmas(stage)
    return StageReceipt(
        index=k,
        start_sigma=levels[0],
        steps=len(levels) - 1,
        seed=take.recipe.seed + stage.seed_offset,
        seconds=seconds,
        resumed=False,
        latents=checkpoint_path(take.order.folder, k),
        latents_sha256=tensor_sha256(latents.x),
        latents_std=float(latents.x.std()),
    )


def _step_teller(take: Take, k: int) -> Any:
    def tell_step(done: int, steps: int) -> None:
        take.tell(
            Progress(
                take_id=take.order.take_id,
                phase="stage",
                stage=k + 1,
                stages=len(take.recipe.stages),
                step=done,
                steps=steps,
            )
        )

    tell_step(0, len(stage_sigmas(take.recipe.stages[k])) - 1)
    return tell_step
