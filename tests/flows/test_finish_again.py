"""An approved take whose finish failed: what the next run does about it."""

from __future__ import annotations

from typing import Any

import pytest
from fake_night import night_of, statuses
from fake_pool import FakePool

from manifests.settings import load_studio
from render.errors import ClipUnreadable
from render.order import Delivery, FinishOrder

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


class Unfinished(FakePool):
    """Renders, and finishes nothing."""

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """As where a colour table is gone."""
        raise ClipUnreadable("warm.cube is gone")


def test_a_shot_whose_finish_failed_is_finished_by_the_next_run(studio: Any) -> None:
    """The report says to run the same sheets again: there is work in them, though nothing else is
    open, and it is the finish alone."""
    from flows.run import look

    rows = [{"shot": "sh0010"}]
    assert night_of(studio, rows, Unfinished())["shots"]["held"] == 1
    plan, _ = look([studio.root / "shots.csv"], load_studio(studio.root), False)
    assert [line.shot.id for line in plan.open_lines] == ["sh0010"]
    pool = FakePool()
    assert night_of(studio, rows, pool)["shots"]["approved"] == 1
    assert pool.rendered == []
    assert statuses(studio, "sh0010") == ["approved"]
