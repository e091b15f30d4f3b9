"""What `rushes doctor` asks where hosts may join the nights: address, port, keys, whose disk."""

from __future__ import annotations

import socket
from contextlib import suppress

from flows.finding import Finding
from manifests.settings import Studio
from manifests.shares import Mount, Mounts, mount_of, mounted, share_of
from tasks.host_book import BOOK, read_book
from tasks.host_keys import key_faults

NAME = "hosts"


def ledger(studio: Studio, mounts: Mounts = mounted) -> Finding:
    """A disk of this machine's own below the ledger, unless this machine is a host."""
    share, name = share_of(studio.ledger_path, mounts), "ledger"
    if share is None:
        mount = mount_of(studio.ledger_path, mounts)
        on = "" if mount is None else f", on {mount.kind}"
        return Finding(name=name, well=True, words=f"{studio.ledger_path}{on}")
    if _is_host(studio, share):
        words = f"on a share ({share}): this machine may join nights, and runs none"
        return Finding(name=name, well=True, words=words)
    return Finding(
        name=name,
        well=False,
        words=f"{studio.ledger_path} is on a share ({share}): no night runs here",
        remedy="move the root to a disk of this machine; or run the nights on the machine whose "
        "disk it is and join them from here (hosts.listen says where)",
    )


def hosts(studio: Studio, mounts: Mounts = mounted) -> Finding:
    """Whether hosts can join, and who could join that should not; on a host, whether it can."""
    listen = studio.hosts.listen
    if listen is None:
        return Finding(name=NAME, well=True, words="none may join: hosts.listen is not set")
    address, _, port = listen.rpartition(":")
    address = address.strip("[]")
    if _is_host(studio, share_of(studio.root, mounts)):
        return _as_host(studio, listen)
    if not _is_ours(address):
        return Finding(
            name=NAME,
            well=False,
            words=f"{address} is no address of this machine",
            remedy="name one that is in hosts.listen (`ip address` shows them)",
        )
    book = read_book(studio.state_dir / BOOK)
    if book is None and not _is_free(address, int(port)):
        return Finding(
            name=NAME,
            well=False,
            words=f"port {port} on {address} is taken",
            remedy="name a free one in hosts.listen, and tell the hosts",
        )
    return _guarded(studio, listen, here=len(book["hosts"]) if book else None)


def _is_host(studio: Studio, share: Mount | None) -> bool:
    """Whether nights are another machine's: it shares the folder, and hosts join at its address."""
    listen = studio.hosts.listen
    return (
        share is not None
        and listen is not None
        and not _is_ours(listen.rpartition(":")[0].strip("[]"))
    )


def _as_host(studio: Studio, listen: str) -> Finding:
    faults = [] if studio.hosts.tls is None else key_faults(studio.hosts.tls)
    scheme = "tcp" if studio.hosts.tls is None else "tls"
    words = f"this machine may join with `rushes join {scheme}://{listen}`"
    return Finding(name=NAME, well=not faults, words=words, remedy="; ".join(map(str, faults)))


def _guarded(studio: Studio, listen: str, *, here: int | None) -> Finding:
    rules = studio.hosts
    now = "no night runs" if here is None else f"{here} here now"
    if rules.tls is not None:
        faults = key_faults(rules.tls)
        remedy = "; ".join(map(str, faults))
        words = f"may join at tls://{listen} with the keys in {rules.tls}; {now}"
        return Finding(name=NAME, well=not faults, words=words, remedy=remedy)
    words = f"may join at tcp://{listen} without keys; {now}"
    if not rules.insecure:  # loopback: the settings let nothing else pass
        return Finding(name=NAME, well=True, words=words)
    return Finding(
        name=NAME,
        well=True,
        words=words,
        remedy="whoever reaches that port can run anything on this machine and on every host: make "
        "keys with `rushes keys` unless all who are on that network may",
    )


def _is_ours(address: str) -> bool:
    return _is_free(address, 0)


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        return True
    return False
