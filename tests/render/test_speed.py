"""Speed levels: the table, and what a level leaves, changes and says of itself."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_animatediff import recipe_tiny, ref_tiny
from torch import Tensor, nn

from manifests.files import sha256_file
from manifests.stage import Expert, Lora, Recipe, Speed
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.base import LoadedModel, LoadRequest, Position
from render.families.registry import load_model
from render.order import ModelRef, Receipt, RenderOrder
from render.speed import LEVELS, Lever, kept_level, levers, speed_table
from render.speed_cache import forget_steps, stateful
from render.speed_compile import FAILED, CompileFailed, FailureMemory
from render.speed_fp8 import Float8Linear, replace_linears, scale_rows, why_not
from render.speed_levers import Accelerator

pytestmark = pytest.mark.usefixtures("one_thread")

OrderFor = Callable[..., RenderOrder]


class Counting:
    """A compiler that compiles nothing and counts the graphs it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph.forward


class Failing(Counting):
    """A compiler that is not there."""

    def __call__(self, graph: Any, inputs: Any) -> Any:
        super().__call__(graph, inputs)
        raise RuntimeError("Failed to find C compiler")


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
    return _load(order_for("t2v-2.2").model)


def _load(ref: ModelRef, *, precision: str = "float32") -> LoadedModel:
    return load_model(
        LoadRequest(
            model=ref,
            precision=precision,
            vae_precision="float32",
            device="cpu",
            image_to_video=False,
            boundary=None,
        )
    )


def _velocity(
    model: LoadedModel,
    *,
    frames: int = 5,
    width: int = 32,
    height: int = 32,
    sigma: float = 0.9,
    seed: int = 0,
    branch: str = "cond",
) -> Tensor:
    shape = model.latent_shape(width=width, height=height, frames=frames)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    net: Any = model.components["transformer"]
    text = torch.randn(1, 512, 16, generator=torch.Generator().manual_seed(len(branch)))
    text = text.to(net.dtype)
    at = Position(sigma=torch.tensor(sigma), expert=Expert.AUTO, step=0, steps=3)
    with torch.inference_mode():
        return model.velocity(x, at, text, image=None, branch=branch)


def _accelerator(model: LoadedModel, compiler: Any = None) -> Accelerator:
    return Accelerator(model, failures=FailureMemory(), compiler=compiler)


# ---------------------------------------------------------------------------- the table


def test_a_level_may_do_all_that_the_one_before_may() -> None:
    """Levels go up: exact changes nothing, each later one contains the one before."""
    allowed = [set(LEVELS[level]) for level in Speed]
    assert allowed[0] == set()
    assert all(one < two for one, two in pairwise(allowed))
    assert allowed[-1] == set(Lever)


@given(st.sets(st.sampled_from(Lever)))
def test_the_level_kept_to_is_the_slowest_that_allows_what_was_done(pulled: set[Lever]) -> None:
    """What was pulled is allowed by the kept level, and by no slower one."""
    kept = kept_level(tuple(pulled))
    assert pulled <= set(levers(kept))
    slower = list(Speed)[: list(Speed).index(kept)]
    assert not any(pulled <= set(levers(level)) for level in slower)


def test_the_docs_show_the_table() -> None:
    """docs/rendering.md holds the table that the code has."""
    docs = Path(__file__).parents[2] / "docs" / "rendering.md"
    assert speed_table() in docs.read_text(encoding="utf-8")


# ---------------------------------------------------------------------------- compiled blocks


@pytest.mark.slow
def test_one_graph_serves_all_blocks_experts_sizes_and_lengths(
    model: LoadedModel, recipe: Recipe
) -> None:
    """Two blocks of each of two experts, at four sizes and lengths: one graph."""
    compiler = Counting()
    _accelerator(model, compiler).pull(recipe)
    for sigma in (0.9, 0.1):
        for frames, width, height in ((5, 32, 32), (9, 32, 48), (13, 64, 32), (17, 48, 48)):
            _velocity(model, frames=frames, width=width, height=height, sigma=sigma)
    assert compiler.graphs == 1


@pytest.mark.slow
def test_a_warm_model_goes_from_level_to_level_and_back(model: LoadedModel, recipe: Recipe) -> None:
    """Fast is near exact, and exact after fast and turbo is exact, bit for bit."""
    accelerator, exact = _accelerator(model, "aot_eager"), replace(recipe, speed=Speed.EXACT)
    before = _velocity(model)
    accelerator.pull(recipe)
    torch.testing.assert_close(_velocity(model), before, atol=1e-5, rtol=1e-4)
    accelerator.pull(replace(recipe, speed=Speed.TURBO))
    _velocity(model)
    accelerator.pull(exact)
    assert not accelerator.spoils(exact)
    assert not stateful(model)
    assert torch.equal(_velocity(model), before)


@pytest.mark.slow
def test_a_block_that_cannot_be_compiled_is_told_by_name(
    model: LoadedModel, recipe: Recipe
) -> None:
    """A compiler that is missing ends the run as CompileFailed, with its own words."""
    _accelerator(model, Failing()).pull(recipe)
    with pytest.raises(CompileFailed, match="Failed to find C compiler"):
        _velocity(model)


@pytest.mark.slow
def test_a_fault_of_the_block_itself_is_not_laid_to_the_compiler(
    model: LoadedModel, recipe: Recipe
) -> None:
    """What the plain block raises too is raised as it is."""
    _accelerator(model, "aot_eager").pull(recipe)
    weight = next(iter(model.components["transformer"].parameters()))
    broken: Any = model.components["transformer"]
    broken.blocks[0].attn1.to_q.weight = nn.Parameter(weight.new_zeros(3, 3))
    with pytest.raises(RuntimeError, match=r"shapes|size|dimension"):
        _velocity(model)


@pytest.mark.slow
def test_too_many_graphs_begin_again_with_none(
    model: LoadedModel, recipe: Recipe, order_for: OrderFor
) -> None:
    """At torch's limit all graphs are forgotten, and the run goes on compiled."""
    compiler = Counting()
    half = _load(order_for("t2v-2.2").model, precision="bfloat16")  # needs a graph of its own
    with torch._dynamo.config.patch(recompile_limit=1):
        for each in (model, half):
            _accelerator(each, compiler).pull(recipe)
        before = _velocity(model)
        _velocity(half)
        assert torch.equal(_velocity(model), before)
    assert compiler.graphs == 3


@pytest.mark.slow
def test_a_closed_model_is_let_go_though_its_blocks_were_compiled(
    order_for: OrderFor, recipe: Recipe
) -> None:
    """No graph keeps the weights of a model alive."""
    model = _load(order_for("t2v-2.2").model)
    _accelerator(model, "aot_eager").pull(recipe)
    _velocity(model)
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
    return _velocity(model)


@pytest.mark.slow
def test_a_new_lora_compiles_nothing(
    model: LoadedModel, recipe: Recipe, order_for: OrderFor, tmp_path: Path
) -> None:
    """Other LoRAs of other ranks at other strengths share one graph, and add what they should."""
    compiler, plain = Counting(), _load(order_for("t2v-2.2").model)
    _accelerator(model, compiler).pull(recipe)
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
    plain = _load(order_for("t2v-2.2").model)
    _accelerator(model, "eager").pull(recipe)
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
    _accelerator(model, "eager").pull(recipe)
    bare = _velocity(model)
    _with_loras(model, _lora(tmp_path / "a.safetensors", rank=4, seed=1))
    foreign = tmp_path / "b.safetensors"
    save_file({"unet.x.lora_A.weight": torch.ones(4, 24)}, foreign)
    with pytest.raises(ModelUnavailable, match=r"b\.safetensors"):
        model.load_loras([Lora(path=str(foreign), sha256=sha256_file(foreign))])
    assert torch.equal(_with_loras(model), bare)


# ---------------------------------------------------------------------------- step caches


@pytest.fixture
def cached(model: LoadedModel, recipe: Recipe) -> LoadedModel:
    """The tiny model with a step cache."""
    accelerator = _accelerator(model)
    accelerator.pull(replace(recipe, speed=Speed.TURBO))
    assert accelerator.kept is Speed.TURBO
    return model


def _work(model: LoadedModel) -> list[int]:
    """Counts the times that the second block of the first expert is computed."""
    calls: list[int] = []
    net: Any = model.components["transformer"]
    net.blocks[1].ffn.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_a_step_like_the_one_before_is_not_computed(cached: LoadedModel) -> None:
    """The same latents again cost one block; other latents cost all."""
    calls = _work(cached)
    first = _velocity(cached)
    again = _velocity(cached)
    assert len(calls) == 1
    torch.testing.assert_close(again, first)
    _velocity(cached, seed=1)
    assert len(calls) == 2


def test_what_a_step_cache_holds_goes_no_further_than_its_stage(
    cached: LoadedModel, order_for: OrderFor, recipe: Recipe
) -> None:
    """After `forget_steps`, take B behind take A is take B alone, bit for bit."""
    alone = _load(order_for("t2v-2.2").model)
    _accelerator(alone).pull(replace(recipe, speed=Speed.TURBO))
    steps = [{"sigma": 0.9, "seed": 3}, {"sigma": 0.899, "seed": 3}, {"sigma": 0.1, "seed": 3}]
    _velocity(cached, sigma=0.9, seed=3, frames=9)
    _velocity(cached, sigma=0.1, seed=4)
    forget_steps(cached)
    for step in steps:
        assert torch.equal(_velocity(cached, **step), _velocity(alone, **step))


def test_the_two_branches_of_guidance_share_no_memory(cached: LoadedModel) -> None:
    """The unconditional call is computed though the conditional one was just the same step."""
    calls = _work(cached)
    _velocity(cached, branch="cond")
    _velocity(cached, branch="uncond")
    assert len(calls) == 2


def test_a_model_with_a_step_cache_says_so(cached: LoadedModel) -> None:
    """Then a stage is not resumed between its steps."""
    assert stateful(cached)


# ---------------------------------------------------------------------------- 8-bit products


@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(1e-3, 1e3))
def test_a_row_in_8_bits_is_within_a_sixteenth_of_itself(seed: int, rows: int, size: float) -> None:
    """e4m3 has 3 bits of mantissa: each value is within 1/16 of itself or of the row's step."""
    x = torch.randn(rows, 32, generator=torch.Generator().manual_seed(seed)) * size
    small, scale = scale_rows(x)
    back = small.float() * scale
    # Below the smallest normal number (2^-6 of 448 steps) the error is absolute.
    allowed = torch.maximum(x.abs() / 16, scale * 2.0**-10)
    assert bool(((back - x).abs() <= allowed * 1.001).all())


def test_a_row_of_zeros_stays_zero() -> None:
    """Nothing divides by zero."""
    small, scale = scale_rows(torch.zeros(3, 16))
    assert not small.float().any()
    assert bool(torch.isfinite(scale).all())


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fits = nn.Linear(32, 48).to(torch.bfloat16)
        self.odd = nn.Linear(24, 48).to(torch.bfloat16)
        self.single = nn.Linear(32, 48)


class _Net(nn.Module):
    _repeated_blocks = ("_Block",)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(), _Block()])
        self.out = nn.Linear(32, 48).to(torch.bfloat16)


def test_only_layers_that_fit_are_replaced_and_they_stay_near() -> None:
    """bfloat16 layers of the blocks with sides of 16; the product is within 5 % (RMS)."""
    torch.manual_seed(0)
    net, x = _Net(), torch.randn(2, 7, 32, dtype=torch.bfloat16)
    before = net.blocks[0].fits(x).float()  # type: ignore[operator, union-attr]
    assert replace_linears(net, device=torch.device("cpu")) == 2
    kinds = [type(part).__name__ for part in net.blocks[0].children()]
    assert kinds == ["Float8Linear", "Linear", "Linear"]
    assert type(net.out) is nn.Linear
    layer: Float8Linear = net.blocks[0].fits  # type: ignore[assignment, union-attr]
    after = layer(x)
    assert after.shape == (2, 7, 48)
    assert after.dtype == torch.bfloat16
    assert 0 < (after.float() - before).pow(2).mean() < 0.05**2 * before.pow(2).mean()


def test_a_cpu_is_not_asked_for_8_bit_products() -> None:
    """And the reason is said."""
    assert why_not(torch.device("cpu"), torch.bfloat16) == "the CPU has no 8-bit matrix units"


# ---------------------------------------------------------------------------- what is said


def test_a_cpu_keeps_to_exact_when_fast_is_asked_and_says_why(
    model: LoadedModel, recipe: Recipe
) -> None:
    """Every lever that is not pulled is named with its reason."""
    accelerator = _accelerator(model)
    before = _velocity(model)
    accelerator.pull(recipe)
    assert accelerator.kept is Speed.EXACT
    assert [note.split(" (")[0] for note in accelerator.notes] == [
        f"speed fast: without {lever}" for lever in levers(Speed.FAST)
    ]
    assert torch.equal(_velocity(model), before)


def test_what_is_in_force_is_told_to_the_keys_of_what_is_kept(
    model: LoadedModel, recipe: Recipe
) -> None:
    """A step cache's threshold is in the key, so that another one reuses nothing."""
    accelerator = _accelerator(model, "eager")
    accelerator.pull(replace(recipe, speed=Speed.TURBO))
    assert accelerator.in_force == {"speed: compile", "speed: step-cache 0.05"}


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


def test_a_damaged_memory_of_a_failure_is_tried_again(
    model: LoadedModel, recipe: Recipe, tmp_path: Path
) -> None:
    """A file that cannot be read says nothing."""
    accelerator = _accelerator(model, "eager")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kept", "level"),
    [
        ("wan", ("compile", "step-cache"), "turbo"),
        ("ltx2", ("compile",), "fast"),
        ("animatediff", (), "exact"),
    ],
)
def test_each_family_pulls_what_it_can_and_is_exact_again_after(
    family: str,
    kept: tuple[str, ...],
    level: str,
    order_for: OrderFor,
    tiny_ltx2: Callable[[str], Path],
    tiny_animatediff: Path,
    tmp_path: Path,
) -> None:
    """Turbo between two exact takes on one warm model: named levers, notes for the others."""
    size = {"frames": 9, "width": 64, "height": 96}
    changes: dict[str, Any] = {"ltx2": {**size, "family": "ltx2", "fps": 25.0}}.get(family, {})
    orders = [
        order_for("t2v-2.2", folder=tmp_path / name, speed=speed, **changes)
        for name, speed in (("a", Speed.EXACT), ("b", Speed.TURBO), ("c", Speed.EXACT))
    ]
    if family == "ltx2":
        location = str(tiny_ltx2("ltx-2.0"))
        ref = ModelRef(name="tiny", family="ltx2", location=location)
        orders = [replace(order, model=ref) for order in orders]
    if family == "animatediff":
        ref = ref_tiny(tiny_animatediff)
        orders = [
            replace(order, model=ref, recipe=recipe_tiny(speed=order.recipe.speed))
            for order in orders
        ]
    backend = DiffusersBackend(compiler="eager")
    exact, turbo, after = (backend.render(order, tell=lambda progress: None) for order in orders)
    refused = {note.split("without ")[1].split(" ")[0] for note in turbo.notes if "speed" in note}
    assert refused == {lever.value for lever in Lever} - set(kept)
    assert turbo.speed == level
    assert after.load_seconds == 0
    assert after.clip_sha256 == exact.clip_sha256
