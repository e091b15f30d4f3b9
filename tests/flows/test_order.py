"""Nights in which shots come after others: through the real Prefect API, with a pool of fakes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_pool import FakePool
from PIL import Image
from waiting import LONG

from manifests.files import sha256_file
from render.clip import read_clip
from render.errors import GradeUnusable, RenderError
from render.order import Delivery, FinishOrder, Receipt, RenderOrder
from reports.ledger_reads import LedgerReads
from reports.records import EventKind, ShotRecord, TakeRecord

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

FROZEN = {"frozen": 1.0}
HELD = [{"frozen": 1.0}] * 3
CHAIN: list[dict[str, Any]] = [
    {"shot": "sh0030", "source": "", "start_from": "sh0020"},
    {"shot": "sh0010"},
    {"shot": "sh0020", "source": "", "start_from": "sh0010"},
]
"""Three shots, each from the one before, in another order than they must come in."""


def night_of(
    studio: Any, pool: FakePool, *sheets: list[dict[str, Any]], skip_bad: bool = False
) -> dict[str, Any]:
    """A night over sheets `a`, `b` ... of these rows."""
    from flows.night import POOL, night

    paths = [studio.sheet(rows, f"{'abc'[n]}.csv") for n, rows in enumerate(sheets)]

    async def run() -> dict[str, Any]:
        token = POOL.set(lambda _studio, _listener: pool)
        try:
            return await night(manifests=paths, root=studio.root, skip_bad=skip_bad)
        finally:
            POOL.reset(token)

    return asyncio.run(run())


def told(studio: Any) -> dict[str, tuple[ShotRecord, list[TakeRecord]]]:
    """The shots of the latest night with their takes, by name."""
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        records = ledger.shot_records(ledger.nights()[-1].id)
        found = {record.shot.id: (record, ledger.takes_of(record.id)) for record in records}
        assert len(found) == len(records), "a shot stands twice in the night"
        return found


def waits(studio: Any) -> dict[str, str]:
    """What `rushes status` says of the shots that wait."""
    from flows.status import night_status

    found = night_status(studio.root)
    waiting = [shot for shot in found["shots"] if shot["status"] == "waiting"]
    assert not {shot["shot_id"] for shot in waiting} & set(found["next"])
    return {shot["shot"]: shot["last"] for shot in waiting}


def order_of(pool: FakePool) -> list[str]:
    return [take.split("/")[1] for take in pool.rendered]


def test_each_shot_of_a_chain_starts_from_the_last_frame_of_the_one_before(studio: Any) -> None:
    """Rendered one after the other; the recipe has the hash of a PNG beside the approved take,
    which is the clip's last frame to the nearest of 256 levels."""
    pool = FakePool()
    result = night_of(studio, pool, CHAIN)
    assert result["shots"]["approved"] == 3
    assert order_of(pool) == ["sh0010", "sh0020", "sh0030"]
    shots = told(studio)
    for name, before in (("sh0020", "sh0010"), ("sh0030", "sh0020")):
        record, (take,) = shots[name]
        receipt = shots[before][1][-1].receipt
        assert receipt is not None
        png = receipt.clip.with_name("last-frame.png")
        assert record.shot.source is not None
        assert record.shot.source.path == png
        assert take.recipe.source_sha256 == sha256_file(png)
        last = list(read_clip(receipt.clip))[-1]
        seen = np.asarray(Image.open(png), np.float32)
        assert np.abs(seen - 255 * last).max() <= 0.5001
    sidecar = json.loads((studio.root / "delivered/a/sh0030/sh0030_v001.json").read_text())
    assert sidecar["source"]["name"] == "last-frame.png"
    again = FakePool()
    assert night_of(studio, again, CHAIN)["shots"]["approved"] == 3
    assert again.rendered == []


def test_a_retake_decides_what_follows_starts_from(studio: Any) -> None:
    """Take 1 is rejected, take 2 approved: the next shot starts from take 2."""
    pool = FakePool({"sh0010": [FROZEN]})
    night_of(studio, pool, CHAIN)
    assert order_of(pool) == ["sh0010", "sh0010", "sh0020", "sh0030"]
    record, _ = told(studio)["sh0020"]
    assert record.shot.source is not None
    assert record.shot.source.path.parent.name == "t2"


class Finishing(FakePool):
    """Its finish of sh0010 ends, well or not, once sh0020 was rendered."""

    def __init__(self, *, error: RenderError | None = None) -> None:
        super().__init__()
        self._error = error
        self._followed = asyncio.Event()

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        if order.shot == "sh0020":
            self._followed.set()
        return await super().render(order, budget=budget, place=place)

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        if order.shot == "sh0010":
            await asyncio.wait_for(self._followed.wait(), LONG)
            if self._error is not None:
                raise self._error
        return await super().finish(order, budget=budget)


def test_a_shot_begins_when_the_one_before_it_is_approved(studio: Any) -> None:
    """Not only when that one is finished and delivered: what it starts from does not change any
    more. A finish that fails holds the shot, not those that come after it."""
    pool = Finishing()
    assert night_of(studio, pool, CHAIN)["shots"]["approved"] == 3
    assert order_of(pool) == ["sh0010", "sh0020", "sh0030"]


def test_a_finish_that_fails_holds_its_own_shot_alone(studio: Any) -> None:
    """What comes after it was approved as it was; the next run finishes it."""
    broken = Finishing(error=GradeUnusable("the LUT vanished; put it back"))
    counts = night_of(studio, broken, CHAIN)["shots"]
    assert (counts["approved"], counts["held"]) == (2, 1)
    again = FakePool()
    assert night_of(studio, again, CHAIN)["shots"]["approved"] == 3
    assert again.rendered == []


def test_a_first_shot_that_changes_changes_what_follows_and_only_then(studio: Any) -> None:
    """Another still: all three again, as v002. Other words that give the very same last frame:
    that shot alone."""
    night_of(studio, FakePool(), CHAIN)
    same_frame = [CHAIN[0], {"shot": "sh0010", "prompt": "pan left slowly"}, CHAIN[2]]
    pool = FakePool()
    night_of(studio, pool, same_frame)
    assert order_of(pool) == ["sh0010"]
    with Image.open(studio.root / "still.png") as image:
        image.rotate(180).save(studio.root / "other.png")
    other = [CHAIN[0], {"shot": "sh0010", "source": "other.png"}, CHAIN[2]]
    pool = FakePool()
    assert night_of(studio, pool, other)["shots"]["approved"] == 3
    assert order_of(pool) == ["sh0010", "sh0020", "sh0030"]
    assert (studio.root / "delivered/a/sh0030/sh0030_v002.mp4").exists()
    again = FakePool()
    night_of(studio, again, other)
    assert again.rendered == []


def test_behind_a_held_shot_nothing_is_done_and_the_rest_goes_on(studio: Any) -> None:
    """Status and report say in words what waits for what; once the held shot's row is changed and
    it is approved, the next night renders what waited."""
    rows = [*CHAIN, {"shot": "sh0040"}, {"shot": "sh0050", "after": "sh0040; sh0020"}]
    pool = FakePool({"sh0010": list(HELD)})
    result = night_of(studio, pool, rows)
    assert (result["shots"]["held"], result["shots"]["approved"]) == (1, 1)
    assert result["shots"]["waiting"] == 3
    assert set(order_of(pool)) == {"sh0010", "sh0040"}
    assert waits(studio) == {
        "sh0020": "waits for sh0010, which is held",
        "sh0030": "waits for sh0020, which waits itself",
        "sh0050": "waits for sh0020, which waits itself",
    }
    page = Path(result["report"]).read_text()
    assert "waits for sh0010, which is held" in page
    assert "See to that shot first" in page
    still_held = FakePool()
    night_of(studio, still_held, rows)
    assert still_held.rendered == []
    assert waits(studio)["sh0020"] == "waits for sh0010, which is held"
    changed = [{**row, "seed": "7"} if row["shot"] == "sh0010" else row for row in rows]
    pool = FakePool()
    assert night_of(studio, pool, changed)["shots"]["approved"] == 5
    chain = [shot for shot in order_of(pool) if shot != "sh0050"]
    assert chain == ["sh0010", "sh0020", "sh0030"]
    assert order_of(pool).index("sh0050") > order_of(pool).index("sh0020")


def test_what_the_machine_failed_is_tried_again_and_then_followed(studio: Any) -> None:
    """The night after, when memory is there again."""
    rows = [{"shot": "b", "after": "a"}, {"shot": "a", "prompt": "pan left [oom]"}]
    night_of(studio, FakePool(), rows)
    assert waits(studio) == {"b": "waits for a, which failed"}
    mended = [rows[0], {"shot": "a"}]
    pool = FakePool()
    assert night_of(studio, pool, mended)["shots"]["approved"] == 2
    assert order_of(pool) == ["a", "b"]


def test_behind_a_refused_row_nothing_is_done(studio: Any) -> None:
    """With --skip-bad the night runs; who comes after the refused row says so."""
    rows = [{"shot": "a", "frames": "many"}, {"shot": "b", "after": "a"}, {"shot": "c"}]
    result = night_of(studio, FakePool(), rows, skip_bad=True)
    assert (result["shots"]["approved"], result["shots"]["waiting"]) == (1, 1)
    assert waits(studio) == {"b": "waits for a, which was refused: see the faults of its sheet"}


def test_a_shot_may_come_after_one_of_another_sheet_of_this_night_or_of_another(
    studio: Any,
) -> None:
    """`sheet/shot`: whether that sheet is run now, or was run before."""
    first = [{"shot": "one"}]
    second = [{"shot": "two", "source": "", "start_from": "a/one", "width": "128", "height": "128"}]
    pool = FakePool()
    assert night_of(studio, pool, first, second)["shots"]["approved"] == 2
    assert order_of(pool) == ["one", "two"]
    pool = FakePool()
    third = [{"shot": "three", "after": "b/two", "source": "", "start_from": "a/one"}]
    # The sheets a and b of this night are others; those before are known by the ledger.
    from flows.night import POOL, night

    path = studio.sheet(third, "c.csv")

    async def run() -> dict[str, Any]:
        token = POOL.set(lambda _studio, _listener: pool)
        try:
            return await night(manifests=[path], root=studio.root)
        finally:
            POOL.reset(token)

    assert asyncio.run(run())["shots"]["approved"] == 1


def test_a_lost_last_frame_is_written_again_and_a_lost_clip_is_said(studio: Any) -> None:
    """The PNG is made from the clip whenever it is not there; without both, the shot waits."""
    night_of(studio, FakePool(), CHAIN[1:2])
    (clip,) = studio.root.glob("takes/a/sh0010/*/t1/clip.mkv")
    rows = CHAIN[1:]
    kept = clip.read_bytes()
    clip.unlink()
    pool = FakePool()
    night_of(studio, pool, rows)
    assert pool.rendered == []
    words = waits(studio)["sh0020"]
    assert words.startswith("waits for sh0010, which is approved, but its last frame cannot be had")
    assert "render the take again" in words
    clip.write_bytes(kept)
    pool = FakePool()
    assert night_of(studio, pool, rows)["shots"]["approved"] == 2
    clip.with_name("last-frame.png").unlink()
    pool = FakePool()
    assert night_of(studio, pool, rows)["shots"]["approved"] == 2
    assert pool.rendered == []


def test_a_cancelled_shot_takes_those_behind_it_along_for_the_night(studio: Any) -> None:
    """Said while another shot renders; the next night renders both."""
    from flows.control import cancel

    class Meddled(FakePool):
        lanes = 1

        async def render(self, order: Any, **more: Any) -> Any:
            if not self.rendered:
                cancel(studio.root, ["b"])
            return await super().render(order, **more)

    rows = [{"shot": "a", "priority": "1"}, {"shot": "b"}, {"shot": "c", "after": "b"}]
    pool = Meddled()
    night_of(studio, pool, rows)
    assert order_of(pool) == ["a"]
    assert waits(studio) == {
        "b": "cancelled for this night",
        "c": "waits for b, which was cancelled for this night",
    }
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        assert len(ledger.events_of(kind=EventKind.CANCELLED)) == 1
        assert len(ledger.events_of(kind=EventKind.WAITS)) == 1
    pool = FakePool()
    assert night_of(studio, pool, rows)["shots"]["approved"] == 3
    assert order_of(pool) == ["b", "c"]


def test_a_priority_given_in_the_night_takes_the_chain_with_it(studio: Any) -> None:
    """The last shot of a chain is put first while another renders: so are those it comes after."""
    from flows.control import set_priority

    class Meddled(FakePool):
        lanes = 1

        async def render(self, order: Any, **more: Any) -> Any:
            if not self.rendered:
                set_priority(studio.root, "sh0030", 9)
            return await super().render(order, **more)

    rows = [{"shot": "one", "priority": "1"}, {"shot": "two"}, {"shot": "three"}, *CHAIN]
    pool = Meddled()
    assert night_of(studio, pool, rows)["shots"]["approved"] == 6
    assert order_of(pool)[0] == "one"
    assert order_of(pool)[1:4] == ["sh0010", "sh0020", "sh0030"]


def test_what_is_due_goes_before_longer_shots_with_what_it_comes_after(studio: Any) -> None:
    """Overdue, so at once; among shots of another priority it changes nothing."""
    rows = [
        {"shot": "long", "frames": "33"},
        {"shot": "due", "after": "first", "deadline": "2020-01-01", "frames": "5"},
        {"shot": "first", "frames": "5"},
        {"shot": "high", "frames": "5", "priority": "1"},
    ]

    class OneLane(FakePool):
        lanes = 1

    pool = OneLane()
    assert night_of(studio, pool, rows)["shots"]["approved"] == 4
    assert order_of(pool) == ["high", "first", "due", "long"]
    record, _ = told(studio)["due"]
    assert "deadline 2020-01-0" in " ".join(record.shot.warnings)
