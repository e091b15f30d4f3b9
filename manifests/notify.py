"""Who is told of a night, and of what. The addresses are secrets: they hold tokens."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr


class Occasion(StrEnum):
    """What a person may want to be told at once."""

    START = "start"
    """A night began, or goes on after it was cut short."""
    TROUBLE = "trouble"
    """A shot failed by machine, the night itself broke, or a dropped sheet was refused."""
    END = "end"
    """The night is over: how it went, and where the report lies."""


EVERY_OCCASION = tuple(Occasion)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class NotifyRules(BaseModel):
    """`notify:` of studio.yaml. Better kept out of it: RUSHES_NOTIFY__URLS='["slack://..."]'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: Annotated[tuple[SecretStr, ...], BeforeValidator(_listed)] = ()
    """Addresses as apprise writes them: `mailto://`, `slack://`, `msteams://`, `ntfy://` ..."""
    on: Annotated[tuple[Occasion, ...], BeforeValidator(_listed)] = EVERY_OCCASION
