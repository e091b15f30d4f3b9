"""What follows a render: by whom takes are scored, pictured, upscaled and encoded.

All of it goes to the hands, which have no card; only a network that upscales wants one. It gets a
card that is kept for it, of this machine or of a host, else one that renders, between two takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from qc.scorecard import Scorecard
from render.errors import WorkerLost
from render.order import Delivery, FinishOrder, ScoreOrder
from tasks.calls import Calls
from tasks.crew import Post
from tasks.roster import Roster
from tasks.seats import NoCard, Seats
from tasks.yielding import CardYielded, HostLost

MOST_HOSTS = 3
"""A take under which so many hosts were lost may be the cause."""
FIRST = -1
"""Place of what is done before any take: finishing on a card ends a shot."""


class Afterwards:
    """Sends it to those of the roster who do it. For one event loop."""

    def __init__(self, roster: Roster, calls: Calls, *, torch_device: str) -> None:
        """`torch_device` of the one worker that does everything, where there are no hands."""
        self._roster, self._calls, self._torch_device = roster, calls, torch_device

    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """See `Pool.score`: by a hand, which has no card."""
        order = replace(order, device=self._hands_device)
        card = await self._by_hand("score", order, str(order.clip), budget)
        assert isinstance(card, Scorecard)
        return card

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """See `Pool.finish`: by a hand, unless a network upscales and there are cards."""
        upscale, delivery = order.finish.upscale, None
        if upscale is not None and upscale.model is not None and self._roster.has_hands:
            delivery = await self._upscale(order, str(upscale.model), budget)
        if delivery is None:
            order = replace(order, device=self._hands_device)
            delivery = await self._by_hand("finish", order, order.take_id, budget)
        assert isinstance(delivery, Delivery)
        return delivery

    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """See `Pool.picture`."""
        strip, preview = await self._by_hand("picture", clip, f"picture of {clip}", budget)
        return strip, preview

    @property
    def _hands_device(self) -> str:
        return "cpu" if self._roster.has_hands else self._torch_device

    async def _by_hand(self, function: str, order: Any, name: str, budget: float) -> Any:
        """Without cards the one that renders is the hand."""
        at, hand = self._calls.at, self._roster.hand
        return await self._sent(
            self._roster.hand_seats,
            "",
            lambda number: at(hand(number), function, order, name=name, budget=budget),
        )

    async def _upscale(self, order: FinishOrder, model: str, budget: float) -> Any:
        """On a card that only upscales, else between two takes on one that renders.

        None where every card went with its host: the hands can do it too.
        """

        def send(post: Post) -> Awaitable[Any]:
            assert post.device is not None, "what upscales on a card has one"
            part = replace(order, device=post.device.torch_device)
            return self._calls.at(post, "finish", part, name=order.take_id, budget=budget)

        here = self._roster
        with suppress(NoCard):
            return await self._sent(
                here.upscale_seats, model, lambda number: send(here.upscalers[number])
            )
        with suppress(NoCard):
            return await self._sent(here.seats, model, lambda number: send(here.cards[number]))
        return None

    async def _sent(self, seats: Seats, model: str, send: Callable[[int], Awaitable[Any]]) -> Any:
        """Before any take, and again where the card or the host was left under it."""
        losses = 0
        while True:
            try:
                async with seats.one(model=model, place=FIRST) as number:
                    return await send(number)
            except HostLost as lost:
                if (losses := losses + 1) == MOST_HOSTS:
                    raise WorkerLost(f"{lost}, {losses} times in a row") from lost
            except CardYielded:
                continue
