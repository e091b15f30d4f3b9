"""What the store gives back is what was put in, or nothing; it keeps its size and never fails."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from render.store import Kind, Store
from render.tensor_file import read_tensors

KEYS = [f"{i:02x}" * 32 for i in range(8)]


def _store(folder: Path, *, most_bytes: int = 10**6) -> Store:
    return Store(folder, most_bytes=most_bytes, reserve_bytes=0)


def _parts(seed: int = 0, *, kilobytes: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"text": torch.randn((kilobytes, 128), generator=generator).to(torch.float64)}


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _entries(folder))


def _age(store: Store, kind: Kind, key: str, seconds: float) -> None:
    path = store._path(kind, key)
    assert path is not None
    os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int64]),
    shape=st.lists(st.integers(0, 4), max_size=4),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=25)
def test_what_was_kept_comes_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, shape: list[int], seed: int
) -> None:
    """Tensors of any shape and type come back bit for bit, from another worker's store too."""
    folder = tmp_path_factory.mktemp("store")
    kept = torch.empty(shape, dtype=dtype)
    kept.view(-1).view(torch.uint8).random_(generator=torch.Generator().manual_seed(seed))
    _store(folder).keep(Kind.TEXT, KEYS[0], {"text": kept})
    found = _store(folder).find(Kind.TEXT, KEYS[0])
    assert found is not None
    assert found["text"].dtype == dtype
    assert found["text"].shape == kept.shape
    assert torch.equal(found["text"].view(-1).view(torch.uint8), kept.view(-1).view(torch.uint8))


def test_what_was_not_kept_is_not_found(tmp_path: Path) -> None:
    """Another key or another kind finds nothing, and an absent folder is no fault."""
    store = _store(tmp_path / "store")
    assert store.find(Kind.TEXT, KEYS[0]) is None
    store.keep(Kind.TEXT, KEYS[0], _parts())
    assert store.find(Kind.TEXT, KEYS[1]) is None
    assert store.find(Kind.STILL, KEYS[0]) is None
    assert not store.lend(Kind.STAGE, KEYS[0], tmp_path / "stage-1.safetensors")
    assert store.collect_notes() == []


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    """An order without a store leaves nothing anywhere."""
    store = Store()
    store.keep(Kind.TEXT, KEYS[0], _parts())
    store.keep_file(Kind.STAGE, KEYS[0], tmp_path / "absent")
    assert store.find(Kind.TEXT, KEYS[0]) is None
    assert store.collect_notes() == []


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "told", "moved"])
def test_a_damaged_entry_is_removed_and_noted(tmp_path: Path, damage: str) -> None:
    """A cut, emptied, overwritten, flipped or misnamed entry is never used; a new one is."""
    store = _store(tmp_path)
    store.keep(Kind.TEXT, KEYS[0], _parts())
    path = _entries(tmp_path)[0]
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    key = KEYS[0]
    match damage:
        case "cut":
            path.write_bytes(whole[:-9])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            path.write_bytes(flipped)
        case "text":
            path.write_text("no tensors")
        case "told":
            path.write_bytes(whole.replace(KEYS[0].encode(), KEYS[1].encode()))
        case _:
            key = KEYS[1]
            to = tmp_path / "text" / key[:2] / f"{key}.safetensors"
            to.parent.mkdir()
            path.rename(to)
            path = to
    assert store.find(Kind.TEXT, key) is None
    assert not path.exists()
    notes = store.collect_notes()
    assert len(notes) == 1
    assert path.name in notes[0]
    assert "removed, computed again" in notes[0]
    store.keep(Kind.TEXT, key, _parts(1))
    found = store.find(Kind.TEXT, key)
    assert found is not None
    assert torch.equal(found["text"], _parts(1)["text"])


def test_what_was_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    """At its limit the store drops by last use, not by age, and keeps the newest."""
    store = _store(tmp_path, most_bytes=5000)
    for key in KEYS[:3]:
        store.keep(Kind.TEXT, key, _parts())
    for key, seconds in zip(KEYS[:3], (300.0, 200.0, 100.0), strict=True):
        _age(store, Kind.TEXT, key, seconds)
    assert store.find(Kind.TEXT, KEYS[0]) is not None  # used again
    store.keep(Kind.TEXT, KEYS[3], _parts(kilobytes=2))
    present = {key for key in KEYS[:4] if store.find(Kind.TEXT, key) is not None}
    assert present == {KEYS[0], KEYS[3]}


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(1, 6)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=15)
def test_the_size_is_kept(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, int]]
) -> None:
    """Whatever is written, the store stays below its size and holds what was written last."""
    folder = tmp_path_factory.mktemp("store")
    store = _store(folder, most_bytes=10_000)
    for key, kilobytes in writes:
        store.keep(Kind.TEXT, key, _parts(kilobytes=kilobytes))
        assert _bytes(folder) <= 10_000
        assert store.find(Kind.TEXT, key) is not None
    assert store.collect_notes() == []


def test_an_entry_larger_than_the_store_drives_nothing_out(tmp_path: Path) -> None:
    """What can never fit is not kept, and the others stay."""
    store = _store(tmp_path, most_bytes=5000)
    store.keep(Kind.TEXT, KEYS[0], _parts())
    store.keep(Kind.TEXT, KEYS[1], _parts(kilobytes=9))
    assert store.find(Kind.TEXT, KEYS[0]) is not None
    assert store.find(Kind.TEXT, KEYS[1]) is None


def test_a_file_is_kept_and_lent_without_a_copy(tmp_path: Path) -> None:
    """A checkpoint lies once on the disk, in the take, the store and the next take."""
    store = _store(tmp_path / "store")
    file, lent = tmp_path / "a" / "stage-1.safetensors", tmp_path / "b" / "stage-1.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"latents")
    store.keep_file(Kind.STAGE, KEYS[0], file)
    store.keep_file(Kind.STAGE, KEYS[0], file)
    assert store.lend(Kind.STAGE, KEYS[0], lent)
    assert store.lend(Kind.STAGE, KEYS[0], lent)
    assert lent.read_bytes() == b"latents"
    assert lent.stat().st_ino == file.stat().st_ino
    assert [path.name for path in lent.parent.iterdir()] == [lent.name]
    shutil.rmtree(tmp_path / "store")
    assert lent.read_bytes() == b"latents"


def test_without_links_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another file system the file is copied."""

    def refuse(*_paths: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    store, file = _store(tmp_path / "store"), tmp_path / "stage-1.safetensors"
    file.write_bytes(b"latents")
    store.keep_file(Kind.STAGE, KEYS[0], file)
    assert store.lend(Kind.STAGE, KEYS[0], tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"latents"
    assert (tmp_path / "b").stat().st_ino != file.stat().st_ino
    assert store.collect_notes() == []


def test_a_store_that_cannot_be_written_says_so_once(tmp_path: Path) -> None:
    """A full disk or a file in the way fails no take: one note, and the next take tries again."""
    blocked = tmp_path / "store"
    blocked.write_text("in the way")
    store = _store(blocked)
    for key in KEYS[:3]:
        store.keep(Kind.TEXT, key, _parts())
        assert store.find(Kind.TEXT, key) is None
    store.keep_file(Kind.STAGE, KEYS[0], blocked)
    notes = [note for note in store.collect_notes() if "cannot be written" in note]
    assert len(notes) == 1
    blocked.unlink()
    store.keep(Kind.TEXT, KEYS[0], _parts())
    assert store.find(Kind.TEXT, KEYS[0]) is not None


def test_the_disk_is_never_filled(tmp_path: Path) -> None:
    """Where little is free the store gives its entries back, keeps nothing, and says so."""
    roomy = _store(tmp_path)
    roomy.keep(Kind.TEXT, KEYS[0], _parts())
    short = Store(tmp_path, reserve_bytes=10**18)
    short.keep(Kind.TEXT, KEYS[1], _parts())
    assert _entries(tmp_path) == []
    assert "would stay free" in short.collect_notes()[0]


@pytest.mark.slow
def test_it_may_be_deleted_at_any_moment(tmp_path: Path) -> None:
    """Workers that read and write go on, and find only what is whole, while others delete."""
    folder, failures, done = tmp_path / "store", list[str](), threading.Event()
    right = {key: _parts(i)["text"] for i, key in enumerate(KEYS)}

    def work() -> None:
        store = _store(folder, most_bytes=6000)
        for i in range(60):
            key = KEYS[i % len(KEYS)]
            store.keep(Kind.TEXT, key, {"text": right[key]})
            found = store.find(Kind.TEXT, key)
            if found is not None and not torch.equal(found["text"], right[key]):
                failures.append(key)
            failures.extend(note for note in store.collect_notes() if "damaged" in note)

    def delete() -> None:
        while not done.is_set():
            shutil.rmtree(folder, ignore_errors=True)

    workers = [threading.Thread(target=work) for _ in range(3)]
    vandal = threading.Thread(target=delete)
    for thread in (*workers, vandal):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    vandal.join()
    assert failures == []


def test_the_leftover_of_a_killed_worker_is_removed(tmp_path: Path) -> None:
    """A temporary file of long ago leaves; one that may be written right now stays."""
    folder = tmp_path / "text" / "00"
    folder.mkdir(parents=True)
    old, new = folder / ".a.1.0badcafe.safetensors", folder / ".b.2.0badcafe.safetensors"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    _store(tmp_path).keep(Kind.TEXT, KEYS[0], _parts())
    assert not old.exists()
    assert new.exists()


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    """An entry is a plain safetensors file that carries its key."""
    _store(tmp_path).keep(Kind.TEXT, KEYS[0], _parts())
    assert read_tensors(_entries(tmp_path)[0]).told == {"key": KEYS[0]}
    assert (tmp_path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f59")
