"""What of a studio's root can be looked at beside Prefect's pages, and at which addresses.

The server that is ours serves pictures, films and reports under its own port, so that an address
works on every port and through a tunnel. Prefect asks browsers for a password only before its API,
never before an image; so the addresses hold a key that nobody can guess, and they are told only on
pages that the API gives.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from fastapi import FastAPI

SHOWN = "_RUSHES_SHOWN_AT"
"""Environment of a night whose server shows files: where, as a path on that server.

NOTE: without the prefix of settings, which are checked for typing errors.
"""
QUEUE = "_RUSHES_QUEUE_AT"
"""The same of the page on which people set priorities (`flows.queue_page`)."""
FOLDERS = ("takes", "delivered", "reports")
SUFFIXES = frozenset({".jpg", ".png", ".mp4", ".html", ".csv"})
_KEY_NAME, _QUEUE_KEY = "shown.key", "queue.key"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # A report's own script may run, but reaches nothing of Prefect, which has the same origin.
    "Content-Security-Policy": "sandbox allow-scripts allow-popups allow-downloads",
    "Cache-Control": "no-cache",
}


def begin(state_dir: Path) -> str:
    """Let nights of this process and its children know the addresses; the path that they share."""
    os.environ[SHOWN] = prefix = f"/rushes/{_key(state_dir / _KEY_NAME)}"
    # NOTE: a key of its own: who was sent the address of a film is not to set priorities.
    os.environ[QUEUE] = f"/rushes/{_key(state_dir / _QUEUE_KEY)}/queue"
    return prefix


def address(root: Path, path: Path) -> str | None:
    """The address of a file on the server; None where it cannot be looked at there."""
    prefix = os.environ.get(SHOWN)
    if prefix is None or path.suffix not in SUFFIXES or not path.is_relative_to(root):
        return None
    inside = path.relative_to(root)
    if inside.parts[0] not in FOLDERS or ".." in inside.parts:
        return None
    return f"{prefix}/{quote(inside.as_posix())}"


def show(app: FastAPI, root: Path, prefix: str) -> None:
    """Serve the root's folders under `prefix`. Nothing outside them, no list, no other suffix."""
    from starlette.exceptions import HTTPException
    from starlette.responses import Response
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    class Shown(StaticFiles):
        async def get_response(self, path: str, scope: Any) -> Response:
            if Path(path).suffix not in SUFFIXES:
                raise HTTPException(status_code=404)
            response = await super().get_response(path, scope)
            response.headers.update(_HEADERS)
            return response

    for folder in FOLDERS:
        # A folder that a studio does not have yet comes with its first take.
        files = Shown(directory=root / folder, check_dir=False)
        # NOTE: first of all: Prefect's own page answers whatever else is asked.
        app.router.routes.insert(0, Mount(f"{prefix}/{folder}", files))


def _key(path: Path) -> str:
    """The same for the life of a root, so that addresses in old pages stay good."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if key := path.read_text(encoding="ascii").strip():
            return key
        path.unlink()  # a crash came between its making and its writing
        return _key(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(18))
        file.flush()
        os.fsync(file.fileno())
    return path.read_text(encoding="ascii")
