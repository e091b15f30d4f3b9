"""The doorway to a worker process: looks its functions up there, so that torch stays there."""

from __future__ import annotations

import importlib
from typing import Any

TOPIC = "rushes-progress"
"""Name under which progress travels from a worker to the orchestrator."""


def call(function: str, order: Any) -> Any:
    """Run `tasks.worker.<function>(order)`. Called only inside a worker process.

    NOTE: the module is named by a string on purpose. The orchestrating process imports this
    module to send the call; it must never import `tasks.worker`, which brings torch in.
    """
    return getattr(importlib.import_module("tasks.worker"), function)(order)
