"""What the page shows of each shot: the report's lines turned into what the templates print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from qc.metrics import CURVES
from qc.scorecard import Finding, Level
from reports.charts import Slice, Spark, slices, spark
from reports.lines import NightReport, ShotLine, TakeLine
from reports.media import Shelf, Wanted, is_small, relative_url
from reports.take import ShotStatus, TakeStatus
from reports.timing import PhaseSeconds
from reports.words import metric_title

FIRST_SCORES = 6
"""Scores shown at once; failures and warnings always, the others behind a fold."""
REEL = 8
"""Shots in the page's head, at most."""
REEL_ASPECT = 18.0
"""Width of the head's reel by its height, on a usual screen."""

JPEG, MP4 = "image/jpeg", "video/mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeView:
    """A take on the page."""

    line: TakeLine
    status: TakeStatus
    strip: str | None
    """URL."""
    film: str | None
    """URL of its preview, for a shot with several takes: flicker does not show on a strip."""
    slices: tuple[Slice, ...]
    seconds: float
    stages: tuple[StageView, ...]
    """Those that have a strip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """What a stage of a take left, in rough colours."""

    number: int
    """1-based."""
    strip: str
    """URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric over the takes of a shot."""

    title: str
    metric: str
    values: tuple[Finding | None, ...]
    """One per take; None where it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveView:
    """A per-frame curve of the take that is shown."""

    title: str
    unit: str
    meaning: str
    spark: Spark


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotView:
    """A shot on the page."""

    line: ShotLine
    order: int
    anchor: str
    needs_you: bool
    tells_takes: bool
    film: str | None
    """URL of what plays."""
    film_width: int
    """Pixels; with `film_height` it gives the browser the shape before the film is there."""
    film_height: int
    film_words: str
    """What it is: `delivered file`, `preview of take 2`."""
    strip: str | None
    """URL."""
    delivered_link: str | None
    sidecar_link: str | None
    takes: tuple[TakeView, ...]
    comparisons: tuple[Comparison, ...]
    first_scores: tuple[Finding, ...]
    more_scores: tuple[Finding, ...]
    curves: tuple[CurveView, ...]
    worst: float
    """Severity of the worst finding of the take that is shown."""
    seconds: float
    """Machine time over all takes and the finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The left part of a strip in the page's head."""

    anchor: str
    url: str
    shown: int
    """Pixels of `width` that are shown."""
    width: int
    height: int


def wanted_media(report: NightReport) -> list[Wanted]:
    """Every file the page would show, as often as it would: the most useful first.

    The byte budget ends somewhere: what needs a person comes before what is approved, a strip
    for every shot before films, then films of single takes, and
    the strips of their stages last.
    """
    needy = {need.shot_id for need in report.needs}
    lines = sorted(report.shots, key=lambda line: line.record.id not in needy)
    approved = [line for line in lines if line.status is ShotStatus.APPROVED]
    strips = [line.strip for line in lines]
    strips += [line.strip for line in (approved or lines)[:REEL]]
    strips += [line.strip for line in lines if line.record.id in needy]
    told = [line for line in lines if _tells_takes(line, needs_you=line.record.id in needy)]
    take_strips = [take.strip for line in told for take in line.takes]
    films = [film[0] for line in lines if (film := _film(line))]
    stages = [path for line in lines for take in line.takes for path in take.stage_strips]
    previews = [take.preview for line in told if len(line.takes) > 1 for take in line.takes]
    return [
        *(Wanted(path=path, mime=JPEG) for path in strips if path is not None),
        *(Wanted(path=path, mime=MP4) for path in films),
        *(Wanted(path=path, mime=JPEG) for path in take_strips if path is not None),
        *(Wanted(path=path, mime=MP4) for path in previews if path is not None),
        *(Wanted(path=path, mime=JPEG) for path in stages if path is not None),
    ]


def shot_views(report: NightReport, shelf: Shelf, *, folder: Path) -> tuple[ShotView, ...]:
    """The shots as the templates print them."""
    needy = {need.shot_id for need in report.needs}
    return tuple(
        _view(line, order, shelf, needs_you=line.record.id in needy, folder=_link(report, folder))
        for order, line in enumerate(report.shots)
    )


def reel(views: Sequence[ShotView]) -> list[Cell]:
    """The first frames of a few shots for the page's head: approved ones, else any."""
    shown = [view for view in views if view.strip and view.strip.startswith("data:")]
    approved = [view for view in shown if view.line.status is ShotStatus.APPROVED]
    chosen = (approved or shown)[:REEL]
    # Few shots show more frames each, so that the reel spans the page.
    frames = max(2, math.ceil(REEL_ASPECT / sum(map(_aspect, chosen)))) if chosen else 0
    cells = (_cell(view, frames) for view in chosen)
    return [cell for cell in cells if cell is not None]


def _aspect(view: ShotView) -> float:
    return view.film_width / view.film_height


def _cell(view: ShotView, frames: int) -> Cell | None:
    """The first frames of a strip; None for a file that is no picture."""
    strip = view.line.strip
    assert strip is not None
    assert view.strip is not None
    try:
        with Image.open(strip) as picture:
            width, height = picture.size
    except (OSError, Image.DecompressionBombError):
        return None
    shown = min(width, round(frames * (height * _aspect(view) + 2)) - 2)
    return Cell(anchor=view.anchor, url=view.strip, shown=shown, width=width, height=height)


def _link(report: NightReport, folder: Path) -> Path | None:
    return None if report.client_safe else folder


def _view(
    line: ShotLine, order: int, shelf: Shelf, *, needs_you: bool, folder: Path | None
) -> ShotView:
    findings = () if line.best is None else line.best.findings
    always = sum(finding.level is not Level.PASS for finding in findings)
    shown = max(always, FIRST_SCORES)
    film = _film(line)
    size = line.shot.recipe if line.delivery is None else line.delivery.delivery
    finish = line.finish
    longest = max((_seconds(take, line, finish) for take in line.takes), default=0.0)
    return ShotView(
        line=line,
        order=order,
        anchor=f"shot-{line.record.id}",
        needs_you=needs_you,
        tells_takes=_tells_takes(line, needs_you=needs_you),
        film=None if film is None else shelf.url(film[0]),
        film_width=size.width,
        film_height=size.height,
        film_words="" if film is None else film[1],
        strip=shelf.url(line.strip),
        delivered_link=None
        if line.delivery is None or folder is None
        else relative_url(line.delivery.delivery.path, folder),
        sidecar_link=None
        if line.delivery is None or folder is None
        else relative_url(line.delivery.sidecar, folder),
        takes=tuple(_take_view(take, line, shelf, finish, longest) for take in line.takes),
        comparisons=tuple(_comparisons(line)),
        first_scores=findings[:shown],
        more_scores=findings[shown:],
        curves=tuple(_curves(line)),
        worst=findings[0].severity if findings else 0.0,
        seconds=line.seconds,
    )


def _take_view(
    take: TakeLine,
    line: ShotLine,
    shelf: Shelf,
    finish: tuple[PhaseSeconds, ...],
    longest: float,
) -> TakeView:
    phases = _phases(take, line, finish)
    return TakeView(
        line=take,
        status=take.record.status,
        strip=shelf.url(take.strip),
        film=shelf.url(take.preview) if len(line.takes) > 1 else None,
        slices=slices(phases, whole=longest),
        seconds=sum(phase.seconds for phase in phases),
        stages=tuple(
            StageView(number=number, strip=url)
            for number, path in enumerate(take.stage_strips, 1)
            if (url := shelf.url(path)) is not None
        ),
    )


def _phases(
    take: TakeLine, line: ShotLine, finish: tuple[PhaseSeconds, ...]
) -> tuple[PhaseSeconds, ...]:
    return take.phases + (finish if take is line.best else ())


def _seconds(take: TakeLine, line: ShotLine, finish: tuple[PhaseSeconds, ...]) -> float:
    return sum(phase.seconds for phase in _phases(take, line, finish))


def _tells_takes(line: ShotLine, *, needs_you: bool) -> bool:
    """Whether the takes are a story: one that passed at once is not."""
    return len(line.takes) > 1 or needs_you or any(take.failures for take in line.takes)


def _film(line: ShotLine) -> tuple[Path, str] | None:
    """What plays and what it is: the delivered file, or a preview where that is too large."""
    delivered = None if line.film is None else (line.film, "delivered file")
    if delivered is not None and is_small(delivered[0]):
        return delivered
    if line.best is not None and line.best.preview is not None:
        return line.best.preview, f"preview of take {line.best.record.number}"
    return delivered


def _comparisons(line: ShotLine) -> Iterator[Comparison]:
    """Metrics that failed in some take of a shot that was retaken, over all its takes."""
    if len(line.takes) < 2:
        return
    names = dict.fromkeys(
        finding.metric
        for take in line.takes
        for finding in take.findings
        if finding.level is Level.FAIL
    )
    for name in names:
        values = tuple(
            next((f for f in take.findings if f.metric == name), None) for take in line.takes
        )
        yield Comparison(title=metric_title(name), metric=name, values=values)


def _curves(line: ShotLine) -> Iterator[CurveView]:
    card = None if line.best is None else line.best.record.scorecard
    for name, values in ((card.curves or {}) if card is not None else {}).items():
        drawn = spark(values)
        known = CURVES.get(name)
        if drawn is not None:
            yield CurveView(
                title=known.title if known else metric_title(name),
                unit=known.unit if known else "",
                meaning=known.meaning if known else "",
                spark=drawn,
            )
