from __future__ import annotations

import io

from rich.console import Console

from reports.client_safe import client_safe
from reports.morning import render_page
from reports.needs import refusal
from reports.night_report import build_night_report
from reports.take import TakeStatus
from reports.terminal import print_summary, summary_lines


def test_a_pipe_gets_plain_lines(night):
    """No colour, no box, one line a shot, and the needs at the end."""
    file = io.StringIO()
    print_summary(build_night_report(night.ledger, night.id), Console(file=file))
    text = file.getvalue()
    assert "\x1b" not in text
    assert "2 of 4 shots approved, 2 need you." in text
    assert "  001: machine failed, 1 take\n" in text
    assert text.index("needs a person:") > text.index("seq010_sh0030")


def test_a_terminal_gets_a_table(night):
    """Colours and the delivered file's name."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, color_system="standard")
    print_summary(build_night_report(night.ledger, night.id), console)
    assert "\x1b[" in file.getvalue()
    assert "held for you" in file.getvalue()
    assert "_v001.mp4" in file.getvalue()


def test_a_delivered_file_that_somebody_moved_is_told(night):
    """An approved shot whose file is gone is approved still; its path is not told as if it were
    there, nor on the page."""
    report = build_night_report(night.ledger, night.id)
    (line, *_) = [line for line in report.shots if line.delivery is not None]
    assert not [told for told in summary_lines(report) if "any more" in told]
    line.delivery.delivery.path.unlink()
    report = build_night_report(night.ledger, night.id)
    gone = f"{line.delivery.delivery.path}, which is not there any more"
    assert [told for told in summary_lines(report) if gone in told]
    assert "which is not in its place any more" in render_page(report, night.maker.root)
    assert "any more" not in render_page(client_safe(report), night.maker.root, client_safe=True)


def test_a_question_is_no_sentence_with_a_full_stop(maker):
    """`did you mean 'a.png'?` ends with its question mark."""
    need = refusal({"file": "s.csv", "row": 2, "problem": "is gone", "remedy": "did you mean 'a'?"})
    assert need.told == "s.csv row 2: refused: is gone. Did you mean 'a'? Then run again."


def test_words_cannot_command_the_terminal(maker):
    """Escape sequences and markup in ids and errors are shown as text or blanked."""
    hostile = "\x1b[2J\x1b]0;owned\x07[bold]x[/bold]"
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        shot = ledger.record_shot(name, "shots", maker.shot(hostile), 0).id
        take = maker.add(ledger, shot, name)
        ledger.move(take.take_id, TakeStatus.RENDERING, night=name, words="")
        ledger.move(take.take_id, TakeStatus.FAILED, night=name, words=hostile)
        ledger.end_night(name, hostile)
        report = build_night_report(ledger, name)
    assert all(line.isprintable() for line in summary_lines(report))
    file = io.StringIO()
    print_summary(report, Console(file=file, force_terminal=True, width=300))
    assert "\x1b[2J" not in file.getvalue()
    assert "\x1b]0" not in file.getvalue()
    assert "[bold]x[/bold]" in file.getvalue()
