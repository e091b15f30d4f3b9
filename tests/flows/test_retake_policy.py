"""The retake policy in whole nights: what it spends, learns, changes for all, and blames."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_pool import FakePool
from rich.console import Console

from flows.remedies import print_remedies, remedy_rows
from manifests.errors import BadInput
from manifests.stage import Recipe
from reports.ledger_reads import LedgerReads
from reports.outcomes import outcomes
from reports.records import EventKind, TakeRecord

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

FROZEN, CUT = {"frozen": 1.0}, {"cut": 0.9}
OVERSATURATED = {"saturation_shift": 0.5}


class OneByOne(FakePool):
    """One shot after the other, in the sheet's order."""

    lanes = 1


def night_of(studio: Any, rows: list[dict[str, Any]], pool: FakePool) -> dict[str, Any]:
    from flows.night import POOL, night

    async def run() -> dict[str, Any]:
        token = POOL.set(lambda _studio, _listener: pool)
        try:
            return await night(manifests=[studio.sheet(rows)], root=studio.root)
        finally:
            POOL.reset(token)

    return asyncio.run(run())


def ledger(studio: Any) -> LedgerReads:
    return LedgerReads(studio.root / "rushes.db", must_exist=True)


def takes(studio: Any, shot: str) -> list[TakeRecord]:
    with ledger(studio) as book:
        last = book.nights()[-1]
        (record,) = [each for each in book.shot_records(last.id) if each.shot.id == shot]
        return book.takes_of(record.id)


def test_a_night_stops_retaking_when_its_retakes_are_used_up(studio: Any) -> None:
    """One retake is allowed: the first shot gets it, the second is held with one take, and the
    third, which needs none, is rendered all the same."""
    (studio.root / "studio.yaml").write_text("retake_takes: 1\n")
    pool = OneByOne({"a": [FROZEN], "b": [FROZEN]})
    result = night_of(studio, [{"shot": name} for name in "abc"], pool)
    assert (result["shots"]["approved"], result["shots"]["held"]) == (2, 1)
    assert [len(takes(studio, name)) for name in "abc"] == [2, 1, 1]
    words = takes(studio, "b")[0].transitions[-1].words
    assert words == "frozen: the night's retakes are used up (1 of 1)"
    assert words in Path(result["report"]).read_text(encoding="utf-8").replace("&#39;", "'")


def test_a_preset_that_fails_alike_is_changed_once_for_the_rest(studio: Any) -> None:
    """Two of six shots are oversaturated: the seventh and eighth begin with less guidance, the
    eighth fails as well and nothing is said a second time. Ledger and report say it once."""
    names = [f"s{n}" for n in range(1, 9)]
    pool = OneByOne({name: [OVERSATURATED] for name in ("s1", "s6", "s8")})
    result = night_of(studio, [{"shot": name} for name in names], pool)
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.PRESET_CHANGED)
    assert event.words == (
        "2 of 6 shots of pocket/single failed by oversaturated: CFG down by a third in every "
        "stage, for those of its shots that were not yet begun"
    )
    asked = takes(studio, "s5")[0].recipe.stages[0].cfg
    assert takes(studio, "s6")[0].recipe.stages[0].cfg == asked
    seventh, (eighth, again) = takes(studio, "s7")[0], takes(studio, "s8")
    assert seventh.recipe.stages[0].cfg == eighth.recipe.stages[0].cfg < asked
    assert seventh.remedy_words.startswith("pocket/single is changed for this night: CFG down")
    assert again.remedy is not None
    assert again.remedy["name"] != "cfg-down", "the change of the preset counts as tried"
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert page.count(event.words) == 1


def test_what_worked_is_remembered_over_nights(studio: Any) -> None:
    """Every retake's outcome can be asked for, and the next shot that fails so is told of it."""
    names = [f"s{n}" for n in range(6)]
    pool = OneByOne({name: [CUT] for name in names[:5]})
    night_of(studio, [{"shot": name} for name in names], pool)
    with ledger(studio) as book:
        (outcome,) = outcomes(book.retake_pairs())
    assert (outcome.preset, outcome.failure, outcome.remedy) == (
        "pocket/single",
        "cut",
        "new-seed",
    )
    assert (outcome.tried, outcome.better, outcome.approved) == (5, 5, 5)
    (row,) = remedy_rows(studio.root)
    assert (row["place"], row["tried"], row["counts"]) == (1, 5, True)
    assert [row] == remedy_rows(studio.root, preset="single")
    assert [row] == remedy_rows(studio.root, preset="pocket/single")
    with pytest.raises(BadInput, match="no retake of a preset 'singel' has been judged; did you"):
        remedy_rows(studio.root, preset="singel")
    night_of(studio, [{"shot": "later"}], OneByOne({"later": [CUT]}))
    words = takes(studio, "later")[1].remedy_words
    assert words.endswith("; worked 5 of 5 times for cut on pocket/single")


def test_without_a_retake_the_table_of_outcomes_says_so(studio: Any) -> None:
    """Neither a missing ledger nor an empty one is an error."""
    assert remedy_rows(studio.root) == []
    console = Console(record=True, width=120)
    print_remedies([], console)
    assert "No retake has been judged yet" in console.export_text()


def test_what_the_policy_says_stands_beside_the_verdict(studio: Any) -> None:
    """The retake is made of what was written with it, whatever is known by then."""
    night_of(studio, [{"shot": "a"}], OneByOne({"a": [FROZEN]}))
    first, second = takes(studio, "a")
    with ledger(studio) as book:
        (said,) = book.events_of(take_id=first.take_id, kind=EventKind.RETAKE)
    assert Recipe.from_dict(said.data["recipe"]) == second.recipe
    assert {"name": said.data["remedy"]} == second.remedy
    assert said.words == second.remedy_words


FLICKER = {"flicker": 0.011, "flicker_local": 0.002}
STEADY = {"flicker": 0.004, "flicker_local": 0.002}
STAGED = {"shot": "a", "preset": "two-stage"}


@pytest.mark.parametrize(
    ("stage_1", "remedy", "said"),
    [
        (STEADY, "denoise-down", "stage 2 made it worse (flicker 0.004 after stage 1, "),
        (FLICKER, "new-seed", "stage 1 fails already (flicker 0.011 after stage 1, "),
    ],
)
def test_the_stage_that_broke_the_picture_is_measured(
    studio: Any, stage_1: dict[str, float], remedy: str, said: str
) -> None:
    """The clip flickers. Stage 1 is decoded and scored: where it is steady, stage 2 gets less
    denoise and the retake has the same stage 1; where it flickers already, another seed. What is
    looked at waits for a card in its take's place."""
    pool = OneByOne({"a": [FLICKER], "a stage-1": [stage_1]})
    result = night_of(studio, [STAGED], pool)
    first, second = takes(studio, "a")
    assert second.remedy == {"name": remedy}
    assert (second.recipe.stages[0], second.recipe.seed) == (
        first.recipe.stages[0],
        first.recipe.seed if remedy == "denoise-down" else second.recipe.seed,
    )
    assert said in second.remedy_words
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.ATTRIBUTED)
    assert event.take_id == first.take_id
    assert [score["value"] for score in event.data["scores"]] == [stage_1["flicker"], 0.011]
    assert said in Path(result["report"]).read_text(encoding="utf-8")
    assert pool.rendered == [first.take_id, f"{first.take_id}/stage-1", second.take_id]
    assert pool.places[f"{first.take_id}/stage-1"] == pool.places[first.take_id]
    assert not list(studio.root.glob("takes/**/stage-1")), "what was decoded is not kept"
