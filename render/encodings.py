"""What the stages are told: text and still, encoded once, then kept in memory and in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from torch import Tensor

from manifests.errors import BadInput
from manifests.source import open_source
from manifests.still import prepare_still
from render.errors import SourceUnreadable
from render.families.base import Conditioning, ImageCondition, LoadedModel
from render.keys import still_key, text_key
from render.store import Kind
from render.take import Take

_Parts = dict[str, Tensor]


class Encodings:
    """Conditioning of the last take: the next one may share some of it. All else: the store."""

    def __init__(self) -> None:
        self._kept: dict[str, _Parts] = {}
        """By key, on the model's device."""

    def forget(self) -> None:
        """Let go of everything: another model comes."""
        self._kept.clear()

    def condition(self, take: Take, model: LoadedModel) -> Conditioning:
        """Text and still; encoded only where neither memory nor the store has them.

        An encoder that has nothing to do never comes to the card.
        """
        recipe, around = take.recipe, take.surroundings()
        guided = any(stage.cfg != 1.0 for stage in recipe.stages)
        texts = {recipe.prompt, recipe.negative} if guided else {recipe.prompt}
        keys = {text: text_key(recipe, text, around) for text in sorted(texts)}
        wanted = {*keys.values(), still_key(recipe, around)}
        self._kept = {key: parts for key, parts in self._kept.items() if key in wanted}
        encoded = {
            text: self._have(take, Kind.TEXT, key, _text_encoder(model, text), model)["text"]
            for text, key in keys.items()
        }
        return Conditioning(
            prompt=encoded[recipe.prompt],
            negative=encoded[recipe.negative] if guided else None,
            image=self.image(take, model),
        )

    def image(self, take: Take, model: LoadedModel) -> ImageCondition | None:
        """The still alone; None for a take without one."""
        if take.order.source is None:
            return None
        key = still_key(take.recipe, take.surroundings())
        parts = self._have(take, Kind.STILL, key, _still_encoder(take, model), model)
        return ImageCondition(**parts)

    def _have(
        self,
        take: Take,
        kind: Kind,
        key: str,
        encode: Callable[[], _Parts],
        model: LoadedModel,
    ) -> _Parts:
        """From memory, from the store, or encoded now; on the model's device.

        What was encoded by kernels that made do with less memory is this take's alone.
        """
        if key not in self._kept:
            parts = take.store.find(kind, key)
            if parts is None:
                parts = encode()
                if take.made_do:
                    return {name: part.to(model.device) for name, part in parts.items()}
                take.store.keep(kind, key, parts)
            else:
                take.reuses("prompt" if kind is Kind.TEXT else "still")
            self._kept[key] = {name: part.to(model.device) for name, part in parts.items()}
        return self._kept[key]


def _text_encoder(model: LoadedModel, text: str) -> Callable[[], _Parts]:
    return lambda: {"text": model.encode_text(text)}


def _still_encoder(take: Take, model: LoadedModel) -> Callable[[], _Parts]:
    def encode() -> _Parts:
        source, recipe = take.order.source, take.recipe
        assert source is not None, "asked for only where there is a still"
        try:
            still = open_source(source)
        except BadInput as error:
            raise SourceUnreadable(f"{error}; then run again") from error
        fitted = prepare_still(still, width=recipe.width, height=recipe.height)
        told = model.encode_still(fitted, frames=recipe.frames)
        parts = {part.name: getattr(told, part.name) for part in fields(told)}
        return {name: tensor for name, tensor in parts.items() if tensor is not None}

    return encode
