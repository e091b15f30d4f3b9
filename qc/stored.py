"""A scorecard that lies beside its clip, so that a clip is measured once.

It says by a key what it was measured from and how: the clip's and the source's bytes, what was
expected, the metrics' versions, the LPIPS backbone. With any other key it is not used, and it is
safe to delete at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from manifests.files import sha256_file, write_atomic
from qc.faults import Expected
from qc.scorecard import Scorecard

NAME = "scorecard.json"
"""Of the file, beside the clip."""


def card_key(
    *,
    clip_sha256: str,
    source: Path | None,
    expected: Expected | None,
    versions: Mapping[str, str],
    backbone: str,
) -> str:
    """SHA-256 over all that a scorecard's numbers depend on, hex. Raises OSError.

    `versions` as `qc.measure.versions_of` gives them, `backbone` as scorecards name it.
    """
    told = {
        "clip": clip_sha256,
        "source": None if source is None else sha256_file(source),
        "expected": None if expected is None else asdict(expected),
        "versions": dict(versions),
        "backbone": backbone,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def store_card(card: Scorecard, clip: Path, *, key: str) -> Path:
    """Write the scorecard beside `clip`, whole or not at all. Raises OSError."""
    path = clip.with_name(NAME)
    write_atomic(path, json.dumps({"key": key, "card": card.to_dict()}) + "\n")
    return path


def is_stored(clip: Path) -> bool:
    """Whether a scorecard lies beside `clip`, of whatever key."""
    return clip.with_name(NAME).is_file()


def stored_card(clip: Path, *, key: str) -> Scorecard | None:
    """The scorecard beside `clip` if it has this very key; None if not, or if it is damaged."""
    try:
        told = json.loads(clip.with_name(NAME).read_text(encoding="utf-8"))
        return Scorecard.from_dict(told["card"]) if told["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
