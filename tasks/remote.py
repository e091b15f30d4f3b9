"""The doorway to a worker process: looks its functions up there, so that torch stays there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from manifests.door import DoorShut, through
from render.errors import Superseded

TOPIC = "rushes-progress"
"""Name under which progress travels from a worker to the orchestrator."""


def call(function: str, order: Any, door: Path | None = None) -> Any:
    """Run `tasks.worker.<function>(order)`. Called only inside a worker process.

    What it writes beside its order goes through `door`. Raises Superseded once that is gone.

    NOTE: the module is named by a string on purpose. The orchestrating process imports this
    module to send the call; it must never import `tasks.worker`, which brings torch in.
    """
    worker = importlib.import_module("tasks.worker")
    try:
        with through(door):
            return getattr(worker, function)(order)
    except DoorShut as error:
        raise Superseded(str(error)) from error
