"""Hosts: other machines that render for a studio's nights, and how they come in."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from manifests.cards import CardRules
from manifests.device import NO_DEVICE, known_device
from manifests.placement import CardPlacement
from manifests.refusal import Refusal, quoted

HOST_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


class MachineRules(BaseModel):
    """`hosts: {machines: {NAME: ...}}`: one host's own cards, as the settings of the same names
    outside have them for the machine of the night."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Annotated[str, AfterValidator(known_device)] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:0`."""
    cards: CardRules | None = None
    """Cards that nights may use there; None: all of them."""
    placement: CardPlacement = CardPlacement()
    """Parts of a model on other cards than the one that renders there: `{vae: cuda:1}`."""
    threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    """CPU threads that its workers share; None: as outside, else all its cores."""

    @field_validator("device")
    @classmethod
    def _renders(cls, device: str) -> str:
        if device == NO_DEVICE:
            raise Refusal("a host without a device renders nothing", "write auto, or do not join")
        return device


ALL_OF_IT = MachineRules()
"""Of a host that the settings do not name: every card, all on the one that renders."""


def _host_name(name: str) -> str:
    if not re.fullmatch(HOST_NAME, name):
        raise Refusal(
            f"{quoted(name)} is no name of a host", "write letters, digits, dots and dashes"
        )
    return name


class HostRules(BaseModel):
    """`hosts:` of studio.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str | None = None
    """Address and port at which hosts may join a night: `10.0.0.5:8786`; None: none may."""
    tls: Path | None = None
    """Folder of the keys that `rushes keys` made, on every machine's own disk; it may be set by
    RUSHES_HOSTS__TLS where it differs."""
    insecure: bool = False
    """Whether hosts may join over a private network without keys: whoever reaches the port can
    then run what they like on every machine."""
    lease_seconds: Annotated[float, Field(ge=2, le=3600)] = 60.0
    """A host that says nothing for so long is given up, and its takes are given to others."""
    wait_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 30.0
    """How long a take waits for a host with a card for it, where there is none."""

    machines: dict[Annotated[str, AfterValidator(_host_name)], MachineRules] = {}
    """The cards of each host, by its name (`rushes join --name`, else its machine's)."""

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str | None) -> str | None:
        if listen is not None:
            _parts(listen)
        return listen

    @field_validator("tls")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return None if folder is None else folder.expanduser().absolute()

    @model_validator(mode="after")
    def _guarded(self) -> HostRules:
        if self.listen is None or self.tls is not None:
            return self
        address = _parts(self.listen)
        if address.is_loopback:
            return self
        if not self.insecure:
            raise Refusal(
                f"whoever reaches {self.listen} could run anything on every machine",
                "make keys with `rushes keys` and name their folder in tls; or, on a private "
                "network whose machines you all trust, write insecure: true",
            )
        if not address.is_private:
            raise Refusal(
                f"{address} is no address of a private network, and there are no keys",
                "make keys with `rushes keys` and name their folder in tls",
            )
        return self


def _parts(listen: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address in `address:port`. Raises Refusal."""
    text, _, port = listen.rpartition(":")
    remedy = "write the address of this machine and a port, as in 10.0.0.5:8786"
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise Refusal(f"{quoted(listen)} is no address and port", remedy) from None
    if not (port.isdigit() and 1024 <= int(port) <= 65535):
        raise Refusal(f"{quoted(port)} is no port from 1024 to 65535", remedy)
    if address.is_unspecified:
        raise Refusal(f"{address} is every network of this machine", remedy)
    return address


NO_HOSTS = HostRules()
