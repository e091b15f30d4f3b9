"""An occasion for a night is answered once, and again where the answer broke."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from flows.answers import AGAIN_AFTER, Answers

BEGIN = datetime(2026, 11, 21, 22, tzinfo=UTC)


@dataclass
class Evening:
    """A clock, what Prefect would say of the newest run, and what was said."""

    now: datetime = BEGIN
    broke: tuple[datetime, str] | None = None
    said: list[str] = field(default_factory=list)

    async def broken_since(self, instant: datetime) -> str | None:
        return self.broke[1] if self.broke is not None and self.broke[0] >= instant else None

    def answers(self) -> Answers:
        return Answers(self.broken_since, say=self.said.append, clock=lambda: self.now)


def test_an_occasion_is_answered_once() -> None:
    """Whatever time passes, as long as its run did not break; another one is another matter."""
    evening = Evening()
    answers = evening.answers()
    assert not asyncio.run(answers.hold("missed"))
    answers.give("missed")
    evening.now += timedelta(hours=8)
    assert asyncio.run(answers.hold("missed"))
    assert not asyncio.run(answers.hold("sheets"))
    assert evening.said == []


def test_a_night_that_broke_is_said_once_and_started_again_later() -> None:
    """A studio.yaml that is wrong at ten o'clock does not cost the whole night."""
    evening = Evening()
    answers = evening.answers()
    answers.give("missed")
    evening.broke = (BEGIN, "BadInput: no such card")
    for _ in range(3):
        evening.now += timedelta(minutes=1)
        assert asyncio.run(answers.hold("missed"))
    assert evening.said == [
        "the night broke: BadInput: no such card; it is started again 15 minutes later"
    ]
    evening.now = BEGIN + AGAIN_AFTER
    assert not asyncio.run(answers.hold("missed"))
    answers.give("missed")
    # What broke before this answer says nothing of it.
    assert asyncio.run(answers.hold("missed"))
    evening.broke = (evening.now, "the same")
    assert asyncio.run(answers.hold("missed"))
    assert len(evening.said) == 2
