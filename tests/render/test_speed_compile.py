"""Compiled blocks: one graph, LoRAs swapped inside it, and failures that are remembered."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_speed import Counting, Failing, accelerator_of, load_tiny_wan, velocity_of
from torch import Tensor, nn

from manifests.files import sha256_file
from manifests.stage import Lora, Recipe, Speed
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.base import LoadedModel
from render.order import Receipt, RenderOrder
from render.speed_cache import stateful
from render.speed_compile import FAILED, CompileFailed, FailureMemory

pytestmark = pytest.mark.usefixtures("one_thread")

OrderFor = Callable[..., RenderOrder]


@pytest.fixture(autouse=True)
def _no_graphs_of_others() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def recipe(order_for: OrderFor) -> Recipe:
    """Of the tiny text-to-video model with two experts, at the fast level."""
    return order_for("t2v-2.2", speed=Speed.FAST).recipe


@pytest.fixture
def model(order_for: OrderFor) -> LoadedModel:
    """The tiny model with two experts."""
    return load_tiny_wan(order_for("t2v-2.2").model)


# ---------------------------------------------------------------------------- compiled blocks


@pytest.mark.slow
def test_one_graph_serves_all_blocks_experts_sizes_and_lengths(
    model: LoadedModel, recipe: Recipe
) -> None:
    """Two blocks of each of two experts, at four sizes and lengths: one graph."""
    compiler = Counting()
    accelerator_of(model, compiler).pull(recipe)
    for sigma in (0.9, 0.1):
        for frames, width, height in ((5, 32, 32), (9, 32, 48), (13, 64, 32), (17, 48, 48)):
            velocity_of(model, frames=frames, width=width, height=height, sigma=sigma)
    assert compiler.graphs == 1


@pytest.mark.slow
def test_a_warm_model_goes_from_level_to_level_and_back(model: LoadedModel, recipe: Recipe) -> None:
    """Fast is near exact, and exact after fast and turbo is exact, bit for bit."""
    accelerator, exact = accelerator_of(model, "aot_eager"), replace(recipe, speed=Speed.EXACT)
    before = velocity_of(model)
    accelerator.pull(recipe)
    torch.testing.assert_close(velocity_of(model), before, atol=1e-5, rtol=1e-4)
    accelerator.pull(replace(recipe, speed=Speed.TURBO))
    velocity_of(model)
    accelerator.pull(exact)
    assert not accelerator.spoils(exact)
    assert not stateful(model)
    assert torch.equal(velocity_of(model), before)


@pytest.mark.slow
def test_a_block_that_cannot_be_compiled_is_told_by_name(
    model: LoadedModel, recipe: Recipe
) -> None:
    """A compiler that is missing ends the run as CompileFailed, with its own words."""
    accelerator_of(model, Failing()).pull(recipe)
    with pytest.raises(CompileFailed, match="Failed to find C compiler"):
        velocity_of(model)


@pytest.mark.slow
def test_a_fault_of_the_block_itself_is_not_laid_to_the_compiler(
    model: LoadedModel, recipe: Recipe
) -> None:
    """What the plain block raises too is raised as it is."""
    accelerator_of(model, "aot_eager").pull(recipe)
    weight = next(iter(model.components["transformer"].parameters()))
    broken: Any = model.components["transformer"]
    broken.blocks[0].attn1.to_q.weight = nn.Parameter(weight.new_zeros(3, 3))
    with pytest.raises(RuntimeError, match=r"shapes|size|dimension"):
        velocity_of(model)


@pytest.mark.slow
def test_too_many_graphs_begin_again_with_none(
    model: LoadedModel, recipe: Recipe, order_for: OrderFor
) -> None:
    """At torch's limit all graphs are forgotten, and the run goes on compiled."""
    compiler = Counting()
    half = load_tiny_wan(
        order_for("t2v-2.2").model, precision="bfloat16"
    )  # needs a graph of its own
    with torch._dynamo.config.patch(recompile_limit=1):
        for each in (model, half):
            accelerator_of(each, compiler).pull(recipe)
        before = velocity_of(model)
        velocity_of(half)
        assert torch.equal(velocity_of(model), before)
    assert compiler.graphs == 3


@pytest.mark.slow
def test_a_closed_model_is_let_go_though_its_blocks_were_compiled(
    order_for: OrderFor, recipe: Recipe
) -> None:
    """No graph keeps the weights of a model alive."""
    model = load_tiny_wan(order_for("t2v-2.2").model)
    accelerator_of(model, "aot_eager").pull(recipe)
    velocity_of(model)
    weight = weakref.ref(next(model.components["transformer"].parameters()))
    model.close()
    del model
    gc.collect()
    assert weight() is None


# ---------------------------------------------------------------------------- LoRAs


def _lora(path: Path, *, rank: int, seed: int, layers: tuple[str, ...] = ("attn1.to_q",)) -> Lora:
    generator, weights = torch.Generator().manual_seed(seed), {}
    for block in (0, 1):
        for layer in layers:
            name = f"transformer.blocks.{block}.{layer}"
            weights[f"{name}.lora_A.weight"] = torch.randn(rank, 24, generator=generator)
            weights[f"{name}.lora_B.weight"] = torch.randn(24, rank, generator=generator)
    save_file(weights, path)
    return Lora(path=str(path), sha256=sha256_file(path), strength=0.8)


def _with_loras(model: LoadedModel, *loras: Lora) -> Tensor:
    model.load_loras(loras)
    model.use_loras(loras)
    return velocity_of(model)


@pytest.mark.slow
def test_a_new_lora_compiles_nothing(
    model: LoadedModel, recipe: Recipe, order_for: OrderFor, tmp_path: Path
) -> None:
    """Other LoRAs of other ranks at other strengths share one graph, and add what they should."""
    compiler, plain = Counting(), load_tiny_wan(order_for("t2v-2.2").model)
    accelerator_of(model, compiler).pull(recipe)
    loras = [_lora(tmp_path / f"{rank}.safetensors", rank=rank, seed=rank) for rank in (4, 16, 2)]
    loras += [replace(loras[1], strength=-0.4), loras[0]]
    graphs = []
    for lora in loras:
        torch.testing.assert_close(
            _with_loras(model, lora), _with_loras(plain, lora), atol=1e-5, rtol=1e-4
        )
        graphs.append(compiler.graphs)
    assert graphs == [1] * len(loras)
    bare = _with_loras(model)
    torch.testing.assert_close(bare, _with_loras(plain), atol=0, rtol=0)
    assert compiler.graphs == 2


@pytest.mark.slow
def test_loras_in_slots_leave_nothing_behind(
    model: LoadedModel, recipe: Recipe, order_for: OrderFor, tmp_path: Path
) -> None:
    """Fewer layers, other layers, two at once, none: each take has what it asks for alone."""
    plain = load_tiny_wan(order_for("t2v-2.2").model)
    accelerator_of(model, "eager").pull(recipe)
    wide = _lora(tmp_path / "a.safetensors", rank=4, seed=1, layers=("attn1.to_q", "attn1.to_v"))
    narrow = _lora(tmp_path / "b.safetensors", rank=8, seed=2)
    other = _lora(tmp_path / "c.safetensors", rank=8, seed=3, layers=("attn2.to_q",))
    tall = _lora(tmp_path / "d.safetensors", rank=80, seed=4)
    for loras in ((wide,), (narrow,), (other,), (narrow, wide), (tall,), (), (wide,)):
        torch.testing.assert_close(
            _with_loras(model, *loras), _with_loras(plain, *loras), atol=1e-5, rtol=1e-4
        )


@pytest.mark.slow
def test_a_lora_that_changes_nothing_is_refused_also_in_a_slot(
    model: LoadedModel, recipe: Recipe, tmp_path: Path
) -> None:
    """Weights of another model do not leave the LoRA before them in force."""
    accelerator_of(model, "eager").pull(recipe)
    bare = velocity_of(model)
    _with_loras(model, _lora(tmp_path / "a.safetensors", rank=4, seed=1))
    foreign = tmp_path / "b.safetensors"
    save_file({"unet.x.lora_A.weight": torch.ones(4, 24)}, foreign)
    with pytest.raises(ModelUnavailable, match=r"b\.safetensors"):
        model.load_loras([Lora(path=str(foreign), sha256=sha256_file(foreign))])
    assert torch.equal(_with_loras(model), bare)


# ---------------------------------------------------------------------------- failures


@pytest.mark.slow
@pytest.mark.parametrize("stored", [True, False])
def test_a_compile_failure_is_remembered_where_it_happened(
    order_for: OrderFor, tmp_path: Path, stored: bool
) -> None:
    """The take is rendered all the same, bit for bit as exact, and says so. The next one, with a
    store also the next worker's, does not try; another model does."""
    compiler = Failing()

    def render(name: str, backend: DiffusersBackend, **changes: Any) -> Receipt:
        order = order_for("t2v-2.2", folder=tmp_path / name, **changes)
        order = replace(order, store=tmp_path / f"store-{name}")
        if stored and changes.get("speed"):
            order = replace(order, store=tmp_path / "store")
        return backend.render(order, tell=lambda progress: None)

    backend = DiffusersBackend(compiler=compiler)
    exact = render("exact", backend)
    first = render("first", backend, speed=Speed.FAST)
    tried = compiler.graphs
    second = render(
        "second",
        DiffusersBackend(compiler=compiler) if stored else backend,
        speed=Speed.FAST,
        seed=12,
    )
    assert tried == compiler.graphs == 1
    assert (first.speed, second.speed) == ("exact", "exact")
    said = "speed fast: without compile (compiling failed: RuntimeError: Failed to find C compiler"
    assert [sum(note.startswith(said) for note in r.notes) for r in (first, second)] == [1, 1]
    assert [stage.latents_sha256 for stage in first.stages] == [
        stage.latents_sha256 for stage in exact.stages
    ]
    render("other", backend, speed=Speed.FAST, model_id="another")
    assert compiler.graphs == 2


@pytest.mark.slow
def test_a_damaged_memory_of_a_failure_is_tried_again(
    model: LoadedModel, recipe: Recipe, tmp_path: Path
) -> None:
    """A file that cannot be read says nothing."""
    accelerator = accelerator_of(model, "eager")
    place = accelerator._place(recipe)
    FailureMemory().remember(place, "no compiler", tmp_path)
    path = tmp_path / FAILED / place.file
    assert json.loads(path.read_text())["device"] == "cpu"
    path.write_text("{")
    accelerator.pull(recipe, store=tmp_path)
    assert accelerator.kept is Speed.FAST


@pytest.mark.slow
def test_a_machine_without_a_compiler_renders_as_before(
    order_for: OrderFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own compiler, with no C++ compiler to call: the take is the exact one and says so."""
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    backend = DiffusersBackend(compiler="inductor")
    orders = [
        order_for("t2v-2.2", folder=tmp_path / level, speed=level)
        for level in (Speed.EXACT, Speed.FAST)
    ]
    exact, fast = (backend.render(order, tell=lambda progress: None) for order in orders)
    assert fast.speed == "exact"
    assert any("without compile (compiling failed" in note for note in fast.notes)
    assert fast.clip_sha256 == exact.clip_sha256
