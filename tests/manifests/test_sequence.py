"""What a shot comes after and when it is due: cells, links between shots, and their faults."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.deadline import Deadline, read_deadline
from manifests.refusal import Refusal
from manifests.sequence import Link, link_sheets, refuse_links

HEADER = "shot,source,start_from,prompt,after,deadline,width,height\n"
FAR = "2999-01-01"


def test_a_shot_that_starts_from_another_comes_after_it(sheet):
    """`start_from` is among what it comes after; the recipe names the shot in place of a hash."""
    made = sheet(f"{HEADER}a,a.png,,go,,,128,64\nb,,a,on,c,,,\nc,a.png,,go,a,,,\n")
    assert made.faults == ()
    first, second, third = made.shots
    assert (second.start_from, second.after) == ("night/a", ("night/a", "night/c"))
    assert (second.source, second.recipe.source_sha256) == (None, "last frame of night/a")
    assert not second.is_bound
    assert (third.after, third.start_from) == (("night/a",), None)
    assert first.is_bound
    assert third.is_bound


def test_it_takes_the_size_of_the_shot_it_starts_from(sheet):
    """Also where that stands further down; what is typed wins."""
    rows = f"{HEADER}c,,b,on,,,,\nb,,a,on,,,,\na,a.png,,go,,,128,64\nd,,a,on,,,64,64\n"
    made = sheet(rows)
    sizes = {shot.id: (shot.recipe.width, shot.recipe.height) for shot in made.shots}
    assert sizes["d"] == (64, 64)
    assert sizes["b"] == sizes["c"]
    assert sizes["c"][0] == 2 * sizes["c"][1]
    assert [shot.id for shot in made.shots] == ["c", "b", "a", "d"]


def test_a_shot_that_is_bound_is_one_with_that_still(sheet):
    """Bound to a picture its recipe has that picture's hash; unbound again it is as before."""
    made = sheet(f"{HEADER}a,a.png,,go,,,,\nb,,a,on,,,,\n")
    first, second = made.shots
    assert first.source is not None
    bound = second.bound(first.source)
    assert bound.is_bound
    assert bound.recipe.source_sha256 == first.source.sha256
    assert bound.unbound() == second
    assert first.unbound() == first


@pytest.mark.parametrize(
    ("row", "column", "problem", "remedy"),
    [
        (
            "b,a.png,,on,sh010,,,",
            "after",
            "there is no shot 'sh010' in this sheet",
            "did you mean 'sh0",
        ),
        ("b,,SH0010,on,,,,", "start_from", "there is no shot 'SH0010'", "did you mean 'sh0010'?"),
        ("b,a.png,,on,b,,,", "after", "'b' is the shot itself", "name another shot"),
        ("b,,night/b,on,,,,", "start_from", "'night/b' is the shot itself", "name another"),
        ("b,a.png,sh0010,on,,,,", "start_from", "is given together with source", "keep one"),
        (
            "b,a.png,,on,../x,,,",
            "after",
            "'../x' is no shot name",
            "write the name of a shot: sh0020",
        ),
        ("b,,stills/a.png/x,on,,,,", "start_from", "is no shot name", "or monday/sh0020"),
        ("b,a.png,,on,sh0010; sh0010,,,", "after", "'sh0010' stands twice", "name each shot once"),
        ("b,a.png,,on,,tomorrow,,", "deadline", "'tomorrow' is no date", "write 2026-11-25, or"),
        ("b,a.png,,on,,25.11.2026,,", "deadline", "'25.11.2026' is no date", "write 2026-11-25"),
        (
            "b,a.png,,on,,2026-02-30,,",
            "deadline",
            "'2026-02-30' is no date (day is out",
            "write 2026",
        ),
        (
            "b,a.png,,on,,2026-11-25 25:00,,",
            "deadline",
            "is no date (hour must be",
            "write 2026-11-25",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(sheet, row, column, problem, remedy):
    """Row, column, value and remedy, for the cell that is wrong; the other shot stays good."""
    made = sheet(f"{HEADER}sh0010,a.png,,go,,,,\n{row}\n")
    (fault,) = made.faults
    assert (fault.row, fault.shot, fault.column) == (3, "b", column)
    assert problem in fault.problem
    assert remedy in fault.remedy
    assert fault.value is not None
    assert [shot.id for shot in made.shots] == ["sh0010"]


def test_every_shot_of_a_circle_is_told_and_nobody_else(sheet):
    """Two circles at once, each by its members; who only comes after a circle is no part of it."""
    rows = (
        "a,a.png,,x,b,,,\nb,a.png,,x,c,,,\nc,,a,x,,,,\nd,a.png,,x,c,,,\n"
        "e,a.png,,x,f,,,\nf,a.png,,x,e,,,\ng,a.png,,x,,,,\n"
    )
    made = sheet(HEADER + rows)
    told = {fault.shot: (fault.column, fault.problem) for fault in made.faults}
    circle = "a, b, c wait for each other"
    assert told == {
        "a": ("after", circle),
        "b": ("after", circle),
        "c": ("start_from", circle),
        "e": ("after", "e, f wait for each other"),
        "f": ("after", "e, f wait for each other"),
    }
    assert [shot.id for shot in made.shots] == ["d", "g"]


def test_coming_after_a_row_with_a_fault_is_no_fault_of_its_own(sheet):
    """One mistake is told once; the shot behind it waits."""
    made = sheet(f"{HEADER}a,nowhere.png,,go,,,,\nb,,a,on,,,,\n")
    assert [(fault.shot, fault.column) for fault in made.faults] == [("a", "source")]
    assert [shot.id for shot in made.shots] == ["b"]


def test_defaults_give_a_deadline_and_none_takes_it_back(sheet):
    """As with every column of a YAML sheet; lists may be lists."""
    made = sheet(
        f"defaults:\n  deadline: {FAR}\n  after: [a]\n  source: a.png\nshots:\n"
        "  - {shot: a, after: none, deadline: none}\n"
        "  - {shot: b}\n  - {shot: c, source: none, start_from: b, after: [a, b]}\n",
        "night.yaml",
    )
    assert made.faults == ()
    first, second, third = made.shots
    assert (first.deadline, first.after) == (None, ())
    assert second.after == ("night/a",)
    assert third.after == ("night/b", "night/a")
    assert second.deadline == third.deadline
    assert second.deadline is not None


def test_a_deadline_that_has_passed_is_a_warning(sheet):
    """It is rendered all the same, and said."""
    (shot,) = sheet(f"{HEADER}a,a.png,,go,,2020-01-01,,\n").shots
    assert any("deadline 2020-01-0" in words and "has passed" in words for words in shot.warnings)
    (later,) = sheet(f"{HEADER}a,a.png,,go,,{FAR},,\n").shots
    assert not any("deadline" in words for words in later.warnings)


@pytest.mark.parametrize(
    ("cell", "instant"),
    [
        ("2026-07-01", datetime(2026, 7, 1, 22, tzinfo=UTC)),
        ("2026-11-25", datetime(2026, 11, 25, 23, tzinfo=UTC)),
        ("2026-11-25 9:30", datetime(2026, 11, 25, 8, 30, tzinfo=UTC)),
        ("2026-11-25T18:00:05", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("2026-11-25 18:00 Z", datetime(2026, 11, 25, 18, tzinfo=UTC)),
        ("2026-11-25 18:00-05:00", datetime(2026, 11, 25, 23, tzinfo=UTC)),
        ("2026-10-25 02:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-29 02:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ],
)
def test_a_deadline_is_read_where_the_studio_is(cell, instant):
    """A day lasts until its end, wall clock is the studio's, an offset of its own wins."""
    read = read_deadline(cell)
    assert read is not None
    assert read.at(ZoneInfo("Europe/Berlin")) == instant


@given(st.dates(date(2000, 1, 1), date(2999, 12, 30)))
def test_a_day_is_never_over_before_it_is_over(day):
    """The deadline of a day lies after every minute of it, in the studio's zone."""
    zone = ZoneInfo("Europe/Berlin")
    end = Deadline(day).at(zone)
    assert end is not None
    assert end > datetime(day.year, day.month, day.day, 23, 59, tzinfo=zone).astimezone(UTC)


def test_a_night_knows_the_shots_of_its_other_sheets_and_of_earlier_nights(sheet):
    """What neither has is a fault at its cell, and so is a circle across two sheets."""
    text = "shot,source,after,start_from\n"
    monday = sheet(f"{text}a,a.png,tuesday/a,\nb,a.png,old/x,\nc,a.png,gone/x,\n", "monday.csv")
    tuesday = sheet(f"{text}a,a.png,monday/a,\nb,,,monday/b\nc,a.png,monday/d,\n", "tuesday.csv")
    assert monday.faults + tuesday.faults == ()
    linked = link_sheets([monday, tuesday], known={"old/x", "monday/d"}.__contains__)
    assert [[shot.id for shot in made.shots] for made in linked] == [["b"], ["b"]]
    told = {(f.file.name, f.row, f.column): f.problem for made in linked for f in made.faults}
    assert told == {
        ("monday.csv", 2, "after"): "monday/a, tuesday/a wait for each other",
        ("monday.csv", 4, "after"): (
            "there is no sheet 'gone' in this night, and none before had 'gone/x'"
        ),
        ("tuesday.csv", 2, "after"): "monday/a, tuesday/a wait for each other",
        ("tuesday.csv", 4, "after"): "there is no shot 'monday/d'",
    }
    warned = {shot.id: shot.warnings for made in linked for shot in made.shots}
    assert any("write width and height" in words for words in warned["b"])


graphs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14, unique=True)


@given(graphs)
def test_exactly_the_shots_that_reach_themselves_are_in_circles(edges):
    """Held against walking every path."""
    links = [
        Link(shot=f"s/{a}", column="after", ref=f"{b}", to=f"s/{b}") for a, b in edges if a != b
    ]
    known = [f"s/{n}" for n in range(8)]
    found = {link.shot for link, _ in refuse_links(links, known=known, sheet="s")}
    reach = {n: {b for a, b in edges if a == n and a != b} for n in range(8)}
    for middle in range(8):
        for start in range(8):
            if middle in reach[start]:
                reach[start] |= reach[middle]
    assert found == {f"s/{n}" for n in range(8) if n in reach[n]}


@pytest.mark.slow
def test_a_chain_of_thousands_is_walked_without_recursion():
    """A sheet may be one line of shots, as long as a sheet can be."""
    links = [
        Link(shot=f"s/{n}", column="after", ref=str(n + 1), to=f"s/{n + 1}") for n in range(20_000)
    ]
    known = [f"s/{n}" for n in range(20_001)]
    assert list(refuse_links(links, known=known, sheet="s")) == []


def test_a_reference_that_is_a_list_of_lists_is_refused():
    """Whatever a YAML sheet holds there."""
    from manifests.sequence import read_refs

    with pytest.raises(Refusal):
        read_refs([["a"]])
