"""`rushes join`: this machine renders for the nights of another one, until it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from manifests.cards import CardRules
from manifests.device import NO_DEVICE
from manifests.errors import BadInput, Fault
from manifests.hosts import ALL_OF_IT
from manifests.settings import Studio
from tasks.crew import crew_for
from tasks.gpus import Machine, find_machine
from tasks.host_agent import Host, serve_nights
from tasks.host_facts import missing_models
from tasks.neighbours import Neighbours

SCHEMES = ("tcp://", "tls://")


def host_of(
    studio: Studio,
    *,
    address: str,
    name: str,
    device: str | None = None,
    exclude: tuple[str, ...] = (),
    scratch: Path | None,
    drain: float,
) -> Host:
    """This machine as a host; `device` and `exclude` win over what its settings say, None and
    empty leave them. Raises BadInput with all that keeps it from being one."""
    faults = [*_address_faults(studio, address), *_model_faults(studio)]
    rules = studio.hosts.machines.get(name, ALL_OF_IT)
    cards = rules.cards or CardRules(yield_to_others=studio.cards.yield_to_others)
    if exclude:
        cards = CardRules(exclude=exclude, yield_to_others=cards.yield_to_others)
    machine = Machine(cards=())
    try:
        machine = find_machine(device or rules.device, rules.placement, rules=cards)
    except BadInput as error:
        typed = {"device": device, "cards.exclude": exclude}
        faults += [_placed(fault, studio, name, typed) for fault in error.faults]
    if device == NO_DEVICE:
        faults.append(_renders_nothing(device))
    if faults:
        raise BadInput(faults)
    cores = rules.threads or studio.threads or os.cpu_count() or 1
    return Host(
        name=name,
        address=address,
        studio=studio,
        crew=crew_for(machine, cores=cores, apart=True),
        scratch=_temporary(name) if scratch is None else scratch.absolute(),
        tls=studio.hosts.tls if address.startswith("tls://") else None,
        drain=drain,
        neighbours=Neighbours() if cards.yield_to_others else None,
    )


def _placed(fault: Fault, studio: Studio, name: str, typed: Mapping[str, object]) -> Fault:
    """A fault of this host's cards, with where the setting stands that it speaks of."""
    column = fault.column or "device"
    if typed.get(column):
        return replace(fault, file=Path("command line"), column=column.rpartition(".")[2])
    return replace(fault, file=studio.settings_file, column=f"hosts.machines.{name}.{column}")


def _temporary(name: str) -> Path:
    """A temporary folder for this host, which nobody else may read. Raises BadInput."""
    folder = Path(tempfile.gettempdir(), f"rushes-{os.getuid()}-{name}").absolute()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    # NOTE: its name can be guessed, so somebody else may have been there first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        fault = Fault(
            file=folder,
            problem="is no folder of this user",
            remedy="remove it, or name another folder with --scratch",
        )
        raise BadInput([fault])
    folder.chmod(0o700)
    return folder


def join(host: Host, *, console: Console) -> None:
    """Join nights until SIGTERM or Ctrl-C. Raises NotLetIn, BadInput."""
    if (words := unnamed_words(host)) is not None:
        console.print(words, style="yellow", highlight=False, markup=False, soft_wrap=True)
    asyncio.run(_join(host, console))
    console.print("left; what was not finished goes on elsewhere", highlight=False)


def unnamed_words(host: Host) -> str | None:
    """What to tell of a host that the settings leave out while they name others: it may have been
    renamed, and then cards that should be left alone are not. None: all is as it should be."""
    named = host.studio.hosts.machines
    if not named or host.name in named:
        return None
    return (
        f"hosts.machines names {', '.join(sorted(named))}, and not {host.name}: nothing there says "
        "which cards of this machine to leave alone; if it is one of those, say so with --name"
    )


async def _join(host: Host, console: Console) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    work = asyncio.ensure_future(
        serve_nights(
            host,
            stop=stop,
            tell=lambda words: console.print(words, highlight=False, markup=False, soft_wrap=True),
        )
    )

    def leave() -> None:
        """Leave in good order; asked a second time, at once."""
        if stop.is_set():
            work.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave)
    try:
        await work
    except asyncio.CancelledError:
        console.print("left at once", highlight=False)


def _address_faults(studio: Studio, address: str) -> list[Fault]:
    place = Path("command line")
    if not address.startswith(SCHEMES) or not address.rpartition(":")[2].isdigit():
        problem = f"{address!r} is no address of a night"
        return [Fault(file=place, problem=problem, remedy="write it as in tls://10.0.0.5:8786")]
    if address.startswith("tls://") and studio.hosts.tls is None:
        return [
            Fault(
                file=studio.settings_file,
                column="hosts.tls",
                problem="the folder of this machine's keys is not named",
                remedy="copy the keys of the night's machine, and name their folder (or set "
                "RUSHES_HOSTS__TLS)",
            )
        ]
    return []


def _model_faults(studio: Studio) -> list[Fault]:
    return [
        Fault(
            file=studio.settings_file,
            column="models",
            problem=words,
            remedy="mount it under the same path as on the machine of the night",
        )
        for words in missing_models(studio)
    ]


def _renders_nothing(device: str) -> Fault:
    return Fault(
        file=Path("command line"),
        column="device",
        value=device,
        problem="a host without a device renders nothing",
        remedy="write auto, cpu, cuda or cuda:0",
    )
