"""Every family of models that can be loaded, by the name a studio's model list gives."""

from __future__ import annotations

from types import MappingProxyType

from render.errors import ModelUnavailable
from render.families.base import Family, LoadedModel, LoadRequest
from render.families.wan_loading import load_wan

FAMILIES: MappingProxyType[str, Family] = MappingProxyType(
    {
        "pocket": Family(name="pocket", load=load_wan),  # Wan's classes at pocket size
        "wan": Family(name="wan", load=load_wan),
    }
)


def load_model(request: LoadRequest) -> LoadedModel:
    """Load a model by its family. Raises ModelUnavailable."""
    family = FAMILIES.get(request.model.family)
    if family is None:
        raise ModelUnavailable(
            f"model {request.model.name}: no family {request.model.family!r}; "
            f"write one of {', '.join(FAMILIES)}"
        )
    return family.load(request)
