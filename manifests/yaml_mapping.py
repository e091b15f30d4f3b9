"""A YAML file that holds one mapping: settings, presets. Every fault of its form at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from manifests.errors import BadInput, Fault
from manifests.refusal import Refusal
from manifests.yaml_text import Node, YamlRefusal, read_yaml


def read_mapping(
    path: Path,
    *,
    form: str,
    most_bytes: int | None = None,
    tell: Callable[[str], str] = str,
) -> tuple[Node | None, list[Fault]]:
    """The mapping in the file, None where it says nothing, and what its form has wrong.

    What one value alone has wrong (a key that stands twice, a tag) is left out of the mapping, so
    that what the rest has wrong can be told too. `form`: what to write into such a file, where it
    holds something else. `tell`: as `read_yaml` has it.

    Raises FileNotFoundError; and BadInput, with every fault that was found, where no mapping can be
    read.
    """
    found: list[YamlRefusal] = []
    try:
        if most_bytes is not None and path.stat().st_size > most_bytes:
            words = f"is larger than {most_bytes // 2**20} MiB"
            raise BadInput([Refusal(words, "shorten it").at(path)])
        node = read_yaml(path.read_bytes().decode("utf-8-sig"), found, tell=tell)
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise BadInput([Refusal("is not UTF-8", "save it as UTF-8").at(path)]) from None
    except OSError as error:
        refusal = Refusal(f"cannot be read ({error.strerror or error})", "check the file")
        raise BadInput([refusal.at(path)]) from None
    except YamlRefusal as end:
        found.sort(key=lambda refusal: refusal.line or 0)
        raise BadInput(_at(path, [*found, end])) from None
    faults = _at(path, found)
    if node is None or node.value is None:
        return None, faults
    if not isinstance(node.value, dict):
        raise BadInput([*faults, Refusal("is no mapping", form).at(path)])
    return node, faults


def _at(path: Path, found: list[YamlRefusal]) -> list[Fault]:
    return [refusal.at(path, row=refusal.line) for refusal in found]
