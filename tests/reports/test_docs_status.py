from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest

from reports.docs_status import sentences, status_tables, with_tables
from reports.take import TakeStatus

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_says_what_the_code_does():
    """docs/ledger.md holds the tables made from TRANSITIONS and the enums of today."""
    page = (DOCS / "ledger.md").read_text()
    assert with_tables(page) == page, "run: python -m reports.docs_status"


def test_every_status_has_its_row_and_sentence():
    """No status is undocumented, and final ones say so."""
    table = status_tables()
    assert all(f"| `{status}` |" in table for status in TakeStatus)
    assert "| nothing: final |" in table


def test_a_status_without_a_sentence_is_refused():
    """A member whose sentence is missing stops the page from being made."""

    class Mute(StrEnum):
        """No sentences."""

        SILENT = "silent"

    with pytest.raises(ValueError, match="silent"):
        sentences(Mute)
    with pytest.raises(ValueError, match="lacks"):
        with_tables("# no marks")
