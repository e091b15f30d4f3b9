"""`rushes calibrate` and `rushes explain`, from a ledger of judged takes."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from judged_ledger import RANDOM, TRAINED, Judged, write_night

from flows.cli import main
from manifests.settings import load_studio
from manifests.stage import Recipe, Stage, StageKind
from qc.calibration import FEWEST
from qc.cells import Cell
from qc.scorecard import Scorecard
from qc.studio_limits import read_limits
from qc.thresholds import load_thresholds
from reports.lock import sole_writer
from reports.take import TakeStatus
from tasks.limits import limits_for, limits_path

CELL = Cell(preset="wan/two-stage", width=832, height=480, fps=16.0)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run a command in the root of the test: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["rushes", *arguments, "--root", str(tmp_path)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def good(number: int, *, seed: int = 0, middle: float = 0.0022, **changes: Any) -> list[Judged]:
    """Approved clips whose flicker is log-normal about `middle`."""
    rng = random.Random(seed)
    return [
        Judged(
            after=TakeStatus.APPROVED,
            metrics={"flicker": math.exp(rng.gauss(math.log(middle), 0.2)), "boiling": 0.17},
            **changes,
        )
        for _ in range(number)
    ]


BAD = [Judged(after=TakeStatus.HELD, metrics={"flicker": 0.006, "boiling": 0.9})] * 4


def ledger_of(root: Path, takes: list[Judged], **changes: Any) -> None:
    write_night(load_studio(root).ledger_path, takes, **changes)


def card(*, flicker: float, backbone: str = RANDOM) -> Scorecard:
    return Scorecard(
        frames=81,
        width=832,
        height=480,
        fps=16.0,
        metrics={"flicker": flicker},
        versions={"flicker": "1"},
        backbone=backbone,
    )


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "preset": "wan/two-stage",
        "family": "wan",
        "model": "wan",
        "model_id": "wan@1",
        "prompt": "",
        "negative": "",
        "width": 832,
        "height": 480,
        "frames": 81,
        "fps": 16.0,
        "seed": 1,
        "stages": (Stage(kind=StageKind.RENOISE, steps=4, cfg=1.0, shift=5.0),),
    }
    return Recipe(**{**values, **changes})


def test_it_shows_and_changes_nothing(tmp_path: Path, rushes: Command) -> None:
    """Without --write the proposals are printed with what they would have done; no file appears."""
    ledger_of(tmp_path, [*good(120), *BAD])
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, _ = rushes("calibrate", "--json")
    found = json.loads(out)
    (cell,) = found["cells"]
    flicker = next(limit for limit in cell["limits"] if limit["metric"] == "flicker")
    assert (code, found["written"], cell["approved"], cell["refused"]) == (0, None, 120, 4)
    assert flicker["clips"] == 120
    assert flicker["present"]["fail"] == load_thresholds("wan")["flicker"].fail
    assert flicker["proposed"]["fail"] < flicker["present"]["fail"]
    assert flicker["before"]["caught"] == {"count": 0, "of": 4, "share": 0.0}
    assert flicker["after"]["caught"] == {"count": 4, "of": 4, "share": 1.0}
    assert cell["after"]["alarms"]["count"] <= 1
    assert cell["held_out"]["of"] == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    code, out, _ = rushes("calibrate")
    assert "wan/two-stage 832x480 at 16 fps: 120 approved, 4 rejected or held" in out
    assert "Nothing was changed. `rushes calibrate --write` puts these in force." in out


@pytest.mark.slow
def test_written_limits_are_what_the_next_take_is_judged_by(
    tmp_path: Path, rushes: Command
) -> None:
    """After --write a take of the cell is judged by them, and its limits say from when and what;
    other cells, other measurements and what studio.yaml sets are not touched."""
    ledger_of(tmp_path, good(120))
    code, out, _ = rushes("calibrate", "--write", "--json")
    studio = load_studio(tmp_path)
    assert (code, json.loads(out)["written"]) == (0, str(limits_path(studio)))
    learned = read_limits(limits_path(studio))
    assert learned is not None
    limits = limits_for(card(flicker=0.005), recipe=recipe(), studio=studio, learned=learned)
    words = f"calibrated {date.today().isoformat()} on 120 clips of {CELL}"  # noqa: DTZ011
    assert limits["flicker"].fail_from == words
    assert limits["flicker"].fail < load_thresholds("wan")["flicker"].fail
    assert limits["frozen"].fail_from.startswith("default ")
    assert words in limits.name
    smaller = limits_for(
        card(flicker=0.005), recipe=recipe(width=416), studio=studio, learned=learned
    )
    assert smaller == load_thresholds("wan")
    (tmp_path / "studio.yaml").write_text("thresholds: {flicker: {fail: 0.009}}\n")
    set_here = limits_for(
        card(flicker=0.005), recipe=recipe(), studio=load_studio(tmp_path), learned=learned
    )
    assert (set_here["flicker"].fail, set_here["flicker"].fail_from) == (0.009, "studio.yaml")
    assert set_here["flicker"].warn == load_thresholds("wan")["flicker"].warn


@pytest.mark.slow
def test_limits_are_never_shared_between_backbones(tmp_path: Path, rushes: Command) -> None:
    """What was learned with the random backbone does not hold for a clip measured with a trained
    one, and is not learned from together with it; the verdict says why."""
    ledger_of(tmp_path, good(80))
    rushes("calibrate", "--write")
    studio = load_studio(tmp_path)
    learned = read_limits(limits_path(studio))
    limits = limits_for(
        card(flicker=0.005, backbone=TRAINED), recipe=recipe(), studio=studio, learned=learned
    )
    assert tuple(limits) == tuple(load_thresholds("wan"))
    assert f"not calibrated {date.today().isoformat()}" in limits.name  # noqa: DTZ011
    assert TRAINED in limits.name
    ledger_of(tmp_path, good(10, backbone=TRAINED), night="2026-11-21")
    (cell,) = json.loads(rushes("calibrate", "--json")[1])["cells"]
    assert (cell["approved"], cell["set_aside"], cell["limits"]) == (10, 80, [])


@pytest.mark.slow
def test_few_clips_write_nothing(tmp_path: Path, rushes: Command) -> None:
    """Under 50 approved clips there is nothing to write: refused in words, no file."""
    ledger_of(tmp_path, good(FEWEST - 1))
    code, out, _ = rushes("calibrate")
    assert "fewer than 50 approved clips: the defaults hold" in out
    assert "--write" not in out
    code, _, err = rushes("calibrate", "--write")
    assert code == 2
    assert "no cell has 50 approved clips measured alike (the most are 49)" in err
    assert not (tmp_path / "thresholds.yaml").exists()


@pytest.mark.slow
def test_the_night_that_is_being_judged_is_not_learned_from(
    tmp_path: Path, rushes: Command
) -> None:
    """Takes of a night that has not ended do not count."""
    ledger_of(tmp_path, good(60), ended=False)
    assert json.loads(rushes("calibrate", "--json")[1])["cells"] == []
    ledger_of(tmp_path, good(55, seed=1), night="2026-11-21")
    (cell,) = json.loads(rushes("calibrate", "--json")[1])["cells"]
    assert cell["approved"] == 55


@pytest.mark.slow
def test_nothing_is_written_while_a_night_runs(tmp_path: Path, rushes: Command) -> None:
    """A night keeps the limits that it began with: --write waits for its end."""
    ledger_of(tmp_path, good(60))
    with sole_writer(load_studio(tmp_path).ledger_path):
        code, _, err = rushes("calibrate", "--write")
        assert rushes("calibrate")[0] == 0
    assert code == 2
    assert "another night runs" in err
    assert not (tmp_path / "thresholds.yaml").exists()


@pytest.mark.slow
def test_the_file_before_is_kept_and_other_cells_go_on(tmp_path: Path, rushes: Command) -> None:
    """A second --write for one preset keeps the first file beside it and the other cells in it."""
    draft = good(60, seed=2, preset="wan/draft", middle=0.003)
    ledger_of(tmp_path, [*good(60), *draft])
    rushes("calibrate", "--write")
    first = (tmp_path / "thresholds.yaml").read_bytes()
    ledger_of(tmp_path, good(40, seed=3, preset="wan/draft"), night="2026-11-21")
    kept = json.loads(rushes("calibrate", "--preset", "draft", "--write", "--json")[1])["kept"]
    assert Path(kept).read_bytes() == first
    learned = read_limits(tmp_path / "thresholds.yaml")
    assert learned is not None
    assert [(cell.cell.preset, cell.clips) for cell in learned.cells] == [
        ("wan/draft", 100),
        ("wan/two-stage", 60),
    ]


@pytest.mark.slow
def test_a_damaged_file_stops_before_a_night_begins(tmp_path: Path, rushes: Command) -> None:
    """thresholds.yaml that cannot be used is named with its fault, never passed over."""
    ledger_of(tmp_path, good(60))
    (tmp_path / "thresholds.yaml").write_text("measured: {}\ncells: 3\n")
    code, _, err = rushes("calibrate")
    assert code == 2
    assert "column measured.backbone" in err
    assert "column cells" in err


def test_an_unknown_preset_is_refused(tmp_path: Path, rushes: Command) -> None:
    """--preset names what the ledger holds, with a suggestion."""
    ledger_of(tmp_path, good(3))
    code, _, err = rushes("calibrate", "--preset", "two-stge")
    assert code == 2
    assert "did you mean 'two-stage'?" in err


def test_a_verdict_is_explained_from_what_it_keeps(tmp_path: Path, rushes: Command) -> None:
    """explain tells each metric, its limits and their origin, versions and backbone, as they were
    when it was judged: limits that are moved later change nothing."""
    ledger_of(tmp_path, BAD[:1], thresholds=load_thresholds("wan", {"boiling": {"fail": 0.8}}))
    (tmp_path / "studio.yaml").write_text("thresholds: {boiling: {fail: 5.0}}\n")
    code, out, _ = rushes("explain", "2026-11-20/sh0", "1", "--json")
    verdict = json.loads(out)["verdict"]
    (boiling,) = [item for item in verdict["findings"] if item["metric"] == "boiling"]
    version = load_thresholds("wan").name
    assert code == 0
    assert (boiling["value"], boiling["fail"], boiling["level"]) == (0.9, 0.8, "fail")
    assert boiling["from"] == f"{version} (warn), studio.yaml (fail)"
    assert verdict["backbone"] == RANDOM
    assert verdict["versions"]["flicker"] == "1"
    assert "frozen" in verdict["not_measured"]
    code, out, _ = rushes("explain", "sh0")
    assert "its texture boils: 0.9, at most 0.8" in out
    assert "studio.yaml (fail)" in out


def test_explain_names_what_is_not_there(tmp_path: Path, rushes: Command) -> None:
    """A shot or a take that no night knows is refused with what there is."""
    ledger_of(tmp_path, BAD[:1])
    assert "did you mean 'sh0'?" in rushes("explain", "sh1")[2]
    assert "has no take 4; it has 1" in rushes("explain", "sh0", "4")[2]
