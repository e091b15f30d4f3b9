"""Secrets: addresses that hold tokens and passwords, and how nobody reads them.

NOTE: a key that is typed wrongly (`notifi:`) is no secret by its name, so a fault of the settings
never shows what belongs to an unknown key, nor what stands behind `scheme:/` anywhere.
"""

from __future__ import annotations

import re
from dataclasses import replace

from manifests.errors import Fault

SECTIONS = frozenset({"notify"})
"""Settings whose values are never shown, also when they are wrong."""
HIDDEN = "…"
_SCHEME = r"([A-Za-z](?:[A-Za-z0-9+.-]*://|[A-Za-z0-9+.-]+:[/\\]))"
"""With one slash, or one that leans the wrong way, it is an address that was typed wrongly; behind
a single letter it is a drive."""
_ADDRESS = re.compile(rf"{_SCHEME}.*?(?=['\"][^'\"]*\Z|\Z)", re.DOTALL)
"""Up to the last quote behind it, else to the end: passwords hold blanks, semicolons and quotes."""
_REST = re.compile(rf"{_SCHEME}.*", re.DOTALL)
_USER = re.compile(r"(:/+)\S*@")
"""With the slashes of a password that was not percent-encoded."""
_WORD = re.compile(r"[a-z_]{1,24}")
_JOINTS = re.compile(r"[:/.]")


def without_addresses(text: str) -> str:
    """`text` with nothing of an address but its scheme: `slack://…`.

    Where it ends nobody can tell for sure, so words between it and the last quote go with it.
    """
    return _ADDRESS.sub(rf"\1{HIDDEN}", text)


def without_user(url: str) -> str:
    """A server's address without the user and password that it may hold."""
    return _USER.sub(r"\1", url)


def error_words(error: BaseException) -> str:
    """An error's class and words, for people, logs and the ledger: `HTTPError: 401 for https://h/`.

    Clients quote the whole address that they asked, with the user and password in it.
    """
    return f"{type(error).__name__}: {without_user(str(error))}"


def is_a_name(key: str) -> bool:
    """Whether a key can be told: a token that was put in a key's place does not look like one."""
    return _WORD.fullmatch(key) is not None


def told_name(word: str) -> str:
    """A key, tag or alias as a fault tells it: what is no name may be a token, and is not told."""
    return word if all(map(is_a_name, _JOINTS.split(word))) else HIDDEN


def silent(fault: Fault) -> Fault:
    """The fault with every address hidden."""
    return replace(
        fault,
        problem=without_addresses(fault.problem),
        remedy=without_addresses(fault.remedy),
        # Neither stands in quotes, and a value may be a list of them, cut in the middle: nothing
        # after the first one is told.
        column=None if fault.column is None else _REST.sub(rf"\1{HIDDEN}", fault.column),
        value=None if fault.value is None else _REST.sub(rf"\1{HIDDEN}", fault.value),
    )
