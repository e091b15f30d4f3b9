"""Numbers, times and the night's one sentence, as a person reads them."""

from __future__ import annotations

from datetime import date, datetime

from qc.metrics import METRICS
from qc.scorecard import Finding, Level
from reports.lines import NightReport, ShotLine
from reports.take import ShotStatus, TakeStatus

STATUS_WORDS: dict[ShotStatus, str] = {
    ShotStatus.APPROVED: "approved",
    ShotStatus.HELD: "held for you",
    ShotStatus.FAILED: "machine failed",
    ShotStatus.WORKING: "in work",
    ShotStatus.WAITING: "not started",
}
TAKE_WORDS: dict[TakeStatus, str] = {
    TakeStatus.QUEUED: "queued",
    TakeStatus.RENDERING: "rendering",
    TakeStatus.RENDERED: "not yet judged",
    TakeStatus.APPROVED: "approved",
    TakeStatus.REJECTED: "rejected",
    TakeStatus.HELD: "held",
    TakeStatus.FAILED: "machine failed",
}


def verdict_line(report: NightReport) -> str:
    """The night in one sentence: `7 of 8 shots approved, 1 needs you.`"""
    total, approved = report.headline.shots, report.headline.approved
    if not total:
        return "Nothing was rendered." if report.refused else "Nothing was asked of this night."
    shots = _plural(total, "shot", "shots")
    if not report.finished:
        return f"Not finished: {approved} of {total} {shots} approved so far."
    waiting = total - approved
    if not waiting:
        return "The one shot is approved." if total == 1 else f"All {total} shots approved."
    need = f"{waiting} {_plural(waiting, 'needs', 'need')} you"
    if approved:
        return f"{approved} of {total} {shots} approved, {need}."
    return "The one shot needs you." if total == 1 else f"No shot approved, {need}."


def refused_line(report: NightReport) -> str:
    """`2 lines of the sheet were refused`; empty when none was."""
    places = {(fault.get("file"), fault.get("row")) for fault in report.refused}
    count = len(report.refused) if report.client_safe else len(places)
    if not count:
        return ""
    return f"{count} {_plural(count, 'line of the sheet was', 'lines of the sheet were')} refused"


def night_name(night_id: str) -> str:
    """`2026-11-21-2` as `Saturday 21 November 2026, second night`; another id as it is."""
    day, count = night_id[:10], night_id[11:]
    try:
        text = f"{date.fromisoformat(day):%A %-d %B %Y}"
    except ValueError:
        return night_id
    return f"{text}, night {count}" if count else text


def clock_time(moment: datetime) -> str:
    """Local wall clock of this machine: `22:04`."""
    return f"{moment.astimezone():%H:%M}"


def duration(seconds: float) -> str:
    """`4.2 s`, `48 s`, `12 min 30 s`, `2 h 14 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 20 else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size_words(size: int) -> str:
    """Bytes as `28.6 GB`, `3 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def percent(share: float) -> str:
    """A share as `25 %`."""
    return f"{share * 100:.0f} %"


def number(value: float, metric: str = "") -> str:
    """A value with the digits that its metric deserves."""
    known = METRICS.get(metric)
    if known is not None:
        return f"{value:.{known.digits}f}"
    return f"{value:.3g}".replace("-", "−")


def metric_title(metric: str) -> str:
    """What a metric is called: `Flicker`."""
    known = METRICS.get(metric)
    return known.title if known is not None else metric.replace("_", " ").capitalize()


def metric_meaning(metric: str) -> str:
    """One sentence for a tooltip; empty for a metric this version does not know."""
    known = METRICS.get(metric)
    return known.meaning if known is not None else ""


def limit_words(finding: Finding) -> str:
    """`at most 0.0065`, `at least 0.70`; empty without a limit."""
    if finding.limit is None:
        return ""
    return f"{'at most' if _capped(finding) else 'at least'} {_limit(finding)}"


def limit_sign(finding: Finding) -> str:
    """`≤ 0.0065`, `≥ 0.70`; empty without a limit."""
    if finding.limit is None:
        return ""
    return f"{'≤' if _capped(finding) else '≥'} {_limit(finding)}"


def plain_words(finding: Finding) -> str:
    """A finding from its numbers alone: nothing a path or a name could hide in."""
    title, value = metric_title(finding.metric), number(finding.value, finding.metric)
    limit = limit_words(finding)
    return f"{title} {value}, {limit}" if limit else f"{title} {value}"


def shot_count(count: int) -> str:
    """`1 shot`, `3 shots`."""
    return f"{count} {_plural(count, 'shot', 'shots')}"


def take_count(line: ShotLine) -> str:
    """`1 take`, `3 takes`."""
    return f"{len(line.takes)} {_plural(len(line.takes), 'take', 'takes')}"


def _limit(finding: Finding) -> str:
    assert finding.limit is not None
    return f"{finding.limit:g}"


def _capped(finding: Finding) -> bool:
    """Whether the limit is an upper one."""
    known = METRICS.get(finding.metric)
    if known is not None:
        return known.higher_is_worse
    assert finding.limit is not None
    over = finding.value > finding.limit
    return over if finding.level is Level.FAIL else not over


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
