"""A night in the terminal: bars where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from flows.watch import Watcher
from render.backend import Progress
from reports.words import shot_count


class Clock:
    """Estimates when the night ends, from the shots that are done."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._open: dict[str, float] = {}
        self._done = 0.0

    def begin(self, shots: Sequence[tuple[str, float]]) -> None:
        """Start with these open shots: (`sheet/shot`, estimated seconds)."""
        self._started = time.monotonic()
        self._open, self._done = dict(shots), 0.0

    def finish(self, key: str) -> None:
        """A shot is done; one that is not open changes nothing."""
        self._done += self._open.pop(key, 0.0)

    @property
    def seconds_left(self) -> float:
        """Of the open shots, at the pace of those that are done, or as estimated before."""
        pace = (time.monotonic() - self._started) / self._done if self._done else 1.0
        return pace * sum(self._open.values())

    @property
    def words(self) -> str:
        """`about 0:03:20 left, until 02:14`."""
        left = timedelta(seconds=round(self.seconds_left))
        return f"about {left} left, until {datetime.now().astimezone() + left:%H:%M}"


def phase_words(progress: Progress) -> str:
    """Where a take is: `stage 2 of 3`, `decoding`."""
    match progress.phase:
        case "stage":
            return f"stage {progress.stage} of {progress.stages}"
        case "load":
            return "loading the model"
        case "encode":
            return "reading prompt and source"
        case "decode":
            return "decoding"
        case other:
            spoken = {"upscale": "upscaling", "grade": "grading", "encode-video": "encoding"}
            return spoken.get(other, other)


def shot_words(key: str) -> str:
    """`seq010_sh0010` from `sheet/shot`."""
    return key.rpartition("/")[2]


def take_words(take_id: str) -> str:
    """`seq010_sh0010 take 2` from a take's id; of a stage that is looked at, `..., stage 1`."""
    match take_id.split("/"):
        case [_, shot, _, take]:
            return f"{shot} take {take.removeprefix('t')}"
        case [_, shot, _, take, stage]:
            return f"{shot} take {take.removeprefix('t')}, {stage.replace('-', ' ')}"
        case _:
            return take_id


class PlainLines(Watcher):
    """One line for each change, with its time: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[tuple[str, str]] = set()
        self._clock = Clock()

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def began(self, night_id: str, shots: Sequence[tuple[str, float]]) -> None:
        """See `Watcher`."""
        self._clock.begin(shots)
        self._say(f"night {night_id}: {shot_count(len(shots))} to do, {self._clock.words}")

    def progress(self, progress: Progress) -> None:
        """See `Watcher`. A picture is no step; it is shown in Prefect and by `rushes status`."""
        if progress.preview is not None:
            return
        words = phase_words(progress)
        # NOTE: once for each phase: grading and encoding take turns frame by frame.
        if (progress.take_id, words) not in self._said:
            self._said.add((progress.take_id, words))
            steps = f", {progress.steps} steps" if progress.phase == "stage" else ""
            self._say(f"{take_words(progress.take_id)}: {words}{steps}")

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """See `Watcher`."""
        self._clock.finish(shot)
        self._say(f"{shot_words(shot)}: {status}. {words} [{self._clock.words}]")

    def news(self, words: str) -> None:
        """See `Watcher`."""
        self._say(" ".join(words.split()))

    def _say(self, text: str) -> None:
        stamp = f"{datetime.now().astimezone():%H:%M:%S}"
        self._console.print(f"{stamp} {text}", markup=False, highlight=False, soft_wrap=True)


class LiveBars(Watcher):
    """A bar for the night and one for each take in work."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}", style="dim", markup=False),
            console=console,
        )
        self._clock = Clock()
        self._night: TaskID | None = None
        self._shots, self._open = 0, set[str]()
        self._takes: dict[str, TaskID] = {}
        self._since: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> LiveBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._bars.stop()

    def began(self, night_id: str, shots: Sequence[tuple[str, float]]) -> None:
        """See `Watcher`."""
        self._clock.begin(shots)
        self._shots, self._open = len(shots), {shot for shot, _ in shots}
        self._night = self._bars.add_task(
            f"night {night_id}", total=len(shots), eta=self._clock.words
        )

    def progress(self, progress: Progress) -> None:
        """See `Watcher`. A picture is no step; it is shown in Prefect and by `rushes status`."""
        if progress.preview is not None:
            return
        words = phase_words(progress)
        name = f"  {take_words(progress.take_id)}: {words}"
        task = self._takes.get(progress.take_id)
        if task is None:
            task = self._takes[progress.take_id] = self._bars.add_task(name, total=None, eta="")
        phase, since = self._since.setdefault(progress.take_id, (words, time.monotonic()))
        if phase != words:
            since = time.monotonic()
            self._since[progress.take_id] = (words, since)
        eta = ""
        if 0 < progress.step < progress.steps:
            pace = (time.monotonic() - since) / progress.step
            eta = f"{timedelta(seconds=round(pace * (progress.steps - progress.step)))}"
        self._bars.update(
            task,
            description=name,
            completed=progress.step,
            total=progress.steps or None,
            eta=eta,
        )

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """See `Watcher`."""
        self._clock.finish(shot)
        self._open.discard(shot)
        for take_id in [take for take in self._takes if take.startswith(f"{shot}/")]:
            self._bars.remove_task(self._takes.pop(take_id))
        colour = {"approved": "green", "held": "yellow"}.get(status, "red")
        said = f"[{colour}]{status:>9}[/] {shot_words(shot)}"
        self._bars.console.print(said, _plain(words), highlight=False)
        if self._night is not None:
            done = self._shots - len(self._open)
            self._bars.update(self._night, completed=done, eta=self._clock.words)

    def news(self, words: str) -> None:
        """See `Watcher`."""
        line = " ".join(words.split())
        self._bars.console.print(line, style="yellow", markup=False, highlight=False)


def _plain(words: str) -> str:
    from rich.markup import escape

    return escape(words)


def watcher_for(console: Console) -> PlainLines | LiveBars:
    """Bars on a terminal, plain lines elsewhere."""
    return LiveBars(console) if console.is_terminal else PlainLines(console)
