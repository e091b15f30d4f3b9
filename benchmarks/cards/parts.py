"""The parts: what is done on the cards, and what was seen."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.cards.facts import Driver, first_on_card, news, on_card, summary, takes, told
from benchmarks.cards.memory import memory
from benchmarks.cards.stand import Process, Stand, Studio, free_port, uuids, wait_for
from manifests.cards import CardRules
from manifests.errors import BadInput
from tasks.card_load import card_loads
from tasks.gpus import find_devices, find_machine
from tasks.neighbours import COURTESY


def found(stand: Stand) -> dict[str, Any]:
    """Cards by UUID, include and exclude, free memory, and what `rushes doctor` says of them."""
    first, second, *_ = uuids()
    refused = ""
    try:
        find_machine("cuda", rules=CardRules(exclude=("GPU-00000000",)))
    except BadInput as error:
        refused = str(error)

    def left(**rules: tuple[str, ...]) -> list[str]:
        cards = find_machine("cuda", rules=CardRules(**rules)).cards
        return [card.visible or "" for card in cards]

    root = stand.folder / "doctor"
    root.mkdir(exist_ok=True)
    doctor = stand.start(
        "-m", "flows.cli", "doctor", "--root", str(root), log=stand.folder / "doctor.log"
    )
    code = doctor.process.wait(120)
    loads = card_loads()
    return {
        "cards": [
            {"name": d.name, "uuid": d.visible, "bytes": d.memory} for d in find_devices("cuda")
        ],
        "include_by_number": left(include=("1",)) == [second],
        "include_by_uuid": left(include=(first,)) == [first],
        "exclude_by_number": left(exclude=("0",)) == [second],
        "exclude_by_uuid": left(exclude=(second,)) == [first],
        "unknown_card": refused,
        "loads": [
            {"uuid": load.uuid, "used": load.memory_used, "total": load.memory_total}
            for load in loads
        ],
        "doctor_code": code,
        "doctor": doctor.said.splitlines(),
    }


def yielding(stand: Stand) -> dict[str, Any]:
    """An artist computes for half a minute on the second card while a night renders on both."""
    stays = 30.0
    kept, lent, *_ = uuids()
    studio = stand.studio("yielding", shots=30)
    night = studio.night()
    driver = Driver([kept, lent], lambda: [process.pid for process in night.family])
    try:
        wait_for(lambda: _is_rendering(studio, night, 2), "take on both cards", stand.starting)
        artist = stand.artist(lent, gib=4, seconds=stays)
        came = artist.when("computes")
        left = wait_for(lambda: told(studio.root, "is used by others"), "news of the artist", 40)
        went = artist.when("ends", stays + 20)
        back = wait_for(
            lambda: told(studio.root, "is free again: takes"),
            "news that the card is free",
            COURTESY.quiet + 6 * COURTESY.every,
        )
        code = night.process.wait(240)
    finally:
        driver.end()
    made = takes(studio.root)
    again = first_on_card(made, lent, back)
    clear = driver.clear_of_us(lent, left - 1.0)
    return {
        "exit_code": code,
        **summary(studio.root),
        "news": [words for _, words in news(studio.root)],
        "artist_pid": artist.pid,
        "seconds_until_it_was_left": round(left - came, 2),
        "seconds_until_no_process_of_ours": None if clear is None else round(clear - came, 2),
        "bytes_in_use_then": None if clear is None else driver.in_use(lent, clear),
        "seconds_after_the_artist_until_back": round(back - went, 2),
        "seconds_from_back_to_the_first_take": None if again is None else round(again - back, 2),
        "takes_on_the_kept_card_meanwhile": len(on_card(made, kept, left, back)),
        "takes_on_the_lent_card": {
            "before": len(on_card(made, lent, 0.0, left)),
            "meanwhile": len(on_card(made, lent, left + 1.0, back)),
            "after": len(on_card(made, lent, back, time.time())),
        },
        "takes_that_went_on_from_a_stage": sum(
            any(stage.resumed for stage in take.receipt.stages) for take in made if take.receipt
        ),
    }


def _is_rendering(studio: Studio, night: Process, receipts: int) -> bool:
    """Whether so many takes were rendered. Raises RuntimeError where the night has ended."""
    if night.process.poll() is not None:
        raise RuntimeError(f"the night ended: {night.said[-3000:]}")
    return sum(take.receipt is not None for take in takes(studio.root)) >= receipts


def _have_joined(night: Process, hosts: list[Process]) -> bool:
    """Whether all of them render for the night. Raises RuntimeError where it, or one, has ended."""
    for each in (night, *hosts):
        if each.process.poll() is not None:
            raise RuntimeError(f"{each.log.name} ended: {each.said[-3000:]}")
    return all("joined" in host.said for host in hosts)


def faults(stand: Stand) -> dict[str, Any]:
    """Every take asserts on the second card; the first one is sound."""
    sound, faulty, *_ = uuids()
    studio = stand.studio("faults", shots=16, words="[assert]")
    night = studio.night(CARDS_FAULTY=faulty)
    wait_for(lambda: _is_rendering(studio, night, 1), "take", stand.starting)
    code = night.process.wait(240)
    made = takes(studio.root)
    out = told(studio.root, "renders no more takes")
    moments = [step.at.timestamp() for take in made for step in take.transitions]
    return {
        "exit_code": code,
        **summary(studio.root),
        "news": [words for _, words in news(studio.root)],
        "seconds_until_it_was_taken_out": None if out is None else round(out - min(moments), 1),
        "takes_on_the_sound_card": len(on_card(made, sound, 0.0, time.time())),
        "takes_on_the_faulty_card": len(on_card(made, faulty, 0.0, time.time())),
    }


def hosts(stand: Stand) -> dict[str, Any]:
    """A machine of the night without a card, a host for each card, one killed in a take; it comes
    back under another name."""
    first, second, *_ = uuids()
    port = free_port()
    rules = {"listen": f"127.0.0.1:{port}", "lease_seconds": 20}
    studio = stand.studio("hosts", shots=14, device="none", hosts=rules)
    address = f"tcp://127.0.0.1:{port}"
    night = studio.night()
    joined = [studio.host("a", address, first), studio.host("b", address, second)]
    wait_for(lambda: _have_joined(night, joined), "two hosts", stand.starting)
    wait_for(lambda: _is_rendering(studio, night, 2), "take", stand.starting)
    victims = wait_for(lambda: _first_stage_of(studio, "b"), "take of b behind a stage", 60)
    killed = time.time()
    joined[1].kill()
    other = studio.host("c", address, second)
    code = night.process.wait(240)
    made = takes(studio.root)
    gone = told(studio.root, "b was cut off")
    rendered = {take.take_id: take for take in made}
    return {
        "exit_code": code,
        **summary(studio.root),
        "news": [words for _, words in news(studio.root)],
        "seconds_until_the_loss_was_told": None if gone is None else round(gone - killed, 2),
        "takes_of_the_lost_host": {
            take: _how_it_ended(rendered[take]) for take in victims if take in rendered
        },
        "takes_by_host": _by_host(made),
        "joined_again": "joined" in other.said,
        "doors_left": len([*studio.root.glob("takes/**/.render-door-*")]),
        "clips": len([*studio.root.glob("takes/**/clip.mkv")]),
    }


def _how_it_ended(take: Any) -> dict[str, Any]:
    receipt = take.receipt
    return {
        "status": take.status.value,
        "host": receipt and receipt.host,
        "stages_gone_on_with": receipt and [stage.resumed for stage in receipt.stages],
        "statuses": [step.after.value for step in take.transitions],
    }


def _by_host(made: list[Any]) -> dict[str, dict[str, Any]]:
    hosts_seen = {take.receipt.host for take in made if take.receipt}
    return {
        host: {
            "takes": len([t for t in made if t.receipt and t.receipt.host == host]),
            "cards": sorted({t.receipt.card for t in made if t.receipt and t.receipt.host == host}),
        }
        for host in sorted(hosts_seen)
    }


def _first_stage_of(studio: Studio, host: str) -> list[str] | None:
    """The takes that the host was given, once one of them has a stage behind it and no clip."""
    try:
        book = json.loads((studio.root / ".rushes/hosts.json").read_text())
    except (OSError, ValueError):
        return None
    lines = [line for line in book["hosts"] if line["host"] == host]
    given = [take for line in lines for card in line["cards"] for take in card["takes"]]
    for take in given:
        folder = Path(studio.root, "takes", *take.split("/"))
        staged = any(folder.glob("stage*1.safetensors"))
        if staged and not (folder / "clip.mkv").exists() and not any(folder.glob("*/clip*")):
            return given
    return None


PARTS = {
    "found": found,
    "yielding": yielding,
    "faults": faults,
    "hosts": hosts,
    "memory": memory,
}
