"""The command line: answers, exit codes, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "check",
    "plan",
    "run",
    "inbox",
    "serve",
    "metrics",
    "pause",
    "resume",
    "cancel",
    "priority",
    "score",
    "remedies",
    "calibrate",
    "explain",
    "status",
    "report",
    "presets",
    "models",
    "sigmas",
    "doctor",
)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def rushes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command line in this process, through its entry point."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["rushes", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


def test_the_version_is_the_packages(rushes: Callable[..., Done]) -> None:
    """As `pip` and receipts know it."""
    assert rushes("--version") == Done(0, f"rushes {version('rushes')}\n", "")


def test_every_command_has_help_and_is_documented() -> None:
    """The generated reference is what the code says now, with every command in it."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate import cli_reference
    finally:
        sys.path.pop(0)
    text = cli_reference()
    assert (ROOT / "docs/cli.md").read_text() == text, "run `make docs`"
    assert all(f"## `rushes {name}`" in text for name in COMMANDS)


def test_sigmas_prints_one_json_object(rushes: Any) -> None:
    """The command of the guide: 25 steps at denoise 0.45 restart at 0.870 on shift 8."""
    what = "--schedule simple --steps 25 --denoise 0.45 --shift 8 --json"
    done = rushes("sigmas", *what.split(" "))
    found = json.loads(done.stdout)["sigmas"]
    assert done.returncode == 0
    assert len(found) == 26
    assert found[0] == pytest.approx(0.870, abs=5e-4)
    assert found[-1] == 0.0


def test_sigmas_knows_samplers_and_models(rushes: Any) -> None:
    """uni_pc leaves a level out; AnimateDiff starts at 25.1, and needs no shift."""
    done = rushes("sigmas", *["--steps", "4", "--shift", "5", "--sampler", "uni_pc"])
    assert done.stdout.split() == ["1.0000", "0.9524", "0.8824", "0.7692", "0.0000"]
    done = rushes("sigmas", *["--steps", "4", "--noise", "eps_linear"])
    assert done.stdout.split()[0] == "25.1461"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--schedule", "simpel"], "simple, normal"),
        (["--denoise", "1.5"], "denoise"),
        (["--steps", "0"], "steps"),
        (["--sampler", "unipc"], "uni_pc"),
        (["--noise", "eps", "--shift", "3"], "shift"),
    ],
)
def test_sigmas_refuses_what_is_out_of_range(rushes: Any, arguments: list[str], word: str) -> None:
    """Bad values end with 2 and the words for it."""
    done = rushes("sigmas", *arguments)
    assert done.returncode == 2
    assert word in done.stderr


def test_check_names_every_fault_at_once(rushes: Any, studio: Any) -> None:
    """Three bad cells in two rows: three faults, each with row, column, value and remedy."""
    sheet = studio.sheet(
        [
            {"shot": "a", "fps": "twentyfour", "frames": "many"},
            {"shot": "b", "preset": "two-stge"},
            {"shot": "c"},
        ]
    )
    done = rushes("check", sheet, "--root", studio.root, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 2
    places = {(fault["row"], fault["column"]) for fault in found["faults"]}
    assert places == {(2, "frames"), (2, "fps"), (3, "preset")}
    assert all(fault["remedy"] and fault["value"] for fault in found["faults"])
    assert found["shots"] == 1


def test_a_good_sheet_ends_with_0(rushes: Any, studio: Any) -> None:
    """No fault: 0, and the number of shots."""
    done = rushes("check", studio.sheet([{"shot": "a"}]), "--root", studio.root)
    assert (done.returncode, done.stdout) == (0, "1 shot, no fault.\n")


def test_what_will_run_but_looks_odd_is_said(rushes: Any, studio: Any) -> None:
    """A deadline that has passed is no fault: 0, and a warning with its row."""
    sheet = studio.sheet([{"shot": "a", "deadline": "2020-01-01"}])
    done = rushes("check", sheet, "--root", studio.root)
    assert (done.returncode, done.stdout) == (0, "1 shot, no fault.\n")
    assert "! row 2 (a): deadline 2020-01-0" in done.stderr
    (warning,) = json.loads(rushes("check", sheet, "--root", studio.root, "--json").stdout)[
        "warnings"
    ]
    assert (warning["shot"], warning["row"]) == ("a", 2)


@pytest.mark.parametrize("command", ["check", "serve"])
def test_limits_that_judge_nothing_are_found_before_the_evening(
    rushes: Any, studio: Any, command: str
) -> None:
    """A metric that is misspelt in studio.yaml is refused by the check and by the service."""
    (studio.root / "studio.yaml").write_text("thresholds: {flickr: {fail: 1}, blur: {fial: 1}}\n")
    sheets = [studio.sheet([{"shot": "a"}])] if command == "check" else []
    done = rushes(command, *sheets, "--root", studio.root)
    assert done.returncode == 2
    assert "there is no limit on 'flickr'; did you mean 'flicker'?" in done.stderr
    assert "a limit has no 'fial'" in done.stderr


@pytest.mark.parametrize("command", ["inbox", "serve"])
def test_a_folder_that_cannot_be_written_is_told_in_words(
    rushes: Any, studio: Any, command: str
) -> None:
    """2, the path and what the system says of it; no traceback."""
    (studio.root / "inbox").write_text("a file where the folder should be")
    done = rushes(command, "--root", studio.root)
    assert done.returncode == 2
    assert f"{studio.root}/inbox" in done.stderr
    assert "rushes doctor" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_with_a_bad_sheet_starts_nothing(rushes: Any, studio: Any) -> None:
    """2, every fault on standard error, and no ledger, no takes, no server."""
    sheet = studio.sheet([{"shot": "a", "frames": "many"}])
    before = sorted(studio.root.iterdir())
    done = rushes("run", sheet, "--root", studio.root)
    assert done.returncode == 2
    assert "Nothing was started." in done.stderr
    assert sorted(studio.root.iterdir()) == before


def test_plan_shows_stages_with_their_start_sigma(rushes: Any, studio: Any) -> None:
    """The plan holds, for each stage, all that decides it, and the noise level it starts at."""
    sheet = studio.sheet([{"shot": "a", "preset": "two-stage"}])
    done = rushes("plan", sheet, "--root", studio.root, "--json")
    (shot,) = json.loads(done.stdout)["shots"]
    first, second = shot["stages"]
    assert first["start_sigma"] == 1.0
    assert 0.2 < second["start_sigma"] < 0.95
    assert {"steps", "cfg", "denoise", "sampler", "schedule", "shift"} <= set(second)
    assert shot["seconds"] > 0
    assert shot["disk_bytes"] > 0


def test_plan_says_what_becomes_of_a_still(rushes: Any, studio: Any) -> None:
    """Of one that moves the first picture is filmed: said in the evening, not in the morning."""
    from PIL import Image

    frames = [Image.new("RGB", (96, 96), colour) for colour in ("red", "blue")]
    frames[0].save(studio.root / "moves.webp", save_all=True, append_images=frames[1:])
    sheet = studio.sheet([{"shot": "a", "source": "moves.webp"}])
    assert (
        "! a: still: first of its 2 frames" in rushes("plan", sheet, "--root", studio.root).stdout
    )


def test_plan_says_what_the_disk_refuses(
    rushes: Any, studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A studio that keeps more free than there is: the plan says so before the night does."""
    monkeypatch.setenv("RUSHES_STOP_DISK_GB", "1e9")
    done = rushes("plan", studio.sheet([{"shot": "a"}]), "--root", studio.root, "--json")
    (fault,) = json.loads(done.stdout)["refused"]
    assert done.returncode == 2
    assert "free some space" in fault["remedy"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(("plan", "shots.csv", "--card-gb", gb) for gb in ("0", "-3", "nan", "inf")),
        *(("metrics", "--port", port) for port in ("0", "99999")),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(rushes: Any, arguments: tuple[str, ...]) -> None:
    """Neither a card without memory, nor one without end, nor a port that there is not."""
    done = rushes(*arguments)
    assert done.returncode == 2
    assert "Invalid value" in done.stderr


def test_status_without_a_night_says_what_to_do(rushes: Any, studio: Any) -> None:
    """No ledger yet: 2, and the remedy."""
    done = rushes("status", "--root", studio.root)
    assert done.returncode == 2
    assert "rushes run SHEET" in done.stderr


def test_the_root_may_come_from_the_environment(
    rushes: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As every setting may: else a night would begin in a studio of its own where one stands."""
    monkeypatch.setenv("RUSHES_ROOT", str(tmp_path / "there"))
    assert f"{tmp_path / 'there'}/rushes.db: no night" in rushes("status").stderr
    assert f"{tmp_path / 'here'}/" in rushes("status", "--root", tmp_path / "here").stderr


def test_presets_lists_stages(rushes: Any, studio: Any) -> None:
    """Both families, each preset with its stages and start sigmas."""
    found = json.loads(rushes("presets", "--root", studio.root, "--json").stdout)["presets"]
    names = {row["preset"] for row in found}
    assert {"pocket/single", "pocket/two-stage", "pocket/three-stage"} <= names
    assert {"wan/single", "wan/two-stage", "wan/three-stage"} <= names
    lines = {row["preset"]: row["stages"].splitlines() for row in found}
    assert lines["wan/two-stage"][1] == (
        "renoise 20 steps cfg 3.5 denoise 0.35 euler/simple shift 5 from σ 0.730"
    )
    assert lines["wan/three-sampler"][1] == (
        "split 2 steps of 8 cfg 1 euler/simple shift 8 high expert "
        "loras/wan22-lightning-high.safetensors:1 from σ 0.960 to 0.889"
    )


def test_score_knows_the_families_that_there_are(rushes: Any, tmp_path: Path) -> None:
    """A mistyped family is refused: its clip would be held against the limits of none."""
    done = rushes("score", tmp_path / "clip.mkv", "--family", "Wan")
    assert done.returncode == 2
    assert "there is no model family 'Wan'; did you mean 'wan'?" in done.stderr


@pytest.mark.slow
def test_score_measures_any_video_file(rushes: Any, studio: Any, tmp_path: Path) -> None:
    """A clip of our own making: numbers and a verdict as JSON; what is no video: an error."""
    import numpy as np

    from render.clip import write_clip

    rng = np.random.default_rng(0)
    big = rng.random((64, 96, 3), dtype=np.float32).repeat(4, 0).repeat(4, 1)
    frames = np.stack([big[:128, index : index + 128] for index in range(17)])
    write_clip([frames], tmp_path / "clip.mkv", fps=8)
    done = rushes("score", tmp_path / "clip.mkv", "--root", studio.root, "--json")
    found = json.loads(done.stdout)
    assert found["scorecard"]["frames"] == 17
    assert found["verdict"]["decision"] in ("approve", "retake")
    (tmp_path / "words.mp4").write_text("not a video")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for name in ("words.mp4", "loop.mp4"):
        done = rushes("score", tmp_path / name, "--root", studio.root)
        assert done.returncode == 2
        assert f"NotAVideo: {tmp_path / name}" in done.stderr


@pytest.mark.slow
def test_doctor_finds_this_machine_fit(rushes: Any, studio: Any) -> None:
    """Every check has a name, a word and, where it is not well, a remedy."""
    done = rushes("doctor", "--root", studio.root, "--json")
    checks = json.loads(done.stdout)["checks"]
    names = {check["name"] for check in checks}
    looked_at = {"python", "packages", "disk", "worker", "LPIPS weights", "limits", "video"}
    assert {*looked_at, "model pocket-wan"} <= names
    assert all(check["well"] or check["remedy"] for check in checks)
    (packages,) = (check for check in checks if check["name"] == "packages")
    assert packages["words"].startswith(f"rushes {version('rushes')}, torch ")


def test_inbox_takes_a_sheet_and_says_so(rushes: Any, studio: Any) -> None:
    """A whole sheet goes to `accepted/`; without one, `run` says where to drop it."""
    nothing = rushes("run", "--root", studio.root)
    assert nothing.returncode == 2
    assert "none was taken from the inbox" in nothing.stderr
    sheet = studio.sheet([{"shot": "sh010", "source": str(studio.root / "still.png")}])
    os.utime(sheet, (1_000_000_000, 1_000_000_000))
    sheet.rename(studio.root / "inbox/shots.csv")
    found = json.loads(rushes("inbox", "--root", studio.root, "--json").stdout)
    assert [(each["name"], each["fate"]) for each in found["sheets"]] == [("shots.csv", "taken")]
    assert (studio.root / "inbox/accepted/shots.csv").exists()
