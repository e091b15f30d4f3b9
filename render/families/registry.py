"""Every family of models that can be loaded, by the name a studio's model list gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from render.errors import ModelUnavailable
from render.families.animatediff_footprint import measure_animatediff
from render.families.animatediff_loading import load_animatediff
from render.families.base import Family, LoadedModel, LoadRequest
from render.families.ltx2_footprint import measure_ltx2
from render.families.ltx2_loading import load_ltx2
from render.families.wan_footprint import measure_wan
from render.families.wan_loading import load_wan
from render.footprint import Footprint, FootprintOrder

FAMILIES: MappingProxyType[str, Family] = MappingProxyType(
    {
        "animatediff": Family(
            name="animatediff", load=load_animatediff, measure=measure_animatediff
        ),
        "ltx2": Family(name="ltx2", load=load_ltx2, measure=measure_ltx2),
        # Wan's classes at pocket size.
        "pocket": Family(name="pocket", load=load_wan, measure=measure_wan),
        "wan": Family(name="wan", load=load_wan, measure=measure_wan),
    }
)


def load_model(request: LoadRequest, *, families: Mapping[str, Family] = FAMILIES) -> LoadedModel:
    """Load a model by its family, one of `families`. Raises ModelUnavailable."""
    family = families.get(request.model.family)
    if family is None:
        raise ModelUnavailable(
            f"model {request.model.name}: no family {request.model.family!r}; "
            f"write one of {', '.join(families)}"
        )
    return family.load(request)


def measure_footprint(order: FootprintOrder) -> Footprint | None:
    """The memory of a take, from its model's settings alone; None where its family has no way
    to tell. Raises ModelUnavailable."""
    family = FAMILIES.get(order.model.family)
    return None if family is None or family.measure is None else family.measure(order)
