"""What to write in place of a value that pydantic refuses, in the words of all other faults."""

from __future__ import annotations

import re
from typing import Any

from manifests.text import suggest

_REMEDIES = {
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text",
    "path_type": "write a path",
    "list_type": "write a list: [one, two]",
    "tuple_type": "write a list: [one, two]",
    "dict_type": "write `key: value` lines (in the environment: JSON)",
    "model_type": "write `key: value` lines (in the environment: JSON)",
    "model_attributes_type": "write `key: value` lines (in the environment: JSON)",
}
_BOUNDS = {
    "greater_than": ("gt", "write more than {}"),
    "greater_than_equal": ("ge", "write {} or more"),
    "less_than": ("lt", "write less than {}"),
    "less_than_equal": ("le", "write {} or less"),
    "string_too_short": ("min_length", "write text of {} or more characters"),
    "string_too_long": ("max_length", "write text of {} or fewer characters"),
    "too_short": ("min_length", "give {} or more"),
    "too_long": ("max_length", "give {} or fewer"),
}
_QUOTED = re.compile(r"'([^']*)'")


def wanted(item: Any) -> str:
    """The remedy for one of `ValidationError.errors()`."""
    kind, context = item["type"], item.get("ctx", {})
    if kind in _REMEDIES:
        return _REMEDIES[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return words.format(f"{context[name]:g}")
    if kind in ("enum", "literal_error"):
        return suggest(str(item["input"]), _QUOTED.findall(context["expected"]))
    message = str(item["msg"])
    return f"write {message.removeprefix('Input should be ').removeprefix('a valid ')}"
