"""Models are loaded whole or refused by name; LoRAs fit, switch by stage, and leave no trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_render import latents_of, render, write_lora
from safetensors.torch import load_file, save_file

from manifests.files import sha256_file
from manifests.stage import Expert, Lora, Stage, StageKind
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.registry import FAMILIES
from render.order import RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]
WEIGHTS = "diffusion_pytorch_model.safetensors"
LAYER, WIDTH = "blocks.0.attn1.to_q", 24
STYLED = f"transformer.{LAYER}"


def _at(order: RenderOrder, location: Path) -> RenderOrder:
    return replace(order, model=replace(order.model, location=str(location)))


@pytest.fixture
def damaged(tiny_wan: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a model's folder that a test may spoil."""
    return Path(shutil.copytree(tiny_wan("i2v-2.1"), tmp_path / "damaged"))


def test_a_family_is_named_as_it_is_registered() -> None:
    """The registry's keys are the families' own names."""
    assert all(name == family.name for name, family in FAMILIES.items())
    assert {"pocket", "wan"} <= set(FAMILIES)


def test_an_unknown_family_is_refused(order_for: OrderFor) -> None:
    """A family that is not registered is named with those that are."""
    order = order_for()
    with pytest.raises(ModelUnavailable, match=r"no family 'ltx'; write one of .*pocket, wan"):
        render(replace(order, model=replace(order.model, family="ltx")))


def test_a_missing_folder_is_named(order_for: OrderFor, tmp_path: Path) -> None:
    """A model that is not there is refused with its path."""
    with pytest.raises(ModelUnavailable, match=f"no folder {tmp_path / 'absent'}"):
        render(_at(order_for(), tmp_path / "absent"))


def test_a_hub_model_that_is_not_here_is_not_fetched(order_for: OrderFor) -> None:
    """Offline, a hub id is looked up on this machine alone, and refused with what to do."""
    order = order_for()
    hub = replace(order.model, location="nobody/no-such-model", offline=True)
    with pytest.raises(ModelUnavailable, match="download it on this machine first"):
        render(replace(order, model=hub))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _drop_weight(path: Path) -> None:
    weights = load_file(path)
    del weights["proj_out.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def _wrong_shape(path: Path) -> None:
    weights = load_file(path)
    weights["proj_out.weight"] = torch.zeros(3, 3)
    save_file(weights, path, metadata={"format": "pt"})


def _other_class(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "LTXPipeline"}))


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("model_index.json", Path.unlink, "model_index.json"),
        ("model_index.json", _cut, "model_index.json"),
        ("model_index.json", _other_class, "LTXPipeline, not a Wan model"),
        (f"transformer/{WEIGHTS}", _cut, f"transformer/{WEIGHTS} is damaged"),
        (f"vae/{WEIGHTS}", _cut, f"vae/{WEIGHTS} is damaged"),
        ("text_encoder/model.safetensors", _cut, "model.safetensors is damaged"),
        (f"transformer/{WEIGHTS}", Path.unlink, "cannot be loaded"),
        (f"transformer/{WEIGHTS}", _drop_weight, r"lacks 1 weights \(proj_out.weight"),
        (f"transformer/{WEIGHTS}", _wrong_shape, "cannot be loaded"),
        ("transformer/config.json", Path.unlink, "cannot be loaded"),
        ("vae", shutil.rmtree, "vae is missing"),
        ("tokenizer/tokenizer.json", Path.unlink, "cannot be loaded"),
    ],
)
def test_a_spoilt_folder_is_refused_by_name(
    file: str, spoil: Callable[[Path], Any], said: str, damaged: Path, order_for: OrderFor
) -> None:
    """What is missing, cut or of the wrong kind is refused by path: never random weights."""
    spoil(damaged / file)
    with pytest.raises(ModelUnavailable, match=said) as refusal:
        render(_at(order_for(), damaged))
    assert str(damaged) in str(refusal.value)


def test_pickled_weights_are_never_read(damaged: Path, order_for: OrderFor) -> None:
    """A folder with pickles in place of safetensors is refused, not unpickled."""
    path = damaged / "transformer" / WEIGHTS
    torch.save(load_file(path), path.with_name("diffusion_pytorch_model.bin"))
    path.unlink()
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        render(_at(order_for(), damaged))


def test_code_that_a_model_brings_is_never_run(
    damaged: Path, order_for: OrderFor, tmp_path: Path
) -> None:
    """A part whose class lies beside its weights is refused, its file not so much as imported."""
    ran = tmp_path / "ran"
    index = json.loads((damaged / "model_index.json").read_text())
    index["vae"] = ["own", "Own"]
    (damaged / "model_index.json").write_text(json.dumps(index))
    (damaged / "vae" / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Own: pass\n")
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        render(_at(order_for(), damaged))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("kind", "model", "said"),
    [
        ("t2v-2.1", "i2v-2.1", "renders from a still"),
        ("i2v-2.1", "t2v-2.1", "renders from text alone"),
    ],
)
def test_a_task_the_model_cannot_do_is_refused(
    kind: str, model: str, said: str, order_for: OrderFor, tiny_wan: Callable[[str], Path]
) -> None:
    """A still for a text model, or none for an image model, is refused with the remedy."""
    with pytest.raises(ModelUnavailable, match=said):
        render(_at(order_for(kind), tiny_wan(model)))


def test_an_expert_that_is_not_there_is_refused(order_for: OrderFor) -> None:
    """Asking one transformer for its low-noise expert fails before the first step."""
    low = Stage(kind=StageKind.RENOISE, steps=2, cfg=1.0, shift=5.0, expert=Expert.LOW)
    with pytest.raises(ModelUnavailable, match="stage 1 asks for the low-noise expert"):
        render(order_for(stages=(low,)))


@pytest.mark.slow
@pytest.mark.parametrize("expert", [Expert.HIGH, Expert.LOW])
def test_a_stage_runs_the_expert_it_names(
    expert: Expert, order_for: OrderFor, tmp_path: Path
) -> None:
    """An explicit expert is one that AUTO is at a boundary which only it lies beyond."""
    named = Stage(kind=StageKind.RENOISE, steps=3, cfg=1.0, shift=5.0, expert=expert)
    auto = replace(named, expert=Expert.AUTO)
    beyond = 0.0 if expert is Expert.HIGH else 1.5
    one = render(order_for("t2v-2.2", stages=(named,), folder=tmp_path / "a"))
    two = render(order_for("t2v-2.2", stages=(auto,), folder=tmp_path / "b", boundary=beyond))
    split = render(order_for("t2v-2.2", stages=(auto,), folder=tmp_path / "c"))
    assert latents_of(one) == latents_of(two)
    assert latents_of(one) != latents_of(split)


@pytest.mark.slow
def test_low_precision_stays_near(order_for: OrderFor, tmp_path: Path) -> None:
    """bfloat16 weights give other bits of the same take; latents stay float32."""
    full = render(order_for(folder=tmp_path / "a"))
    half = render(order_for(folder=tmp_path / "b", precision="bfloat16"))
    one, two = (load_file(receipt.stages[0].latents)["latents"] for receipt in (full, half))
    assert two.dtype == torch.float32
    assert not torch.equal(one, two)
    torch.testing.assert_close(one, two, atol=0.1, rtol=0.05)


# ---------------------------------------------------------------------------- LoRAs


@pytest.fixture(scope="module")
def warm() -> Iterator[DiffusersBackend]:
    """One backend for all these tests: what one leaves behind, another meets."""
    backend = DiffusersBackend()
    yield backend
    backend.close()


def _with(order: RenderOrder, *loras: tuple[Lora, ...], folder: Path) -> RenderOrder:
    stages = tuple(
        replace(stage, loras=on) for stage, on in zip(order.recipe.stages, loras, strict=True)
    )
    return replace(order, recipe=replace(order.recipe, stages=stages), folder=folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["i2v-2.1", "t2v-2.2"])
def test_a_lora_changes_the_take_and_leaves_no_trace(
    kind: str, order_for: OrderFor, warm: DiffusersBackend, tmp_path: Path
) -> None:
    """With a LoRA the latents differ; without it, on the same warm model, they are as before."""
    bare = order_for(kind, folder=tmp_path / "a")
    lora = write_lora(tmp_path / "motion.safetensors", STYLED, width=WIDTH)
    before = latents_of(render(bare, warm))
    styled = latents_of(render(_with(bare, (lora,), (lora,), folder=tmp_path / "b"), warm))
    after = latents_of(render(replace(bare, folder=tmp_path / "c"), warm))
    assert not set(before) & set(styled)
    assert after == before


@pytest.mark.slow
def test_loras_switch_by_stage(order_for: OrderFor, warm: DiffusersBackend, tmp_path: Path) -> None:
    """A LoRA of stage 2 alone leaves stage 1's latents bit-identical."""
    bare = order_for(folder=tmp_path / "a")
    lora = write_lora(tmp_path / "motion.safetensors", STYLED, width=WIDTH)
    plain = latents_of(render(bare, warm))
    second = latents_of(render(_with(bare, (), (lora,), folder=tmp_path / "b"), warm))
    first = latents_of(render(_with(bare, (lora,), (), folder=tmp_path / "c"), warm))
    assert second[0] == plain[0]
    assert second[1] != plain[1]
    assert first[0] != plain[0]


@pytest.mark.slow
def test_two_loras_and_their_strengths_add_up(
    order_for: OrderFor, warm: DiffusersBackend, tmp_path: Path
) -> None:
    """Two LoRAs together are neither of them; their order does not matter, their strength does."""
    bare = order_for(folder=tmp_path / "bare")
    one = write_lora(tmp_path / "one.safetensors", STYLED, width=WIDTH)
    two = write_lora(tmp_path / "two.safetensors", STYLED, width=WIDTH, seed=1)
    takes = {
        name: latents_of(render(_with(bare, loras, (), folder=tmp_path / name), warm))[0]
        for name, loras in {
            "one": (one,),
            "two": (two,),
            "both": (one, two),
            "again": (one, two),
            "weaker": (replace(one, strength=0.2), two),
        }.items()
    }
    assert takes["both"] == takes["again"]
    assert len({takes[name] for name in ("one", "two", "both", "weaker")}) == 4


def test_what_a_lora_holds_for_the_text_encoder_is_said_to_be_left_out(
    order_for: OrderFor, warm: DiffusersBackend, tmp_path: Path
) -> None:
    """The take is that of its other weights alone, and the receipt says which file it is."""
    one = write_lora(tmp_path / "one.safetensors", STYLED, width=WIDTH)
    mixed = tmp_path / "mixed.safetensors"
    save_file({**load_file(one.path), "lora_te_x.lora_down.weight": torch.ones(1, 1)}, mixed)
    both = replace(one, path=str(mixed), sha256=sha256_file(mixed))
    bare = order_for()
    plain = render(_with(bare, (one,), (), folder=tmp_path / "a"), warm)
    found = render(_with(bare, (both,), (), folder=tmp_path / "b"), warm)
    assert latents_of(found) == latents_of(plain)
    [note] = found.notes
    assert note.startswith("LoRA mixed.safetensors: its weights for the text encoder are left out")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["prefix", "shape", "changed", "cut", "gone"])
def test_a_lora_that_does_not_fit_is_refused_by_name(
    fault: str, order_for: OrderFor, warm: DiffusersBackend, tmp_path: Path
) -> None:
    """Wrong key prefix, wrong shape, changed, damaged or missing: refused, the model unharmed."""
    bare = order_for(folder=tmp_path / "a")
    plain = latents_of(render(bare, warm))
    path = tmp_path / "motion.safetensors"
    prefix = "unet" if fault == "prefix" else "transformer"
    lora = write_lora(path, f"{prefix}.{LAYER}", width=10 if fault == "shape" else WIDTH)
    match fault:
        case "changed":
            write_lora(path, STYLED, width=WIDTH, seed=9)
        case "cut":
            _cut(path)
        case "gone":
            path.unlink()
    with pytest.raises(ModelUnavailable, match=r"LoRA .*motion.safetensors"):
        render(_with(bare, (lora,), (), folder=tmp_path / "b"), warm)
    assert latents_of(render(replace(bare, folder=tmp_path / "c"), warm)) == plain
