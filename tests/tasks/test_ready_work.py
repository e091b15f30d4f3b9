"""Shots that may be taken now: the longest first, whatever became of them since."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.ready_work import Kind, ReadyWork

KIND = Kind(priority=0, fits=80, model="wan", cards=1)
URGENT = KIND._replace(priority=1)


def firsts(ready: ReadyWork) -> dict[int, str | None]:
    """The first shot of each bucket, by priority."""
    return {bucket.kind.priority: ready.first(bucket) for bucket in ready.buckets}


def test_a_shot_that_was_moved_is_in_one_place() -> None:
    """Where it was it is passed over, also when it comes back there."""
    ready = ReadyWork(lambda name: True)
    ready.arrive("a", KIND, 60.0)
    ready.arrive("b", KIND, 30.0)
    ready.arrive("a", URGENT, 60.0)
    assert firsts(ready) == {0: "b", 1: "a"}
    ready.arrive("a", KIND, 20.0)
    assert firsts(ready) == {0: "b", 1: None}
    assert [list(ready.by_length(bucket)) for bucket in ready.buckets] == [["b", "a"], []]


def test_who_became_ready_first_is_kept_when_the_buckets_are_emptied() -> None:
    """Of equals the first to come is the first to go, before and after."""
    ready = ReadyWork(lambda name: True)
    for name in "cab":
        ready.arrive(name, KIND, 60.0)
    ready.clear()
    assert ready.by_arrival() == ["c", "a", "b"]
    for name in "abc":
        ready.put(name, KIND, 60.0)
    assert firsts(ready) == {0: "c"}


@given(
    seconds=st.dictionaries(st.text("abcd", min_size=1), st.floats(1, 1e6), min_size=1),
    gone=st.sets(st.text("abcd", min_size=1)),
)
def test_those_that_may_be_taken_come_longest_first(
    seconds: dict[str, float], gone: set[str]
) -> None:
    """And nobody else does."""
    ready = ReadyWork(lambda name: name not in gone)
    for name, each in seconds.items():
        ready.arrive(name, KIND, each)
    (bucket,) = ready.buckets
    found = list(ready.by_length(bucket))
    assert sorted(found) == sorted(set(seconds) - gone)
    assert [seconds[name] for name in found] == sorted((seconds[n] for n in found), reverse=True)
    assert ready.first(bucket) == (found[0] if found else None)
