"""The table of the night's page: what stands in it, in which order, and how long it may be.

Slow, since Prefect is imported.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import LedgerBusy
from reports.take import ShotStatus

pytestmark = pytest.mark.slow


class Ledger:
    """Says where each shot stands; no take was rendered."""

    def __init__(self, statuses: list[ShotStatus]) -> None:
        self._statuses = statuses

    def shot_status(self, shot_id: int) -> ShotStatus:
        return self._statuses[shot_id]

    def takes_of(self, shot_id: int) -> tuple[()]:
        return ()

    def delivery_of(self, shot_id: int) -> None:
        return None


def table_of(statuses: list[ShotStatus]) -> list[dict[str, Any]]:
    """The table of a night whose shots stand so, named by their number."""
    from flows.night_page import NightPage

    recipe = SimpleNamespace(preset="two-stage")
    jobs = {
        number: SimpleNamespace(
            shot_id=number, position=number, shot=SimpleNamespace(id=str(number), recipe=recipe)
        )
        for number in range(len(statuses))
    }
    studio = SimpleNamespace(root=Path("/srv/rushes"))
    desk: Any = SimpleNamespace(ledger=Ledger(statuses), jobs=jobs, studio=studio, night_id="n")
    found = [(statuses[number], job) for number, job in jobs.items()]
    return NightPage(desk)._table(found)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.sampled_from(ShotStatus), max_size=300))
def test_the_table_is_never_too_long_and_loses_nobody(statuses: list[ShotStatus]) -> None:
    """A hundred rows and one that counts the rest, in words, by status."""
    rows = table_of(statuses)
    shown = [row for row in rows if row["status"]]
    assert len(shown) == min(len(statuses), 100)
    left = sum(int(word) for row in rows[100:] for word in row["shot"].split() if word.isdigit())
    assert len(shown) + left == len(statuses)


@settings(deadline=None)
@given(st.lists(st.sampled_from(ShotStatus), max_size=300))
def test_what_a_person_looks_for_stands_first(statuses: list[ShotStatus]) -> None:
    """Failed, held, in work, approved, waiting; each in the order of the plan."""
    order = ["failed", "held", "working", "approved", "waiting"]
    rows = [row for row in table_of(statuses) if row["status"]]
    keys = [(order.index(row["status"]), int(row["shot"])) for row in rows]
    assert keys == sorted(keys)


@pytest.mark.usefixtures("prefect_server")
def test_what_a_person_deleted_is_made_anew() -> None:
    """A table that is gone from Prefect is there again with what it says next."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.night_page import NightPage

    async def written() -> list[Any]:
        page = NightPage(SimpleNamespace())  # type: ignore[arg-type]
        await page._put("table", "night-deleted", "[]", "first")
        (made,) = page._artifacts.values()
        async with get_client() as client:
            await client.delete_artifact(made)
            await page._put("table", "night-deleted", "[]", "second")
            of_page = ArtifactFilter(key=ArtifactFilterKey(any_=["night-deleted"]))
            found = await client.read_artifacts(artifact_filter=of_page)
        return [each.description for each in found]

    assert asyncio.run(written()) == ["second"]


@pytest.mark.usefixtures("prefect_server")
def test_what_is_written_is_what_is_shown() -> None:
    """Text is the text itself, not JSON of it, when it is first written as when it is changed; and
    all of it stands on the page of the night's run."""
    from prefect import flow, runtime
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    from flows.night_page import NightPage

    page = NightPage(SimpleNamespace())  # type: ignore[arg-type]
    first, second = "# The queue\n\n- [next](/queue)\n", "# The rushes\n"

    async def shown() -> list[Any]:
        on_page = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[runtime.flow_run.id]))
        async with get_client() as client:
            found = await client.read_artifacts(artifact_filter=on_page)
        return [(each.type, each.data) for each in found]

    @flow
    async def night() -> list[list[Any]]:
        seen = []
        for text in (first, second):
            await page._put("markdown", "rushes-n", text, text)
            seen.append(await shown())
        return seen

    assert asyncio.run(night()) == [[("markdown", first)], [("markdown", second)]]


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_is_away_when_the_night_begins_costs_no_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The queue is linked at the next look; once there, it is not written again."""
    from httpx import ConnectError
    from prefect import flow

    from flows import night_page
    from flows.shown import QUEUE

    written: list[str] = []

    async def write(kind: str, data: Any, words: str, *, key: str | None = None) -> UUID:
        written.append(words)
        if len(written) == 1:
            raise ConnectError("away")
        return uuid4()

    @flow
    async def night() -> None:
        page = night_page.NightPage(SimpleNamespace(night_id="2026-11-20"))  # type: ignore[arg-type]
        for _ in range(3):
            await page._begin()

    monkeypatch.setenv(QUEUE, "/rushes/key/queue")
    monkeypatch.setattr(night_page, "write", write)
    asyncio.run(night())
    assert written == ["Change what comes next"] * 2


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("error", [LedgerBusy("busy"), ValueError("a proxy's page is no JSON")])
def test_a_page_that_cannot_be_kept_costs_the_night_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever breaks while it is written, the work inside goes on to its end, and behind it the
    night to its report; what broke once is written at the next look."""
    from prefect import flow

    from flows import night_page
    from flows.shown import QUEUE

    looks: list[str] = []

    class Broken(Ledger):
        """Cannot be read at the first look."""

        def standings(self, night: str) -> list[Any]:
            looks.append(night)
            if isinstance(error, LedgerBusy) and len(looks) == 1:
                raise error
            return []

    async def write(kind: str, data: Any, words: str, *, key: str | None = None) -> UUID:
        if not isinstance(error, LedgerBusy) and len(looks) == 1:
            raise error
        return uuid4()

    @flow
    async def night() -> list[str]:
        desk: Any = SimpleNamespace(ledger=Broken([]), jobs={}, night_id="n")
        page = night_page.NightPage(desk)
        async with page.kept():
            while not looks:
                await asyncio.sleep(0.01)
        return list(page._said)

    monkeypatch.delenv(QUEUE, raising=False)
    monkeypatch.setattr(night_page, "write", write)
    assert asyncio.run(night()) == ["progress-n", "night-n"]


@pytest.mark.usefixtures("prefect_server")
def test_the_page_leads_to_the_queue_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the night's first moment on our own server; on another one nothing is promised."""
    from prefect import flow

    from flows.night_page import NightPage
    from flows.shown import QUEUE

    @flow
    async def night() -> list[str]:
        desk: Any = SimpleNamespace(night_id="2026-11-20")
        page = NightPage(desk)
        await page._begin()
        return list(page._said)

    monkeypatch.delenv(QUEUE, raising=False)
    assert asyncio.run(night()) == []
    monkeypatch.setenv(QUEUE, "/rushes/key/queue")
    assert asyncio.run(night()) == ["rushes-2026-11-20"]
