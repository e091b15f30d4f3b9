"""`rushes serve`: one command for a studio machine. Server, schedule, inbox, figures, nights.

The nights run in processes of their own, which Prefect's runner starts one at a time. The ledger
is the truth: whatever is stopped here, the next start goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console

from flows.answers import Answers
from flows.inbox import LOOK_EVERY, tell
from flows.metrics import metrics_server
from flows.prefect_env import prepare
from flows.prefect_server import ONLY_HERE, PrefectServer, ServerDidNotStart, port_is_free
from flows.refusals import told_refusals
from flows.served import ROOT, SERVER
from flows.serving import sole_server
from manifests.errors import BadInput
from manifests.secret import error_words, without_user
from manifests.settings import Studio, load_studio
from manifests.window import Window
from reports.errors import LedgerBusy, LedgerUnwritable
from tasks.due import due, open_night
from tasks.inbox import Inbox
from tasks.limits import check_limits
from tasks.night_book import CANCELLED, close

if TYPE_CHECKING:
    from flows.deployment import NightDeployment, NightRunner

SERVER_EVERY = 1.0
"""Seconds between looks at the Prefect server."""
DUE_EVERY = 5.0
"""Seconds between looks at whether a night is to be started."""
NIGHT_STOPS = 40.0
"""Seconds that a running night has to put its things down."""
RUNNER_ENDS = 5.0
"""Seconds that the runner has to end by itself once it was told to stop."""
SERVER_FAILURES = 5
"""A server that ended so often is not started again: the service manager's turn."""


def serve(root: Path, *, host: str, console: Console) -> None:
    """Serve the studio until SIGTERM or Ctrl-C; returns when everything is put down.

    Raises AlreadyServed, ServerDidNotStart, and BadInput for settings that cannot be used.
    """
    studio = load_studio(root)
    check_limits(studio)
    with ExitStack() as stack:
        inbox = Inbox(studio, refused=stack.enter_context(told_refusals(studio)))
        tell_url = stack.enter_context(sole_server(studio.state_dir))
        server = _server(studio, host, console) if prepare(studio.state_dir) else None
        if studio.metrics_port is not None:
            figures = metrics_server(studio, port=studio.metrics_port, address=host)
            console.print(f"figures for Prometheus: {stack.enter_context(figures)}")
        if server is not None:
            stack.callback(server.stop)
            server.start()
            # NOTE: set before Prefect is imported, which reads it once.
            os.environ["PREFECT_API_URL"] = f"{server.url}/api"
        url = os.environ["PREFECT_API_URL"].removesuffix("/api")
        tell_url(url)
        os.environ.update({ROOT: str(studio.root), SERVER: str(os.getpid())})
        console.print(f"Prefect: {without_user(url)}", highlight=False)
        asyncio.run(_Service(studio, inbox, server, console).run())
    console.print("stopped; what is finished is kept", highlight=False)


def _server(studio: Studio, host: str, console: Console) -> PrefectServer:
    """The server of this root, not started yet. Raises ServerDidNotStart where it cannot be."""
    port = studio.prefect_port
    if not port_is_free(port, host):
        raise ServerDidNotStart(
            f"port {port} on {host} is taken, by another studio's server perhaps; "
            "set prefect_port in studio.yaml to a free one"
        )
    secret = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if secret:
        os.environ.setdefault("PREFECT_API_AUTH_STRING", secret)
    elif host not in ONLY_HERE:
        console.print(
            f"whoever reaches {host}:{port} can start and cancel nights: set "
            "PREFECT_SERVER_API_AUTH_STRING, or keep it behind a proxy that asks for a password",
            style="yellow",
            highlight=False,
        )
    log = studio.state_dir / "prefect-server.log"
    return PrefectServer(port=port, log=log, host=host, root=studio.root)


class _Service:
    """What runs while a studio is served."""

    def __init__(
        self, studio: Studio, inbox: Inbox, server: PrefectServer | None, console: Console
    ) -> None:
        self._studio, self._inbox = studio, inbox
        self._server, self._console = server, console
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Until it is stopped; raises what broke any of its parts."""
        from flows.deployment import NightDeployment, NightRunner, deployment_name

        loop = asyncio.get_running_loop()
        name = deployment_name(self._studio, own_server=self._server is not None)
        runner = NightRunner(name, lambda: loop.call_soon_threadsafe(self._stopping.set))
        loop.add_signal_handler(signal.SIGINT, self._stopping.set)
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        nights = NightDeployment(self._studio, name=name)
        await nights.register(runner)
        if buried := await nights.bury():
            self._say(f"{buried} night(s) had died with an earlier server")
        self._say(self._hours())
        parts = [
            asyncio.create_task(part, name=name)
            for name, part in (
                ("runner", runner.start()),
                ("server", self._keep_server()),
                ("inbox", self._keep_inbox()),
                ("nights", self._keep_nights(nights)),
                ("stop", self._stopping.wait()),
            )
        ]
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        await self._put_down(runner, parts)
        for part in done:
            part.result()

    async def _put_down(self, runner: NightRunner, parts: Sequence[asyncio.Task[object]]) -> None:
        """The night first, while the server can still be told how it ended."""
        for part in parts[1:]:
            part.cancel()
        await asyncio.to_thread(_stop_nights)
        if runner.started:
            with suppress(Exception):
                # Nothing is left for it to do; what it cannot tell the server is in the ledger.
                await asyncio.wait_for(runner.astop(), NIGHT_STOPS)
                await asyncio.wait(parts[:1], timeout=RUNNER_ENDS)
        # NOTE: one that was only about to start is told to stop by nothing else.
        parts[0].cancel()
        await asyncio.gather(*parts, return_exceptions=True)

    async def _keep_server(self) -> None:
        """Start the server again where it ended; the night meanwhile waits for it."""
        if self._server is None:
            await asyncio.Event().wait()
            return
        for failure in range(SERVER_FAILURES):
            while (code := self._server.ended) is None:
                await asyncio.sleep(SERVER_EVERY)
            self._say(f"the Prefect server ended with code {code} ({failure + 1}); starting it")
            await asyncio.to_thread(self._server.start)
        raise ServerDidNotStart(
            f"the Prefect server ended {SERVER_FAILURES} times; its log is in .rushes"
        )

    async def _keep_inbox(self) -> None:
        """Take sheets as they are dropped; a share that is away is waited for."""
        from watchfiles import awatch

        told: dict[str, str] = {}
        away = False
        while True:
            try:
                looks = awatch(
                    self._studio.inbox_dir,
                    recursive=False,
                    force_polling=self._studio.inbox.poll or None,
                    rust_timeout=int(1000 * LOOK_EVERY),
                    yield_on_timeout=True,
                )
                async for _ in looks:
                    tell(await asyncio.to_thread(self._inbox.scan), told, self._console)
                    away = False
            except OSError as error:
                if not away:
                    self._say(f"the inbox cannot be looked at: {error}; tried again until it can")
                away = True
                await asyncio.sleep(LOOK_EVERY)

    async def _keep_nights(self, nights: NightDeployment) -> None:
        """Start what the schedule could not, and end what a person cancelled in Prefect."""
        from httpx import HTTPError

        told, answers = "", Answers(nights.broken_since, say=self._say)
        while True:
            try:
                # Where the server is just being started again, the next look comes soon.
                with suppress(HTTPError):
                    await self._end_cancelled(nights)
                    await self._start_due(nights, answers)
                told = ""
            except (OSError, LedgerBusy, LedgerUnwritable, BadInput) as error:
                # The inbox's share is away, a night by hand came first, the disk is full, or
                # somebody is just editing the settings.
                words = error_words(error)
                if words != told:
                    told = words
                    self._say(f"nights cannot be looked after: {words}; tried again until they can")
            await asyncio.sleep(DUE_EVERY)

    async def _end_cancelled(self, nights: NightDeployment) -> None:
        night = await asyncio.to_thread(open_night, self._studio)
        if night is None or await nights.busy() or await nights.is_another(night.flow_run_id):
            return
        if await nights.was_cancelled():
            page = await asyncio.to_thread(close, self._studio, night, CANCELLED)
            self._say(f"night {night.id} was cancelled; its report: {page}")

    async def _start_due(self, nights: NightDeployment, answers: Answers) -> None:
        found = await asyncio.to_thread(due, self._studio, now=datetime.now(UTC))
        if found is None or await nights.busy() or await answers.hold(found.mark):
            return
        if await nights.paused() or await nights.is_another(found.flow_run_id):
            return
        if found.flow_run_id is not None and await nights.was_cancelled():
            return  # cancelled since the last look: the next one closes it
        # A night would break by them, and is not to wait any longer than they are mended.
        load_studio(self._studio.root)
        answers.give(found.mark)
        if found.since is not None and await nights.ran_since(found.since):
            return
        self._say(f"{found.words}: a night is started")
        await nights.start()

    def _hours(self) -> str:
        window = self._studio.window
        if window is None:
            return "no hours are set: start a night in Prefect, or with `rushes run`"
        instant = datetime.now(UTC)
        hours = window.now(instant)
        if hours is not None:
            return f"the hours of {hours.evening} are on, until {_local(hours.closes, window)}"
        return f"the next night begins {_local(window.next(instant).opens, window)}"

    def _say(self, words: str) -> None:
        self._console.print(words, highlight=False, markup=False, soft_wrap=True)


def _local(instant: datetime, window: Window) -> str:
    there = instant.astimezone(window.timezone)
    return f"{there:%A %Y-%m-%d %H:%M} ({there.tzname()})"


def _stop_nights() -> None:
    """End the night that runs, as by Ctrl-C; by force where it does not end in time."""
    nights = [child for child in psutil.Process().children() if _is_night(child)]
    families = [each for night in nights for each in (night, *_children(night))]
    for night in nights:
        with suppress(psutil.NoSuchProcess):
            night.terminate()
    _, alive = psutil.wait_procs(nights, timeout=NIGHT_STOPS)
    for process in families if alive else []:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _is_night(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "prefect.engine" in process.cmdline()
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []
