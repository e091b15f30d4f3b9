"""What must be the same on every machine of a night, and the proof that two share a folder."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from manifests.files import write_atomic
from manifests.settings import Studio

ROOMS = ("flows", "tasks", "reports", "render", "qc", "manifests")
LIBRARIES = ("torch", "diffusers", "transformers", "distributed")
SUFFIXES = frozenset({".py", ".yaml", ".json"})


@cache
def code_facts() -> Mapping[str, str]:
    """Versions of what decides pixels, and a hash of the code of Rushes itself."""
    facts = {"python": ".".join(platform.python_version_tuple()[:2]), "code": _code()}
    for name in ("rushes", *LIBRARIES):
        with suppress(PackageNotFoundError):
            # What follows a plus names the build (cpu, cu128), which differs between machines.
            facts[name] = version(name).partition("+")[0]
    return facts


def _code() -> str:
    """The first 12 digits of the SHA-256 over all files of the six packages."""
    digest = hashlib.sha256()
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        assert spec is not None, "the rooms are where this file is"
        assert spec.submodule_search_locations, "a room is a package"
        folder = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(folder.rglob("*")):
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                digest.update(f"{room}/{path.relative_to(folder)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def model_places(studio: Studio) -> dict[str, str]:
    """Where each model and each other file that a worker opens lies, as orders name it."""
    places = {}
    for name, spec in sorted(studio.models.items()):
        named = (spec.location, spec.revision, spec.transformer, spec.transformer_2)
        places[name] = " ".join(filter(None, (*named, spec.motion_adapter)))
    return places


def missing_models(studio: Studio) -> list[str]:
    """In words, the local files of models that this machine does not have."""
    missing = []
    for name, spec in sorted(studio.models.items()):
        folders = [] if spec.is_hub else [Path(spec.location)]
        for path in (*folders, *spec.files.values()):
            if not path.exists():
                missing.append(f"model {name}: {path} is not here")
    return missing


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """In words, what differs: `torch 2.11.0 there, 2.12.1 here`."""
    return [
        f"{name} {theirs.get(name, 'missing')} there, {ours.get(name, 'missing')} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]


def leave_token(folder: Path, name: str) -> str:
    """Write a new word into `folder`/`name`, to be read by another machine; returns it."""
    token = uuid.uuid4().hex
    write_atomic(folder / name, token)
    return token


def reads_token(folder: Path, name: str, token: str) -> bool:
    """Whether this machine sees in `folder` what the other one has written there."""
    with suppress(OSError, UnicodeDecodeError):
        return (folder / name).read_text() == token
    return False
