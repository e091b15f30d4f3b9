"""What `rushes score` shows of a clip."""

from __future__ import annotations

import io

from rich.console import Console

from flows.score import print_score
from qc.judge import judge
from qc.scorecard import Scorecard
from qc.thresholds import load_thresholds


def shown(problems: tuple[str, ...]) -> list[str]:
    """The lines of the terminal that tell of these problems."""
    card = Scorecard(
        frames=9,
        width=64,
        height=48,
        fps=24,
        metrics={"decode_faults": float(len(problems))},
        versions={},
        backbone="none",
        problems=problems,
    )
    console = Console(file=(text := io.StringIO()), width=120)
    print_score(card, judge(card, thresholds=load_thresholds("default")), console)
    return [line for line in text.getvalue().splitlines() if line.startswith("✗")]


def test_a_fault_of_every_frame_does_not_flood_the_terminal() -> None:
    """Twenty of them are shown, and how many more there are; a few all are."""
    many = tuple(f"frame {index} is 96x64 in a clip of 192x128" for index in range(14_400))
    assert shown(many) == [
        *(f"✗ {words}" for words in many[:20]),
        "✗ and 14380 more (--json shows all)",
    ]
    assert shown(many[:20]) == [f"✗ {words}" for words in many[:20]]
