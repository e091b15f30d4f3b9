"""Pictures of takes in work: on the shot's page in Prefect, and in the file of `rushes status`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_pool import FakePool

from flows.shown import SHOWN
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


async def _artifacts_of(night_name: str) -> list[tuple[Any, Any]]:
    """Every artifact of a night and its shots, with the run on whose page it stands."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        FlowRunFilter,
        FlowRunFilterName,
        FlowRunFilterParentFlowRunId,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    async with get_client() as client:
        (whole,) = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=night_name)),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        parent = FlowRunFilterParentFlowRunId(any_=[whole.id])
        shots = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=parent)
        )
        runs = {run.id: run for run in (whole, *shots)}
        of_night = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(runs)))
        found = await client.read_artifacts(artifact_filter=of_night)
    return [(runs[each.flow_run_id], each) for each in found]


def _pages(studio: Any, sheet: str, row: dict[str, Any], **scripts: Any) -> list[tuple[Any, Any]]:
    """The artifacts of a night over one shot."""
    from flows.night import POOL, night

    async def run() -> list[tuple[Any, Any]]:
        token = POOL.set(lambda _studio, listener: FakePool(listener=listener, **scripts))
        try:
            rows = [{"shot": "001", "preset": "two-stage", **row}]
            await night(manifests=[studio.sheet(rows, f"{sheet}.csv")], root=studio.root)
        finally:
            POOL.reset(token)
        return await _artifacts_of(sheet)

    return asyncio.run(run())


def _images(pages: list[tuple[Any, Any]]) -> list[tuple[str, str, str]]:
    return sorted(
        (each.description, run.name, each.data) for run, each in pages if each.type == "image"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_take_is_pictured_on_its_shots_page(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image for a take, on the run of its shot, by an address; at last it shows the strip with
    the verdict. A retake has its own. The night has one table and one progress, with links.
    """
    monkeypatch.setenv(SHOWN, "/rushes/key")
    pages = _pages(studio, "pictured", {}, scripts={"001": [{"frozen": 1.0}]})
    (first, shot, url), (second, _, _) = _images(pages)
    assert shot == "001"
    assert first.startswith("take 1, rejected: ")
    assert second.startswith("take 2, approved: ")
    assert url.startswith("/rushes/key/takes/pictured/001/")
    assert url.endswith("/t1/strip.jpg")
    (text,) = [each.data for run, each in pages if each.type == "markdown" and run.name == "001"]
    assert "[001_v001.mp4](/rushes/key/delivered/pictured/001/001_v001.mp4)" in text
    assert "/t1/stage-1.jpg)" in text
    nights = [each for run, each in pages if run.name.startswith("night")]
    assert sorted(each.type for each in nights) == ["markdown", "progress", "table"]
    by_type = {each.type: each for each in nights}
    assert by_type["progress"].data == 100.0
    (row,) = json.loads(by_type["table"].data)
    assert (row["shot"], row["status"], row["takes"]) == ("001", "approved", 2)
    assert row["film"] == "[001_v001.mp4](/rushes/key/delivered/pictured/001/001_v001.mp4)"
    assert by_type["markdown"].data.startswith("# The rushes of ")
    assert "](/rushes/key/reports/" in by_type["markdown"].data


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_what_became_of_a_take_without_a_clip_stands_under_its_picture(
    studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A take that was stopped after its first stage is no longer "while it renders": its stage's
    strip stands over the verdict."""
    monkeypatch.setenv(SHOWN, "/rushes/key")
    pages = _pages(studio, "stopped", {"prompt": "pan left [frozen]"})
    (words, _, url), *_ = _images(pages)
    assert words.startswith("take 1, rejected: ")
    assert url.endswith("/t1/stage-1.jpg")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "shown"), [(0, False), (300_000, False), (None, False), (9, True)]
)
def test_without_our_server_a_small_picture_stands_in_the_page(
    size: int | None, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is gone, empty or large does not."""
    monkeypatch.delenv(SHOWN, raising=False)
    from flows.previews import picture_url

    path = tmp_path / "takes/stage-1.jpg"
    if size is not None:
        path.parent.mkdir()
        path.write_bytes(b"x" * size)
    url = picture_url(tmp_path, path)
    assert (url is not None) == shown
    assert url is None or url.startswith("data:image/jpeg;base64,")
