"""What a pool has to say, for whoever listens: in words and as it happens."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str], None]


class Bulletin:
    """One kind of news. What is said before anybody listens is kept for the first who does."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._listener: Tell | None = None

    def tell(self, words: str) -> None:
        """Say something."""
        if self._listener is None:
            self._kept.append(words)
        else:
            self._listener(words)

    def on(self, tell: Tell) -> None:
        """Have `tell` told from now on, in place of whoever was before; what was kept, now."""
        self._listener = tell
        kept, self._kept = self._kept, []
        for words in kept:
            tell(words)
