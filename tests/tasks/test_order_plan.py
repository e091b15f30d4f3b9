"""The plan's order: what is rendered when, what waits, and who ends too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_pool import FakePool
from PIL import Image

from manifests.settings import load_studio
from tasks.card_groups import Card
from tasks.control import Control
from tasks.night_order import lanes_for
from tasks.order_plan import in_order
from tasks.plan import Plan, make_plan
from tasks.plan_line import PlanLine
from tasks.pool import CardHere
from tasks.sheets import load_sheets

NOW = datetime(2026, 11, 20, 21, tzinfo=UTC)
HEADER = "shot,source,start_from,after,deadline,priority,preset,gpus\n"


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Plans sheets of these rows, by name, for a night that begins at `NOW`."""
    Image.new("RGB", (128, 128), (90, 120, 60)).save(tmp_path / "a.png")

    def made(window: dict[str, str] | None = None, **sheets: str) -> Plan:
        paths = [tmp_path / f"{name}.csv" for name in sheets]
        for path, rows in zip(paths, sheets.values(), strict=True):
            path.write_text(HEADER + rows)
        settings = {} if window is None else {"window": window}
        studio = load_studio(tmp_path, device="cpu", **settings)
        found = load_sheets(paths, studio=studio)
        return make_plan(found, studio=studio, ledger=None, now=NOW)

    return made


def names(plan: Plan) -> list[str]:
    return [line.shot.id for line in plan.lines]


def line(plan: Plan, name: str) -> PlanLine:
    (found,) = [line for line in plan.lines if line.shot.id == name]
    return found


def test_the_plan_has_the_order_of_the_night(plan: Callable[..., Plan]) -> None:
    """Priority, then the longest with its chain; no shot before one that it comes after. Of equal
    ones, who could have come first."""
    made = plan(
        mon="last,,mid,,,,single\nmid,,first,,,,single\nshort,a.png,,,,,single\n"
        "first,a.png,,,,,single\nhigh,a.png,,,,5,single\n"
    )
    assert names(made) == ["high", "first", "mid", "short", "last"]
    ends = [line.ends for line in made.lines]
    assert all(end is not None for end in ends)
    assert ends == sorted(ends, key=str)
    begins = made.lines[0].begins
    assert begins == NOW


def test_the_plan_counts_the_cards_of_a_shot_on_several(plan: Callable[..., Plan]) -> None:
    """On two cards it ends sooner and what follows it begins when it ends; on one nothing changes
    but the warning."""
    made = plan(mon="hero,a.png,,,,1,single,2\nnext,a.png,,,,,single,\n")
    seconds, load = made.lines[0].estimate.seconds, made.terms.loads["pocket-wan"]
    studio = load_studio(made.lines[0].shot.source.path.parent, device="cpu")  # type: ignore[union-attr]
    found = {}
    for number in (1, 2):
        cards = tuple(Card(name=f"card-{n}", memory=0) for n in range(number))
        lines = in_order(made.lines, replace(made.terms, cards=cards), studio)
        found[number] = [(each.ends - NOW).total_seconds() for each in lines if each.ends]
    assert found[1] == pytest.approx([load + seconds, load + 2 * seconds], abs=1e-3)
    together = load + seconds / 1.75
    assert found[2] == pytest.approx([together, together + seconds], abs=1e-3)


def test_the_plan_says_who_misses_a_deadline(plan: Callable[..., Plan]) -> None:
    """Surely, where the expected end is later; perhaps, where only the worst one is."""
    free = plan(mon="a,a.png,,,,,single\n")
    estimate = free.lines[0].estimate
    sure = NOW + timedelta(seconds=estimate.seconds / 2)
    perhaps = NOW + timedelta(seconds=(estimate.seconds + estimate.high) / 2 + 3)
    well = NOW + timedelta(seconds=2 * estimate.high + 60)
    told = []
    for moment in (sure, perhaps, well):
        text = moment.isoformat(sep=" ", timespec="seconds")
        told.append(plan(mon=f"a,a.png,,,{text},,single\n").lines[0].late)
    assert told[0] is not None
    assert told[0].startswith("ends about 2026-11-20")
    assert told[1] is not None
    assert told[1].startswith("may end about 2026-11-20")
    assert "after its deadline 2026-11-20" in told[1]
    assert told[2] is None


def test_what_ends_in_time_tonight_is_not_late_tomorrow(plan: Callable[..., Plan]) -> None:
    """Outside the hours the plan begins with the coming night."""
    hours = {"start": "22:30", "end": "05:00", "timezone": "UTC"}
    made = plan(window=hours, mon="a,a.png,,,2026-11-20 22:00,,single\n")
    assert made.lines[0].begins == datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assert made.lines[0].late is not None


def test_what_cannot_have_a_turn_tonight_says_why(plan: Callable[..., Plan]) -> None:
    """It stands behind what has one; a sheet of the same name has none of its shots twice."""
    made = plan(
        mon="a,gone.png,,,,,single\nb,a.png,,a,,9,single\nc,,b,,,,single\nd,a.png,,,,,single\n"
    )
    assert names(made) == ["d", "b", "c"]
    assert line(made, "d").waits is None
    assert line(made, "b").waits == "waits for a, which was refused: see the faults of its sheet"
    assert line(made, "c").waits == "waits for b, which waits itself"
    assert line(made, "b").ends is None
    told = {each["shot"]: each["waits"] for each in made.to_dict()["shots"]}
    assert told["c"] == "waits for b, which waits itself"


def test_two_sheets_of_one_name_are_told_apart_or_refused(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """A shot that both have is refused in the second; a sheet that is named twice is read once."""
    plan(mon="a,a.png,,,,,single\n")
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "mon.csv"
    other.write_text(
        f"{HEADER}a,,,,,,single\nb,../a.png,,,,,single\n".replace("a,,", "a,../a.png,")
    )
    studio = load_studio(tmp_path, device="cpu")
    first = tmp_path / "mon.csv"
    sheets = load_sheets([first, first, other], studio=studio)
    assert [[shot.id for shot in sheet.shots] for sheet in sheets] == [["a"], ["b"]]
    (fault,) = sheets[1].faults
    assert fault.problem == "'a' is in mon.csv already"


def test_a_word_of_a_person_outlives_the_plan(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """A priority that was given by `rushes priority` orders the next plan too."""
    from dataclasses import replace

    from tasks.control import change_control

    rows = "a,a.png,,,,,single\nb,a.png,,,,,single\n"
    assert names(plan(mon=rows)) == ["a", "b"]
    state = load_studio(tmp_path).state_dir
    change_control(state, lambda control: replace(control, priority={"mon/b": 3}))
    assert names(plan(mon=rows)) == ["b", "a"]


class Changing(FakePool):
    """A pool whose cards change."""

    lanes = 1
    found: tuple[CardHere, ...] = (CardHere(name="small", title="NVIDIA L4 #0", memory=24 * 2**30),)

    @property
    def here(self) -> tuple[CardHere, ...]:
        return self.found


def test_the_night_has_the_order_of_its_plan(plan: Callable[..., Plan]) -> None:
    """Its lanes are asked in the plan's order, whatever cards are here."""
    made = plan(
        mon="last,,mid,,,,single\nmid,,first,,,,single\nshort,a.png,,,,,single\n"
        "first,a.png,,,,,single\nhigh,a.png,,,,5,single\n"
    )
    going = [line.key for line in made.lines if line.waits is None]
    pool, came = Changing(), list[str]()
    lanes = lanes_for(made, night="n", pool=pool, control=Control)

    async def shot(key: str) -> None:
        async with lanes.lane(key) as lane:
            assert lane.words is None
            came.append(key)
            pool.found = () if len(came) == 2 else Changing.found
            lane.ended = None

    async def run() -> None:
        await asyncio.gather(*map(shot, sorted(going)))

    asyncio.run(run())
    assert came == going
