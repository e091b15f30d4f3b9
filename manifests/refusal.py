"""Refusal: why one value cannot be used, before it is known which file and row it stood in."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import Fault

_SHOWN = 80
"""Characters of a typed value that a fault shows."""


class Refusal(ValueError):
    """A value is refused: the problem in words and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}")

    def at(
        self,
        file: Path,
        *,
        row: int | None = None,
        shot: str | None = None,
        column: str | None = None,
        value: object = None,
    ) -> Fault:
        """The fault that this refusal is when met at that place."""
        return Fault(
            file=file,
            problem=self.problem,
            remedy=self.remedy,
            row=row,
            shot=shot,
            column=column,
            value=shown(value),
        )


def shown(value: object) -> str | None:
    """A typed value as a fault shows it: text, cut to 80 characters; None stays None."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def quoted(value: object) -> str:
    """A typed value inside a sentence: `'twentyfour'`, cut to 80 characters."""
    return repr(shown(value)) if isinstance(value, str) else str(shown(value))
