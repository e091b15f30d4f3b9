"""The sheets of a night: each read by itself, then held against the others and the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from manifests.load import load_manifest
from manifests.sequence import link_sheets
from manifests.settings import Studio
from manifests.sheet import sheet_name
from manifests.shot import Manifest
from reports.ledger_reads import LedgerReads


def load_sheets(paths: Iterable[Path], *, studio: Studio) -> list[Manifest]:
    """The sheets, with every fault of each and of what they say of each other's shots.

    A sheet that is named twice is read once.
    """
    once = {path.absolute(): path for path in paths}.values()
    return linked([load_manifest(path, studio=studio) for path in once], studio=studio)


def beside(sheet: Manifest, others: Iterable[Path], *, studio: Studio) -> Manifest:
    """A sheet with the faults of what it says of shots of these others, if it says anything."""
    own = f"{sheet.name}/"
    if all(key.startswith(own) for shot in sheet.shots for key in shot.after):
        return sheet
    paths = [path for path in others if sheet_name(path) != sheet.name]
    return linked([sheet, *(load_manifest(p, studio=studio) for p in paths)], studio=studio)[0]


def linked(sheets: list[Manifest], *, studio: Studio) -> list[Manifest]:
    """Sheets that were read, with the faults of what they say of each other's shots."""
    if not studio.ledger_path.exists():
        return list(link_sheets(sheets, known=lambda key: False))
    with LedgerReads(studio.ledger_path) as ledger:

        def known(key: str) -> bool:
            manifest, _, shot = key.partition("/")
            return ledger.latest_shot(manifest, shot) is not None

        return list(link_sheets(sheets, known=known))
