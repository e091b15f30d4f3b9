"""What `rushes plan` shows on a terminal of 80 columns."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from flows.show import print_plan
from manifests.load import load_manifest
from manifests.settings import load_studio
from tasks.plan import make_plan


def shown(studio: Any, rows: list[dict[str, Any]]) -> str:
    """The plan of a sheet of these rows, as it is printed."""
    found = load_studio(studio.root)
    manifest = load_manifest(studio.sheet(rows), studio=found)
    text = io.StringIO()
    print_plan(make_plan([manifest], studio=found, ledger=None), Console(file=text, width=80))
    return text.getvalue()


def test_stages_are_said_once_for_all_shots_that_have_them(studio: Any) -> None:
    """Two shots of one preset share its lines, a third of another has its own, each in one line."""
    words = shown(
        studio,
        [{"shot": "a", "preset": "two-stage"}, {"shot": "b", "preset": "two-stage"}, {"shot": "c"}],
    )
    lines = words.splitlines()
    first = lines.index("pocket/two-stage (a, b)")
    assert lines[first + 1].startswith("  1 renoise 12 steps cfg 1.5 denoise 1 ")
    assert lines[first + 2].endswith("from σ 0.728")
    assert lines.index("pocket/single (c)") not in (first, first + 1, first + 2)
    assert words.count("from σ 0.728") == 1


def test_names_and_times_stand_whole_in_the_plan(studio: Any) -> None:
    """A shot's name as studios write them, the preset's and the range of the time, unbroken."""
    words = shown(studio, [{"shot": "seq010_sh0010", "preset": "three-stage"}])
    table, _, _ = words.partition("pocket/three-stage (")
    for whole in ("seq010_sh0010", "pocket/", "three-stage", "17 f @ ", " s)"):
        assert whole in table
    assert max(map(len, words.splitlines())) <= 80


def test_a_plan_without_a_shot_is_its_faults(studio: Any) -> None:
    """No table of nothing stands above them."""
    words = shown(studio, [{"shot": "a", "frames": "many"}])
    assert words.startswith("✗ ")
    assert words.splitlines()[-1] == "1 fault."
