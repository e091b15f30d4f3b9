"""LoRAs on what samples in a pipeline: loaded by hash, switched by stage, never fused.

Plain blocks hold each LoRA under a name of its own; compiled blocks hold them in slots
(`render.families.lora_slots`). Going from one to the other unloads what is there.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from manifests.files import sha256_file
from manifests.stage import Lora
from render.errors import ModelUnavailable
from render.families.lora_slots import Slots
from render.memory import is_out_of_memory
from render.speed_compile import is_compiled

NETS = ("transformer", "transformer_2", "unet")
"""What samples, by its name in a pipeline."""
OF_TEXT = ("text_encoder.", "lora_te_", "connectors.", "text_embedding_projection.")
"""Starts of the names of weights that are the text encoder's, or of what LTX-2 reads it with."""


class LoraShelf:
    """The LoRAs that are loaded into what samples in one pipeline."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        present = {name: getattr(pipe, name, None) for name in NETS}
        self._nets = {name: net for name, net in present.items() if net is not None}
        self._loaded: set[str] = set()
        self._for_text: dict[str, str] = {}
        """Paths, by hash, of the LoRAs of this take that hold weights for the text encoder."""
        self._slots = Slots(self._nets)
        self._in_slots = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the loaded LoRAs is not used, in words."""
        return tuple(
            f"LoRA {Path(path).name}: its weights for the text encoder are left out, the text is "
            "read by the bare one"
            for path in self._for_text.values()
        )

    def load(self, loras: Sequence[Lora]) -> None:
        """Have exactly `loras` loaded and none in use. Raises ModelUnavailable."""
        named = {lora.sha256 for lora in loras}
        self._for_text = {sha: path for sha, path in self._for_text.items() if sha in named}
        compiled = any(is_compiled(net) for net in self._nets.values())
        if compiled != self._in_slots:
            if self._loaded:
                self._forget_all()
            self._in_slots = compiled
        if compiled:
            self._load_into_slots({lora.sha256: lora for lora in loras})
        else:
            self._load_by_name(loras)
        self.use(())

    def _load_by_name(self, loras: Sequence[Lora]) -> None:
        wanted = {adapter_name(lora): lora for lora in loras}
        if self._loaded and not wanted:
            self._forget_all()
        for name in self._loaded - set(wanted):
            for net in self._nets.values():
                net.delete_adapters(name)
        self._loaded &= set(wanted)
        for name, lora in wanted.items():
            if name not in self._loaded:
                self._load_one(name, lora, self._weights(lora))
                self._loaded.add(name)

    def _load_into_slots(self, wanted: Mapping[str, Lora]) -> None:
        self._slots.keep(wanted)
        for sha256, lora in wanted.items():
            if sha256 in self._slots:
                continue
            weights = self._weights(lora)
            if not self._slots.fit(weights):
                self._forget_all()
                self._load_into_slots(wanted)
                return
            name, swap = self._slots.take(sha256, weights)
            try:
                self._load_one(name, lora, weights, swap=swap)
            except ModelUnavailable:
                if not swap:
                    raise
                # It has other layers than the slot: begin again with empty blocks.
                self._load_into_slots(wanted)
                return
            self._loaded.add(name)
            self._slots.loaded(name)

    def _weights(self, lora: Lora) -> dict[str, Any]:
        """Those for what samples. The text is encoded once for all stages, without LoRAs."""
        weights = _read(lora)
        own = {key: weight for key, weight in weights.items() if not key.startswith(OF_TEXT)}
        if not own:
            raise ModelUnavailable(
                f"LoRA {lora.path} holds weights for the text encoder alone, which stays bare; "
                "use one that changes what samples"
            )
        if len(own) < len(weights):
            self._for_text[lora.sha256] = lora.path
        return own

    def use(self, loras: Sequence[Lora]) -> None:
        """Switch on exactly `loras`, at their strengths; none is the bare model."""
        if not self._loaded:
            return
        if self._in_slots:
            self._slots.use({lora.sha256: lora.strength for lora in loras})
            return
        for net in self._nets.values():
            if loras:
                net.enable_lora()
                net.set_adapters(
                    [adapter_name(lora) for lora in loras], [lora.strength for lora in loras]
                )
            else:
                net.disable_lora()

    def _load_one(
        self, name: str, lora: Lora, weights: Mapping[str, Any], *, swap: bool = False
    ) -> None:
        for net_name, net in self._nets.items():
            try:
                with warnings.catch_warnings(), _quiet(swap):
                    # Several adapters in one model are what a shelf is for.
                    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                    second = {"load_into_transformer_2": True}
                    self._pipe.load_lora_weights(
                        dict(weights),
                        adapter_name=name,
                        hotswap=swap,
                        **(second if net_name == "transformer_2" else {}),
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
            there = name in getattr(net, "peft_config", {})
            if not there or (swap and not self._slots.filled(net, name)):
                self._forget_all()
                prefixes = sorted({key.split(".")[0] for key in weights})
                raise ModelUnavailable(
                    f"LoRA {lora.path} changes nothing in this model (its weights are named "
                    f"{', '.join(prefixes[:3])}...); use one in the naming of diffusers, of kohya "
                    "or of the model's makers"
                )

    def _forget_all(self) -> None:
        self._pipe.unload_lora_weights()
        self._loaded.clear()
        self._slots.forget()


def adapter_name(lora: Lora) -> str:
    """The name a LoRA is loaded under: by its content, so that a moved file is the same LoRA."""
    return f"lora_{lora.sha256[:16]}"


@contextmanager
def _quiet(swap: bool) -> Iterator[None]:
    """No log of a swap that failed: then the LoRA is loaded anew, and that may well succeed."""
    log = logging.getLogger("diffusers.loaders.peft")
    before = log.disabled
    log.disabled = before or swap
    try:
        yield
    finally:
        log.disabled = before


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
