"""What a file of weights says of itself: names, shapes and metadata, without reading a weight.

The header of a safetensors file is JSON; that of a GGUF file is read by its own library. No torch,
and nothing that could run code: a pickle is refused by its content, whatever its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.refusal import Refusal

GGUF = ".gguf"
_MAX_HEADER = 100 * 2**20
_PICKLE = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files of `torch.save` and of pickle begin."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file."""

    dtype: str
    """As the file says it: `BF16`, `F8_E4M3`, `Q4_K`."""
    shape: tuple[int, ...]
    """Of its values, also where they are packed."""
    size: int
    """Bytes in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """A whole file of weights."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    """What its maker wrote into a safetensors file; empty for GGUF."""
    size: int
    """Bytes on the disk."""

    @property
    def is_gguf(self) -> bool:
        """Weights are packed in blocks and unpacked layer by layer."""
        return self.path.suffix == GGUF

    @property
    def precision(self) -> str:
        """How most of its values are stored: `BF16`, `Q4_K`."""
        counts: dict[str, int] = {}
        for info in self.tensors.values():
            values = 1
            for side in info.shape:
                values *= side
            counts[info.dtype] = counts.get(info.dtype, 0) + values
        return max(counts, key=lambda dtype: counts[dtype])


def read_weight_file(path: Path) -> WeightFile:
    """The header of a `.safetensors` or `.gguf` file that is whole. Raises Refusal."""
    try:
        with path.open("rb") as file:
            begins = file.read(4)
        if begins.startswith(_PICKLE):
            raise Refusal(
                f"{path.name!r} is a pickle, which can run code when it is loaded",
                "use a safetensors or GGUF file",
            )
        match path.suffix:
            case ".safetensors":
                return _read_safetensors(path)
            case ".gguf":
                return _read_gguf(path)
    except OSError as error:
        raise Refusal(
            f"{path.name!r} cannot be read ({error.strerror or error})", "check the file"
        ) from None
    raise Refusal(f"{path.name!r} is no file of weights", "name a .safetensors or .gguf file")


def _read_safetensors(path: Path) -> WeightFile:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise _damaged(path)
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            metadata = dict(header.pop("__metadata__", None) or {})
            ends = [entry["data_offsets"][1] for entry in header.values()]
            tensors = {
                name: TensorInfo(
                    str(entry["dtype"]),
                    tuple(map(int, entry["shape"])),
                    int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]),
                )
                for name, entry in header.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise _damaged(path) from None
    if not ends or not all(isinstance(end, int) for end in ends) or max(ends) != size - 8 - length:
        raise _damaged(path)
    return WeightFile(path=path, tensors=tensors, metadata=metadata, size=size)


def _read_gguf(path: Path) -> WeightFile:
    # Here, not above: few sheets need it, and it takes a fifth of a second.
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        tensors = {
            tensor.name: TensorInfo(
                # Its sides are written innermost first.
                tensor.tensor_type.name,
                tuple(int(side) for side in reversed(tensor.shape)),
                int(tensor.n_bytes),
            )
            for tensor in reader.tensors
        }
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError):
        raise _damaged(path) from None
    if not tensors:
        raise _damaged(path)
    return WeightFile(path=path, tensors=tensors, metadata={}, size=path.stat().st_size)


def _damaged(path: Path) -> Refusal:
    kind = "GGUF" if path.suffix == GGUF else "safetensors"
    return Refusal(f"{path.name!r} is no whole {kind} file", "download or export it again")
