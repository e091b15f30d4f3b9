"""A recipe for tests of the retake policy, and the ranges of its preset."""

from __future__ import annotations

from dataclasses import replace

from manifests.stage import Recipe, Stage, StageKind

RANGES = {"cfg": (1.5, 5.0), "denoise": (0.25, 0.6), "steps": (4.0, 30.0)}


def recipe(*, cfg: float = 3.0, denoise: float = 0.45, stages: int = 2, seed: int = 7) -> Recipe:
    """A pocket take; its first stage establishes, the others restart at `denoise`."""
    first = Stage(kind=StageKind.RENOISE, steps=12, cfg=cfg, shift=3.0)
    later = [
        replace(first, denoise=denoise, steps=10, seed_offset=index) for index in range(1, stages)
    ]
    return Recipe(
        preset="pocket/two-stage",
        family="pocket",
        model="pocket-wan",
        model_id="sha256:0",
        prompt="pan left",
        negative="",
        width=128,
        height=128,
        frames=17,
        fps=8.0,
        seed=seed,
        stages=(first, *later),
    )
