"""One file out of a Qt resource archive (`.rcc`), in which some packages keep their photographs.

The layout is that of Qt's own compiler, `rcc`: a header of big-endian numbers, a tree of nodes with
their children side by side, the names apart, and each file's size before its bytes. Only what the
way to one file passes is read, so a broken tree cannot lead in circles.
"""

from __future__ import annotations

import struct

_MAGIC = b"qres"
_HEADER = struct.Struct(">4sIIII")
"""Magic, version, where the tree, the contents and the names begin."""
_KIND = struct.Struct(">IH")
"""Where the node's name lies among the names, and its flags."""
_CHILDREN = struct.Struct(">II")
"""Of a folder, behind its kind: how many children, and the number of the first one's node."""
_CONTENT = struct.Struct(">HHI")
"""Of a file, behind its kind: country, language, where it lies among the contents."""
_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4
_VERSIONS = {1: 14, 2: 22, 3: 22}
"""Bytes of a node: since version 2 a time of change follows."""


class ResourceUnreadable(Exception):
    """Not such an archive, a broken one, or one without the file that is asked for."""


def stored(archive: bytes, path: str) -> bytes:
    """The bytes of the file at `path`, folders parted by slashes.

    Raises:
        ResourceUnreadable: it is not there or is kept compressed, or the archive is broken.
    """
    try:
        return _stored(archive, path)
    except struct.error as fault:
        raise ResourceUnreadable(f"the resource archive breaks off on the way to {path}") from fault


def _stored(archive: bytes, path: str) -> bytes:
    magic, version, tree, contents, names = _HEADER.unpack_from(archive)
    if magic != _MAGIC or version not in _VERSIONS:
        raise ResourceUnreadable("no Qt resource archive of version 1 to 3")
    node = tree
    for part in path.split("/"):
        _, flags = _KIND.unpack_from(archive, node)
        if not flags & _FOLDER:
            raise ResourceUnreadable(f"{path} leads through a file")
        count, first = _CHILDREN.unpack_from(archive, node + _KIND.size)
        for child in range(first, first + count):
            node = tree + child * _VERSIONS[version]
            if _is_named(archive, names + _KIND.unpack_from(archive, node)[0], part):
                break
        else:
            raise ResourceUnreadable(f"no {path} in the resource archive")
    _, flags = _KIND.unpack_from(archive, node)
    if flags & (_COMPRESSED | _FOLDER | _ZSTD):
        raise ResourceUnreadable(f"{path} is a folder or compressed; only plain files are read")
    at = contents + _CONTENT.unpack_from(archive, node + _KIND.size)[2]
    (size,) = struct.unpack_from(">I", archive, at)
    found = archive[at + 4 : at + 4 + size]
    if len(found) < size:
        raise ResourceUnreadable(f"{path} is {size} bytes long, the archive holds {len(found)}")
    return found


def _is_named(archive: bytes, at: int, name: str) -> bool:
    """Whether the name at `at` (units of UTF-16, a hash of them, then they) is this one.

    Others are not read: a broken archive could have all its nodes share a name of 128 KiB.
    """
    (length,) = struct.unpack_from(">H", archive, at)
    wanted = name.encode("utf-16-be")
    return 2 * length == len(wanted) and archive.startswith(wanted, at + 6)
