"""What `rushes doctor` says where hosts may join, and what the settings let pass at all."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from free_port import free_port

from flows.doctor_hosts import hosts, ledger
from manifests.errors import BadInput
from manifests.settings import load_studio
from manifests.shares import Mount
from tasks.host_book import BOOK, HostBook, HostCard, HostLine, read_book
from tasks.host_keys import KEY, make_keys


def _settings(root: Path, **rules: Any) -> Any:
    return load_studio(root, hosts=rules)


def test_without_hosts_all_is_well(tmp_path: Path) -> None:
    """Most studios have one machine: nothing to remedy."""
    found = hosts(load_studio(tmp_path))
    assert (found.well, found.remedy) == (True, "")


def test_on_loopback_no_keys_are_needed(tmp_path: Path) -> None:
    """Nobody else reaches it."""
    found = hosts(_settings(tmp_path, listen=f"127.0.0.1:{free_port()}"))
    assert (found.well, found.remedy) == (True, "")


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    """A studio.yaml that was copied would let nobody in."""
    found = hosts(_settings(tmp_path, listen="10.255.255.254:8786", insecure=True))
    assert not found.well
    assert "no address of this machine" in found.words


def test_a_port_is_taken_by_somebody_else_or_by_the_night(tmp_path: Path) -> None:
    """Of the first it says so; of the second how many hosts are here."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        studio = _settings(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert not hosts(studio).well
        card = HostCard(name="cpu", memory=None, away=False, takes=())
        line = HostLine(host="a", state="here", cards=(card,))
        book = HostBook(studio.state_dir / BOOK)
        book.write("tcp://127.0.0.1:1", [line])
        found = hosts(studio)
        assert found.well
        assert "1 here now" in found.words
        book.close()
        assert not hosts(studio).well


def test_keys_that_do_not_hold_are_named(tmp_path: Path) -> None:
    """Whoever may read the key may join."""
    make_keys(tmp_path / "keys")
    studio = _settings(tmp_path, listen=f"127.0.0.1:{free_port()}", tls=tmp_path / "keys")
    assert hosts(studio).well
    (tmp_path / "keys" / KEY).chmod(0o640)
    found = hosts(studio)
    assert not found.well
    assert "chmod 600" in found.remedy


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"listen": "10.0.0.5:8786"}, "could run anything on every machine"),
        ({"listen": "8.8.8.8:8786", "insecure": True}, "no address of a private network"),
        ({"listen": "0.0.0.0:8786", "insecure": True}, "every network of this machine"),
        ({"listen": "head:8786"}, "is no address and port"),
        ({"listen": "10.0.0.5:80", "insecure": True}, "no port from 1024"),
        ({"listen": "10.0.0.5:8786", "insecure": True, "lease_seconds": 0}, "lease_seconds"),
        ({"lisen": "10.0.0.5:8786"}, "did you mean 'listen'"),
    ],
)
def test_settings_that_would_open_the_studio_are_refused(
    tmp_path: Path, rules: dict[str, Any], words: str
) -> None:
    """Each with its remedy, before anything listens."""
    with pytest.raises(BadInput) as caught:
        _settings(tmp_path, **rules)
    assert words in str(caught.value)


def test_a_machine_without_a_device_needs_hosts(tmp_path: Path) -> None:
    """Nobody would render."""
    with pytest.raises(BadInput, match="nobody would render"):
        load_studio(tmp_path, device="none")
    listen = f"127.0.0.1:{free_port()}"
    assert load_studio(tmp_path, device="none", hosts={"listen": listen}).device == "none"


def test_what_a_killed_night_left_is_not_told(tmp_path: Path) -> None:
    """The book names its process: without it nobody is here."""
    book = HostBook(tmp_path / BOOK)
    book.write("tcp://127.0.0.1:1", [])
    assert read_book(tmp_path / BOOK) is not None
    text = (tmp_path / BOOK).read_text()
    process = text.split('"process": ')[1].split(",")[0]
    (tmp_path / BOOK).write_text(text.replace(process, "4194304"))
    assert read_book(tmp_path / BOOK) is None


def test_a_ledger_on_a_share_is_a_fault(tmp_path: Path) -> None:
    """A night there would not be alone with it; on a disk of this machine all is well."""
    share = Mount(point=tmp_path, kind="nfs4", source="10.255.255.254:/srv/rushes")
    found = ledger(load_studio(tmp_path), lambda: [share])
    assert not found.well
    assert "nfs4, 10.255.255.254:/srv/rushes" in found.words
    assert "join" in found.remedy
    disk = Mount(point=tmp_path, kind="ext4", source="/dev/sda1")
    found = ledger(load_studio(tmp_path), lambda: [disk])
    assert (found.well, found.remedy) == (True, "")


def test_on_a_host_the_share_and_the_address_are_as_they_should_be(tmp_path: Path) -> None:
    """There the ledger is another machine's and so is the address; its keys are looked at."""
    make_keys(tmp_path / "keys")
    share = Mount(point=tmp_path, kind="nfs4", source="10.255.255.254:/srv/rushes")
    studio = _settings(tmp_path, listen="10.255.255.254:8786", tls=tmp_path / "keys")
    assert ledger(studio, lambda: [share]).well
    found = hosts(studio, lambda: [share])
    assert (found.well, found.remedy) == (True, "")
    assert "rushes join tls://10.255.255.254:8786" in found.words
    (tmp_path / "keys" / KEY).chmod(0o640)
    assert "chmod 600" in hosts(studio, lambda: [share]).remedy


def test_the_machine_whose_address_it_is_needs_its_own_disk(tmp_path: Path) -> None:
    """It runs the nights, so a share below its ledger stays a fault."""
    share = Mount(point=tmp_path, kind="nfs4", source="nas:/srv/rushes")
    studio = _settings(tmp_path, listen=f"127.0.0.1:{free_port()}")
    assert not ledger(studio, lambda: [share]).well
    assert "may join at tcp://127.0.0.1" in hosts(studio, lambda: [share]).words
