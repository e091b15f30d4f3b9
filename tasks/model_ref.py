"""A model of the studio's list as a worker finds it."""

from __future__ import annotations

from manifests.models import ModelSpec
from render.order import ModelRef


def model_ref(name: str, spec: ModelSpec) -> ModelRef:
    """What crosses to a worker of the model that the studio calls `name`."""
    return ModelRef(
        name=name,
        family=spec.family,
        location=str(spec.location),
        revision=spec.revision,
        motion_adapter=spec.motion_adapter,
        transformer=spec.transformer,
        transformer_2=spec.transformer_2,
    )
