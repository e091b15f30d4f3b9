"""What waits for a person after a night, in words: what happened and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from manifests.sequence import shot_key
from qc.scorecard import FailureClass
from render.errors import SourceUnreadable
from reports.lines import Need, ShotLine
from reports.records import NightRecord
from reports.take import ShotStatus, TakeStatus


def needs_of(
    night: NightRecord, shots: Sequence[ShotLine], refused: Sequence[dict[str, Any]]
) -> Iterator[Need]:
    """Held and failed shots, then what an ended night left open, then refused lines."""
    order = [ShotStatus.HELD, ShotStatus.FAILED, ShotStatus.WORKING, ShotStatus.WAITING]
    waiting = [line for line in shots if line.status in order]
    for line in sorted(waiting, key=lambda line: order.index(line.status)):
        words = _words(line, ended=night.ended is not None)
        if words is not None:
            yield Need(
                shot_id=line.record.id,
                title=line.shot.id,
                words=words[0],
                remedy=words[1],
                command=_as_it_is(line),
            )
    for fault in refused:
        yield refusal(fault)


def refusal(fault: dict[str, Any]) -> Need:
    """A refused line of the sheet, from its fault as plain data."""
    place = str(fault.get("file") or "the sheet").rsplit("/", 1)[-1]
    if fault.get("row") is not None:
        place += f" row {fault['row']}"
    if fault.get("column"):
        place += f", column {fault['column']}"
    shot = f" ({fault['shot']})" if fault.get("shot") else ""
    return Need(
        shot_id=None,
        title=f"{place}{shot}",
        words=f"refused: {fault.get('problem') or 'it could not be read'}",
        remedy=_sentence(str(fault.get("remedy") or "mend the line")) + " Then run again.",
    )


def _words(line: ShotLine, *, ended: bool) -> tuple[str, str] | None:
    match line.status:
        case ShotStatus.HELD:
            return _held(line)
        case ShotStatus.FAILED:
            return _failed(line)
        case ShotStatus.WORKING | ShotStatus.WAITING:
            if not ended:
                return None
            if any(take.record.by_hand is not None for take in line.takes):
                return "a person approved it, and it is not delivered yet", _DELIVER
            if line.waits and not line.takes:
                return line.waits, "See to that shot first; then run the same sheets again."
            words = "the night ended before it was done" if line.takes else "it was not started"
            return words, "Run the same sheets again: the night goes on where it stopped."
        case ShotStatus.APPROVED:
            return None
        case unreachable:
            assert_never(unreachable)


def _held(line: ShotLine) -> tuple[str, str]:
    if any(take.record.status is TakeStatus.APPROVED for take in line.takes):
        tries = [failure for take in line.takes for failure in take.failures]
        words = tries[-1].words if tries else ""
        cause = f": {words}" if words else ""
        return (
            f"approved, but finishing it failed{cause}",
            "Mend what the message names, then run the same sheets again.",
        )
    count = len(line.takes)
    takes = "its take was" if count == 1 else f"none of {count} takes was"
    best = line.best
    reason = best.reasons[0] if best is not None and best.reasons else "no score says why"
    verdict = "rejected" if count == 1 else "good enough"
    number = "" if best is None or count == 1 else f"; the best is take {best.record.number}"
    return f"{takes} {verdict}{number}: {reason}", _advice(line)


def _failed(line: ShotLine) -> tuple[str, str]:
    last = line.takes[-1]
    words = last.record.transitions[-1].words or (last.failures[-1].words if last.failures else "")
    cause = f": {words}" if words else ""
    gone = bool(last.failures) and last.failures[-1].error == SourceUnreadable.__name__
    see_to = "Put its still back" if gone else "See to the machine"
    return (
        f"the machine could not render it{cause}",
        f"{see_to}, then run the same sheets again; no take is lost.",
    )


_DELIVER = "Run the same sheets again: it is finished and delivered."
_ADVICE = {
    FailureClass.CONDITIONING: "Look at the first frame; try a still closer to the model's size.",
    FailureClass.FROZEN: "Name the move in the prompt, or raise the first stage's CFG.",
    FailureClass.FLICKER: "Watch the best take; lower the last stage's denoise if it shows.",
    FailureClass.BOILING: "Watch the best take; lower the last stage's denoise if it shows.",
    FailureClass.OVERSATURATED: "Lower the CFG, or grade it.",
    FailureClass.COLOUR_DRIFT: "Watch the best take; lower the CFG, or grade it.",
    FailureClass.WOBBLE: "Try another seed, or a simpler move.",
    FailureClass.IDENTITY: "Try fewer frames, another seed, or lower the later stages' denoise.",
    FailureClass.BANDING: "Render it with the VAE in float32, or add grain in the grade.",
    FailureClass.DROPPED: "Try another seed, or a slower move.",
    FailureClass.BLUR: "Try more steps in the last stage, or a sharper still.",
    FailureClass.CUT: "Try another seed, or a simpler move.",
    FailureClass.COLLAPSE: "Try fewer frames, or another seed.",
    FailureClass.MEMORY: "Ask for fewer frames or a smaller size, or let its preset concede more.",
    FailureClass.NAN: "Render it in float32, or with another preset or model.",
    FailureClass.NAN_FRAMES: "Render it with another preset or model.",
}


def _advice(line: ShotLine) -> str:
    failure = None if line.best is None else line.best.failure
    general = "Watch the best take; change the prompt, seed or preset of the row."
    advice = general if failure is None else _ADVICE.get(failure, general)
    return f"{advice} A changed row renders anew."


def _as_it_is(line: ShotLine) -> str:
    """The command that approves the best take of a held shot; empty where there is none."""
    best = line.best
    if line.status is not ShotStatus.HELD or best is None or best.record.receipt is None:
        return ""
    if best.record.status is TakeStatus.APPROVED:
        return ""
    name = shlex.quote(shot_key(line.record.manifest, line.shot.id))  # sheets may have blanks
    return f"rushes approve {name} {best.record.number}"


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"
