"""What a shot comes after: the cells that say so, and the faults of all of them together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from manifests.numbers import cell_text
from manifests.refusal import Refusal, quoted
from manifests.shot import Manifest, Shot
from manifests.text import listed, suggest

_REF = re.compile(r"(?:(?P<sheet>\w[\w .()+-]{0,99})/)?(?P<shot>[A-Za-z0-9_][A-Za-z0-9._-]{0,63})")
_FORM = "write the name of a shot: sh0020, or monday/sh0020 for one of the sheet monday"
_MOST = 100
"""Shots that one cell may name."""
_SUGGESTED = 50
"""Mistyped names of a sheet for which a like one is looked for; it is a long search."""


def shot_key(manifest: str, shot: str) -> str:
    """The name of a shot among all sheets: `sheet/shot`."""
    return f"{manifest}/{shot}"


def read_ref(value: object) -> str | None:
    """A shot that a cell names, as typed; None stays None, `none` is empty. Raises Refusal."""
    if value is None or value == "":
        return None if value is None else ""
    text = cell_text(value)
    return "" if text.lower() == "none" else _checked(text)


def read_refs(value: object) -> tuple[str, ...] | None:
    """The shots that a cell names, divided by `;` or `,`, in YAML also a list.

    None stays None, `none` is the empty tuple. Raises Refusal.
    """
    if value is None:
        return None
    if isinstance(value, list | tuple):
        items = [cell_text(item) for item in value if item not in ("", None)]
    else:
        text = cell_text(value)
        items = [] if text.lower() == "none" else re.split(r"[;,\n]", text)
    names = tuple(_checked(item.strip()) for item in items if item.strip())
    if len(names) > _MOST:
        raise Refusal(f"names {len(names)} shots", f"name at most {_MOST}, the last ones of each")
    for name in names:
        if names.count(name) > 1:
            raise Refusal(f"{name!r} stands twice", "name each shot once")
    return names


def _checked(text: str) -> str:
    if not _REF.fullmatch(text):
        raise Refusal(f"{quoted(text)} is no shot name", _FORM)
    return text


def key_of(ref: str, *, sheet: str) -> str:
    """`sheet/shot` of a name as typed in the sheet of that name."""
    return ref if "/" in ref else shot_key(sheet, ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cell that names another shot."""

    shot: str
    """Key of the shot in whose row it stands."""
    column: str
    """`after` or `start_from`."""
    ref: str
    """As typed."""
    to: str
    """Key of the shot that is meant."""


def refuse_links(
    links: Sequence[Link], *, known: Iterable[str], sheet: str
) -> Iterator[tuple[Link, Refusal]]:
    """Links that cannot hold inside one sheet: to itself, to no shot, or in a circle.

    Links to other sheets are looked at by `link_sheets`.
    """
    names = {key.partition("/")[2]: key for key in known}
    looked_for = 0
    sound = []
    for link in links:
        if link.to == link.shot:
            yield link, Refusal(f"{link.ref!r} is the shot itself", "name another shot, or none")
        elif link.to.startswith(f"{sheet}/") and link.to.partition("/")[2] not in names:
            looked_for += 1
            near = [name for name, key in names.items() if key != link.shot]
            few = looked_for <= _SUGGESTED
            remedy = suggest(link.to.partition("/")[2], near) if few else _FORM
            yield link, Refusal(f"there is no shot {link.ref!r} in this sheet", remedy)
        else:
            sound.append(link)
    yield from _in_circles(sound)


def link_sheets(
    sheets: Sequence[Manifest], *, known: Callable[[str], bool]
) -> tuple[Manifest, ...]:
    """The sheets of one night, without the shots that come after shots of other sheets which are
    not there, or that wait for each other across sheets; those are faults.

    `known` says of a shot, by its key, whether an earlier night has had it.
    """
    sheets = unlike_names(sheets)
    here = {sheet.name for sheet in sheets}
    names = {
        shot_key(sheet.name, name)
        for sheet in sheets
        for name in (*(shot.id for shot in sheet.shots), *(fault.shot for fault in sheet.faults))
        if name is not None
    }
    shots = {shot_key(sheet.name, shot.id): shot for sheet in sheets for shot in sheet.shots}
    links = [link for key, shot in shots.items() for link in links_of(key, shot)]
    refused = []
    sound = []
    for link in links:
        sheet = link.to.partition("/")[0]
        if link.to in names or (sheet not in here and known(link.to)):
            sound.append(link)
        elif sheet in here:
            near = [name for name in names if name.startswith(f"{sheet}/")]
            refused.append((link, Refusal(f"there is no shot {link.to!r}", suggest(link.to, near))))
        else:
            problem = f"there is no sheet {sheet!r} in this night, and none before had {link.to!r}"
            refused.append((link, Refusal(problem, f"run the sheet {sheet} too: it may be later")))
    refused += _in_circles(sound)
    return tuple(_without(sheet, refused) for sheet in sheets)


def unlike_names(sheets: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The sheets of one night, without shots that another sheet of the same name has before."""
    seen: dict[str, Manifest] = {}
    made = []
    for sheet in sheets:
        faults = tuple(
            Refusal(f"{shot.id!r} is in {seen[key].path.name} already", "rename one sheet").at(
                sheet.path, row=shot.row, shot=shot.id, column="shot", value=shot.id
            )
            for shot in sheet.shots
            if (key := shot_key(sheet.name, shot.id)) in seen
        )
        bad = {fault.shot for fault in faults}
        kept = tuple(shot for shot in sheet.shots if shot.id not in bad)
        seen.update({shot_key(sheet.name, shot.id): sheet for shot in kept})
        made.append(replace(sheet, shots=kept, faults=(*sheet.faults, *faults)))
    return tuple(made)


def links_of(key: str, shot: Shot) -> Iterator[Link]:
    """What a shot comes after, as links: `start_from` first."""
    if shot.start_from is not None:
        yield Link(shot=key, column="start_from", ref=shot.start_from, to=shot.start_from)
    for name in shot.after:
        if name != shot.start_from:
            yield Link(shot=key, column="after", ref=name, to=name)


def _without(sheet: Manifest, refused: Sequence[tuple[Link, Refusal]]) -> Manifest:
    rows = {shot_key(sheet.name, shot.id): shot for shot in sheet.shots}
    faults = tuple(
        refusal.at(
            sheet.path,
            row=rows[link.shot].row,
            shot=rows[link.shot].id,
            column=link.column,
            value=link.ref,
        )
        for link, refusal in refused
        if link.shot in rows
    )
    bad = {fault.shot for fault in faults}
    kept = tuple(shot for shot in sheet.shots if shot.id not in bad)
    return replace(sheet, shots=kept, faults=(*sheet.faults, *faults)) if faults else sheet


def _in_circles(links: Sequence[Link]) -> Iterator[tuple[Link, Refusal]]:
    """Links inside a group of shots that all wait for each other, one for each shot."""
    group = _groups(links)
    members: dict[int, list[str]] = {}
    for key, number in group.items():
        members.setdefault(number, []).append(key)
    told = set[str]()
    for link in links:
        if group[link.shot] != group[link.to] or link.shot in told:
            continue
        told.add(link.shot)
        keys = members[group[link.shot]]
        one_sheet = len({key.partition("/")[0] for key in keys}) == 1
        names = listed(key.partition("/")[2] if one_sheet else key for key in keys)
        remedy = "let one of them come after none of the others"
        yield link, Refusal(f"{names} wait for each other", remedy)


def _groups(links: Sequence[Link]) -> dict[str, int]:
    """A number for each shot, equal where they wait for each other (Kosaraju's two walks)."""
    forth: dict[str, list[str]] = {}
    back: dict[str, list[str]] = {}
    for link in links:
        for key in (link.shot, link.to):
            forth.setdefault(key, [])
            back.setdefault(key, [])
        forth[link.shot].append(link.to)
        back[link.to].append(link.shot)
    left, group = list[str](), dict[str, int]()
    seen = set[str]()
    for key in forth:
        left += _walk(key, forth, seen)
    seen.clear()
    for number, key in enumerate(reversed(left)):
        for found in _walk(key, back, seen):
            group[found] = number
    return group


def _walk(start: str, edges: Mapping[str, Sequence[str]], seen: set[str]) -> list[str]:
    """What is reached from `start` and not in `seen` yet, each after all it leads to."""
    if start in seen:
        return []
    seen.add(start)
    done, path = list[str](), [(start, iter(edges[start]))]
    while path:
        key, rest = path[-1]
        ahead = next((other for other in rest if other not in seen), None)
        if ahead is None:
            done.append(key)
            path.pop()
        else:
            seen.add(ahead)
            path.append((ahead, iter(edges[ahead])))
    return done
