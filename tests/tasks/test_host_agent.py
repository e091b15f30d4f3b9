"""What a host does by itself: it tells of cards that others use, and checks what it was told."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from fake_driver import FakeDriver
from hellos import hello_from
from waiting import in_time

from flows.join import host_of
from manifests.errors import BadInput
from manifests.models import ModelSpec
from manifests.settings import load_studio
from tasks.crew import crew_for
from tasks.gpus import Device, Machine
from tasks.host_agent import HostCards, _Stay
from tasks.host_talk import Answer
from tasks.neighbours import Courtesy, Neighbours
from tasks.yielding import Yielding


def test_an_artist_on_a_host_is_told_of_to_the_machine_of_the_night() -> None:
    """The card is left and comes back by word; its worker is killed from over there."""
    cards = tuple(
        Device(name=f"Card #{n}", torch_device="cuda:0", visible=f"GPU-{n}") for n in range(2)
    )
    posts = crew_for(Machine(cards=cards), cores=4, apart=True).cards
    driver = FakeDriver({"GPU-0": [], "GPU-1": []}, each=2**34, total=2**36)
    said = list[tuple[Any, ...]]()
    courtesy = Courtesy(every=0.02, stays=0.05, quiet=0.1)

    async def by_the_head(name: str) -> None:
        said.append(("restart is left to the head", name))

    async def watch() -> None:
        yielding = Yielding(
            posts,
            Neighbours(driver, exists=lambda pid: True, courtesy=courtesy),
            seats=HostCards(posts, lambda *words: said.append(words)),
            pids=dict,
            restart=by_the_head,
            tell=lambda words: None,
        )
        await yielding.start()
        driver.cards["GPU-1"].append(4242)
        while not any(words[0] == "away" for words in said):
            await asyncio.sleep(0.01)
        driver.clear()
        while not any(words[0] == "back" for words in said):
            await asyncio.sleep(0.01)
        await yielding.stop()

    in_time(watch())
    told = [words[:2] for words in said if words[0] in ("away", "back")]
    assert told == [("away", "card-1"), ("back", "card-1")]
    rooms = [words[3] for words in said if words[0] == "room" and words[1] == "card-1"]
    assert rooms[-1] is None, "all of its memory is ours again"


def test_what_keeps_a_machine_from_being_a_host_is_named_at_once(tmp_path: Path) -> None:
    """A model that is not here, an address that is none, a host that would render nothing."""
    away = ModelSpec(family="wan", location=str(tmp_path / "away"))
    studio = load_studio(tmp_path, models={"away": away})
    with pytest.raises(BadInput) as caught:
        host_of(studio, address="head:8786", name="a", device="none", scratch=None, drain=60.0)
    words = " ".join(map(str, caught.value.faults))
    assert len(caught.value.faults) == 3
    for each in ("no address of a night", "model away", "renders nothing"):
        assert each in words


def test_an_address_with_keys_needs_them(tmp_path: Path) -> None:
    """Before anything is tried."""
    address = "tls://127.0.0.1:8786"
    with pytest.raises(BadInput, match="keys is not named"):
        host_of(
            load_studio(tmp_path), address=address, name="a", device="cpu", scratch=None, drain=1.0
        )


def test_a_temporary_folder_that_somebody_else_laid_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name can be guessed: a link in its place is not followed; made by us it is ours alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    studio = load_studio(tmp_path)

    def scratch() -> Path:
        address = "tcp://127.0.0.1:8786"
        return host_of(
            studio, address=address, name="a", device="cpu", scratch=None, drain=1.0
        ).scratch

    made = scratch()
    assert made == scratch()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.rmdir()
    made.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(BadInput, match="no folder of this user"):
        scratch()


def test_every_hello_tells_the_time_at_which_it_is_sent(tmp_path: Path) -> None:
    """The machine of the night may be busy beginning it: an old hello looks like a late clock."""
    clocks = list[float]()

    class Unheard(_Stay):
        """Its first hello is not answered."""

        async def _send(self, message: Any) -> None:
            clocks.append(message.clock)
            if len(clocks) > 1:
                refused = Answer(session=self._session, says="refused", words="later", again=True)
                self._answers.put_nowait(refused)

    host = host_of(
        load_studio(tmp_path),
        address="tcp://127.0.0.1:8786",
        name="a",
        device="cpu",
        scratch=tmp_path / "scratch",
        drain=1.0,
    )
    hello = hello_from(tmp_path, clock=0.0)
    said = in_time(Unheard(host, lambda words: None)._ask(hello, asyncio.Event()))
    assert said == "not let in yet: later"
    assert 0.0 < clocks[0] < clocks[1]
