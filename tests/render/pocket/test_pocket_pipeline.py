"""The bundled model through the stock pipeline."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import WanImageToVideoPipeline

from render.pocket.evaluate import PROMPTS, crops, sample
from render.pocket.flow import Stage, condition_of, sigmas_of, text_of
from render.pocket.layout import load_pipeline
from render.pocket.measure import motion_of
from render.pocket.moves import Move
from render.pocket.paths import MODEL_DIR
from render.pocket.photos import held_out
from render.pocket.running import psnr

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipe() -> WanImageToVideoPipeline:
    """The bundled pipeline, float32, loaded with the network closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return load_pipeline(folder=MODEL_DIR)


def test_loads_offline_as_float32(pipe: WanImageToVideoPipeline) -> None:
    """All three networks come up in one dtype."""
    assert {m.dtype for m in (pipe.vae, pipe.transformer, pipe.text_encoder)} == {torch.float32}


def test_loads_alike_without_a_dtype() -> None:
    """A caller that names no dtype gets float32 too, the text encoder included."""
    plain = WanImageToVideoPipeline.from_pretrained(str(MODEL_DIR), local_files_only=True)
    assert {m.dtype for m in (plain.vae, plain.transformer, plain.text_encoder)} == {torch.float32}


def test_move_words_are_whole_tokens(pipe: WanImageToVideoPipeline) -> None:
    """The words that carry a direction are never split."""
    for word in ("pan", "left", "right", "tilt", "up", "down", "zoom", "in", "out", "roll"):
        assert len(pipe.tokenizer(word).input_ids) == 2, word  # the word and </s>


def test_text_padding_is_the_pipelines(pipe: WanImageToVideoPipeline) -> None:
    """Our prompt vectors are those of encode_prompt at 512 tokens."""
    pytest.importorskip("ftfy", reason="the stock pipeline cleans prompts with it")
    stock, _ = pipe.encode_prompt("slow pan left", None, False, max_sequence_length=512)
    torch.testing.assert_close(text_of(pipe, "slow pan left"), stock, atol=1e-5, rtol=0)


def test_stock_call_gives_17_frames(pipe: WanImageToVideoPipeline) -> None:
    """Image and prompt in, frames out, nothing else needed."""
    pytest.importorskip("ftfy", reason="the stock pipeline cleans prompts with it")
    still = PIL.Image.fromarray(held_out()["chelsea"][:128, 100:228])
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(
        image=still,
        prompt="pan left",
        height=96,
        width=96,
        num_frames=17,
        num_inference_steps=2,
        guidance_scale=1.0,
        output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).frames
    assert frames.shape == (1, 17, 96, 96, 3)
    assert np.isfinite(frames).all()


def test_autoencoder_keeps_an_unseen_photograph(pipe: WanImageToVideoPipeline) -> None:
    """Over 26 dB on stills cut from pictures it never saw."""
    stills = crops(per_picture=1)[:, :, None]
    with torch.no_grad():
        again = pipe.vae.decode(pipe.vae.encode(stills).latent_dist.mode()).sample
    assert psnr(again, stills) > 26


def test_condition_is_mask_and_first_frame(pipe: WanImageToVideoPipeline) -> None:
    """Four mask channels, on for the first latent frame only, then 32 latent channels."""
    condition = condition_of(pipe, torch.zeros(2, 3, 64, 64))
    assert condition.shape == (2, 36, 5, 8, 8)
    assert bool((condition[:, :4, 0] == 1).all())
    assert bool((condition[:, :4, 1:] == 0).all())


def test_restart_level_follows_denoise() -> None:
    """Eight steps at denoise 0.45 restart at sigma of 17 steps, eight from the end."""
    assert sigmas_of(Stage(8, denoise=0.45))[0] == pytest.approx(0.725, abs=0.01)
    assert sigmas_of(Stage(12))[0] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("move", [Move.PAN_LEFT, Move.ZOOM_IN])
def test_real_sampling_moves_as_asked(pipe: WanImageToVideoPipeline, move: Move) -> None:
    """Four steps over an unseen still already move the right way and keep frame 0."""
    still = crops(per_picture=1)[:1]
    clip = sample(pipe, still, PROMPTS[move], (Stage(4),), seed=3)
    assert motion_of(clip[0]).verdict() == move
    assert psnr(clip[:, :, 0], still) > 26
