"""ASC CDL files (`.cc`, `.ccc`, `.cdl`): slope, offset, power, saturation, read safely."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from manifests.numbers import float_of
from manifests.refusal import Refusal
from manifests.text import suggest

Triple = tuple[float, float, float]

SUFFIXES = (".cc", ".ccc", ".cdl")
LIMITS = {
    "slope": (0.0, 100.0),
    "offset": (-10.0, 10.0),
    "power": (0.01, 100.0),
    "saturation": (0.0, 100.0),
}
"""Least and greatest of each value. The standard asks slope >= 0, power > 0, saturation >= 0."""

_MAX_BYTES = 2**20
_EXPORT = "export the CDL again"


@dataclass(frozen=True, slots=True)
class Cdl:
    """One colour correction."""

    slope: Triple = (1.0, 1.0, 1.0)
    offset: Triple = (0.0, 0.0, 0.0)
    power: Triple = (1.0, 1.0, 1.0)
    saturation: float = 1.0


def read_cdl(path: Path, *, wanted: str | None, shot: str) -> Cdl:
    """The correction in `path` whose id is `wanted`; where none is wanted, the shot's or the only.

    Raises Refusal.
    """
    root = _parse(path)
    found = [element for element in root.iter() if _name(element) == "ColorCorrection"]
    if not found:
        raise Refusal(f"{path.name!r} holds no ColorCorrection", _EXPORT)
    by_id = {element.get("id", ""): element for element in found}
    if (wanted or shot) in by_id:
        return _correction(by_id[wanted or shot], path.name)
    if wanted is None and len(found) == 1:
        return _correction(found[0], path.name)
    raise Refusal(
        f"{path.name!r} holds no correction with the id {wanted or shot!r}",
        f"write {path.name}#id; {suggest(wanted or shot, filter(None, by_id))}",
    )


def triple(value: object, *, key: str) -> Triple:
    """Three numbers, or one for all three, inside the limits of `key`. Raises Refusal."""
    parts = value if isinstance(value, list | tuple) else re.split(r"[,\s]+", str(value).strip())
    numbers = [bounded(part, key=key) for part in parts]
    if len(numbers) == 1:
        return (numbers[0],) * 3
    if len(numbers) != 3:
        raise Refusal(f"{key} has {len(numbers)} numbers", f"write {key}=1.1,1,0.9")
    return (numbers[0], numbers[1], numbers[2])


def bounded(value: object, *, key: str) -> float:
    """One number inside the limits of `key`. Raises Refusal."""
    low, high = LIMITS[key]
    number = float_of(value, example="1.1 (with a point)")
    if not low <= number <= high:
        raise Refusal(f"{key} {number:g} is not in {low:g}..{high:g}", f"write {key} near 1")
    return number


def _parse(path: Path) -> ET.Element:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Refusal(f"{path.name!r} is larger than 1 MiB", _EXPORT)
        text = path.read_bytes().decode("utf-8-sig")
        # NOTE: entities are declared in a DOCTYPE; without one there is nothing to expand.
        if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise Refusal(f"{path.name!r} holds a DOCTYPE", "remove it; a CDL needs none")
        return ET.fromstring(text)  # noqa: S314 - see above
    except OSError as error:
        raise Refusal(
            f"{path.name!r} cannot be read ({error.strerror or error})", "check the file"
        ) from None
    except UnicodeDecodeError:
        raise Refusal(f"{path.name!r} is not UTF-8", _EXPORT) from None
    except (ET.ParseError, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"{path.name!r} is not valid XML ({error})", _EXPORT) from None


def _correction(element: ET.Element, name: str) -> Cdl:
    found: dict[str, str] = {}
    for child in element.iter():
        key = _name(child).lower()
        if key in LIMITS:
            found[key] = (child.text or "").strip()
    if not found:
        raise Refusal(f"{name!r} holds no SOPNode and no SatNode", _EXPORT)
    try:
        return Cdl(
            slope=triple(found.get("slope", "1 1 1"), key="slope"),
            offset=triple(found.get("offset", "0 0 0"), key="offset"),
            power=triple(found.get("power", "1 1 1"), key="power"),
            saturation=bounded(found.get("saturation", "1"), key="saturation"),
        )
    except Refusal as refusal:
        raise Refusal(f"{name!r}: {refusal.problem}", _EXPORT) from None


def _name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]
