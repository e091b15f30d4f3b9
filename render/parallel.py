"""One take on several cards: its tokens are spread over them (Ulysses context parallelism).

The leader renders the take as ever; before each call of the model it tells the other ranks, which
make the same call with their own copy of the weights. Inside the call each rank has a part of the
tokens, exchanges heads for tokens around each attention, and the whole velocity comes out at every
rank. So only the leader encodes, decodes, keeps checkpoints and writes, whatever the sampler.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from torch import Tensor, nn
from torch import distributed as dist

from manifests.stage import Lora, Recipe
from render.errors import NonFinite, WorkerLost
from render.families.base import ImageCondition, LoadedModel, Position
from render.order import Gang

TRANSFORMERS = ("transformer", "transformer_2")
"""The modules whose tokens are spread."""

_LOST = ("gloo", "Connection closed", "Connection reset", "Wait timeout")


@dataclass(frozen=True, slots=True)
class _Velocity:
    """Call the model."""

    at: Position
    text: int
    """Which of the tensors told so far; the next number means that it follows."""
    image: tuple[int | None, ...] | None
    """The fields of the image condition, each as `text`."""
    branch: str


@dataclass(frozen=True, slots=True)
class _Loras:
    """Sample with these LoRAs from now on."""

    loras: tuple[Lora, ...]


class _Over:
    """The take needs no more calls."""


def why_not(model: LoadedModel, recipe: Recipe, *, size: int) -> str | None:
    """Why this take cannot be spread over `size` cards, in words; None when it can.

    Every rank comes to the same answer by itself: from the model's settings and the recipe alone.
    """
    shape = model.latent_shape(width=recipe.width, height=recipe.height, frames=recipe.frames)
    for net in _nets(model):
        heads = int(net.config.num_attention_heads)
        # NOTE: LTX-2 has a plan, but not for the sound and the times of tokens beside the picture.
        spread = getattr(net, "_cp_plan", None) is not None and hasattr(net.config, "patch_size")
        if not spread or len(shape) != 5:
            return f"{type(net).__name__} cannot be spread over cards"
        if heads % size:
            return f"{heads} attention heads cannot be shared by {size} cards"
        tokens = _tokens(shape, net.config.patch_size)
        if tokens % size:
            return f"{tokens} tokens cannot be shared by {size} cards"
    return None


@contextmanager
def leading(gang: Gang, model: LoadedModel) -> Iterator[LoadedModel]:
    """The model as the leader calls it: every rank works on each call.

    Raises WorkerLost when another rank is lost. After any error but NonFinite the ranks have no
    common ground any more: their processes must be ended.
    """
    with _joined(gang, model):
        wire = _Wire(model.device)
        try:
            # NOTE: not a LoadedModel by class: what it does not answer is the model's own.
            yield cast(LoadedModel, _Leader(model, wire))
        except NonFinite:
            wire.say(_Over())
            raise
        wire.say(_Over())


def lend(gang: Gang, model: LoadedModel) -> None:
    """Work on every call of the leader until the take needs no more. Raises WorkerLost."""
    with _joined(gang, model), torch.inference_mode():
        wire = _Wire(model.device)
        while not isinstance(said := wire.hear(), _Over):
            match said:
                case _Loras(loras):
                    model.use_loras(loras)
                case _Velocity(at, text, image, branch):
                    x = wire.receive()
                    prompt = wire.told(text)
                    condition = None if image is None else _condition(wire.told, image)
                    model.velocity(x, at, prompt, image=condition, branch=branch)


class _Leader:
    """Tells the other ranks of each call, then makes it."""

    def __init__(self, model: LoadedModel, wire: _Wire) -> None:
        self._model = model
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def use_loras(self, loras: Sequence[Lora]) -> None:
        """See `LoadedModel.use_loras`."""
        self._wire.say(_Loras(tuple(loras)))
        self._model.use_loras(loras)

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        """See `LoadedModel.velocity`."""
        wire, parts = self._wire, [] if image is None else _parts(image)
        numbers = [wire.number(tensor) for tensor in (text, *parts)]
        wire.say(
            _Velocity(
                at=at,
                text=cast(int, numbers[0]),
                image=None if image is None else tuple(numbers[1:]),
                branch=branch,
            )
        )
        wire.send(x)
        wire.tell_new()
        return self._model.velocity(x, at, text, image=image, branch=branch)


class _Wire:
    """What the leader tells the other ranks: words over gloo, tensors from card to card."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._told: list[Tensor] = []
        """Tensors that every rank has; kept, so that none is told twice."""
        self._new: list[Tensor] = []

    def say(self, words: Any) -> None:
        """The leader's next message, small and without tensors on a card."""
        dist.broadcast_object_list([words], src=0, device=torch.device("cpu"))

    def hear(self) -> Any:
        """The next message of the leader."""
        words: list[Any] = [None]
        dist.broadcast_object_list(words, src=0, device=torch.device("cpu"))
        return words[0]

    def send(self, tensor: Tensor) -> None:
        """A tensor to every other rank: first its shape, then its values."""
        self.say((tuple(tensor.shape), tensor.dtype))
        dist.broadcast(tensor.to(self._device).contiguous(), src=0)

    def receive(self) -> Tensor:
        """What the leader sends, on this rank's device."""
        shape, dtype = self.hear()
        tensor = torch.empty(shape, dtype=dtype, device=self._device)
        dist.broadcast(tensor, src=0)
        return tensor

    def number(self, tensor: Tensor | None) -> int | None:
        """Of a tensor that is told once and then named by this; `tell_new` tells the new ones."""
        if tensor is None:
            return None
        known = [*self._told, *self._new]
        for index, other in enumerate(known):
            if other is tensor:
                return index
        self._new.append(tensor)
        return len(known)

    def tell_new(self) -> None:
        """Send what was numbered for the first time, in order."""
        for tensor in self._new:
            self.send(tensor)
        self._told += self._new
        self._new.clear()

    def told(self, number: int) -> Tensor:
        """The tensor of that number; a number that is new is received now, in order."""
        while number >= len(self._told):
            self._told.append(self.receive())
        return self._told[number]


def _parts(image: ImageCondition) -> list[Tensor | None]:
    return [getattr(image, part.name) for part in fields(ImageCondition)]


def _condition(told: Callable[[int], Tensor], numbers: tuple[int | None, ...]) -> ImageCondition:
    tensors = [None if number is None else told(number) for number in numbers]
    named = dict(zip((part.name for part in fields(ImageCondition)), tensors, strict=True))
    return ImageCondition(**cast(Any, named))


@contextmanager
def _joined(gang: Gang, model: LoadedModel) -> Iterator[None]:
    """In the gang's process group, with the model's transformers spread over it."""
    try:
        _meet(gang, model.device)
        nets = _nets(model)
        _spread(nets, gang)
        try:
            yield
        finally:
            for net in nets:
                _gather(net)
    except (dist.DistError, RuntimeError) as error:
        _leave(model.device, well=False)
        if isinstance(error, dist.DistError) or _is_lost_peer(error):
            raise WorkerLost(
                f"rank {gang.rank} of {gang.size} cards: another rank of the take was lost "
                f"({error})"
            ) from error
        raise
    except NonFinite:
        _leave(model.device, well=True)
        raise
    _leave(model.device, well=True)


def _leave(device: torch.device, *, well: bool) -> None:
    """Leave the process group.

    NOTE: after an error NCCL may wait for ever for the other ranks; the process is ended instead.
    """
    if dist.is_initialized() and (well or device.type != "cuda"):
        dist.destroy_process_group()


def _is_lost_peer(error: Exception) -> bool:
    """gloo names a lost peer in a bare RuntimeError, and so one that never came."""
    return any(words in str(error) for words in _LOST)


def _meet(gang: Gang, device: torch.device) -> None:
    """Form the process group: NCCL between cards, gloo for words; both over loopback alone.

    Raises WorkerLost in a process that could not leave the group of a take before.
    """
    if dist.is_initialized():
        raise WorkerLost(
            f"rank {gang.rank} of {gang.size} cards: this process is still in the group of a take "
            "that failed; start a new worker"
        )
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    patience = timedelta(seconds=gang.seconds)
    # NOTE: not by its URI, whose quoted blanks torch takes for the file's name. A store that is
    # handed in keeps torch's own five minutes, unless told otherwise.
    store = dist.FileStore(str(gang.meeting), gang.size)  # type: ignore[attr-defined]
    store.set_timeout(patience)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=gang.rank,
        world_size=gang.size,
        timeout=patience,
    )


def _spread(nets: Sequence[Any], gang: Gang) -> None:
    """Put diffusers' context-parallel hooks on, with one mesh for all transformers.

    NOTE: not `enable_parallelism`, which cannot be undone and divides by the number of cards,
    which is 0 where a test spreads over CPU processes.
    """
    device = next(nets[0].parameters()).device.type
    kind = "cuda" if torch.cuda.is_available() else device
    mesh = dist.device_mesh.init_device_mesh(
        kind, mesh_shape=(1, gang.size), mesh_dim_names=("ring", "ulysses")
    )
    for net in nets:
        parallel = ParallelConfig(
            context_parallel_config=ContextParallelConfig(ulysses_degree=gang.size, mesh=mesh)
        )
        parallel.setup(gang.rank, gang.size, torch.device(kind), mesh=mesh)
        _connect(parallel.context_parallel_config, torch.device(kind))
        _tell_attention(net, parallel)
        apply_context_parallel(net, parallel.context_parallel_config, net._cp_plan)


def _connect(spread: Any, device: torch.device) -> None:
    """Use every group once: NCCL connects the cards at a group's first use, which takes tenths of
    a second and is no part of a step."""
    for group in (None, spread._flattened_mesh.get_group(), spread._ulysses_mesh.get_group()):
        dist.all_reduce(torch.zeros(1, device=device), group=group)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _gather(net: Any) -> None:
    """Take the hooks off again: the next take has one card."""
    with suppress(ValueError, KeyError):
        remove_context_parallel(net, net._cp_plan)
    _tell_attention(net, None)


def _tell_attention(net: nn.Module, parallel: ParallelConfig | None) -> None:
    for module in net.modules():
        processor = getattr(module, "processor", None)
        if processor is not None and hasattr(processor, "_parallel_config"):
            processor._parallel_config = parallel


def _nets(model: LoadedModel) -> list[Any]:
    parts = model.components
    return [parts[name] for name in TRANSFORMERS if name in parts]


def _tokens(shape: Sequence[int], patch: Sequence[int]) -> int:
    """Tokens of latents (1, C, T, h, w) in patches (t, h, w)."""
    count = 1
    for length, step in zip(shape[-3:], patch, strict=True):
        count *= length // step
    return count
