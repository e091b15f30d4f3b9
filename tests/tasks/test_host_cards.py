"""A host's own cards: which it uses, what stands on which, and who upscales for the night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hellos import SESSION, hello_from
from host_processes import hosting
from plain_order import plain_order
from recording_engine import CARD, NETWORK, OTHER, RecordingEngine, finish_order
from waiting import in_time

from flows.join import host_of, unnamed_words
from manifests.errors import BadInput
from manifests.settings import load_studio
from render.order import Placement
from tasks.crew import Crew, crew_for
from tasks.gpus import Device, Machine
from tasks.host_agent import Host
from tasks.host_talk import Hello, told_posts
from tasks.worker_pool import WorkerPool


def host_with(root: Path, machines: Mapping[str, Any], **options: Any) -> Host:
    """This machine as the host `a` of a studio with these `hosts.machines`."""
    studio = load_studio(root, hosts={"machines": machines}, **options.pop("settings", {}))
    given: dict[str, Any] = {"scratch": root / "scratch", "drain": 1.0, **options}
    return host_of(studio, address="tcp://127.0.0.1:8786", name="a", **given)


def cards_of(host: Host) -> list[str | None]:
    """What the workers that render there see."""
    return [post.device.visible for post in host.crew.cards if post.device]


@pytest.mark.parametrize(
    ("machines", "told"),
    [({}, False), ({"a": {}, "b": {}}, False), ({"b": {}, "a.local": {}}, True)],
)
def test_a_host_that_is_not_named_beside_others_is_told_so(
    tmp_path: Path, machines: Mapping[str, Any], told: bool
) -> None:
    """A machine under another name than in the settings would use cards that it should not."""
    words = unnamed_words(host_with(tmp_path, machines, device="cpu"))
    assert (words is not None) is told
    assert words is None or "names a.local, b, and not a" in words


@pytest.mark.usefixtures("three_cards")
def test_a_host_has_the_cards_that_stand_beside_its_name(tmp_path: Path) -> None:
    """Cards, parts and the upscaler as for the machine of the night; another's are not its own."""
    machines = {
        "a": {"cards": {"exclude": [1]}, "placement": {"vae": "cuda:2"}, "threads": 6},
        "b": {"device": "cpu"},
    }
    host = host_with(tmp_path, machines)
    (post,) = host.crew.cards
    assert post.device is not None
    assert (post.device.visible, post.device.placement) == ("GPU-0,GPU-2", Placement(vae="cuda:1"))
    assert post.threads == 3


@pytest.mark.usefixtures("three_cards")
def test_what_is_said_outside_is_not_said_of_a_host(tmp_path: Path) -> None:
    """`cards` and `placement` of the machine of the night name its own cards; only whether artists
    go first holds everywhere."""
    settings = {
        "cards": {"exclude": [0], "yield_to_others": False},
        "placement": {"upscale": "cuda:1"},
    }
    host = host_with(tmp_path, {}, settings=settings)
    assert cards_of(host) == ["GPU-0", "GPU-1", "GPU-2"]
    assert host.crew.upscaler is None
    assert host.neighbours is None
    polite = host_with(tmp_path, {"a": {"cards": {}}}, settings=settings)
    assert polite.neighbours is not None


@pytest.mark.usefixtures("three_cards")
def test_the_command_line_wins_over_the_settings(tmp_path: Path) -> None:
    """As everywhere."""
    machines = {"a": {"device": "cuda:0", "cards": {"include": [0]}}}
    assert cards_of(host_with(tmp_path, machines)) == ["GPU-0"]
    found = host_with(tmp_path, machines, device="auto", exclude=("0",))
    assert cards_of(found) == ["GPU-1", "GPU-2"]


@pytest.mark.usefixtures("three_cards")
@pytest.mark.parametrize(
    ("rules", "options", "file", "column"),
    [
        ({"placement": {"vae": "cuda:7"}}, {}, "studio.yaml", "hosts.machines.a.placement.vae"),
        ({"device": "cuda:7"}, {}, "studio.yaml", "hosts.machines.a.device"),
        ({"cards": {"include": [9]}}, {}, "studio.yaml", "hosts.machines.a.cards.include"),
        ({}, {"device": "cuda:7"}, "command line", "device"),
        ({}, {"exclude": ("9",)}, "command line", "exclude"),
    ],
)
def test_a_card_that_is_not_there_is_named_with_where_it_was_written(
    tmp_path: Path, rules: dict[str, Any], options: dict[str, Any], file: str, column: str
) -> None:
    """The file and the setting of this host, or the option."""
    with pytest.raises(BadInput) as caught:
        host_with(tmp_path, {"a": rules}, **options)
    (fault,) = caught.value.faults
    assert (Path(fault.file).name, fault.column) == (file, column)
    assert fault.remedy


SHARED = Device(
    name="Card #0",
    torch_device="cuda:0",
    visible="GPU-0,GPU-1",
    placement=Placement(text_encoder="cuda:1", vae="cuda:1"),
    memory=2**35,
)


def test_parts_and_upscaler_are_the_same_on_the_other_side(tmp_path: Path) -> None:
    """What a host tells of its cards is what the night has of them."""
    crew = crew_for(Machine(cards=(SHARED,), upscaler=OTHER), cores=4, apart=True)
    hello = hello_from(tmp_path, posts=told_posts(crew))
    there = Hello.model_validate(hello.model_dump(mode="json")).crew()
    assert [post.device for post in there.cards] == [SHARED]
    assert there.upscaler is not None
    assert there.upscaler.device == OTHER
    assert (there.upscaler.name, there.upscaler.session) == ("a/upscaler", SESSION)


def host_crew(root: Path, machine: Machine) -> Crew:
    """Such a machine as the host `a`, as the night knows it."""
    crew = crew_for(machine, cores=4, apart=True)
    return hello_from(root, posts=told_posts(crew)).crew()


class NightEngine(RecordingEngine):
    """Says what was ordered, too."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[Any] = []

    def call(self, function: str, order: Any, **more: Any) -> Any:
        self.orders.append(order)
        return super().call(function, order, **more)


def night_with(root: Path, *crews: Crew) -> tuple[WorkerPool, Any]:
    """A pool on a machine without cards, where these hosts are."""
    engine: Any = NightEngine()
    pool = WorkerPool(
        Machine(cards=()),
        threads=2,
        scratch=root,
        listener=lambda progress: None,
        hosting=replace(hosting(root), patience=0.0),
        engine=engine,
    )
    for crew in crews:
        pool.admit(crew)
        pool.arrived(crew.host)
    return pool, engine


def test_takes_on_a_host_have_their_parts_where_that_host_has_them(tmp_path: Path) -> None:
    """The placement in the order is the card's own, not that of the machine of the night."""
    pool, engine = night_with(tmp_path, host_crew(tmp_path, Machine(cards=(SHARED,))))
    pool._calls._is_here = lambda post: True
    in_time(pool.render(plain_order(tmp_path, "sh"), budget=9.0))
    (order,) = engine.orders
    assert order.placement == SHARED.placement
    assert order.device == "cuda:0"


def _upscaled_by(pool: WorkerPool, engine: Any, root: Path) -> str:
    in_time(pool.finish(finish_order(root, NETWORK), budget=9.0))
    return str(engine.asked[-1][1])


def test_the_upscaler_of_a_host_upscales_for_the_night(tmp_path: Path) -> None:
    """Its cards that render are left alone; when it has gone, the hands do what no card can."""
    crew = host_crew(tmp_path, Machine(cards=(CARD,), upscaler=OTHER))
    pool, engine = night_with(tmp_path, crew)
    pool._calls._is_here = lambda post: True
    assert _upscaled_by(pool, engine, tmp_path) == "a/upscaler"
    pool.departed("a")
    assert _upscaled_by(pool, engine, tmp_path) == "hand-0"


def test_without_one_a_card_that_renders_upscales(tmp_path: Path) -> None:
    """Between two takes."""
    pool, engine = night_with(tmp_path, host_crew(tmp_path, Machine(cards=(CARD,))))
    pool._calls._is_here = lambda post: True
    assert _upscaled_by(pool, engine, tmp_path) == "a/card-0"
