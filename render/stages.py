"""The stages of a take: where they go on from, and what they leave behind."""

from __future__ import annotations

from dataclasses import replace

from manifests.door import remove_through
from manifests.schedules import stage_sigmas
from render.backend import Progress
from render.candidates import choose
from render.checkpoint import (
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    resume,
    save_checkpoint,
)
from render.encodings import Encodings
from render.errors import NonFinite, StaleCheckpoint
from render.families.base import Conditioning, ImageCondition, LoadedModel
from render.keys import plan_hash
from render.look import Opinion
from render.looking import look_at, look_receipt, look_stage, stop_if_doomed
from render.midway import Keeper, load_cut
from render.order import StageReceipt
from render.sampling import AfterStep, Latents, StepDone, StepEnd, run_chain_stage
from render.speed_cache import forget_steps, stateful
from render.store import Kind
from render.take import Take
from render.tensor_file import tensor_sha256


def sample(
    take: Take, model: LoadedModel, encodings: Encodings
) -> tuple[Latents, tuple[StageReceipt, ...]]:
    """Latents at the end of the last stage, going on from the furthest checkpoint."""
    order = take.order
    take.chosen, take.looks = None, ()
    take.store.settle(order.store, most_bytes=order.store_bytes, reserve_bytes=order.store_leaves)
    try:
        return _sample(take, model, encodings)
    finally:
        take.notes += take.store.collect_notes()


def _sample(
    take: Take, model: LoadedModel, encodings: Encodings
) -> tuple[Latents, tuple[StageReceipt, ...]]:
    ran = None if take.recipe.candidates == 1 else _choose(take, model, encodings)
    furthest = _furthest(take)
    latents = None if furthest is None else furthest.latents
    receipts = [] if furthest is None else list(furthest.receipts)
    left = range(len(receipts), len(take.recipe.stages))
    with take.phase("encode"):
        conditioning = encodings.condition(take, model) if left else None
        image = encodings.image(take, model) if conditioning is None else conditioning.image
        model.encoded()
    if furthest is not None and furthest.latents.sigma == 0:
        _preview(take, len(receipts) - 1, furthest.latents, model=model, image=image)
        if left:
            _look(take, len(receipts) - 1, furthest.latents, receipts, model=model, image=image)
    if ran is not None:
        receipts[0] = replace(ran, latents=receipts[0].latents)
    for k in left:
        take.check_hours(f"before stage {k + 1}")
        assert conditioning is not None, "encoded where a stage is left"
        latents = _run_stage(take, k, latents, receipts, model=model, conditioning=conditioning)
        _look(take, k, latents, receipts, model=model, image=image)
    assert latents is not None, "a recipe has at least one stage"
    take.check_hours("before the decode")
    finished = model.finish_latents(latents.x.to(model.device), image)
    return Latents(x=finished, sigma=latents.sigma), tuple(receipts)


def _choose(take: Take, model: LoadedModel, encodings: Encodings) -> StageReceipt | None:
    """Settle which candidate the take goes on with; see `render.candidates`."""

    def first_stage(sub: Take) -> tuple[StageReceipt, Opinion | None]:
        found, receipts = _furthest(sub, stages=1), list[StageReceipt]()
        with sub.phase("encode"):
            conditioning = encodings.condition(sub, model)
            model.encoded()
        image = conditioning.image
        if found is None:
            sub.check_hours("before stage 1")
            latents = _run_stage(sub, 0, None, receipts, model=model, conditioning=conditioning)
        else:
            latents, receipts = found.latents, [*found.receipts]
            _preview(sub, 0, latents, model=model, image=image)
        return receipts[0], look_at(sub, 0, latents, model=model, image=image)

    return choose(take, first_stage, lambda sub: _plan(sub, 0))


def _look(
    take: Take,
    k: int,
    latents: Latents,
    receipts: list[StageReceipt],
    *,
    model: LoadedModel,
    image: ImageCondition | None,
) -> None:
    """Have the take looked at, where this is the place and it was not chosen by such a look.

    Raises TakeDoomed.
    """
    if k != look_stage(take.recipe) or take.looks:
        return
    opinion = look_at(take, k, latents, model=model, image=image)
    if opinion is not None:
        seconds = receipts[k].seconds
        take.looks = (look_receipt(take, k, opinion, chosen=True, seconds=seconds),)
        stop_if_doomed(take, k, opinion)


def _run_stage(
    take: Take,
    k: int,
    before: Latents | None,
    receipts: list[StageReceipt],
    *,
    model: LoadedModel,
    conditioning: Conditioning,
) -> Latents:
    """Run stage `k`, from between its steps where it was cut there, and keep its end."""
    recipe, folder, plan = take.recipe, take.order.folder, _plan(take, k)
    cut, note = load_cut(folder, plan=plan, older=[_plan(take, j) for j in range(k)])
    take.notes += [note] if note else []
    keeper = Keeper(folder, plan=plan, cadence=take.cadence, cut=cut)
    # NOTE: a step cache is in no checkpoint: going on without it would give other pixels.
    between_steps = not stateful(model)
    forget_steps(model)
    model.use_loras(recipe.stages[k].loras)
    try:
        with take.span(f"stage {k + 1}"):
            latents = run_chain_stage(
                recipe,
                k,
                before,
                model=model,
                conditioning=conditioning,
                step_done=_step_teller(take, k, done=0 if cut is None else cut.midway.done),
                after_step=_step_ender(take, k, keeper if between_steps else None),
                midway=None if cut is None else cut.midway,
            )
    except NonFinite:
        keeper.forget()
        raise
    receipts.append(_stage_receipt(take, k, latents, keeper.seconds))
    path = save_checkpoint(folder, latents, receipts, plan=plan)
    if not take.made_do:
        take.store.keep_file(Kind.STAGE, plan, path)
    keeper.forget()
    _preview(take, k, latents, model=model, image=conditioning.image)
    return latents


def _step_ender(take: Take, k: int, keeper: Keeper | None) -> AfterStep:
    """Keeps the stage between its steps, and stops it where the night's hours end.

    Without a keeper a stage that is to be kept goes on to its end: only there is it whole.
    """

    def after_step(end: StepEnd) -> None:
        if keeper is not None:
            keeper.after_step(end)
        may_stop = keeper is not None or not take.order.stop_keeps
        if take.is_over and may_stop and end.done < end.steps:
            if keeper is not None and take.order.stop_keeps:
                keeper.keep(end)
            take.check_hours(f"in stage {k + 1}, after step {end.done} of {end.steps}")

    return after_step


def _preview(
    take: Take, k: int, latents: Latents, *, model: LoadedModel, image: ImageCondition | None
) -> None:
    """Have a strip made of what stage `k` left, seen as it would be decoded."""
    clean = latents.x if latents.sigma == 0 else latents.x0
    shown = None if clean is None else model.finish_latents(clean.to(model.device), image)
    take.previews.add(k, shown, model.preview_factors)


def _plan(take: Take, k: int) -> str:
    """Of stage `k`, under what is in force now."""
    return plan_hash(take.recipe, k, take.surroundings())


def _furthest(take: Take, *, stages: int | None = None) -> Checkpoint | None:
    """The furthest end of the first `stages` (None: of all) that folder or store hold.

    What comes from the store is put into the take's folder, which so stays complete in itself.
    """
    folder = take.order.folder
    plans = [_plan(take, k) for k in range(len(take.recipe.stages))][:stages]
    found = resume(folder, plans)
    take.notes += [note for note in found.notes if note not in take.notes]
    done = 0 if found.checkpoint is None else len(found.checkpoint.receipts)
    for k in reversed(range(done, len(plans))):
        borrowed = _borrow(take, k, plans[k])
        if borrowed is not None:
            reused = [j for j in range(done, k) if _borrow(take, j, plans[j]) is not None]
            for j in sorted({*range(done, k)} - {*reused}):
                take.notes.append(f"stage {j + 1} is in the store no more: only its end is known")
            for j in range(done, k + 1):
                take.reuses(f"stage {j + 1}")
            return borrowed
    return found.checkpoint


def _borrow(take: Take, k: int, plan: str) -> Checkpoint | None:
    """The end of stage `k` from the store, put into the take's folder."""
    path = checkpoint_path(take.order.folder, k)
    if not take.store.lend(Kind.STAGE, plan, path):
        return None
    try:
        return load_checkpoint(path, plan=plan)
    except (StaleCheckpoint, FileNotFoundError) as error:
        remove_through(path)
        take.store.drop(Kind.STAGE, plan, str(error))
        return None


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


def _step_teller(take: Take, k: int, *, done: int) -> StepDone:
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

    tell_step(done, len(stage_sigmas(take.recipe.stages[k])) - 1)
    return tell_step
