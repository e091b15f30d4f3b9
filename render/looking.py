"""Looks at what an early stage left, and what follows from them.

The pictures are those of the stage's strip (`preview_factors`): one small matrix over the latents,
every latent frame, no decode. They are looked at where the latents are clean for the first time
and a later stage follows, which is where something is left to be spared. A look asks for a copy
of the latents and milliseconds of the host, and changes nothing: a take that goes on is the take
without a look, bit for bit.

A VAE without known factors is not looked at. Decoding there instead would cost a good part of a
stage on every take, and would bring the VAE to a card where the transformer lies: a look must
never be what a take runs out of memory by.
"""

from __future__ import annotations

from dataclasses import replace

from manifests.schedules import stage_sigmas
from manifests.stage import Recipe
from render.errors import TakeDoomed
from render.families.base import ImageCondition, LoadedModel
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
    """What is to be thought of the end of stage `k`; None where it cannot be looked at."""
    factors = model.preview_factors
    if take.look is None or factors is None:
        return None
    with take.span("look"):
        try:
            shown = model.finish_latents(latents.x.to(model.device), image)
            return take.look.see(factors.colours(shown.float().cpu().numpy()))
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
