"""How busy each card was: the share of a night in which a take computed on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from render.order import Receipt, Span, Spent

PREPARING = ("load", "meet")
"""Kinds of spans in which weights are read or cards connected: the card is held and idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardBusy:
    """One card between its first and its last work."""

    card: str
    """As the receipts name it; takes of a gang count for the card that led."""
    seconds: float
    """From the first computing to the last."""
    computing: float
    """Of these, seconds in which a take computed: encoded, sampled, decoded."""
    preparing: float
    """Of these, seconds in which a model was loaded, or a gang connected its cards."""

    @property
    def share(self) -> float:
        """Computing over all seconds, 0..1; 0 without any."""
        return self.computing / self.seconds if self.seconds > 0 else 0.0


def card_busy(receipts: Iterable[Receipt | Spent]) -> tuple[CardBusy, ...]:
    """Every card that the takes' timelines tell of, by its name. CPUs are left out.

    Takes that were stopped early count with what they had used. What overlaps counts once. The
    first load of a card lies before its window.
    """
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for receipt in receipts:
        if receipt.card:
            name = f"{receipt.device} {receipt.card}"
            spans[name] += [span for span in receipt.timeline if span.on_card]
    return tuple(found for card in sorted(spans) if (found := _busy(card, spans[card])) is not None)


def _busy(card: str, spans: Sequence[Span]) -> CardBusy | None:
    work = [(span.begun, span.ended) for span in spans if span.kind not in PREPARING]
    loads = [(span.begun, span.ended) for span in spans if span.kind in PREPARING]
    if not work:
        return None
    first, last = min(begun for begun, _ in work), max(ended for _, ended in work)
    inside = [(max(begun, first), min(ended, last)) for begun, ended in loads]
    return CardBusy(
        card=card,
        seconds=last - first,
        computing=_covered(work),
        preparing=_covered([(begun, ended) for begun, ended in inside if ended > begun]),
    )


def _covered(stretches: Iterable[tuple[float, float]]) -> float:
    """Seconds that at least one stretch (begun, ended) covers."""
    covered, until = 0.0, float("-inf")
    for begun, ended in sorted(stretches):
        covered += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return covered
