"""The order that renders a take of the night."""

from __future__ import annotations

from manifests.stage import Recipe
from render.footprint import least_card
from render.order import CLIP_NAME, RenderOrder
from reports.records import TakeRecord
from tasks.desk import Desk, Job
from tasks.early import look_order
from tasks.naming import take_folder
from tasks.score_order import score_order, scores_while_decoding


def render_order(night: Desk, job: Job, take: TakeRecord) -> RenderOrder:
    """What the worker is told; what takes of this model and size needed before comes with it."""
    recipe, studio = take.recipe, night.studio
    folder = take_folder(studio.takes_dir, take.take_id)
    score = score_order(night, job, recipe, folder / CLIP_NAME)
    return RenderOrder(
        take_id=take.take_id,
        shot=job.shot.id,
        take=take.number,
        recipe=recipe,
        model=night.model_ref(recipe.model),
        source=None if job.shot.source is None else job.shot.source.path,
        folder=folder,
        device=night.torch_device,
        placement=night.pool.placement,
        gpus=job.shot.gpus,
        best_on=job.card,
        score=score if scores_while_decoding(night) else None,
        look=look_order(night, job, recipe, take.number),
        stop_at=night.hours.stop_at,
        stop_keeps=night.hours.stop_keeps,
        store=studio.store_dir,
        store_bytes=int(studio.store_gb * 1e9),
        store_leaves=int(2 * studio.stop_disk_gb * 1e9),
        pace=dict(job.pace) if _is_as_asked(job, recipe) else {},
        rungs=night.ledger.rungs(
            model_id=recipe.model_id,
            width=recipe.width,
            height=recipe.height,
            frames=recipe.frames,
        ),
        room=_room(job, recipe),
        least_memory=_least_memory(job, recipe),
    )


def _is_as_asked(job: Job, recipe: Recipe) -> bool:
    """Whether the take has the format for which the plan knows memory and pace."""
    asked = job.shot.recipe
    return all(
        getattr(recipe, name) == getattr(asked, name)
        for name in ("width", "height", "frames", "precision", "vae_precision")
    )


def _room(job: Job, recipe: Recipe) -> dict[str, int]:
    """Bytes beside weights as the plan measured them; empty for a take of another format."""
    if job.memory is None or not _is_as_asked(job, recipe):
        return {}
    return job.memory.footprint.room(())


def _least_memory(job: Job, recipe: Recipe) -> int:
    """Bytes of the smallest card for the take, as the plan measured it; 0: not known."""
    if job.memory is None or not _is_as_asked(job, recipe):
        return 0
    return least_card(job.memory.footprint, concessions=recipe.concessions)
