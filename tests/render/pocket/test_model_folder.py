"""The bundled folder: small, safe, complete and free of anybody's paths."""

from __future__ import annotations

import json

from render.pocket.paths import MODEL_DIR


def test_folder_fits_in_24_megabytes() -> None:
    """All files of the model together stay under 24 000 000 bytes."""
    total = sum(f.stat().st_size for f in MODEL_DIR.rglob("*") if f.is_file())
    assert total <= 24_000_000


def test_weights_are_safetensors_only() -> None:
    """Nothing in the folder can run code when it is loaded."""
    kinds = {f.suffix for f in MODEL_DIR.rglob("*") if f.is_file()}
    assert kinds == {".json", ".safetensors"}


def test_index_names_the_stock_classes_and_no_image_encoder() -> None:
    """The pipeline is put together from stock parts."""
    index = json.loads((MODEL_DIR / "model_index.json").read_text())
    named = {part: index[part][1] for part in ("vae", "transformer", "text_encoder")}
    assert index["_class_name"] == "WanImageToVideoPipeline"
    assert named == {
        "vae": "AutoencoderKLWan",
        "transformer": "WanTransformer3DModel",
        "text_encoder": "UMT5EncoderModel",
    }
    assert index["image_encoder"] == [None, None]


def test_configs_hold_no_paths_of_a_machine() -> None:
    """No config tells where it was made."""
    for config in MODEL_DIR.rglob("*config.json"):
        assert "_name_or_path" not in json.loads(config.read_text()), config


def test_latent_scale_is_measured() -> None:
    """The autoencoder's config holds 32 real means and deviations, not placeholders."""
    config = json.loads((MODEL_DIR / "vae" / "config.json").read_text())
    assert len(config["latents_mean"]) == len(config["latents_std"]) == 32
    assert all(0.05 < s < 5 and s != 1 for s in config["latents_std"])
