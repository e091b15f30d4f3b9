"""An encoder is read from disk when it is first asked, whole, and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import UMT5EncoderModel

from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.unread import is_unread, read_encoder, unread_encoder
from render.memory import module_bytes
from render.order import RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tiny_wan: Callable[[str], Path]) -> Path:
    """Folder of a tiny text encoder."""
    return tiny_wan("t2v-2.1") / "text_encoder"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_late_is_what_is_read_at_once(place: Path, dtype: torch.dtype) -> None:
    """The same object, the same size before and after, and every bit of what it encodes."""
    late = unread_encoder(UMT5EncoderModel, place, dtype=dtype, name="tiny")
    size = module_bytes(late)
    assert is_unread(late)
    with torch.inference_mode():
        read_encoder(late, place=place, dtype=dtype, name="tiny")
    once = UMT5EncoderModel.from_pretrained(place, dtype=dtype)
    assert not is_unread(late)
    assert module_bytes(late) == size == module_bytes(once)
    tokens = torch.tensor([[3, 4, 5, 1, 0, 0]])
    with torch.inference_mode():
        assert torch.equal(late(tokens)[0], once(tokens)[0])
    assert late.shared.weight is late.encoder.embed_tokens.weight
    assert not any(weight.is_inference() for weight in late.parameters())


def test_an_incomplete_encoder_is_refused_when_it_is_read(
    order_for: Callable[..., RenderOrder], tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """A text encoder that lacks a weight never encodes with random numbers."""
    import shutil

    folder = shutil.copytree(tiny_wan("t2v-2.1"), tmp_path / "model")
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    lost = next(name for name in weights if name.endswith("layer_norm.weight"))
    del weights[lost]
    save_file(weights, path, metadata={"format": "pt"})
    order = order_for("t2v-2.1")
    order = replace(order, model=replace(order.model, location=str(folder)))
    with pytest.raises(ModelUnavailable, match=f"lacks 1 weights \\({lost}"):
        DiffusersBackend().render(order, tell=lambda _progress: None)


@pytest.mark.slow
def test_with_every_text_in_the_store_it_is_never_read(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """A new seed of old texts leaves the text encoder on disk; a new text reads it."""
    order = replace(order_for("i2v-2.1"), store=tmp_path / "store")
    DiffusersBackend().render(order, tell=lambda _progress: None)
    backend = DiffusersBackend()
    for name, recipe, unread in (
        ("seed", replace(order.recipe, seed=12), True),
        ("text", replace(order.recipe, prompt="zoom"), False),
    ):
        backend.render(
            replace(order, recipe=recipe, folder=tmp_path / name), tell=lambda _progress: None
        )
        assert backend._model is not None
        assert is_unread(backend._model.components["text_encoder"]) is unread
