"""LoRAs on the transformers of a pipeline: loaded by hash, switched by stage, never fused."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from manifests.files import sha256_file
from manifests.stage import Lora
from render.errors import ModelUnavailable
from render.memory import is_out_of_memory


class LoraShelf:
    """The LoRAs that are loaded into one pipeline's transformers."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        names = ("transformer", "transformer_2")
        present = {name: getattr(pipe, name, None) for name in names}
        self._nets = {name: net for name, net in present.items() if net is not None}
        self._loaded: set[str] = set()

    def load(self, loras: Sequence[Lora]) -> None:
        """Have exactly `loras` loaded and none in use. Raises ModelUnavailable."""
        wanted = {adapter_name(lora): lora for lora in loras}
        if self._loaded and not wanted:
            self._forget_all()
        for name in self._loaded - set(wanted):
            for net in self._nets.values():
                net.delete_adapters(name)
        self._loaded &= set(wanted)
        for name, lora in wanted.items():
            if name not in self._loaded:
                self._load_one(name, lora)
                self._loaded.add(name)
        self.use(())

    def use(self, loras: Sequence[Lora]) -> None:
        """Switch on exactly `loras`, at their strengths; none is the bare model."""
        if not self._loaded:
            return
        for net in self._nets.values():
            if loras:
                net.enable_lora()
                net.set_adapters(
                    [adapter_name(lora) for lora in loras], [lora.strength for lora in loras]
                )
            else:
                net.disable_lora()

    def _load_one(self, name: str, lora: Lora) -> None:
        weights = _read(lora)
        for net_name, net in self._nets.items():
            try:
                with warnings.catch_warnings():
                    # Several adapters in one model are what a shelf is for.
                    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                    self._pipe.load_lora_weights(
                        dict(weights),
                        adapter_name=name,
                        load_into_transformer_2=net_name == "transformer_2",
                    )
            except (ValueError, KeyError, RuntimeError, IndexError) as error:
                if is_out_of_memory(error):
                    raise
                self._forget_all()
                raise ModelUnavailable(
                    f"LoRA {lora.path} does not fit this model ({str(error).splitlines()[0]}); "
                    "use one that was trained for it"
                ) from error
            # NOTE: keys of an unknown prefix are skipped without a word.
            if name not in getattr(net, "peft_config", {}):
                self._forget_all()
                prefixes = sorted({key.split(".")[0] for key in weights})
                raise ModelUnavailable(
                    f"LoRA {lora.path} changes nothing in this model (its weights are named "
                    f"{', '.join(prefixes[:3])}...); use one in diffusers, Wan or musubi naming"
                )

    def _forget_all(self) -> None:
        self._pipe.unload_lora_weights()
        self._loaded.clear()


def adapter_name(lora: Lora) -> str:
    """The name a LoRA is loaded under: by its content, so that a moved file is the same LoRA."""
    return f"lora_{lora.sha256[:16]}"


def _read(lora: Lora) -> dict[str, Any]:
    path = Path(lora.path)
    try:
        found = sha256_file(path)
        weights: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(
            f"LoRA {path} cannot be read ({str(error).splitlines()[0]}); copy the file again"
        ) from error
    if found != lora.sha256:
        raise ModelUnavailable(
            f"LoRA {path} changed since the sheet was checked (sha256 was {lora.sha256[:12]}, is "
            f"{found[:12]}); check the sheet again"
        )
    return weights
