"""How busy a card was is a share of real time: what overlaps counts once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.order import Receipt, Span
from reports.busy import card_busy

RECEIPT = Receipt(
    take_id="sheet/001/f/t1",
    recipe_fingerprint="f",
    clip=Path("/clip.mkv"),
    clip_sha256="0",
    frames=1,
    width=1,
    height=1,
    fps=8.0,
    stages=(),
    seconds=1.0,
    load_seconds=0.0,
    encode_seconds=0.0,
    decode_seconds=0.0,
    peak_memory=1,
    device="cuda:0 Card",
    card="GPU-1",
)
kinds = st.sampled_from(["load", "encode", "stage 1", "decode", "write"])
spans = st.builds(
    lambda kind, begun, length: Span(
        kind=kind, begun=begun, ended=begun + length, on_card=kind != "write"
    ),
    kinds,
    st.integers(0, 50).map(float),
    st.integers(0, 10).map(float),
)


def take(*timeline: Span, card: str = "GPU-1") -> Receipt:
    return replace(RECEIPT, timeline=timeline, card=card)


@given(st.lists(spans, max_size=12), st.randoms())
def test_the_share_is_that_of_covered_seconds(
    timeline: list[Span], dice: Callable[[], None]
) -> None:
    """Counted second by second it is the same; the order and the takes do not matter."""
    work = [span for span in timeline if span.on_card and span.kind != "load"]
    found = card_busy([take(span) for span in timeline])
    shuffled = list(timeline)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert found == card_busy([take(*shuffled)])
    if not work:
        assert found == ()
        return
    (busy,) = found
    first, last = min(span.begun for span in work), max(span.ended for span in work)
    seconds = [first + index for index in range(int(last - first))]

    def covered(chosen: list[Span]) -> int:
        return sum(any(s.begun <= t and t + 1 <= s.ended for s in chosen) for t in seconds)

    assert busy.seconds == last - first
    assert busy.computing == covered(work)
    assert busy.preparing == covered([span for span in timeline if span.kind == "load"])
    assert 0 <= busy.share <= 1


def test_cards_are_told_apart_and_cpus_left_out() -> None:
    """Two cards of one name are two; a take on a CPU tells of no card."""
    one, two = Span(kind="stage 1", begun=0.0, ended=1.0, on_card=True), "GPU-2"
    found = card_busy([take(one), take(one, card=two), take(one, card="")])
    assert [busy.card for busy in found] == ["cuda:0 Card GPU-1", "cuda:0 Card GPU-2"]


def test_a_load_between_takes_is_no_computing() -> None:
    """A night of two models is idle while the second one is loaded; the first load is before."""
    (busy,) = card_busy(
        [
            take(
                Span(kind="load", begun=0.0, ended=50.0, on_card=True),
                Span(kind="stage 1", begun=50.0, ended=70.0, on_card=True),
            ),
            take(
                Span(kind="load", begun=70.0, ended=80.0, on_card=True),
                Span(kind="stage 1", begun=80.0, ended=90.0, on_card=True),
            ),
        ]
    )
    assert (busy.seconds, busy.computing, busy.preparing) == (40.0, 30.0, 10.0)
    assert busy.share == pytest.approx(0.75)


def test_the_headline_tells_how_busy_the_cards_were(maker: Any) -> None:
    """The share over all cards of the night; a CPU night tells none."""
    from reports.night_report import build_night_report

    def headline(card: str, ledger_name: str) -> Any:
        ledger = maker.ledger(ledger_name)
        night = maker.begin(ledger)
        shot_id = ledger.record_shot(night, "shots", maker.shot(), 0).id
        taken = maker.add(ledger, shot_id, night)
        work = (
            Span(kind="stage 1", begun=0.0, ended=8.0, on_card=True),
            Span(kind="decode", begun=9.0, ended=10.0, on_card=True),
        )
        maker.render(ledger, taken, night, card=card, timeline=work)
        return build_night_report(ledger, night).headline

    busy = headline("GPU-1", "a.db")
    assert busy.busy == pytest.approx(0.9)
    assert len(busy.cards) == 1
    assert headline("", "b.db").cards == ()
