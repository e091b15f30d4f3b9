"""One take on two ranks is the take on one: two processes over gloo, tiny Wan models."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_render import render
from safetensors.torch import load_file
from swapping import bring_swapped
from torch import distributed as dist

from manifests.stage import Sampler, Stage, StageKind
from render.diffusers_backend import DiffusersBackend
from render.errors import WorkerLost
from render.memory import Residence
from render.order import Gang, Receipt, RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]
ROOT = Path(__file__).parents[2]


@contextmanager
def _second_rank(order: RenderOrder, folder: Path, *words: str) -> Iterator[Any]:
    """The other rank of `order`'s gang, as a process."""
    assert order.gang is not None
    path = folder / "order.pickle"
    path.write_bytes(pickle.dumps(replace(order, gang=replace(order.gang, rank=1))))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/fakes/second_rank.py"), str(path), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _gang(order: RenderOrder, folder: Path, *, seconds: float = 600.0) -> RenderOrder:
    meeting = folder / "meeting"  # however busy the machine is: the other rank imports torch first
    return replace(order, gpus=2, gang=Gang(size=2, rank=0, meeting=meeting, seconds=seconds))


def _latents(receipt: Receipt) -> list[torch.Tensor]:
    return [load_file(stage.latents)["latents"] for stage in receipt.stages]


@pytest.mark.slow
def test_two_ranks_make_the_take_of_one(order_for: OrderFor, tmp_path: Path) -> None:
    """Two experts, a still, guidance and an ancestral sampler: every stage's latents agree; the
    second rank ends by itself, and afterwards the model renders alone again, bit for bit."""
    renoise = StageKind.RENOISE
    stages = (
        Stage(kind=renoise, steps=3, cfg=3.0, shift=5.0, sampler=Sampler.EULER_A),
        Stage(kind=renoise, steps=2, cfg=2.0, shift=5.0, denoise=0.5, seed_offset=1),
    )
    alone = order_for("i2v-2.2", folder=tmp_path / "alone", stages=stages)
    backend = DiffusersBackend()
    expected = _latents(render(alone, backend))
    order = _gang(replace(alone, folder=tmp_path / "together"), tmp_path)
    with _second_rank(order, tmp_path) as other:
        receipt = render(order, backend)
        assert other.wait(timeout=600) == 0
    for mine, theirs in zip(_latents(receipt), expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=2e-5)
    again = render(replace(alone, folder=tmp_path / "again"), backend)
    assert all(map(torch.equal, _latents(again), expected))
    assert not receipt.notes


@pytest.mark.slow
def test_two_ranks_that_swap_blocks_make_the_same_take(
    order_for: OrderFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the hooks that swap blocks beside those that spread tokens, laid in either order: each
    block still sees half of the tokens, and every bit is that of ranks that swap nothing."""
    seen: list[int] = []

    def together(name: str, backend: DiffusersBackend, *words: str) -> list[torch.Tensor]:
        (tmp_path / name).mkdir()
        asked = order_for("t2v-2.1", folder=tmp_path / name / "take")
        order = _gang(asked, tmp_path / name)
        with _second_rank(order, tmp_path / name, *words) as other:
            receipt = render(order, backend)
            assert other.wait(timeout=600) == 0
        return _latents(receipt)

    expected = together("plain", DiffusersBackend())
    monkeypatch.setattr(Residence, "bring", bring_swapped)
    alone = DiffusersBackend()
    render(order_for("t2v-2.1", folder=tmp_path / "alone"), alone)
    model: Any = alone._model
    net = model._pipe.transformer
    first = net.blocks[0].norm1  # inside the block, whose own forward spreads the tokens
    first.register_forward_pre_hook(lambda norm, given: seen.append(given[0].shape[1]))
    for name, backend in (("spread, then swapped", DiffusersBackend()), ("the reverse", alone)):
        swapped = together(name, backend, "swap")
        assert all(map(torch.equal, swapped, expected)), name
    whole = net.patch_embedding(torch.zeros(model.latent_shape(width=32, height=32, frames=5)))
    assert set(seen) == {whole.flatten(2).shape[2] // 2}


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_take_by_name(order_for: OrderFor, tmp_path: Path) -> None:
    """kill -9 of the second rank: the leader raises WorkerLost instead of waiting for ever."""
    order = _gang(order_for("t2v-2.1"), tmp_path)
    with (
        _second_rank(order, tmp_path, "die"),
        pytest.raises(WorkerLost, match="rank 0 of 2 cards: another rank of the take was lost"),
    ):
        render(order, DiffusersBackend())


def test_tokens_that_cannot_be_shared_are_rendered_by_the_leader_alone(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """Three tokens and two cards: the receipt says why, and nobody is waited for."""
    backend = DiffusersBackend()
    order = order_for("t2v-2.1", folder=tmp_path / "a", width=16, height=16, frames=9)
    receipt = render(_gang(order, tmp_path), backend)
    assert receipt.notes == ("gpus 2: rendered on one card (3 tokens cannot be shared by 2 cards)",)
    backend.lend(replace(_gang(order, tmp_path), folder=tmp_path / "b"))


def test_a_rank_that_never_comes_is_lost_by_name(order_for: OrderFor, tmp_path: Path) -> None:
    """The leader waits its time and no longer, and a new worker may try again."""
    order = _gang(order_for("t2v-2.1"), tmp_path, seconds=0.5)
    with pytest.raises(WorkerLost, match="another rank of the take was lost"):
        render(order, DiffusersBackend())


def test_a_process_that_is_still_in_a_gang_wants_a_new_worker(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """On a card the group of a take that failed cannot be left: the next one ends by the error
    that has the worker started anew, before it waits for anybody."""
    old = (tmp_path / "old").as_uri()
    dist.init_process_group("gloo", init_method=old, rank=0, world_size=1)
    try:
        with pytest.raises(WorkerLost, match="still in the group of a take that failed"):
            render(_gang(order_for("t2v-2.1"), tmp_path), DiffusersBackend())
    finally:
        dist.destroy_process_group()


def test_a_machine_with_one_card_says_so(order_for: OrderFor) -> None:
    """More cards asked for than there are: rendered, with a note."""
    receipt = render(replace(order_for("t2v-2.1"), gpus=2), DiffusersBackend())
    assert receipt.notes == ("gpus 2: this machine renders with one card",)
