"""What a night's process knows of the `rushes serve` that started it."""

from __future__ import annotations

import os
from pathlib import Path

from flows.parent import die_with
from manifests.errors import BadInput, Fault

ROOT, SERVER = "_RUSHES_SERVED_ROOT", "_RUSHES_SERVED_BY"
"""Environment of the runs that `rushes serve` starts: its root, its process id.

NOTE: without the prefix of settings, which are checked for typing errors.
"""
GRACE = 30.0
"""Seconds in which a night puts its things down when `rushes serve` is gone."""


def belong_to_server(root: Path) -> None:
    """Refuse another root than the served one, and end when the process that serves it does.

    Raises BadInput. Does nothing where nobody serves.
    """
    served, server = os.environ.get(ROOT), os.environ.get(SERVER)
    if served is not None and Path(served) != root:
        problem = f"this studio's root is {served}"
        raise BadInput([Fault(file=root, problem=problem, remedy="leave `root` as it is")])
    if server is not None:
        die_with(int(server), grace=GRACE)
