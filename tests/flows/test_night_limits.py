"""A night judges by the limits that the studio learned, and its verdicts keep them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_pool import FakePool

from manifests.load import load_manifest
from manifests.settings import load_studio
from qc.cells import Measured
from qc.scorecard import Verdict
from qc.studio_limits import NAME, CellLimits, StudioLimits
from qc.thresholds import table_version
from reports.ledger_reads import LedgerReads
from tasks.limits import cell_of

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


def night_of(studio: Any, sheet: Any, pool: FakePool) -> None:
    from flows.night import POOL, night

    token = POOL.set(lambda _studio, _listener: pool)
    try:
        asyncio.run(night(manifests=[sheet], root=studio.root))
    finally:
        POOL.reset(token)


def test_a_night_judges_by_learned_limits_and_keeps_them(studio: Any) -> None:
    """A take that the defaults would pass is retaken by the cell's learned limit; its verdict and
    the sidecar of the approved one name limit, date and number of clips."""
    sheet = studio.sheet([{"shot": "001"}])
    (shot,) = load_manifest(sheet, studio=load_studio(studio.root)).shots
    cell = CellLimits(
        cell=cell_of(shot.recipe), date="2026-11-20", clips=87, limits={"flicker": (0.004, 0.005)}
    )
    limits = StudioLimits(
        measured=Measured(versions={}, backbone="none"), defaults=table_version(), cells=(cell,)
    )
    (studio.root / NAME).write_text(limits.to_text())
    night_of(studio, sheet, FakePool({"001": [{"flicker": 0.006}]}))
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        (record,) = ledger.shot_records(ledger.nights()[-1].id)
        first, second = ledger.takes_of(record.id)
    assert (first.status.value, second.status.value) == ("rejected", "approved")
    assert first.verdict is not None
    assert first.verdict.reasons == ("flickers: 0.006, at most 0.005",)
    assert first.verdict.thresholds.endswith(f"calibrated 2026-11-20 on 87 clips of {cell.cell}")
    sidecar = json.loads((studio.root / "delivered/shots/001/001_v001.json").read_text())
    kept = Verdict.from_dict(sidecar["takes"][0]["verdict"])
    (flicker,) = [limit for limit in kept.limits if limit.metric == "flicker"]
    assert (flicker.fail, flicker.fail_from) == (0.005, cell.words)
    assert kept.backbone == "none"
