"""Where takes, deliveries and reports lie, and what they are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from manifests.settings import Studio


def take_id(manifest: str, shot: str, fingerprint: str, number: int) -> str:
    """`<manifest>/<shot>/<fingerprint, 8 digits>/t<number>`: ledger, folders and tags agree.

    The fingerprint keeps takes of a row that was changed apart from those of the row before.
    """
    return f"{manifest}/{shot}/{fingerprint[:8]}/t{number}"


def take_folder(takes_dir: Path, take: str) -> Path:
    """The folder of a take: its id, below the takes folder."""
    return takes_dir.joinpath(*take.split("/"))


def delivery_path(delivered_dir: Path, manifest: str, shot: str, version: int) -> Path:
    """The review file of a version: `delivered/<manifest>/<shot>/<shot>_v001.mp4`."""
    return delivered_dir / manifest / shot / f"{shot}_v{version:03d}.mp4"


def sidecar_path(delivery: Path) -> Path:
    """The sidecar beside a review file: same name, `.json`."""
    return delivery.with_suffix(".json")


def arguments_key(manifests: Sequence[Path], *, studio: Studio) -> str:
    """Equal for the same sheets in the same root: a night cut short is found again by it.

    Sheets of the inbox count as one thing, whichever they are tonight.
    """
    inbox = studio.accepted_dir.resolve()
    sheets = {path.resolve() for path in manifests}
    named = {inbox if path.parent == inbox else path for path in sheets}
    text = json.dumps([str(studio.root.resolve()), *sorted(str(path) for path in named)])
    return hashlib.sha256(text.encode()).hexdigest()
