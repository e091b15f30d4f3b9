"""Hellos of hosts, for tests of who is let in; no process is started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.admission import Hosting
from tasks.crew import Crew, crew_for
from tasks.engine import Gate
from tasks.gpus import Device, Machine
from tasks.host_facts import leave_token
from tasks.host_talk import Hello, told_posts

SESSION = "0123456789abcdef0123456789abcdef"
OTHER = SESSION[::-1]
FACTS = {"rushes": "0.1.0", "code": "abc", "torch": "2.11.0"}
MODELS = {"pocket-wan": "/models/pocket"}


def crew_with(memories: Sequence[int]) -> Crew:
    """A machine with a card of so many bytes each."""
    cards = tuple(
        Device(name=f"Card #{i}", torch_device="cuda:0", visible=f"GPU-{i}", memory=memory)
        for i, memory in enumerate(memories)
    )
    return crew_for(Machine(cards=cards), cores=8, apart=True)


def hello_from(folder: Path, /, **changes: Any) -> Hello:
    """The hello of a host `a` with one card that is let in at `hosting_at(folder)`."""
    values: dict[str, Any] = {
        "session": SESSION,
        "host": "a",
        "client": "Client-1",
        "root": str(folder),
        "token": leave_token(folder / ".rushes/hosts", f"{SESSION}.host"),
        "clock": time.time(),
        "facts": FACTS,
        "models": MODELS,
        "scratch": "/var/tmp/rushes",
        "memory": 2**36,
        "posts": told_posts(crew_with([2**35])),
        **changes,
    }
    return Hello(**values)


def hosting_at(root: Path) -> Hosting:
    """How hosts come in there."""
    return Hosting(
        gate=Gate(),
        root=root,
        tokens=root / ".rushes/hosts",
        lease=60.0,
        patience=0.0,
        facts=FACTS,
        models=MODELS,
        book=root / ".rushes/hosts.json",
    )
