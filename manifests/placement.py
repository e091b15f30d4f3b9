"""Which card of the machine holds which part of a model, as a studio writes it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from manifests.refusal import Refusal, quoted

_CARD = re.compile(r"cuda:[0-9]{1,2}")


def _card(name: str | None) -> str | None:
    if name is not None and not _CARD.fullmatch(name):
        raise Refusal(f"{quoted(name)} is no card", "write cuda:1, say")
    return name


Card = Annotated[str | None, AfterValidator(_card)]


class CardPlacement(BaseModel):
    """`placement:` of studio.yaml. A card that is named here helps; the others render takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_encoder: Card = None
    """Text and image encoders."""
    low_expert: Card = None
    """The second transformer of a model with two."""
    vae: Card = None
    upscale: Card = None
    """The upscaling network: a worker of its own, beside those that render."""

    @property
    def parts(self) -> dict[str, str]:
        """Card of each part of the model that is named, without `upscale`."""
        named = self.model_dump(exclude={"upscale"})
        return {part: card for part, card in named.items() if card is not None}
