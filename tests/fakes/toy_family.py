"""A family that Rushes does not know, added as docs/families.md says: one file and one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from manifests.families import Family as Described
from manifests.stage import Lora, Recipe
from render.errors import ModelUnavailable
from render.families.base import Family, Frames, ImageCondition, LoadedModel, LoadRequest, Position
from render.families.folder import check_weights, model_folder, read_index
from render.families.pixels import frames_of

WEIGHTS = "diffusion_pytorch_model.safetensors"
CHANNELS, SIDE = 3, 8

DESCRIBED = Described(
    name="toy",
    title="Toy",
    frame_step=1,
    frame_offset=0,
    min_frames=2,
    max_frames=16,
    size_multiple=SIDE,
    min_size=16,
    max_size=128,
    precision="float32",
    pipelines=("ToyPipeline",),
    may_have_experts=False,
    task="t2v",
)
"""The line in `manifests.families`: what a sheet may ask of it."""


def _parts() -> dict[str, nn.Module]:
    torch.manual_seed(4)
    return {
        "text_encoder": nn.Embedding(256, CHANNELS),
        "transformer": nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1),
        "vae": nn.ConvTranspose3d(CHANNELS, 3, (1, SIDE, SIDE), stride=(1, SIDE, SIDE)),
    }


class ToyModel(LoadedModel):
    """A text is the mean of its letters, a network is one convolution."""

    def __init__(self, parts: Mapping[str, nn.Module], request: LoadRequest) -> None:
        self.device = torch.device(request.device)
        self._parts = dict(parts)
        self._name = request.model.name

    @property
    def components(self) -> Mapping[str, nn.Module]:
        return self._parts

    def check(self, recipe: Recipe) -> None:
        if recipe.width % SIDE or recipe.height % SIDE:
            raise ModelUnavailable(f"model {self._name} needs sizes in multiples of {SIDE}")

    def latent_shape(self, *, width: int, height: int, frames: int) -> tuple[int, ...]:
        return (1, CHANNELS, frames, height // SIDE, width // SIDE)

    def encode_text(self, text: str) -> Tensor:
        letters: Tensor = self._parts["text_encoder"](torch.tensor([0, *text.encode()]))
        return letters.mean(0).reshape(1, 1, CHANNELS)

    def encode_still(self, still: Image.Image, *, frames: int) -> ImageCondition:
        raise ModelUnavailable(f"model {self._name} renders from text alone")

    def encoded(self) -> None:
        pass

    def load_loras(self, loras: Sequence[Lora]) -> None:
        if loras:
            raise ModelUnavailable(f"model {self._name} takes no LoRAs")

    def use_loras(self, loras: Sequence[Lora]) -> None:
        pass

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        v: Tensor = self._parts["transformer"](x) * at.sigma + text.reshape(1, CHANNELS, 1, 1, 1)
        return v

    def finish_latents(self, x: Tensor, image: ImageCondition | None) -> Tensor:
        return x

    def decode(self, latents: Tensor) -> Iterator[Frames]:
        for number in range(latents.shape[2]):
            pixels = self._parts["vae"](latents[:, :, number : number + 1]).tanh()
            yield frames_of(pixels, done=number)

    def close(self) -> None:
        self._parts.clear()


def load_toy(request: LoadRequest) -> ToyModel:
    """Its loader: the folder checked, every weight from a file."""
    name = request.model.name
    folder = model_folder(request.model)
    index = read_index(folder, name=name)
    if index.get("_class_name") not in DESCRIBED.pipelines:
        raise ModelUnavailable(f"model {name}: {folder} is no toy")
    parts = _parts()
    for part, module in parts.items():
        weights: dict[str, Any] = load_file(folder / part / WEIGHTS)
        module.load_state_dict(weights, strict=False)
        check_weights(module, folder / part, name=name)
        module.requires_grad_(False).eval()
    return ToyModel(parts, request)


TOY = Family(name="toy", load=load_toy)
"""The line in `render.families.registry`."""


def build_toy(folder: Path) -> Path:
    """A folder with random weights, in the layout of diffusers."""
    for part, module in _parts().items():
        (folder / part).mkdir(parents=True)
        save_file(module.state_dict(), folder / part / WEIGHTS)
    index = ", ".join(f'"{part}": ["toy", "Toy"]' for part in _parts())
    (folder / "model_index.json").write_text(f'{{"_class_name": "ToyPipeline", {index}}}')
    return folder
