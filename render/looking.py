"""Looks at what an early stage left, and what follows from them.

What is looked at is a window of the clip, decoded, and the whole picture in the colours of the
stage's strip (`render.glimpse`). It is looked at where the latents are clean for the first time and
a later stage follows, which is where something is left to be spared. A look changes nothing: a
take that goes on is the take without a look, bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

from manifests.schedules import stage_sigmas
from manifests.stage import Recipe
from render.errors import NonFinite, TakeDoomed
from render.families.base import ImageCondition, LoadedModel
from render.glimpse import glimpse
from render.look import Opinion
from render.order import LookReceipt
from render.sampling import Latents
from render.stage_previews import preview_path
from render.take import Take


def look_stage(recipe: Recipe) -> int | None:
    """Index of the first stage that leaves no noise, if another one follows; else None."""
    for k, stage in enumerate(recipe.stages[:-1]):
        if stage_sigmas(stage)[-1] == 0:
            return k
    return None


def look_at(
    take: Take, k: int, latents: Latents, *, model: LoadedModel, image: ImageCondition | None
) -> Opinion | None:
    """What is to be thought of the end of stage `k`; None where it cannot be looked at.

    Raises NonFinite where a part of the clip decodes to NaN.
    """
    if take.look is None:
        return None
    with take.span("look"):
        try:
            shown = glimpse(model, model.finish_latents(latents.x.to(model.device), image))
            return None if shown is None else take.look.see(shown)
        except NonFinite:
            raise  # what cannot be decoded now cannot be later
        except Exception as error:
            # Not a silent fallback: the take is rendered to its end and judged there.
            take.notes.append(f"no look after stage {k + 1}: {type(error).__name__}: {error}")
            return None


def look_receipt(
    take: Take, k: int, opinion: Opinion, *, chosen: bool, seconds: float
) -> LookReceipt:
    """The opinion on stage `k` of `take`, for its receipt; its strip is looked for there."""
    return LookReceipt(
        stage=k,
        seed=take.recipe.seed,
        words=opinion.words,
        metrics=dict(opinion.metrics),
        failure=opinion.failure,
        chosen=chosen,
        seconds=seconds,
        preview=preview_path(take.order.folder, k),
    )


def stop_if_doomed(take: Take, k: int, opinion: Opinion) -> None:
    """Raise TakeDoomed when the opinion names a failure; the stage's strip is whole by then."""
    if opinion.failure is None:
        return
    take.previews.finish(())
    raise TakeDoomed(
        f"stopped after stage {k + 1} of {len(take.recipe.stages)}: {opinion.words}",
        failure=opinion.failure,
        stage=k,
        told=opinion.told,
    )


def with_strips(looks: tuple[LookReceipt, ...]) -> tuple[LookReceipt, ...]:
    """The receipts, each with its strip only where there is one."""
    return tuple(
        replace(look, preview=look.preview if look.preview and look.preview.is_file() else None)
        for look in looks
    )
