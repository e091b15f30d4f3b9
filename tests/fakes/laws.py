"""How many examples a law is tried with."""

from __future__ import annotations

from hypothesis import settings

ALL = 100
"""What Hypothesis tries where nothing else is said."""


def examples(count: int) -> int:
    """`count`; in the quick loop (`--hypothesis-profile=quick`) no more than its profile has."""
    most = settings.default.max_examples
    return count if most >= ALL else min(count, most)
