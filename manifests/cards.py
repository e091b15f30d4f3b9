"""Which cards of the machine a studio's nights may use, and who goes first on them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from manifests.refusal import Refusal, quoted


def _names(value: Any) -> Any:
    """Cards are counted or named by UUID; YAML makes numbers of the first."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(str(each) if isinstance(each, int | str) else each for each in value)


def _check(names: Any) -> Any:
    for name in names if isinstance(names, tuple) else ():
        known = isinstance(name, str) and (name.isdigit() or name.startswith("GPU-"))
        if not known:
            raise Refusal(f"{quoted(str(name))} is no card", "write its number (0) or its UUID")
    return names


CardNames = Annotated[tuple[str, ...], BeforeValidator(lambda value: _check(_names(value)))]


class CardRules(BaseModel):
    """`cards:` of studio.yaml. Cards are named by number, as in `cuda:0`, or by UUID."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include: CardNames = ()
    """Only these are used; empty: all."""
    exclude: CardNames = ()
    """These are left alone."""
    yield_to_others: bool = True
    """Whether a card is left while a process that is not ours computes on it."""

    @model_validator(mode="after")
    def _not_both(self) -> CardRules:
        both = sorted({*self.include} & {*self.exclude})
        if both:
            raise Refusal(
                f"{quoted(both[0])} is included and excluded", "take it out of one of the lists"
            )
        return self

    def allows(self, index: int, uuid: str) -> bool:
        """Whether the card of that number and UUID may be used."""
        names = {str(index), uuid}
        return (not self.include or bool(names & {*self.include})) and not names & {*self.exclude}


ALL_CARDS = CardRules()
