"""On a card: packed transformers, and speed levels that a warm worker changes between takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
from packed_wan import bare, pack, widen
from plain_render import hashes
from safetensors.torch import load_file
from torch import Tensor

from manifests.stage import Speed
from render.diffusers_backend import DiffusersBackend
from render.order import Receipt, RenderOrder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
OrderFor = Callable[..., RenderOrder]


@pytest.fixture(scope="module")
def wide(tiny_wan: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny t2v model, its transformer wide enough to be packed and multiplied in 8 bits."""
    return widen(tiny_wan("t2v-2.1"), tmp_path_factory.mktemp("wide") / "model")


def _render(
    order: RenderOrder, *, device: str = "cuda:0", backend: DiffusersBackend | None = None
) -> Receipt:
    there = replace(order, device=device)
    return (backend or DiffusersBackend()).render(there, tell=lambda progress: None)


def _latents(receipt: Receipt) -> Tensor:
    return load_file(receipt.stages[-1].latents)["latents"]


def _of(order: RenderOrder, base: Path, transformer: Path | None = None) -> RenderOrder:
    named = None if transformer is None else str(transformer)
    return replace(order, model=replace(order.model, location=str(base), transformer=named))


@pytest.mark.parametrize(
    "kind",
    [
        gguf.GGMLQuantizationType.F16,
        gguf.GGMLQuantizationType.Q8_0,
        gguf.GGMLQuantizationType.Q4_0,
    ],
)
def test_a_packed_model_renders_on_a_card_as_on_a_cpu(
    kind: gguf.GGMLQuantizationType, order_for: OrderFor, wide: Path, tmp_path: Path
) -> None:
    """The whole take from a GGUF file: near the CPU's from the same file, and the same bytes by
    another worker. Beside it a LoRA-less take of the bare folder, which is another one."""
    file = pack(wide, tmp_path / "packed.gguf", kind)
    base = bare(wide, tmp_path / "base")
    orders = {name: _of(order_for("t2v-2.1", folder=tmp_path / name), base, file) for name in "abc"}
    card, again = _render(orders["a"]), _render(orders["b"])
    assert hashes(card) == hashes(again)
    cpu = _render(orders["c"], device="cpu")
    torch.testing.assert_close(_latents(card), _latents(cpu), atol=2e-3, rtol=2e-3)
    if kind is not gguf.GGMLQuantizationType.F16:
        own = _render(_of(order_for("t2v-2.1", folder=tmp_path / "own"), wide))
        assert hashes(own) != hashes(card)


def test_levels_change_on_a_warm_worker_and_exact_stays_exact(
    order_for: OrderFor, wide: Path, tmp_path: Path
) -> None:
    """Turbo, exact, fast, exact, in bfloat16 on one worker: each keeps to its level, and both
    exact takes are a cold worker's, bit for bit."""

    def order(name: str, speed: Speed) -> RenderOrder:
        made = order_for("t2v-2.1", folder=tmp_path / name, precision="bfloat16", speed=speed)
        return _of(made, wide)

    cold = hashes(_render(order("cold", Speed.EXACT)))
    backend, takes = DiffusersBackend(), {}
    for n, speed in enumerate((Speed.TURBO, Speed.EXACT, Speed.FAST, Speed.EXACT)):
        takes[n] = _render(order(f"take-{n}", speed), backend=backend)
        assert (takes[n].speed, takes[n].notes) == (speed.value, ())
    assert hashes(takes[1]) == hashes(takes[3]) == cold
    assert hashes(takes[0]) != cold
