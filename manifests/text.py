"""Words for people who mistype: did you mean, and lists of what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rapidfuzz import fuzz, process

_CLOSE = 62.0
"""Similarity in percent from which a word is offered: `promt` and `prompt` have 91."""
_LISTED = 12
"""Known words listed in a remedy before it says how many more there are."""


def closest(
    word: str, known: Iterable[str], *, synonyms: Mapping[str, str] | None = None
) -> str | None:
    """The known word most like `word`, or None when none is near."""
    options = sorted(known)
    lowered = word.strip().lower()
    if synonyms and synonyms.get(lowered) in options:
        return synonyms[lowered]
    match = process.extractOne(
        lowered, options, scorer=fuzz.ratio, processor=str.lower, score_cutoff=_CLOSE
    )
    return None if match is None else match[0]


def suggest(word: str, known: Iterable[str], *, synonyms: Mapping[str, str] | None = None) -> str:
    """A remedy for an unknown word: `did you mean 'prompt'?`, or else what there is."""
    options = sorted(map(str, known))
    near = closest(word, options, synonyms=synonyms)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"use one of: {listed(options)}" if options else "there is none to choose from"


def listed(words: Iterable[str]) -> str:
    """`a, b, c`, cut after a dozen with the number that is left out."""
    options = sorted(words)
    text = ", ".join(options[:_LISTED])
    return text if len(options) <= _LISTED else f"{text} and {len(options) - _LISTED} more"
