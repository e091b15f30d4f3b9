"""What a night may spend on retakes. First takes never ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """Bounds of a night, and what is spent of them; None is no bound."""

    takes: int | None = None
    seconds: float | None = None
    """Of rendering."""
    spent_takes: int = 0
    """Retakes of this night that were made or decided on."""
    spent_seconds: float = 0.0
    """What they took, or are expected to take."""
    next_seconds: float = 0.0
    """What one more is expected to take; 0 where that is not known."""

    @property
    def spent(self) -> str | None:
        """Why there is no other retake, in words; None: there is."""
        if self.takes is not None and self.spent_takes >= self.takes:
            return f"the night's retakes are used up ({self.spent_takes} of {self.takes})"
        if self.seconds is None:
            return None
        # Where it is not known what one needs, there is another one as long as anything is left.
        left = self.seconds - self.spent_seconds
        if left > 0 and self.next_seconds <= left:
            return None
        return (
            f"the night's retakes are used up ({self.spent_seconds / 60:.1f} of "
            f"{self.seconds / 60:g} min spent, {self.next_seconds / 60:.1f} needed)"
        )
