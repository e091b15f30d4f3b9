"""The step cache: put around a model's blocks, and emptied before it could leak.

diffusers keeps a memory for each branch (`cache_context`), but knows nothing of stages, shots and
takes: who samples calls `forget_steps` before every stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diffusers import FirstBlockCacheConfig

from render.families.base import LoadedModel
from render.speed import STEP_CACHE_THRESHOLD


def stateful(model: LoadedModel) -> bool:
    """Whether a step of `model` depends on steps before: then only a stage's end can be resumed."""
    return any(getattr(net, "is_cache_enabled", False) for net in model.components.values())


def forget_steps(model: LoadedModel) -> None:
    """Empty the step caches: call it before every stage, so that nothing of another stage, shot
    or take is used again."""
    parts: Iterable[Any] = model.components.values()
    for net in parts:
        if getattr(net, "is_cache_enabled", False):
            net._reset_stateful_cache()


def cache_steps(net: Any) -> str | None:
    """Put a step cache around the blocks of `net`; why that cannot be, or None.

    First Block Cache: where the first block's residual differs by less than a threshold from the
    one of the step that was last computed, the other blocks' work of that step is taken again.
    """
    enable = getattr(net, "enable_cache", None)
    if enable is None:
        return f"{type(net).__name__} has no step caches in diffusers"
    blocks = getattr(net, "blocks", None) or getattr(net, "transformer_blocks", None)
    if blocks is None or len(blocks) < 2:
        return f"{type(net).__name__} has fewer than two blocks"
    try:
        enable(FirstBlockCacheConfig(threshold=STEP_CACHE_THRESHOLD))
    except ValueError as error:
        return f"diffusers has no cache for {type(net).__name__} ({error})"
    return None
