"""Who works tonight: the cards and hands of this machine, and of the hosts that are here.

Cards are counted as they first came; a host that comes again finds its cards under their old
numbers, with what was counted against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tasks.crew import Crew, Post
from tasks.seats import Seats


class Roster:
    """Posts and their seats, by number. For one event loop."""

    def __init__(self) -> None:
        self.cards: list[Post] = []
        """Those that render, also of hosts that are not here."""
        self.seats = Seats([])
        """At the cards, counted as in `cards`."""
        self.hand_seats = Seats([])
        """At the hands; where nobody but those that render can do their work, `seats`."""
        self.upscalers: list[Post] = []
        """Those whose card only upscales."""
        self.upscale_seats = Seats([])
        """At them, counted as in `upscalers`."""
        self._hands: list[Post] = []
        self._crews: dict[str, Crew] = {}
        """By host, as it came last."""
        self._here: set[str] = set()
        self._away: set[str] = set()
        """Cards of hosts that others use, by name."""
        self._rendering: dict[str, Post] = {}

    def add(self, crew: Crew) -> None:
        """The crew of a host that is about to arrive; of this machine first."""
        for post in crew.cards:
            _enlist(post, self.cards, self.seats)
        for post in crew.hands:
            _enlist(post, self._hands, self.hand_seats)
        if crew.upscaler is not None:
            _enlist(crew.upscaler, self.upscalers, self.upscale_seats)
        if crew.cards and not self._hands:
            self._hands, self.hand_seats = self.cards, self.seats
        self._crews[crew.host] = crew

    def arrive(self, host: str) -> None:
        """The workers of a host are up."""
        crew = self._crews[host]
        self._here.add(host)
        for seats, number in self._numbers(crew):
            seats.arrive(number)

    def depart(self, host: str) -> None:
        """A host is given no more work; what is in work there is not touched."""
        crew = self._crews[host]
        self._here.discard(host)
        for seats, number in self._numbers(crew):
            seats.depart(number)
        # NOTE: only now, when nobody is seated there any more; a new stay tells it anew.
        for post in crew.cards:
            self.set_away(post.name, away=False)
            self.squeeze(post.name, None)

    def set_away(self, name: str, *, away: bool) -> None:
        """A card of a host is used by others, or free again."""
        number = self.number_of(name)
        if number is None or (name in self._away) == away:
            return
        if away:
            self._away.add(name)
            self.seats.leave(number)
        else:
            self._away.discard(name)
            self.seats.come_back(number)

    def squeeze(self, name: str, room: int | None) -> None:
        """Others leave so many bytes of the memory of a host's card; None: all."""
        number = self.number_of(name)
        if number is not None:
            self.seats.squeeze(number, room)

    def is_away(self, name: str) -> bool:
        """Whether others use this card of a host."""
        return name in self._away

    def number_of(self, name: str) -> int | None:
        """The number of a card by its worker's name; None where no card is called so. A host that
        came again with another card under the name has the later one."""
        return {post.name: number for number, post in enumerate(self.cards)}.get(name)

    @property
    def open_cards(self) -> tuple[Post, ...]:
        """Cards of hosts that are here and that nobody else uses."""
        here = [post for host in self._here for post in self._crews[host].cards]
        return tuple(post for post in self.cards if post in here and not self.is_away(post.name))

    def in_work(self, host: str) -> int:
        """Seats that are taken at a host's workers."""
        return sum(seats.taken[number] for seats, number in self._numbers(self._crews[host]))

    def memory(self, card: int) -> int | None:
        """Bytes of a card; None where nobody could tell."""
        device = self.cards[card].device
        return None if device is None else device.memory

    def has_card_of(self, size: int) -> bool:
        """Whether a card of at least `size` bytes is known, or one whose size nobody could tell."""
        sizes = [self.memory(card) for card in range(len(self.cards))]
        return any(memory is None or memory >= size for memory in sizes)

    def hand(self, number: int) -> Post:
        """The hand of that number in `hand_seats`."""
        return self._hands[number]

    @property
    def has_hands(self) -> bool:
        """Whether there are workers without a card, so that those that render need not score."""
        return self._hands is not self.cards

    @property
    def cards_here(self) -> int:
        """Cards of hosts that are here."""
        return sum(len(self._crews[host].cards) for host in self._here)

    @property
    def lanes(self) -> int:
        """Shots in work at once, such that no card that is here waits for one that is scored."""
        return max(1, sum(self._crews[host].lanes for host in self._here))

    @property
    def rendering_now(self) -> Mapping[str, Post]:
        """What is rendered where, by take id."""
        return self._rendering

    @contextmanager
    def rendering(self, take_id: str, post: Post) -> Iterator[None]:
        """Inside the block a take is rendered there."""
        self._rendering[take_id] = post
        try:
            yield
        finally:
            del self._rendering[take_id]

    def _numbers(self, crew: Crew) -> Iterator[tuple[Seats, int]]:
        for post in crew.cards:
            yield self.seats, self.cards.index(post)
        for post in crew.hands:
            yield self.hand_seats, self._hands.index(post)
        if crew.upscaler is not None:
            yield self.upscale_seats, self.upscalers.index(crew.upscaler)


def _enlist(post: Post, known: list[Post], seats: Seats) -> None:
    """Under its old number where the same worker was here before, else under a new one."""
    for number, other in enumerate(known):
        if (other.name, other.title, other.seats) == (post.name, post.title, post.seats):
            known[number] = post
            return
    known.append(post)
    seats.add(post.seats, group=post.host)
