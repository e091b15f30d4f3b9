"""Photographs inside a Qt resource archive are read, and what is broken is refused in words."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.qc_bench.photographs import PhotographMissing, _bytes_of, photographs
from benchmarks.qc_bench.qt_resource import ResourceUnreadable, stored

_NAME = st.text("abcXYZ09äé_.", min_size=1, max_size=6)
_FOLDERS = st.dictionaries(
    _NAME, st.dictionaries(_NAME, st.binary(max_size=40), min_size=1, max_size=3), max_size=3
)


def packed(folders: dict[str, dict[str, bytes]], *, version: int = 3, flags: int = 0) -> bytes:
    """An archive of two levels, as Qt's compiler lays it out; `flags` of every file."""
    names, contents = bytearray(), bytearray()
    rows: list[tuple[str, int, tuple[int, int] | bytes]] = [("", 2, (len(folders), 1))]
    first = 1 + len(folders)
    for name, files in folders.items():
        rows.append((name, 2, (len(files), first)))
        first += len(files)
    rows += [(n, flags, body) for files in folders.values() for n, body in files.items()]
    tree = bytearray()
    for name, kind, what in rows:
        tree += struct.pack(">IH", len(names), kind)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(what, bytes):
            tree += struct.pack(">HHI", 0, 1, len(contents))
            contents += struct.pack(">I", len(what)) + what
        else:
            tree += struct.pack(">II", *what)
        tree += bytes(8 if version > 1 else 0)
    at = 20 + (4 if version > 2 else 0)
    head = struct.pack(
        ">4sIIII", b"qres", version, at, at + len(tree), at + len(tree) + len(contents)
    )
    return head + bytes(at - 20) + bytes(tree) + bytes(contents) + bytes(names)


@given(folders=_FOLDERS, version=st.sampled_from([1, 2, 3]))
def test_what_was_packed_is_read_back(folders, version):
    """Every file of an archive of every version comes out as it went in."""
    archive = packed(folders, version=version)
    for folder, files in folders.items():
        for name, body in files.items():
            assert stored(archive, f"{folder}/{name}") == body


def _stored_or_refused(archive: bytes, path: str) -> bytes | None:
    try:
        return stored(archive, path)
    except ResourceUnreadable:
        return None


@given(folders=_FOLDERS, end=st.integers(0, 200), at=st.integers(0, 200), byte=st.integers(0, 255))
def test_a_broken_archive_is_refused(folders, end, at, byte):
    """Cut anywhere, an archive gives the whole file or is refused; a false byte ends so too."""
    archive = packed({**folders, "here": {"cow.webp": b"moo" * 9}})
    assert _stored_or_refused(archive[:end], "here/cow.webp") in {None, b"moo" * 9}
    spoilt = archive[:at] + bytes([byte]) + archive[at + 1 :]
    assert isinstance(_stored_or_refused(spoilt, "here/cow.webp"), bytes | None)


def test_the_names_of_others_are_not_read():
    """A neighbour whose name is no text is passed by."""
    archive = packed({"here": {"aa": b"", "cow.webp": b"moo"}})
    spoilt = archive.replace("aa".encode("utf-16-be"), b"\xd8\x00\xd8\x00")
    assert spoilt != archive
    assert stored(spoilt, "here/cow.webp") == b"moo"


@pytest.mark.parametrize(
    ("path", "flags", "words"),
    [
        ("here/dog.webp", 0, "no here/dog.webp"),
        ("there/cow.webp", 0, "no there/cow.webp"),
        ("here/cow.webp/leg", 0, "through a file"),
        ("here", 0, "folder or compressed"),
        ("here/cow.webp", 1, "folder or compressed"),
        ("here/cow.webp", 4, "folder or compressed"),
    ],
)
def test_what_cannot_be_read_is_told(path, flags, words):
    """A file that is not there, a folder and a compressed file are told apart from a picture."""
    with pytest.raises(ResourceUnreadable, match=words):
        stored(packed({"here": {"cow.webp": b"moo"}}, flags=flags), path)


def test_something_else_is_no_archive():
    """Another format is refused by its first bytes."""
    with pytest.raises(ResourceUnreadable, match="no Qt resource archive"):
        stored(b"RIFF" + bytes(40), "here/cow.webp")


def _in_an_archive(folder: Path, body: bytes):
    photo = replace(
        next(p for p in photographs().values() if p.entry),
        path="farm.rcc",
        entry="here/cow.webp",
        sha256=hashlib.sha256(b"moo").hexdigest()[:16],
    )
    (folder / "farm.rcc").write_bytes(body)
    return photo


def test_the_hash_is_that_of_the_picture_not_of_its_archive(monkeypatch, tmp_path):
    """Another archive around the same picture is as good."""
    monkeypatch.setenv("RUSHES_BENCH_PHOTOS", str(tmp_path))
    for beside in (b"", b"others"):
        photo = _in_an_archive(tmp_path, packed({"a": {"b": beside}, "here": {"cow.webp": b"moo"}}))
        assert _bytes_of(photo) == b"moo"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (packed({"here": {"cow.webp": b"bark"}}), "cow.webp that has SHA-256"),
        (packed({"here": {"dog.webp": b"moo"}}), "no here/cow.webp in the resource archive"),
    ],
)
def test_another_archive_is_told_with_its_package(monkeypatch, tmp_path, body, words):
    """Another picture, or none, under the name: file, package and what is wrong."""
    monkeypatch.setenv("RUSHES_BENCH_PHOTOS", str(tmp_path))
    photo = _in_an_archive(tmp_path, body)
    with pytest.raises(PhotographMissing, match=words) as fault:
        _bytes_of(photo)
    assert photo.package in str(fault.value)
    assert "farm.rcc" in str(fault.value)
