"""The grade cell: a `.cube` LUT, a CDL file, numbers in words, or in YAML a mapping."""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifests.cdl import SUFFIXES, Cdl, Triple, bounded, read_cdl, triple
from manifests.cube import check_cube
from manifests.files import sha256_file
from manifests.numbers import cell_text, number_text
from manifests.paths import Roots
from manifests.refusal import Refusal, quoted
from manifests.shot import Grade
from manifests.text import suggest

_FORM = "write look.cube, look.cdl, or slope=1.1,1,0.9 saturation=0.9 lut=look.cube"
_KEYS = ("slope", "offset", "power", "saturation", "lut", "cdl")
_PAIR = re.compile(r"""\s*(?P<key>\w+)\s*=\s*(?P<value>"[^"]*"|[^\s;"]+)\s*;?""")


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeRef:
    """A grade as a cell asks for it; nothing given means no grade."""

    slope: Triple | None = None
    offset: Triple | None = None
    power: Triple | None = None
    saturation: float | None = None
    lut: str | None = None
    """Of a `.cube` file, as typed."""
    cdl: str | None = None
    """Of a CDL file, as typed; `#id` may follow the name of a collection."""

    def __str__(self) -> str:
        words = []
        for key in ("slope", "offset", "power"):
            numbers = getattr(self, key)
            if numbers is not None:
                words.append(f"{key}={','.join(map(number_text, numbers))}")
        if self.saturation is not None:
            words.append(f"saturation={number_text(self.saturation)}")
        words += [f'{key}="{name}"' for key in ("lut", "cdl") if (name := getattr(self, key))]
        return " ".join(words) or "none"


def read_grade(value: object) -> GradeRef | None:
    """What the cell asks for; `none` is an empty GradeRef, None stays None. Raises Refusal."""
    if value is None or isinstance(value, GradeRef):
        return value
    if isinstance(value, dict):
        return _from_pairs([(key, item) for key, item in value.items() if item is not None])
    text = cell_text(value)
    if text.lower() == "none":
        return GradeRef()
    if "=" not in text:
        return _from_name(text)
    pairs, place = [], 0
    while place < len(text):
        match = _PAIR.match(text, place)
        if match is None:
            raise Refusal(f"{quoted(text[place:])} cannot be read", _FORM)
        pairs.append((match["key"].lower(), match["value"].strip('"')))
        place = match.end()
    return _from_pairs(pairs)


def find_grade(ref: GradeRef, *, roots: Roots, shot: str) -> Grade | None:
    """The grade with its files opened, checked and hashed; None where it changes nothing.

    A CDL collection is searched for the id that the cell names, else for the shot's own name.
    Raises Refusal.
    """
    cdl = Cdl()
    if ref.cdl is not None:
        name, _, wanted = ref.cdl.partition("#")
        path = roots.find(name, what="a CDL file", suffixes=SUFFIXES)
        cdl = read_cdl(path, wanted=wanted or None, shot=shot)
    lut = None
    if ref.lut is not None:
        lut = roots.find(ref.lut, what="a .cube LUT", suffixes=(".cube",))
        check_cube(lut)
    grade = Grade(
        slope=ref.slope or cdl.slope,
        offset=ref.offset or cdl.offset,
        power=ref.power or cdl.power,
        saturation=cdl.saturation if ref.saturation is None else ref.saturation,
        lut=lut,
        lut_sha256=None if lut is None else sha256_file(lut),
    )
    return None if grade == Grade() else grade


def _from_name(text: str) -> GradeRef:
    name = text.partition("#")[0].lower()
    if name.endswith(".cube"):
        return GradeRef(lut=text)
    if name.endswith(SUFFIXES):
        return GradeRef(cdl=text)
    raise Refusal(f"{quoted(text)} is no grade", _FORM)


def _from_pairs(pairs: list[tuple[str, object]]) -> GradeRef:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key == "sat":
            key = "saturation"
        if key not in _KEYS:
            raise Refusal(f"a grade has no {key!r}", suggest(key, _KEYS))
        if key in found:
            raise Refusal(f"{key!r} stands twice", "write it once")
        found[key] = value
    if "cdl" in found and found.keys() & {"slope", "offset", "power", "saturation"}:
        raise Refusal("names a CDL file and numbers as well", "keep one of them")
    triples = {key: triple(found[key], key=key) for key in _KEYS[:3] if key in found}
    saturation = found.get("saturation")
    return GradeRef(
        slope=triples.get("slope"),
        offset=triples.get("offset"),
        power=triples.get("power"),
        saturation=None if saturation is None else bounded(saturation, key="saturation"),
        lut=_name(found, "lut"),
        cdl=_name(found, "cdl"),
    )


def _name(found: dict[str, object], key: str) -> str | None:
    if key not in found:
        return None
    name = cell_text(found[key])
    if '"' in name or not name or getattr(_from_name(name), key) is None:
        raise Refusal(f"{quoted(name)} is no {key}", _FORM)
    return name
