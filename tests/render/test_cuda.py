"""On a card: the same bytes every time, near the CPU's, and no failure when memory is short."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_render import hashes
from safetensors.torch import load_file, save_file

from manifests.files import sha256_file
from manifests.stage import Lora
from render import diffusers_backend, memory
from render.backend import Progress
from render.diffusers_backend import DiffusersBackend
from render.errors import OutOfMemory
from render.ladder import Rung
from render.midway import NAME, Cadence
from render.order import Receipt, RenderOrder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
OrderFor = Callable[..., RenderOrder]


def _render(order: RenderOrder, backend: DiffusersBackend | None = None) -> Receipt:
    on_card = replace(order, device="cuda:0")
    return (backend or DiffusersBackend()).render(on_card, tell=lambda progress: None)


def _parts(backend: DiffusersBackend) -> Any:
    model: Any = backend._model
    return model._pipe


@pytest.mark.parametrize("kind", ["i2v-2.1", "t2v-2.2"])
def test_a_card_gives_the_same_bytes(kind: str, order_for: OrderFor, tmp_path: Path) -> None:
    """Two takes of one order are equal on one card, and near the CPU's."""
    one, two = (_render(order_for(kind, folder=tmp_path / name)) for name in ("a", "b"))
    assert hashes(one) == hashes(two)
    assert one.device.startswith("cuda:0 ")
    assert one.peak_memory > 0
    on_cpu = DiffusersBackend().render(
        order_for(kind, folder=tmp_path / "c"), tell=lambda progress: None
    )
    card, cpu = (load_file(r.stages[0].latents)["latents"] for r in (one, on_cpu))
    torch.testing.assert_close(card, cpu, atol=2e-3, rtol=2e-3)


def test_a_take_killed_on_a_card_goes_on_bit_for_bit(order_for: OrderFor, tmp_path: Path) -> None:
    """Cut between two steps of stage 2, and rendered to the end by another worker with what the
    first one left in its folder and in the store: the bytes of the unkilled take."""
    order = replace(order_for("i2v-2.2"), store=tmp_path / "store", device="cuda:0")

    def die(progress: Progress) -> None:
        if (progress.stage, progress.step) == (2, 2):
            raise KeyboardInterrupt

    often = Cadence(every_seconds=0.0, most_share=math.inf)
    with pytest.raises(KeyboardInterrupt):
        DiffusersBackend(cadence=often).render(order, tell=die)
    assert (order.folder / NAME).exists()
    told: list[Progress] = []
    receipt = DiffusersBackend().render(order, tell=told.append)
    assert next(p.step for p in told if p.phase == "stage") == 1
    assert receipt.reused == ("prompt", "still")
    assert receipt.notes == ()
    assert hashes(receipt) == hashes(_render(order_for("i2v-2.2", folder=tmp_path / "whole")))


def test_the_encoders_leave_the_card(order_for: OrderFor) -> None:
    """After a take the text encoder is in host memory, the transformer still on the card."""
    backend = DiffusersBackend()
    _render(order_for(), backend)
    pipe = _parts(backend)
    assert next(pipe.text_encoder.parameters()).device.type == "cpu"
    assert next(pipe.transformer.parameters()).device.type == "cuda"


def test_the_idle_expert_leaves_when_room_is_short(
    order_for: OrderFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one expert the other waits in host memory, and no bit changes."""
    roomy = _render(order_for("t2v-2.2", folder=tmp_path / "roomy"))
    backend = DiffusersBackend()
    room = 10**9

    def free(device: torch.device) -> int:
        model: Any = backend._model
        resident = model.residences[0]._resident if model is not None else []
        return room if not resident else 0

    monkeypatch.setattr(memory, "free_bytes", free)
    monkeypatch.setattr(memory, "HEADROOM_LEAST", 0)
    monkeypatch.setattr(memory, "HEADROOM_SHARE", 0.0)
    tight = _render(order_for("t2v-2.2", folder=tmp_path / "tight"), backend)
    assert hashes(tight) == hashes(roomy)
    experts = (_parts(backend).transformer, _parts(backend).transformer_2)
    assert sum(next(net.parameters()).device.type == "cuda" for net in experts) <= 1


@pytest.mark.parametrize("kind", ["i2v-2.1", "t2v-2.2"])
def test_what_does_not_fit_is_streamed(
    kind: str, order_for: OrderFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no room at all, block by block from host memory, the bytes are the same."""
    roomy = _render(order_for(kind, folder=tmp_path / "roomy"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    backend = DiffusersBackend()
    tight = _render(order_for(kind, folder=tmp_path / "tight"), backend)
    again = _render(order_for(kind, folder=tmp_path / "again"), backend)
    assert hashes(tight) == hashes(again) == hashes(roomy)
    assert next(_parts(backend).transformer.blocks[0].parameters()).device.type == "cpu"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_lora_on_a_card_leaves_no_trace(
    streamed: bool, order_for: OrderFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resident or streamed, a LoRA changes the take, and the next take is bare again."""
    if streamed:
        monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    path = tmp_path / "motion.safetensors"
    layer = "transformer.blocks.0.attn1.to_q"
    save_file(
        {f"{layer}.lora_A.weight": torch.ones(4, 24), f"{layer}.lora_B.weight": torch.ones(24, 4)},
        path,
    )
    lora = Lora(path=str(path), sha256=sha256_file(path))
    backend, bare = DiffusersBackend(), order_for(folder=tmp_path / "a")
    stages = tuple(replace(stage, loras=(lora,)) for stage in bare.recipe.stages)
    before = hashes(_render(bare, backend))
    styled = hashes(_render(order_for(folder=tmp_path / "b", stages=stages), backend))
    after = hashes(_render(order_for(folder=tmp_path / "c"), backend))
    assert not set(before) & set(styled)
    assert after == before


@pytest.mark.parametrize("kind", ["i2v-2.1", "t2v-2.2"])
def test_a_take_steps_down_the_ladder_and_is_the_same(
    kind: str, order_for: OrderFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampling runs out until blocks are swapped: every exact rung is taken, no bit changes, the
    next take begins so, and one of another size runs resident again."""
    roomy = _render(order_for(kind, folder=tmp_path / "roomy"))
    load = diffusers_backend.load_model

    def loading(request: Any, **more: Any) -> Any:
        model: Any = load(request, **more)
        velocity = model.velocity

        def refusing(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            large = x.shape[-1] == 4  # 32 pixels: the size of these takes alone
            if large and Rung.SWAP not in model.residences[0]._rungs:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
            return velocity(x, *args, **kwargs)

        model.velocity = refusing
        return model

    monkeypatch.setattr(diffusers_backend, "load_model", loading)
    backend = DiffusersBackend()
    tight = _render(order_for(kind, folder=tmp_path / "tight"), backend)
    assert tight.rungs == ("cache", "alone", "swap")
    assert hashes(tight) == hashes(roomy)
    again = _render(order_for(kind, folder=tmp_path / "again"), backend)
    assert again.rungs == tight.rungs
    assert not any("out of memory" in note for note in again.notes)
    assert hashes(again) == hashes(roomy)
    small = _render(order_for(kind, folder=tmp_path / "s", width=48, height=48), backend)
    assert small.rungs == ()
    assert next(_parts(backend).transformer.blocks[0].parameters()).device.type == "cuda"


def test_a_full_card_is_out_of_memory_and_then_well_again(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """Running out is named; with memory again, the same backend renders the take."""
    backend = DiffusersBackend()
    expected = hashes(_render(order_for(folder=tmp_path / "a"), backend))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1) / total)
    order = order_for(folder=tmp_path / "b", width=256, height=256, frames=33)
    try:
        with pytest.raises(OutOfMemory, match="out of memory on cuda:0") as raised:
            _render(order, backend)
        assert raised.value.rungs[:2] == ("cache", "alone"), "the ladder was gone down"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert hashes(_render(order_for(folder=tmp_path / "c"), backend)) == expected
    assert _render(order, backend).frames == 33
