"""The loras cell: `look.safetensors:0.8; other.safetensors`; and what a LoRA file must be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from manifests.files import sha256_file
from manifests.numbers import cell_text, float_of, number_text
from manifests.paths import Roots
from manifests.refusal import Refusal, quoted
from manifests.stage import Lora
from manifests.weight_file import read_weight_file

STRENGTHS = (-2.0, 2.0)
SUFFIX = ".safetensors"
_FORM = "write file.safetensors:0.8, several divided by ;"


@dataclass(frozen=True, slots=True)
class LoraRef:
    """A LoRA as a cell names it."""

    file: str
    """As typed: relative to the sheet's or the preset's folder."""
    strength: float = 1.0

    def __str__(self) -> str:
        return f"{self.file}:{number_text(self.strength)}"


def read_loras(value: object) -> tuple[LoraRef, ...] | None:
    """The LoRAs a cell names: text, or in YAML a list of texts; `none` is the empty tuple.

    None stays None. Raises Refusal.
    """
    if value is None:
        return None
    if isinstance(value, list | tuple):
        items = list(value)
    else:
        text = cell_text(value)
        items = [] if text.lower() == "none" else re.split(r"[;\n]", text)
    loras = tuple(_read_one(item) for item in items if item not in ("", None))
    names = [lora.file for lora in loras]
    for name in names:
        if names.count(name) > 1:
            raise Refusal(f"{name!r} stands twice", "name each LoRA once")
    return loras


def find_lora(lora: LoraRef, *, roots: Roots) -> Lora:
    """The LoRA's file, opened, checked and hashed. Raises Refusal."""
    path = roots.find(lora.file, what="a safetensors file", suffixes=(SUFFIX,))
    return Lora(path=str(path), sha256=hash_safetensors(path), strength=lora.strength)


def hash_safetensors(path: Path) -> str:
    """SHA-256 of a whole, well-formed safetensors file. Raises Refusal."""
    read_weight_file(path)
    try:
        return sha256_file(path)
    except OSError as error:
        raise Refusal(
            f"{path.name!r} cannot be read ({error.strerror or error})", "check the file"
        ) from None


def _read_one(item: object) -> LoraRef:
    if isinstance(item, LoraRef):
        return item
    text = cell_text(item)
    name, colon, tail = text.rpartition(":")
    if not colon or tail.lower().endswith(SUFFIX):
        name, tail = text, "1"
    name = name.strip()
    if not name.lower().endswith(SUFFIX):
        raise Refusal(f"{quoted(name)} is not a safetensors file", _FORM)
    strength = float_of(tail, example="a strength such as 0.8")
    low, high = STRENGTHS
    if not low <= strength <= high:
        raise Refusal(f"strength {strength:g} is not in {low:g}..{high:g}", "write 0.8 (usual)")
    return LoraRef(name, strength)
