"""Renders takes with diffusers components: load, encode, stages, decode, receipt."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from manifests.errors import BadInput
from manifests.files import remove_leftovers, sha256_file, write_atomic
from manifests.source import open_source
from manifests.stage import Lora, Recipe
from manifests.still import prepare_still
from render.backend import Progress, RenderBackend, Tell
from render.checkpoint import (
    Surroundings,
    checkpoint_path,
    plan_hash,
    resume,
    save_checkpoint,
    tensor_sha256,
)
from render.clip import write_clip
from render.errors import ModelUnavailable, SourceUnreadable
from render.families.base import Conditioning, ImageCondition, LoadedModel, LoadRequest
from render.families.registry import load_model
from render.memory import machine_failures_named, peak_bytes, start_peak, trim
from render.order import Receipt, RenderOrder, StageReceipt
from render.sampling import Latents, run_chain_stage
from render.schedules import stage_sigmas

CLIP = "clip.mkv"
RECEIPT = "receipt.json"


@dataclass(slots=True)
class _Take:
    """A take while it is rendered."""

    order: RenderOrder
    tell: Tell
    device: torch.device
    source_sha256: str | None
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.order.recipe

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell that a phase begins, and take its time."""
        self.tell(Progress(take_id=self.order.take_id, phase=name, stages=len(self.recipe.stages)))
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - begun

    def surroundings(self) -> Surroundings:
        return Surroundings(
            source_sha256=self.source_sha256,
            device=_device_kind(self.device),
            versions={name: version(name) for name in ("torch", "diffusers")},
        )


class DiffusersBackend(RenderBackend):
    """Keeps one model warm, and the text and image conditioning of the last take."""

    def __init__(self) -> None:
        _settle_libraries()
        self._request: LoadRequest | None = None
        self._model: LoadedModel | None = None
        self._texts: dict[str, torch.Tensor] = {}
        self._still: tuple[tuple[Any, ...], ImageCondition] | None = None

    def render(self, order: RenderOrder, *, tell: Tell) -> Receipt:
        """Render one take; see `RenderBackend.render`."""
        device = _device(order)
        with machine_failures_named(order.take_id, device):
            order.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(order.folder)
            finished, note = _finished(order)
            if finished is not None:
                return finished
            take = _Take(order, tell, device, _source_sha256(order))
            take.notes += [*note, *_source_notes(order, take.source_sha256)]
            return self._render(take)

    def close(self) -> None:
        """Let go of the model and of what was encoded with it."""
        self._texts.clear()
        self._still = None
        if self._model is not None:
            self._model.close()
        self._model = self._request = None

    def _render(self, take: _Take) -> Receipt:
        begun = time.perf_counter()
        start_peak(take.device)
        model = self._load(take)
        with torch.inference_mode():
            latents, stages = self._sample(take, model)
            clip = _decode(take, model, latents)
        receipt = _receipt(take, stages, clip, seconds=time.perf_counter() - begun)
        write_atomic(take.order.folder / RECEIPT, json.dumps(receipt.to_dict(), indent=2) + "\n")
        trim(take.device)
        return receipt

    def _load(self, take: _Take) -> LoadedModel:
        """The model of this take: warm, or loaded now in place of the one that was."""
        order, recipe = take.order, take.recipe
        request = LoadRequest(
            model=order.model,
            precision=recipe.precision,
            vae_precision=recipe.vae_precision,
            device=order.device,
            image_to_video=order.source is not None,
            boundary=recipe.boundary,
        )
        if self._model is None or self._request != request:
            with take.phase("load"):
                self.close()
                self._model, self._request = load_model(request), request
        self._model.check(recipe)
        self._model.load_loras(_loras(recipe))
        return self._model

    def _sample(self, take: _Take, model: LoadedModel) -> tuple[Latents, tuple[StageReceipt, ...]]:
        """Latents at the end of the last stage, going on from the furthest checkpoint."""
        recipe, around = take.recipe, take.surroundings()
        plans = [plan_hash(recipe, k, around) for k in range(len(recipe.stages))]
        found = resume(take.order.folder, plans)
        take.notes += found.notes
        latents = None if found.checkpoint is None else found.checkpoint.latents
        receipts = [] if found.checkpoint is None else list(found.checkpoint.receipts)
        with take.phase("encode"):
            conditioning = self._condition(take, model)
        for k in range(len(receipts), len(recipe.stages)):
            begun = time.perf_counter()
            model.use_loras(recipe.stages[k].loras)
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

    def _condition(self, take: _Take, model: LoadedModel) -> Conditioning:
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

    def _encode_still(self, take: _Take, model: LoadedModel) -> ImageCondition | None:
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


def _settle_libraries() -> None:
    """The same kernels for the same shapes every time, and no progress bars of others."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _decode(take: _Take, model: LoadedModel, latents: Latents) -> Path:
    clip = take.order.folder / CLIP
    with take.phase("decode"):
        write_clip(model.decode(latents.x), clip, fps=take.recipe.fps)
    return clip


def _receipt(
    take: _Take, stages: tuple[StageReceipt, ...], clip: Path, *, seconds: float
) -> Receipt:
    recipe, spent = take.recipe, take.seconds
    return Receipt(
        take_id=take.order.take_id,
        recipe_fingerprint=recipe.fingerprint,
        clip=clip,
        clip_sha256=sha256_file(clip),
        frames=recipe.frames,
        width=recipe.width,
        height=recipe.height,
        fps=recipe.fps,
        stages=stages,
        seconds=seconds - spent.get("load", 0.0),
        load_seconds=spent.get("load", 0.0),
        encode_seconds=spent["encode"],
        decode_seconds=spent["decode"],
        peak_memory=peak_bytes(take.device),
        device=_device_words(take.device),
        notes=tuple(take.notes),
        versions=_versions(),
    )


def _stage_receipt(take: _Take, k: int, latents: Latents, seconds: float) -> StageReceipt:
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


def _step_teller(take: _Take, k: int) -> Any:
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


def _device_kind(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _device_words(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} ({torch.get_num_threads()} threads, {platform.machine()})"


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    try:
        found["rushes"] = version("rushes")
    except PackageNotFoundError:
        found["rushes"] = "not installed"
    return found
