"""Tiny Wan models with random weights, whole folders as diffusers writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from manifests.files import sha256_file
from manifests.stage import Recipe, Stage, StageKind
from render.order import ModelRef, RenderOrder

Z, TEXT = 4, 16
WORDS = ["<pad>", "</s>", "<unk>", "pan", "left", "right", "slow", "zoom", "blurry"]


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _text_encoder() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=len(WORDS), d_model=TEXT, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    return UMT5EncoderModel(config)


def _vae(*, residual: bool) -> AutoencoderKLWan:
    common = {
        "base_dim": 8,
        "z_dim": Z,
        "num_res_blocks": 1,
        "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [1.5, 0.8, 1.1, 2.0],
        "scale_factor_spatial": 8,
        "scale_factor_temporal": 4,
    }
    if residual:
        return AutoencoderKLWan(
            dim_mult=[1, 1, 1],
            temperal_downsample=[True, True],
            is_residual=True,
            patch_size=2,
            in_channels=12,
            out_channels=12,
            **common,
        )
    return AutoencoderKLWan(
        dim_mult=[1, 1, 1, 1], temperal_downsample=[False, True, True], **common
    )


def _transformer(in_channels: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=Z,
        text_dim=TEXT,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=64,
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors on one thread: waiting for a second one costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_wan(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny model: t2v-2.1, i2v-2.1, t2v-2.2, i2v-2.2 (two experts), or ti2v-5b."""
    root = tmp_path_factory.mktemp("models")

    def build(kind: str) -> Path:
        folder = root / kind
        if folder.exists():
            return folder
        torch.manual_seed(sum(kind.encode()))
        i2v, two, mixes = kind.startswith("i2v"), kind.endswith("2.2"), kind == "ti2v-5b"
        channels = Z + 4 + Z if i2v else Z
        parts: dict[str, Any] = {
            "tokenizer": _tokenizer(),
            "text_encoder": _text_encoder(),
            "vae": _vae(residual=kind in ("i2v-2.1", "ti2v-5b")),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0),
            "transformer": _transformer(channels),
            "transformer_2": _transformer(channels) if two else None,
            "boundary_ratio": 0.8 if two else None,
            "expand_timesteps": mixes,
        }
        pipe = (WanImageToVideoPipeline if i2v else WanPipeline)(**parts)
        pipe.save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def tiny_ltx2(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny LTX-2: ltx-2.0 or ltx-2.3."""
    from tiny_ltx2 import build_tiny_ltx2

    root = tmp_path_factory.mktemp("ltx2")

    def build(kind: str) -> Path:
        folder: Path = root / kind
        return folder if folder.exists() else build_tiny_ltx2(folder, kind)

    return build


@pytest.fixture(scope="session")
def tiny_animatediff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny AnimateDiff: `image` and `motion`, and `whole` made of both."""
    from tiny_animatediff import build_tiny_animatediff

    return build_tiny_animatediff(tmp_path_factory.mktemp("animatediff"))


@pytest.fixture(scope="session")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small colourful picture that is not of the clip's shape."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("stills") / "still.png"
    Image.fromarray(pixels).resize((112, 80), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def order_for(
    tiny_wan: Callable[[str], Path], still: Path, tmp_path: Path
) -> Callable[..., RenderOrder]:
    """An order of two re-noise stages, 5 frames of 32 x 32; keywords change its recipe."""

    def make(kind: str = "i2v-2.1", *, folder: Path | None = None, **changes: Any) -> RenderOrder:
        source = still if "i2v" in kind else None
        renoise = StageKind.RENOISE
        values: dict[str, Any] = {
            "preset": "test/two-stage",
            "family": "wan",
            "model": "tiny",
            "model_id": kind,
            "prompt": "slow pan left",
            "negative": "blurry",
            "width": 32,
            "height": 32,
            "frames": 5,
            "fps": 8.0,
            "seed": 11,
            "source_sha256": sha256_file(source) if source else None,
            "stages": (
                Stage(kind=renoise, steps=3, cfg=3.0, shift=5.0),
                Stage(kind=renoise, steps=2, cfg=2.0, shift=5.0, denoise=0.5, seed_offset=1),
            ),
        }
        return RenderOrder(
            take_id="sheet/001/t1",
            shot="001",
            take=1,
            recipe=Recipe(**{**values, **changes}),
            model=ModelRef(name="tiny", family="wan", location=str(tiny_wan(kind))),
            source=source,
            folder=folder or tmp_path / "take",
        )

    return make


@pytest.fixture
def ltx2_order(
    tiny_ltx2: Callable[[str], Path], still: Path, tmp_path: Path
) -> Callable[..., RenderOrder]:
    """An order of two re-noise stages, 9 frames of 96 x 64, with a still unless it says None."""
    from tiny_ltx2 import recipe_tiny, ref_tiny

    def make(*, source: Path | None = still, folder: str = "take", **changes: Any) -> RenderOrder:
        return RenderOrder(
            take_id="sheet/001/t1",
            shot="001",
            take=1,
            recipe=recipe_tiny(source_sha256=sha256_file(source) if source else None, **changes),
            model=ref_tiny(tiny_ltx2("ltx-2.3")),
            source=source,
            folder=tmp_path / folder,
        )

    return make


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """Folder of the data recorded from a running ComfyUI."""
    return Path(__file__).parents[1] / "data" / "render" / "comfyui"
