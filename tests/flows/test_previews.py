"""Pictures of takes in work: on the shot's page in Prefect, and in the file of `rushes status`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_pool import FakePool

from flows.watch import ProgressFile, read_progress
from render.backend import Progress


def _told(take: str = "s/001/abc/t1", **changes: Any) -> Progress:
    return Progress(take_id=take, phase="stage", stages=2, **changes)


def test_the_progress_file_keeps_a_takes_last_picture(tmp_path: Path) -> None:
    """A picture stands in the file until the take has a newer one, and moves no step."""
    file = ProgressFile(tmp_path)
    file.progress(_told(stage=1, step=3, steps=4))
    file.progress(_told(stage=1, preview=tmp_path / "stage-1.jpg"))
    told = read_progress(tmp_path)
    assert told is not None
    assert (told["stage"], told["step"], told["steps"]) == (1, 3, 4)
    assert told["preview"] == str(tmp_path / "stage-1.jpg")
    file._written = 0.0
    file.progress(_told(stage=2, step=1, steps=4))
    told = read_progress(tmp_path)
    assert told is not None
    assert (told["stage"], told["preview"]) == (2, str(tmp_path / "stage-1.jpg"))


def test_a_take_without_pictures_has_none(tmp_path: Path) -> None:
    """The picture of another take is not shown for it."""
    file = ProgressFile(tmp_path)
    file.progress(_told("s/001/abc/t1", stage=1, preview=tmp_path / "stage-1.jpg"))
    file._written = 0.0
    file.progress(_told("s/002/def/t1", stage=1, step=1, steps=4))
    assert json.loads((tmp_path / "progress.json").read_text())["preview"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_take_is_pictured_on_its_shots_page(studio: Any) -> None:
    """One artifact for a take, on the run of its shot, with a picture for each stage and one of
    the first frames; a retake has its own."""
    from prefect.client.orchestration import get_client

    from flows.night import POOL, night

    async def run() -> list[Any]:
        def pool_of(_studio: Any, listener: Any) -> FakePool:
            return FakePool({"001": [{"frozen": 1.0}]}, listener=listener)

        token = POOL.set(pool_of)
        try:
            sheet = studio.sheet([{"shot": "001", "preset": "two-stage"}], "pictured.csv")
            await night(manifests=[sheet], root=studio.root)
        finally:
            POOL.reset(token)
        async with get_client() as client:
            found = await client.read_artifacts(limit=200)
            runs = {run.id: run.name for run in await client.read_flow_runs(limit=200)}
        return [
            (runs[each.flow_run_id], each.description, each.data)
            for each in found
            if each.description and each.description.endswith("while it renders")
        ]

    pages = sorted(asyncio.run(run()), key=lambda page: page[1])
    assert [(name, words) for name, words, _ in pages] == [
        ("001", "take 1, while it renders"),
        ("001", "take 2, while it renders"),
    ]
    for _, _, data in pages:
        assert data.count("](data:image/jpeg;base64,/9j/") == 3
        for words in ("stage 1 of 2", "stage 2 of 2", "first frames"):
            assert f"**{words}**" in data


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 300_000, None])
def test_a_picture_that_cannot_be_shown_is_named(size: int | None, tmp_path: Path) -> None:
    """One that is gone, empty or large stands on the page as its path."""
    from flows.previews import _shown

    path = tmp_path / "stage-1.jpg"
    if size is not None:
        path.write_bytes(b"x" * size)
    assert _shown("stage 1 of 2", path) == f"`{path}`"
