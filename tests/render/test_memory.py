"""Machine failures have names, and what is freed is free."""

from __future__ import annotations

import errno
import gc
import weakref

import pytest
import torch
from torch import nn

from render import memory
from render.errors import DiskFull, OutOfMemory, WorkerLost
from render.ladder import Rung
from render.memory import (
    Residence,
    is_out_of_memory,
    machine_failures_named,
    module_bytes,
    peak_bytes,
    release,
    start_peak,
)

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def test_running_out_of_host_memory_is_named() -> None:
    """What torch's CPU allocator raises comes out as OutOfMemory, with the place."""
    with pytest.raises(OutOfMemory, match="sheet/001/t1: out of memory on cpu"):  # noqa: SIM117
        with machine_failures_named("sheet/001/t1", CPU):
            torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFull),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), WorkerLost),
    ],
)
def test_machine_failures_are_named(error: Exception, named: type[Exception]) -> None:
    """Memory, disk and card each fail under their own name."""
    with pytest.raises(named) as raised, machine_failures_named("t1", CPU):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EACCES, "denied")])
def test_other_errors_keep_their_name(error: Exception) -> None:
    """What is not the machine's fault is not called so."""
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as raised, machine_failures_named("t1", CPU):
        raise error
    assert raised.value is error


def test_what_filled_the_memory_is_let_go() -> None:
    """After OutOfMemory nothing holds the tensors of the work that failed."""

    class Big:
        pass

    held: list[weakref.ref[Big]] = []

    def work() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise MemoryError

    with pytest.raises(OutOfMemory), machine_failures_named("t1", CPU):
        work()
    gc.collect()
    assert held[0]() is None


def test_the_peak_starts_anew() -> None:
    """The peak of a small piece of work is not that of a large one before it."""
    start_peak(CPU)
    big = torch.ones(60_000_000)
    high = peak_bytes(CPU)
    assert high > module_bytes(nn.ParameterList([nn.Parameter(big)]))
    del big
    release(CPU)
    start_peak(CPU)
    assert peak_bytes(CPU) < high - 100_000_000


def test_on_a_cpu_nothing_moves() -> None:
    """Bringing and sending away are no work where there is one memory."""
    residence, module = Residence(CPU), nn.Linear(2, 2)
    before = module.weight.data_ptr()
    residence.bring(module)
    residence.send_away(module)
    assert module.weight.data_ptr() == before
    assert module_bytes(module) == 4 * (4 + 2)


class Card:
    """A card of a given size, by name alone: what is moved where is written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, size: int) -> None:
        self.device, self.size = torch.device("cuda"), size
        self.on: list[nn.Module] = []
        self.keeps = 10
        self.streamed: list[nn.Module] = []
        monkeypatch.setattr(memory, "_move", self._move)
        monkeypatch.setattr(memory, "free_bytes", lambda device: self.free)
        monkeypatch.setattr(memory, "release", lambda device: None)
        monkeypatch.setattr(memory, "RESERVE", 0)
        monkeypatch.setattr(Residence, "_headroom", lambda residence, module: 10)
        monkeypatch.setattr(Residence, "_stream", lambda _, module: self.streamed.append(module))

    @property
    def free(self) -> int:
        return self.size - sum(module_bytes(module) for module in self.on)

    def _move(self, module: nn.Module, device: torch.device) -> None:
        if device.type == "cuda":
            self.on.append(module)
            assert self.free >= self.keeps, "the headroom is kept"
        else:
            self.on.remove(module)


def test_the_module_used_longest_ago_leaves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the card is full, room is made by what was not used for longest, and only then."""
    card = Card(monkeypatch, size=250)
    residence = Residence(card.device)
    one, two, three = (nn.Linear(4, 5) for _ in range(3))  # 100 bytes each
    residence.bring(one)
    residence.bring(two)
    residence.bring(one)
    assert card.on == [one, two]
    residence.bring(three)
    assert card.on == [one, three]
    residence.send_away(one)
    residence.send_away(two)
    assert card.on == [three]


def test_room_beside_others_is_asked_for_without_making_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module has room where it and its share of the headroom fit beside what is there; never
    where one module is to be alone. Asking moves nothing."""
    card = Card(monkeypatch, size=215)
    residence = Residence(card.device)
    one, two = nn.Linear(4, 5), nn.Linear(4, 5)  # 100 bytes each
    residence.bring(one)
    assert [residence.has_room(two, share=share) for share in (0.5, 1.0, 2.0)] == [
        True, True, False,
    ]  # fmt: skip
    assert (residence.holds(one), residence.holds(two)) == (True, False)
    residence.begin([Rung.ALONE])
    assert not residence.has_room(two, share=0.5)
    assert card.on == [one]
    assert Residence(CPU).has_room(two, share=1.0)
    assert Residence(CPU).holds(two)


def test_what_comes_for_a_part_of_its_work_sends_nothing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where half of the headroom is there a module comes for half of its work, and leaves again;
    one that was there before stays. For all of its work others must leave."""
    card = Card(monkeypatch, size=208)
    residence = Residence(card.device)
    one, two = nn.Linear(4, 5), nn.Linear(4, 5)  # 100 bytes each
    residence.bring(one)
    assert residence.has_room(two, share=0.5)
    card.keeps = 5
    with residence.beside(two, share=0.5):
        residence.bring(two)
        assert card.on == [one, two]
    assert card.on == [one]
    with residence.beside(one, share=0.5):
        residence.bring(one)
    assert card.on == [one]
    residence.bring(two)
    assert card.on == [two]


def test_what_fits_no_empty_card_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module larger than the card is run from host memory, after the card was emptied for it."""
    card = Card(monkeypatch, size=150)
    residence = Residence(card.device)
    small, large = nn.Linear(4, 5), nn.Linear(40, 50)
    residence.bring(small)
    residence.bring(large)
    assert card.on == []
    assert card.streamed == [large]


def test_streaming_changes_no_bit() -> None:
    """A module run block by block from offloaded memory gives what it gave before."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    x = torch.randn(3, 4)
    expected = module(x)
    Residence(CPU)._stream(module)
    assert torch.equal(module(x), expected)
