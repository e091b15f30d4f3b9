"""Publishing a version: the whole file appears under its name, or the name was taken.

`manifests.files.atomic_path` renames, and a rename replaces what is there: right for files that
may be made again, wrong for a delivered version. Looking first and renaming then would leave a gap
in which another process can publish the same version and lose it. So the last step is one the
kernel itself refuses when the name exists: a hard link, or, where the file system has none
(exFAT, some shares), a rename with RENAME_NOREPLACE.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.files import naming
from render.errors import PublishUnsupported, VersionExists

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


@contextmanager
def new_version(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends well it is published as `path`.

    If the block raises, or `path` exists by then, the temporary file is removed and `path` is as
    it was. The parent folder is made.

    Raises:
        VersionExists: `path` is there, before the block or by the time it ends.
        PublishUnsupported: the file system can neither link nor rename without replacing.
        DoorShut: another attempt has the folder by now (`manifests.door`).
    """
    if os.path.lexists(path):
        raise _exists(path)
    with naming(path, lambda temporary: _publish_new(temporary, path)) as temporary:
        yield temporary


def _publish_new(temporary: Path, path: Path) -> None:
    try:
        publish(temporary, path)
    except FileExistsError:
        raise _exists(path) from None


def publish(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path` in one step. Raises FileExistsError when it is taken.

    After a link the temporary name is still there; whoever made it removes it.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_noreplace(temporary, path)


def rename_noreplace(before: Path, after: Path) -> None:
    """Rename `before` to `after` unless `after` exists, decided by the kernel (Linux).

    Raises FileExistsError, PublishUnsupported, or the OSError that the kernel names.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    code = errno.ENOSYS
    if rename is not None:
        names = (os.fsencode(before), os.fsencode(after))
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise PublishUnsupported(
            f"{after}: its file system knows neither hard links nor renaming without replacing; "
            "deliver to a local disk or another share"
        )
    raise OSError(code, os.strerror(code), str(after))


def _exists(path: Path) -> VersionExists:
    return VersionExists(
        f"{path}: this version is delivered already and is never overwritten; deliver the next one"
    )
