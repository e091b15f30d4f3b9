"""What `rushes doctor` asks where hosts may join the nights: address, port, keys."""

from __future__ import annotations

import socket
from contextlib import suppress

from flows.finding import Finding
from manifests.settings import Studio
from tasks.host_book import BOOK, read_book
from tasks.host_keys import key_faults

NAME = "hosts"


def hosts(studio: Studio) -> Finding:
    """Whether hosts can join, and who could join that should not."""
    listen = studio.hosts.listen
    if listen is None:
        return Finding(name=NAME, well=True, words="none may join: hosts.listen is not set")
    address, _, port = listen.rpartition(":")
    address = address.strip("[]")
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
