"""`rushes models`: what is usable here, in words, in JSON, and as an exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.doctor import _model
from manifests.licence import is_non_commercial, licence_in
from manifests.load import load_manifest
from manifests.models import POCKET_FOLDER
from manifests.settings import load_studio

WEIGHTS = "diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _write(path: Path, shapes: Mapping[str, Sequence[int]], **metadata: str) -> Path:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    told = json.dumps(header).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + bytes(end))
    return path


@pytest.fixture
def rushes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs `rushes models` in this process: exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rushes", "models", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A studio with the pocket model and a copy of it under a licence against delivery."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "models" / "copy"
    shutil.copytree(POCKET_FOLDER, folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    (tmp_path / "studio.yaml").write_text(
        "models:\n  copy: {family: pocket, location: models/copy}\n"
    )
    return tmp_path


@pytest.mark.slow
def test_a_studio_whose_models_are_whole_ends_with_0(rushes: Any, root: Path) -> None:
    """Family, task, kind of reference, precision, size and licence of each; nothing of torch."""
    code, out, _ = rushes("--root", root, "--json")
    pocket, copy = json.loads(out)["models"]
    assert code == 0
    assert pocket["name"] == "pocket-wan"
    assert (copy["family"], copy["task"], copy["reference"]) == ("pocket", "i2v", "folder")
    assert (copy["precision"], copy["licence"]) == ("float32", "cc-by-nc-4.0")
    assert (copy["well"], copy["non_commercial"], pocket["non_commercial"]) == (True, True, False)
    size = sum(p.stat().st_size for p in (root / "models/copy").rglob("*") if p.is_file())
    assert copy["size"] == size
    _, out, _ = rushes("--root", root)
    assert "cc-by-nc-4.0, forbids commercial use" in out


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (f"transformer/{WEIGHTS}", "transformer holds no .safetensors weights"),
        ("vae", "its part 'vae' has no folder"),
        ("model_index.json", "holds no model_index.json"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_with_its_remedy(
    rushes: Any, root: Path, file: str, words: str
) -> None:
    """The others are listed all the same, and the command ends with 1; so says the doctor."""
    path = root / "models" / "copy" / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, out, _ = rushes("--root", root)
    assert code == 1
    assert words in out
    assert "download the model again" in out
    finding = _model("copy", load_studio(root))
    assert (finding.well, words in finding.words) == (False, True)
    assert _model("pocket-wan", load_studio(root)).well


def test_a_damaged_weight_file_is_named(rushes: Any, root: Path) -> None:
    """Every header is opened: a download that was cut short is seen before the night."""
    path = root / "models" / "copy" / "vae" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    code, out, _ = rushes("--root", root)
    assert code == 1
    assert "is no whole safetensors file" in out


def test_files_and_hub_models_are_told_apart(rushes: Any, root: Path, tmp_path: Path) -> None:
    """`file` over a base, and a hub model that is not here with what to run."""
    shutil.copy(root / "models/copy/transformer" / WEIGHTS, tmp_path / "one.safetensors")
    (root / "studio.yaml").write_text(
        "models:\n"
        "  one: {family: pocket, location: models/copy, transformer: one.safetensors}\n"
        f"  far: {{family: wan, location: Wan-AI/Far, revision: {COMMIT}}}\n"
    )
    code, out, _ = rushes("--root", root, "--json")
    _, one, far = json.loads(out)["models"]
    assert code == 1
    assert (one["reference"], one["well"]) == ("file", True)
    assert one["files"] == [str(tmp_path / "one.safetensors")]
    assert (far["reference"], far["well"]) == ("hub", False)
    assert far["remedy"] == f"run `hf download Wan-AI/Far --revision {COMMIT}`"
    assert far["licence"] == "unknown: ask before delivering"


def test_a_lora_is_held_against_every_model(rushes: Any, root: Path) -> None:
    """Which it fits, its rank, size, trigger words and licence; 1 where it fits none."""
    header = (POCKET_FOLDER / "transformer" / WEIGHTS).read_bytes()
    told = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    width = told["blocks.0.attn1.to_q.weight"]["shape"][0]
    layer = "diffusion_model.blocks.0.self_attn.q"
    shapes = {f"{layer}.lora_A.weight": (4, width), f"{layer}.lora_B.weight": (width, 4)}
    path = _write(root / "look.safetensors", shapes, **{"modelspec.trigger_phrase": "neon rain"})
    code, out, _ = rushes("--root", root, "--lora", path, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["ranks"], found["triggers"], found["licence"]) == ([4], "neon rain", None)
    assert found["size"] == path.stat().st_size
    assert [(each["model"], each["fits"]) for each in found["models"]] == [
        ("pocket-wan", True),
        ("copy", True),
    ]
    _, out, _ = rushes("--root", root, "--lora", path, "--model", "copy")
    assert "trigger words: neon rain" in out
    assert "copy: changes 1 layers" in out
    assert "pocket-wan" not in out


@pytest.mark.slow
def test_a_lora_that_fits_nothing_ends_with_1(rushes: Any, root: Path) -> None:
    """And no LoRA at all, or no such model, is bad input."""
    layer = "lora_unet_down_blocks_0_attn1_to_q"
    shapes = {f"{layer}.lora_down.weight": (4, 320), f"{layer}.lora_up.weight": (320, 4)}
    path = _write(root / "sd.safetensors", shapes)
    code, out, _ = rushes("--root", root, "--lora", path)
    assert code == 1
    assert out.count("it was made for Stable Diffusion") == 2
    code, _, err = rushes("--root", root, "--lora", _write(root / "w.safetensors", {"w": (1,)}))
    assert (code, "holds no LoRA" in err) == (2, True)
    code, _, err = rushes("--root", root, "--lora", path, "--model", "pocket")
    assert (code, "there is no model 'pocket'" in err) == (2, True)
    assert rushes("--root", root, "--model", "copy")[0] == 2


@pytest.mark.slow
def test_torch_stays_out_of_the_list(root: Path) -> None:
    """Headers are read without it, in the process that orchestrates a night."""
    told = (
        "import sys; from pathlib import Path; from flows.models import look_at_models as look; "
        "look(Path(sys.argv[1])); "
        "print(sorted({'torch', 'diffusers', 'prefect'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", told, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_licence_against_delivery_is_told_once_in_a_plan(root: Path) -> None:
    """Of the model that rows use, on the first of them; not of one that allows it."""
    (root / "a.csv").write_text(
        "shot,source,prompt,model\na,s.png,x,pocket-wan\nb,s.png,x,copy\nc,s.png,x,copy\n"
    )
    from PIL import Image

    Image.linear_gradient("L").resize((128, 128)).convert("RGB").save(root / "s.png")
    sheet = load_manifest(root / "a.csv", studio=load_studio(root))
    told = [any("forbids commercial use" in w for w in shot.warnings) for shot in sheet.shots]
    assert told == [False, True, False]


@pytest.mark.parametrize(
    ("name", "text", "licence", "forbids"),
    [
        ("README.md", "---\nlicense: apache-2.0\ntags: [video]\n---\n", "apache-2.0", False),
        (
            "README.md",
            "---\nlicense: other\nlicense_name: flux-1-dev-non-commercial-license\n---\n",
            "flux-1-dev-non-commercial-license",
            True,
        ),
        ("README.md", "---\nlicense: cc-by-nc-sa-4.0\n---\n", "cc-by-nc-sa-4.0", True),
        ("README.md", "---\nlicense: [broken\n---\n", None, False),
        ("README.md", "# No front matter\nlicense: mit\n", None, False),
        ("LICENSE", "\n   Apache License\n  Version 2.0\n", "apache-2.0", False),
        ("LICENSE.txt", "Studio Licence\nfor research only\n", "Studio Licence", False),
        ("LICENSE", "Acme Non-Commercial Licence 2\n", "Acme Non-Commercial Licence 2", True),
        ("notes.md", "license: mit", None, False),
    ],
)
def test_a_licence_is_read_from_the_models_own_files(
    tmp_path: Path, name: str, text: str, licence: str | None, forbids: bool
) -> None:
    """The card's front matter, else the licence file; else it is not known."""
    (tmp_path / name).write_text(text)
    assert licence_in(tmp_path) == licence
    assert is_non_commercial(licence) == forbids


def test_no_part_of_a_word_makes_a_licence_non_commercial() -> None:
    """`nc` counts as a word alone."""
    assert not is_non_commercial("tencent-licence")
    assert not is_non_commercial("openrail")
    assert not is_non_commercial(None)
