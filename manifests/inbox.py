"""The inbox: where sheets are dropped, and when a dropped one counts as whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class InboxRules(BaseModel):
    """`inbox:` of studio.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Path("inbox")
    """Where sheets and their stills are dropped; relative to the studio's root. What was taken
    lies in `accepted/` inside it, what was refused in `rejected/`."""
    quiet_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """A sheet that has not changed for so long is whole."""
    grace_minutes: Annotated[float, Field(ge=0, le=7 * 24 * 60)] = 30.0
    """Stills, LUTs and LoRAs may arrive so long after the sheet that names them."""
    poll: bool = False
    """Look again and again instead of being told: for network shares, which tell nobody."""
