"""What `rushes serve` looks at again and again, while its disk or its share is away."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from waiting import in_time, until

from flows import serve
from manifests.settings import Studio, load_studio
from reports.errors import LedgerBusy, LedgerUnwritable
from tasks.inbox import Inbox

NOW = datetime.now(UTC)
HOURS = {
    "start": f"{(NOW - timedelta(hours=1)):%H:%M}",
    "end": f"{(NOW + timedelta(hours=2)):%H:%M}",
    "timezone": "UTC",
}
AWAY = 300 * "a"
"""Longer than a name may be: whoever asks for it gets an error, as of a share that is away."""


class Nights:
    """The studio's nights in Prefect: none runs, and those that are started are counted."""

    def __init__(self) -> None:
        self.started = 0

    async def busy(self) -> bool:
        return False

    async def paused(self) -> bool:
        return False

    async def is_another(self, flow_run_id: str | None) -> bool:
        return False

    async def ran_since(self, instant: datetime) -> bool:
        return False

    async def broken_since(self, instant: datetime) -> str | None:
        return None

    async def start(self) -> None:
        self.started += 1


def _studio(root: Path, inbox: str = "inbox") -> Studio:
    return load_studio(root, window=HOURS, inbox={"folder": inbox})


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service over a studio inside its hours, with a sheet that no night has had."""
    studio = _studio(tmp_path)
    inbox = Inbox(studio)
    (studio.accepted_dir / "shots.csv").write_text("shot\n")
    monkeypatch.setattr(serve, "DUE_EVERY", 0.01)
    console = Console(file=io.StringIO(), width=1000)
    return serve._Service(studio, inbox, None, console)


def _said(service: Any) -> list[str]:
    text: str = service._console.file.getvalue()
    return text.splitlines()


def _looks(service: Any, nights: Nights, *, mend: Any) -> None:
    """Look after nights; once the trouble was told, mend it, and wait for the night."""

    async def work() -> None:
        looking = asyncio.create_task(service._keep_nights(nights))
        await until(lambda: looking.done() or _said(service))
        await asyncio.sleep(0.03)
        assert not looking.done()
        mend()
        await until(lambda: nights.started)
        looking.cancel()

    in_time(work())


def test_a_share_that_is_away_is_waited_for(service: Any, tmp_path: Path) -> None:
    """It is told once; when the inbox is there again, the night is started."""
    there, service._studio = service._studio, _studio(tmp_path, AWAY)

    def back() -> None:
        service._studio = there

    _looks(service, Nights(), mend=back)
    told, started = _said(service)
    assert told.startswith("nights cannot be looked after: OSError: ")
    assert told.endswith("; tried again until they can")
    assert started.endswith("a night is started")


@pytest.mark.parametrize("error", [LedgerBusy("a night by hand"), LedgerUnwritable("disk full")])
def test_a_night_that_cannot_be_ended_now_is_ended_later(
    service: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Who cancelled it in Prefect is not answered by the end of the whole service."""
    mended: list[str] = []

    async def end(nights: Nights) -> None:
        if not mended:
            raise error

    monkeypatch.setattr(service, "_end_cancelled", end)
    _looks(service, Nights(), mend=lambda: mended.append("yes"))
    assert _said(service)[0].startswith(f"nights cannot be looked after: {type(error).__name__}: ")
