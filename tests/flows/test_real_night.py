"""A night with nothing faked: pocket Wan, real scores, real finish, real Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from render.clip import clip_info

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STILLS = ROOT / "manifests/examples/demo/stills"


def test_a_real_night_delivers_files_that_play(studio: Any) -> None:
    """Two shots through the real pipeline: right size, length, rate and colour tags."""
    for name in ("cat.jpg", "coffee.jpg"):
        (studio.root / name).write_bytes((STILLS / name).read_bytes())
    square = {"width": 128, "height": 128}
    sheet = studio.sheet(
        [
            {"shot": "a", "source": "cat.jpg", "prompt": "pan left", "upscale": "2x", **square},
            {
                "shot": "b",
                "source": "coffee.jpg",
                "prompt": "zoom in",
                "grade": "saturation=0.8",
                **square,
            },
        ]
    )
    environment = {**os.environ, "RUSHES_PREFECT_PORT": "14300", "OMP_NUM_THREADS": "2"}
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", sheet, "--root", studio.root, "--device", "cpu"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = Path(done.stdout.strip().splitlines()[-1])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    for shot, size in (("a", 256), ("b", 128)):
        path = studio.root / f"delivered/shots/{shot}/{shot}_v001.mp4"
        info = clip_info(path)
        assert (info.frames, info.width, info.height, info.fps) == (17, size, size, 8.0)
        assert info.codec == "h264"
        sidecar = json.loads(path.with_suffix(".json").read_text())
        scores = sidecar["takes"][-1]["scores"]
        assert scores["metrics"]["conditioning_ssim"] > 0.5
        # Measured while it was decoded: no decoder of files had a part in it.
        assert "decoder" not in scores["versions"]
        (take,) = (studio.root / "takes/shots" / shot).glob("*/t1")
        assert {"stage-1.jpg", "first-frames.jpg", "scorecard.json"} <= {
            path.name for path in take.iterdir()
        }
    assert "after stage 1" in page.read_text(encoding="utf-8")
    assert (
        "lanczos 2x"
        in json.loads((studio.root / "delivered/shots/a/a_v001.json").read_text())["finish"][
            "upscaler"
        ]
    )
