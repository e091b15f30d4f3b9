"""Which folders are another machine's disk.

There two machines may hold one lock at once: a lock of the server's own processes and one of its
clients do not see each other (seen with Linux's NFS 4.2), and memory that SQLite shares through a
file is not shared between machines at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

KINDS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs"),
        *("ceph", "lustre", "beegfs", "gpfs", "glusterfs", "orangefs"),
        *("fuse.sshfs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "davfs", "afpfs", "webdav"),
    }
)
"""File systems whose files lie on other machines, as the system names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file system in the tree of folders."""

    point: Path
    """Where it begins; absolute."""
    kind: str
    """`ext4`, `nfs4`."""
    source: str
    """Of a share its server and folder: `10.0.0.5:/srv/rushes`."""

    def __str__(self) -> str:
        return f"{self.kind}, {self.source}"


Mounts = Callable[[], Sequence[Mount]]


def mounted() -> tuple[Mount, ...]:
    """What is mounted on this machine now, in the order in which it was."""
    return tuple(
        Mount(point=Path(part.mountpoint), kind=part.fstype, source=part.device)
        for part in psutil.disk_partitions(all=True)
    )


def mount_of(path: Path, mounts: Mounts = mounted) -> Mount | None:
    """The file system that `path` lies on, or would; None where the system does not say."""
    place = path.absolute().resolve()
    holding = [mount for mount in mounts() if place.is_relative_to(mount.point)]
    # NOTE: of several at one point the last one covers the others.
    return max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)


def share_of(path: Path, mounts: Mounts = mounted) -> Mount | None:
    """The share that `path` lies on, or would; None on a disk of this machine."""
    mount = mount_of(path, mounts)
    return mount if mount is not None and mount.kind in KINDS else None
