"""Speed levels: the table, and what a level leaves, changes and says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_animatediff import recipe_tiny, ref_tiny
from tiny_speed import accelerator_of, load_tiny_wan, velocity_of
from torch import nn

from manifests.stage import Recipe, Speed
from render.diffusers_backend import DiffusersBackend
from render.families.base import LoadedModel
from render.order import ModelRef, RenderOrder
from render.speed import LEVELS, Lever, kept_level, levers, speed_table
from render.speed_cache import forget_steps, stateful
from render.speed_fp8 import Float8Linear, replace_linears, scale_rows, why_not

pytestmark = pytest.mark.usefixtures("one_thread")

OrderFor = Callable[..., RenderOrder]


@pytest.fixture
def recipe(order_for: OrderFor) -> Recipe:
    """Of the tiny text-to-video model with two experts, at the fast level."""
    return order_for("t2v-2.2", speed=Speed.FAST).recipe


@pytest.fixture
def model(order_for: OrderFor) -> LoadedModel:
    """The tiny model with two experts."""
    return load_tiny_wan(order_for("t2v-2.2").model)


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
    """docs/speed.md holds the table that the code has."""
    docs = Path(__file__).parents[2] / "docs" / "speed.md"
    assert speed_table() in docs.read_text(encoding="utf-8")


# ---------------------------------------------------------------------------- step caches


@pytest.fixture
def cached(model: LoadedModel, recipe: Recipe) -> LoadedModel:
    """The tiny model with a step cache."""
    accelerator = accelerator_of(model)
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
    first = velocity_of(cached)
    again = velocity_of(cached)
    assert len(calls) == 1
    torch.testing.assert_close(again, first)
    velocity_of(cached, seed=1)
    assert len(calls) == 2


def test_what_a_step_cache_holds_goes_no_further_than_its_stage(
    cached: LoadedModel, order_for: OrderFor, recipe: Recipe
) -> None:
    """After `forget_steps`, take B behind take A is take B alone, bit for bit."""
    alone = load_tiny_wan(order_for("t2v-2.2").model)
    accelerator_of(alone).pull(replace(recipe, speed=Speed.TURBO))
    steps = [{"sigma": 0.9, "seed": 3}, {"sigma": 0.899, "seed": 3}, {"sigma": 0.1, "seed": 3}]
    velocity_of(cached, sigma=0.9, seed=3, frames=9)
    velocity_of(cached, sigma=0.1, seed=4)
    forget_steps(cached)
    for step in steps:
        assert torch.equal(velocity_of(cached, **step), velocity_of(alone, **step))


def test_the_two_branches_of_guidance_share_no_memory(cached: LoadedModel) -> None:
    """The unconditional call is computed though the conditional one was just the same step."""
    calls = _work(cached)
    velocity_of(cached, branch="cond")
    velocity_of(cached, branch="uncond")
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
    accelerator = accelerator_of(model)
    before = velocity_of(model)
    accelerator.pull(recipe)
    assert accelerator.kept is Speed.EXACT
    assert [note.split(" (")[0] for note in accelerator.notes] == [
        f"speed fast: without {lever}" for lever in levers(Speed.FAST)
    ]
    assert torch.equal(velocity_of(model), before)


@pytest.mark.slow
def test_what_is_in_force_is_told_to_the_keys_of_what_is_kept(
    model: LoadedModel, recipe: Recipe
) -> None:
    """A step cache's threshold is in the key, so that another one reuses nothing."""
    accelerator = accelerator_of(model, "eager")
    accelerator.pull(replace(recipe, speed=Speed.TURBO))
    assert accelerator.in_force == {"speed: compile", "speed: step-cache 0.05"}


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
