"""Which folders are another machine's disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.shares import Mount, mount_of, mounted, share_of

LOCAL = Mount(point=Path("/"), kind="ext4", source="/dev/vda")


def nfs(point: Path) -> Mount:
    """A share, as Linux lists it."""
    return Mount(point=point, kind="nfs4", source="10.0.0.5:/srv/rushes")


def test_a_folder_below_a_share_is_on_it(tmp_path: Path) -> None:
    """Also one that is not there yet; its neighbour, whose name only begins alike, is not."""
    mounts = [LOCAL, nfs(tmp_path / "studio")]
    assert share_of(tmp_path / "studio" / "takes" / "new", lambda: mounts) == mounts[1]
    assert share_of(tmp_path / "studio", lambda: mounts) == mounts[1]
    assert share_of(tmp_path / "studio2", lambda: mounts) is None


def test_a_disk_within_a_share_is_this_machines(tmp_path: Path) -> None:
    """The innermost file system holds the file."""
    inner = Mount(point=tmp_path / "studio" / "cache", kind="xfs", source="/dev/sdb1")
    mounts = [LOCAL, inner, nfs(tmp_path / "studio")]
    assert share_of(inner.point / "file", lambda: mounts) is None


def test_the_last_of_two_at_one_point_counts(tmp_path: Path) -> None:
    """An automounter's own file system lies below the share that it mounts."""
    auto = Mount(point=tmp_path, kind="autofs", source="systemd-1")
    assert share_of(tmp_path / "file", lambda: [LOCAL, auto, nfs(tmp_path)]) == nfs(tmp_path)


def test_a_link_into_a_share_leads_there(tmp_path: Path) -> None:
    """Where the file lies is asked, not how it is called."""
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "studio").symlink_to(share)
    assert share_of(tmp_path / "studio" / "rushes.db", lambda: [LOCAL, nfs(share)]) == nfs(share)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "apfs", "overlay", "tmpfs"])
def test_disks_of_this_machine_are_no_shares(tmp_path: Path, kind: str) -> None:
    """A night runs on all of them."""
    mount = Mount(point=tmp_path, kind=kind, source="disk")
    assert share_of(tmp_path, lambda: [LOCAL, mount]) is None


def test_this_machine_says_what_it_has_mounted(tmp_path: Path) -> None:
    """The system is really asked: there is something at the root of it."""
    assert any(mount.point == Path("/") for mount in mounted())
    assert mount_of(tmp_path) is not None
