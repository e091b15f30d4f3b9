"""YAML as text: every scalar stays as typed, with its line; `001` is not 1 and `no` is not false.

Read from parser events instead of constructed objects, so that no tag can build anything,
nothing recurses over hostile nesting, and an alias costs what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from manifests.refusal import Refusal

_MAX_DEPTH = 12
_MAX_VALUES = 1_000_000
_MERGE = "<<"
"""The key by which a mapping takes over the keys of others."""
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_STANDARD = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(
    f"{_STANDARD}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a YAML file."""

    value: str | list[Node] | dict[str, Node] | None
    line: int
    """1-based; of the first line of the value."""
    size: int = 1
    """Values in it, itself included, aliases counted for what they stand for."""

    def plain(self) -> Any:
        """The value as plain lists, dicts, text and None."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def inner(self, part: object) -> Node | None:
        """The value under a key, or at an index; None where there is none."""
        if isinstance(self.value, dict) and isinstance(part, str):
            return self.value.get(part)
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None


class YamlRefusal(Refusal):
    """A YAML file cannot be read, with the line where."""

    def __init__(self, problem: str, remedy: str, line: int | None) -> None:
        self.line = line
        super().__init__(problem, remedy)


def read_yaml(
    text: str, found: list[YamlRefusal] | None = None, *, tell: Callable[[str], str] = str
) -> Node | None:
    """The one document in `text`, or None for an empty file. Raises YamlRefusal.

    What one value alone has wrong (a key that stands twice, a tag, ...) is put into `found`, where
    a list is given, and the rest is read without it; else the first of them is raised. `tell` makes
    of a word of the text (a key, a tag, an alias) what a refusal may quote of it.
    """
    try:
        return _Reader(found, tell).read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlRefusal(
            f"is not valid YAML ({error.problem or error.context})",
            "mend the line (indent with spaces, quote text that holds ': ' or starts with a sign)",
            None if mark is None else mark.line + 1,
        ) from None
    except yaml.YAMLError as error:
        raise YamlRefusal(
            f"is not valid YAML ({str(error).splitlines()[0]})",
            "remove characters that cannot be printed",
            None,
        ) from None


@dataclass(slots=True)
class _Open:
    """A list or mapping that is still being read."""

    line: int
    anchor: str | None
    items: list[Node]
    is_map: bool


class _Reader:
    """Builds one document from parser events."""

    def __init__(self, found: list[YamlRefusal] | None, tell: Callable[[str], str]) -> None:
        self._found = found
        self._told = tell
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._root: Node | None = None
        self._documents = 0
        self._values = 0

    def read(self, text: str) -> Node | None:
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                assert event.start_mark is not None
                self._take(event, event.start_mark.line + 1)
        except (yaml.YAMLError, YamlRefusal):
            if self._found is not None:
                self._tell_open()
            raise
        return self._root

    def _tell_open(self) -> None:
        """What the mappings that were never closed have wrong as far as they were read."""
        for broken in self._open:
            if broken.is_map:
                whole = len(broken.items) // 2 * 2
                self._mapping(replace(broken, items=broken.items[:whole]))

    def _take(self, event: yaml.Event, line: int) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlRefusal("holds a second document", "remove the line '---'", line)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line)
        elif isinstance(event, yaml.ScalarEvent):
            self._check_tag(event.tag, line)
            null = event.style in (None, "") and event.value in _NULLS and event.tag is None
            self._finish(Node(None if null else event.value, line), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_tag(event.tag, line)
            if len(self._open) >= _MAX_DEPTH:
                raise YamlRefusal("is nested too deep", f"nest at most {_MAX_DEPTH} levels", line)
            is_map = isinstance(event, yaml.MappingStartEvent)
            self._open.append(_Open(line, event.anchor, [], is_map))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            self._finish(self._mapping(done) if done.is_map else _sequence(done), done.anchor)

    def _alias(self, anchor: str, line: int) -> None:
        node = self._anchors.get(anchor)
        if node is None:
            problem = f"'*{self._told(anchor)}' stands for nothing"
            self._refuse(problem, "name an anchor above it", line)
            node = Node(None, line)
        self._add(node, cost=node.size)

    def _finish(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        self._add(node)

    def _add(self, node: Node, *, cost: int = 1) -> None:
        self._values += cost
        if self._values > _MAX_VALUES:
            raise YamlRefusal("holds too many values", "split it into several files", node.line)
        if self._open:
            self._open[-1].items.append(node)
        else:
            self._root = node

    def _check_tag(self, tag: str | None, line: int) -> None:
        if tag is not None and tag not in _PLAIN_TAGS and tag != "!":
            typed = tag.removeprefix(_STANDARD).lstrip("!")
            told = tag.removesuffix(typed) + self._told(typed)
            self._refuse(f"the tag {told!r} is not read", "write the value without a tag", line)

    def _mapping(self, done: _Open) -> Node:
        """Its own keys; then what it shares by `<<`, where it does not say the same itself."""
        mapping: dict[str, Node] = {}
        shared: list[dict[str, Node]] = []
        for key, value in zip(done.items[::2], done.items[1::2], strict=True):
            if not isinstance(key.value, str):
                self._refuse("a key is not text", "write `key: value`", key.line)
            elif key.value == _MERGE:
                shared += self._shared(value, key.line)
            elif key.value in mapping:
                problem = f"the key {self._told(key.value)!r} stands twice"
                first = mapping[key.value].line
                self._refuse(f"{problem} (line {first} before)", "keep one of them", key.line)
            else:
                mapping[key.value] = value
        for other in shared:
            for name, node in other.items():
                mapping.setdefault(name, node)
        return Node(mapping, done.line, 1 + sum(node.size for node in mapping.values()))

    def _shared(self, value: Node, line: int) -> list[dict[str, Node]]:
        """The mappings that `<<` names, those that win first."""
        named = value.value if isinstance(value.value, list) else [value]
        mappings = [node.value for node in named if isinstance(node.value, dict)]
        if len(mappings) < len(named):
            self._refuse(f"{_MERGE!r} takes mappings alone", "write `<<: *anchor` of one", line)
        return mappings

    def _refuse(self, problem: str, remedy: str, line: int) -> None:
        refusal = YamlRefusal(problem, remedy, line)
        if self._found is None:
            raise refusal
        self._found.append(refusal)


def _sequence(done: _Open) -> Node:
    return Node(done.items, done.line, 1 + sum(item.size for item in done.items))
