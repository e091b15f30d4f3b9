"""Prefect's settings for a night, made before Prefect is imported: it reads them once."""

from __future__ import annotations

import os
from pathlib import Path

_QUIET = {
    # Nothing leaves the machine.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # NOTE: the newer page asks an analytics host from the browser; the older one asks nobody.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    # SQLite keeps up with a burst of task runs only in batches.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    # The log of a run belongs on its page; the terminal has a progress of its own.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,502,503",
}


def prepare(state_dir: Path) -> bool:
    """Set what the user did not set. Returns True when a server of our own is needed.

    Prefect's database lives below the root (`PREFECT_HOME`), apart from any other Prefect of
    this user. With `PREFECT_API_URL` in the environment the user's server is used instead.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PREFECT_API_URL"):
        return False
    os.environ.setdefault("PREFECT_HOME", str(state_dir / "prefect"))
    # SQLite does not make the folder of its file.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    return True
