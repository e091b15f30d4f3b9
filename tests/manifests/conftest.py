"""A studio with a tiny model folder, stills, and sheets written as a test asks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from manifests.errors import Fault
from manifests.load import load_manifest
from manifests.preset import Preset, load_preset
from manifests.settings import Studio, load_studio
from manifests.shot import Manifest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("RUSHES_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def tensors() -> Callable[..., Path]:
    """Writes a whole safetensors file of float32 tensors: one, or those of the given shapes."""

    def write(
        path: Path,
        *,
        floats: int = 4,
        seed: int = 0,
        shapes: Mapping[str, Sequence[int]] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        end = 0
        for name, shape in ({"w": [floats]} if shapes is None else shapes).items():
            begin, end = end, end + 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        told = json.dumps(header).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(len(told).to_bytes(8, "little") + told + bytes([seed]) * end)
        return path

    return write


@pytest.fixture
def lora(tensors) -> Callable[..., Path]:
    """Writes a LoRA of one layer, as wide as that of `model_folder`."""

    def write(path: Path, *, layer="transformer.blocks.0.attn1.to_q", width=4, **more) -> Path:
        shapes = {f"{layer}.lora_A.weight": (2, width), f"{layer}.lora_B.weight": (width, 2)}
        return tensors(path, shapes=shapes, **more)

    return write


@pytest.fixture
def model_folder(tmp_path, tensors) -> Callable[..., Path]:
    """Writes a folder in the diffusers layout, of tiny weights."""

    def write(
        name: str = "model", *, pipeline="WanImageToVideoPipeline", experts=1, **extra
    ) -> Path:
        folder = tmp_path / "models" / name
        index = {"_class_name": pipeline, "vae": ["diffusers", "AutoencoderKLWan"], **extra}
        parts = ["vae", "transformer"] + (["transformer_2"] if experts == 2 else [])
        for part in parts:
            index[part] = ["diffusers", "X"]
            layer = {"blocks.0.attn1.to_q.weight": (4, 4)} if part != "vae" else None
            tensors(folder / part / "diffusion_pytorch_model.safetensors", shapes=layer)
        if experts == 1:
            index["transformer_2"] = [None, None]
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder

    return write


@pytest.fixture
def still() -> Callable[..., Path]:
    """Writes a still of the given size, with a gradient in it."""

    def write(path: Path, *, size=(96, 96), mode="RGB", **save) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize(size).convert(mode).save(path, **save)
        return path

    return write


@pytest.fixture
def studio(tmp_path, model_folder) -> Studio:
    """A studio in `tmp_path/root` whose pocket model is a tiny folder."""
    location = str(model_folder())
    return load_studio(
        tmp_path / "root", models={"pocket-wan": {"family": "pocket", "location": location}}
    )


@pytest.fixture
def own(tmp_path, studio) -> Callable[..., Preset]:
    """Loads a preset of that text from the studio's own folder."""

    def load(text: str, name: str = "mine", family: str = "pocket") -> Preset:
        folder = tmp_path / "presets" / family
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
        return load_preset(
            family, name, studio.model_copy(update={"presets_dir": tmp_path / "presets"})
        )

    return load


@pytest.fixture
def sheet(tmp_path, studio, still) -> Callable[..., Manifest]:
    """Loads a sheet of that text, or bytes, beside `a.png`."""

    def load(text: str | bytes, name: str = "night.csv", *, studio: Studio = studio) -> Manifest:
        path = tmp_path / "sheets" / name
        if not (path.parent / "a.png").exists():
            still(path.parent / "a.png")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_manifest(path, studio=studio)

    return load


@pytest.fixture
def told() -> Callable[[Manifest], list[tuple[int | None, str | None, str]]]:
    """Faults as (row, column, problem)."""

    def short(manifest: Manifest) -> list[tuple[int | None, str | None, str]]:
        faults: tuple[Fault, ...] = manifest.faults
        return [(fault.row, fault.column, fault.problem) for fault in faults]

    return short


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """Folder of the data recorded from a running ComfyUI."""
    return Path(__file__).parents[1] / "data" / "render" / "comfyui"


@pytest.fixture(scope="session")
def comfyui_sigmas(comfyui: Path) -> dict[str, Any]:
    """Noise levels that ComfyUI computed."""
    tables: dict[str, Any] = json.loads((comfyui / "sigmas.json").read_text(encoding="utf-8"))
    return tables
