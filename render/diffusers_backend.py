"""Renders takes with diffusers components: load, encode, stages, decode, receipt."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from manifests.files import remove_leftovers, sha256_file, write_atomic
from manifests.stage import Lora, Recipe, Speed
from render.backend import RenderBackend, Tell, Watch
from render.descent import Descent, Rungs
from render.developing import CLIP, Developing, develop
from render.encodings import Encodings
from render.errors import ModelUnavailable, SourceUnreadable, TakeDoomed
from render.families.base import Family, LoadedModel, LoadRequest
from render.families.registry import FAMILIES, load_model
from render.ladder import Rung
from render.look import Look
from render.looking import with_strips
from render.memory import machine_failures_named, peak_bytes, start_peak, trim
from render.midway import CADENCE, Cadence
from render.order import Placement, Receipt, RenderOrder, Span, Spent, StageReceipt
from render.parallel import leading, lend, why_not
from render.speed_compile import CompileFailed, Compiler, FailureMemory
from render.speed_levers import Accelerator
from render.stages import sample
from render.store import Store
from render.take import Take
from render.turns import Turns

RECEIPT = "receipt.json"


class DiffusersBackend(RenderBackend):
    """Keeps one model warm, and the text and image conditioning of the last take."""

    def __init__(
        self,
        *,
        compiler: Compiler | None = None,
        cadence: Cadence = CADENCE,
        families: Mapping[str, Family] = FAMILIES,
    ) -> None:
        """`compiler` is a backend of torch.compile for fast takes; None: inductor, on cards.

        `cadence` says how often a take is kept between the steps of a stage. `families` are those
        whose models it can load.
        """
        _settle_libraries()
        self._families = families
        self._card = Turns()
        """Held by the take that computes; a take that is only written does not need it."""
        self._request: LoadRequest | None = None
        self._model: LoadedModel | None = None
        self._compiler = compiler
        self._accelerator: Accelerator | None = None
        self._failures = FailureMemory()
        self._encodings = Encodings()
        self._store = Store()
        self._cadence = cadence
        self._rungs = Rungs()

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """Render one take; see `RenderBackend.render`."""
        device = _device(order)
        with machine_failures_named(order.take_id, device):
            order.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(order.folder)
            finished, note = _finished(order)
            if finished is not None:
                return finished
            take = Take(order, tell, device, _source_sha256(order), watch, look)
            take.store, take.cadence = self._store, self._cadence
            take.notes += [*note, *_source_notes(order, take.source_sha256)]
            return self._render(take)

    def lend(self, order: RenderOrder) -> None:
        """Lend the card to a take that another worker leads; see `RenderBackend.lend`."""
        gang, device = order.gang, _device(order)
        assert gang is not None, "a card is lent to a gang"
        take = Take(order, lambda progress: None, device, order.recipe.source_sha256)
        with machine_failures_named(order.take_id, device), self.card():
            descent = Descent(take, self._rungs, card=_device_words(device))
            model = self._load(take, descent.taken)
            descent.settle(model)
            if why_not(model, order.recipe, size=gang.size) is None:
                try:
                    lend(gang, model)
                except (RuntimeError, MemoryError) as error:
                    descent.step_down(error)

    def card(self) -> AbstractContextManager[None]:
        """See `RenderBackend.card`."""
        return self._card

    def close(self) -> None:
        """Let go of the model and of what was encoded with it."""
        self._encodings.forget()
        if self._model is not None:
            for residence in self._model.residences:
                residence.let_go()
            self._model.close()
        self._model = self._request = self._accelerator = None

    def _render(self, take: Take) -> Receipt:
        with self._card:
            take.check_hours("before it had the card")
            begun = time.perf_counter()
            start_peak(take.device)
            take.count_shortages()
            descent = Descent(take, self._rungs, card=_device_words(take.device))
            try:
                stages, film, rungs = self._on_card(take, descent)
            except TakeDoomed as doomed:
                doomed.spent = _spent(take, seconds=time.perf_counter() - begun).to_dict()
                raise
            peak = peak_bytes(take.device)
        clip = film.finish()
        stages = take.previews.finish(stages)
        seconds = time.perf_counter() - begun
        receipt = _receipt(take, stages, clip, peak=peak, rungs=rungs, seconds=seconds)
        receipt = replace(receipt, forced=descent.forced)
        write_atomic(take.order.folder / RECEIPT, json.dumps(receipt.to_dict(), indent=2) + "\n")
        trim(take.device)
        return receipt

    def _on_card(
        self, take: Take, descent: Descent
    ) -> tuple[tuple[StageReceipt, ...], Developing, tuple[str, ...]]:
        """Load, sample and decode. Each time memory runs out the take steps one rung down the
        ladder and goes on from its checkpoints."""
        while True:
            model = self._load(take, descent.taken)
            descent.settle(model)
            assert self._accelerator is not None, "it comes with the model"
            try:
                with self._accelerator.running(), torch.inference_mode():
                    with _together(take, model) as spread:
                        latents, stages = sample(take, spread, self._encodings)
                    with descent.decoding(model):
                        film = develop(take, model, latents)
                return stages, film, descent.in_force(model)
            except CompileFailed as failure:
                self._accelerator.remember(failure, take)
            except (RuntimeError, MemoryError) as error:
                descent.step_down(error)

    def _load(self, take: Take, rungs: Collection[Rung]) -> LoadedModel:
        """The model of this take: warm, or loaded now in place of the one that was."""
        order, recipe = take.order, take.recipe
        loras = _loras(recipe)
        under = tuple(lora.sha256 for lora in loras) if Rung.FP8 in rungs else None
        request = LoadRequest(
            model=order.model,
            precision=recipe.precision,
            vae_precision=recipe.vae_precision,
            device=order.device,
            image_to_video=order.source is not None,
            boundary=recipe.boundary,
            placement=order.placement,
            fp8=under,
        )
        spoilt = self._accelerator is not None and self._accelerator.spoils(_at_its_level(take))
        if self._model is None or self._request != request or spoilt:
            with take.phase("load"):
                self.close()
                self._model = load_model(request, families=self._families)
                if request.fp8 is not None:
                    # LoRA layers come first: they cannot be laid into 8-bit weights afterwards.
                    self._model.load_loras(loras)
                    self._model.store_in_8_bits()
                self._request = request
        self._model.check(recipe)
        if order.placement != Placement() and not self._model.places_parts:
            take.notes.append(
                f"placement: a model of the family {recipe.family} keeps its parts on one card"
            )
        self._accelerate(take, self._model)
        self._model.load_loras(loras)
        take.notes += self._model.notes
        return self._model

    def _accelerate(self, take: Take, model: LoadedModel) -> None:
        """Have the take's speed level in force. Before its LoRAs: compiled blocks hold them
        in another way."""
        if self._accelerator is None:
            self._accelerator = Accelerator(model, failures=self._failures, compiler=self._compiler)
        if take.order.gang is None:
            self._accelerator.settle(take)
        else:
            self._accelerator.pull(_at_its_level(take))
            note = f"speed {take.recipe.speed}: exact, since several cards render it together"
            if take.recipe.speed is not Speed.EXACT and note not in take.notes:
                take.notes.append(note)


@contextmanager
def _together(take: Take, model: LoadedModel) -> Iterator[LoadedModel]:
    """The model as this take calls it: with the other cards of its gang, where it has one."""
    gang, asked = take.order.gang, take.order.gpus
    if gang is None:
        if asked > 1:
            take.notes.append(f"gpus {asked}: this machine renders with one card")
        yield model
        return
    reason = why_not(model, take.recipe, size=gang.size)
    if reason is not None:
        take.notes.append(f"gpus {asked}: rendered on one card ({reason})")
        yield model
        return
    if gang.size < asked:
        take.notes.append(f"gpus {asked}: this machine renders with {gang.size} cards")
    # Sums are cut otherwise: what one card made is not gone on with, and the other way round.
    take.in_force.add(f"cards {gang.size}")
    with ExitStack() as stack:
        with take.span("meet"):
            spread = stack.enter_context(leading(gang, model))
        yield spread


def _at_its_level(take: Take) -> Recipe:
    """The recipe with the speed level of this take: a gang's ranks keep to `exact`, because
    step caches and compiled blocks know nothing of each other."""
    recipe = take.recipe
    return recipe if take.order.gang is None else replace(recipe, speed=Speed.EXACT)


def _settle_libraries() -> None:
    """The same kernels for the same shapes every time, and no progress bars of others."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _receipt(
    take: Take,
    stages: tuple[StageReceipt, ...],
    clip: Path,
    *,
    peak: int,
    rungs: tuple[str, ...],
    seconds: float,
) -> Receipt:
    recipe = take.recipe
    return Receipt(
        take_id=take.order.take_id,
        recipe_fingerprint=take.order.recipe.fingerprint,
        clip=clip,
        clip_sha256=sha256_file(clip),
        frames=recipe.frames,
        width=recipe.width,
        height=recipe.height,
        fps=recipe.fps,
        stages=stages,
        seconds=seconds - take.seconds("load"),
        load_seconds=take.seconds("load"),
        encode_seconds=take.seconds("encode"),
        decode_seconds=take.seconds("decode"),
        peak_memory=peak,
        device=_device_words(take.device),
        card=_card_name(take.device),
        notes=tuple(take.notes),
        versions=_versions(),
        rungs=rungs,
        speed=take.speed.value,
        reused=tuple(take.reused),
        looks=with_strips(take.looks),
        timeline=_in_order(take),
    )


def _spent(take: Take, *, seconds: float) -> Spent:
    return Spent(
        seconds=seconds,
        device=_device_words(take.device),
        card=_card_name(take.device),
        timeline=_in_order(take),
    )


def _in_order(take: Take) -> tuple[Span, ...]:
    return tuple(sorted(take.timeline, key=lambda span: span.begun))


def _finished(order: RenderOrder) -> tuple[Receipt | None, list[str]]:
    """The receipt of this very take if its clip is there and whole, else why it is not used."""
    path = order.folder / RECEIPT
    if not path.exists():
        return None, []
    try:
        receipt = Receipt.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        return None, [f"{RECEIPT} is damaged ({error}): ignored"]
    if receipt.recipe_fingerprint != order.recipe.fingerprint:
        return None, [f"{RECEIPT} belongs to another recipe: ignored"]
    clip = order.folder / CLIP
    if receipt.clip != clip or not clip.exists() or sha256_file(clip) != receipt.clip_sha256:
        return None, [f"{CLIP} is not the file that {RECEIPT} names: written again"]
    return receipt, []


def _source_sha256(order: RenderOrder) -> str | None:
    if order.source is None:
        return None
    try:
        return sha256_file(order.source)
    except OSError as error:
        raise SourceUnreadable(
            f"{order.source} cannot be read ({error.strerror}); put the still back and run again"
        ) from error


def _source_notes(order: RenderOrder, found: str | None) -> list[str]:
    planned = order.recipe.source_sha256
    if found == planned:
        return []
    if found is None or planned is None:
        raise SourceUnreadable(
            f"{order.take_id}: recipe and order disagree on whether there is a source "
            f"(recipe: {planned}, order: {order.source}); plan the shot again"
        )
    return [f"the source changed after planning: hash was {planned[:12]}, is {found[:12]}"]


def _loras(recipe: Recipe) -> tuple[Lora, ...]:
    by_hash = {lora.sha256: lora for stage in recipe.stages for lora in stage.loras}
    return tuple(by_hash.values())


def _device(order: RenderOrder) -> torch.device:
    try:
        device = torch.device(order.device)
    except RuntimeError as error:
        raise ModelUnavailable(
            f"device {order.device!r} is unknown; write cpu or cuda:0"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable(f"device {order.device} is not there: torch sees no CUDA card")
    return device


def _device_words(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} ({torch.get_num_threads()} threads, {platform.machine()})"


def _card_name(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    try:
        found["rushes"] = version("rushes")
    except PackageNotFoundError:
        found["rushes"] = "not installed"
    return found
