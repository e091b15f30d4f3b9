"""docs/comfyui.md says what is true: its example is a preset, its words are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manifests.preset import load_preset
from manifests.schedules import stage_sigmas
from manifests.settings import load_studio
from manifests.stage import Expert, Sampler, Schedule

PAGE = (Path(__file__).parents[2] / "docs" / "comfyui.md").read_text(encoding="utf-8")


def test_the_example_is_a_preset_that_restarts_where_the_page_says(tmp_path: Path) -> None:
    """Two stages, an expert each; the second restarts at the noise level that is named."""
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "presets" / "wan" / "my-graph.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (tmp_path / "studio.yaml").write_text("presets_dir: presets\n")
    first, second = load_preset("wan", "my-graph", load_studio(tmp_path)).stages
    assert (first.expert, second.expert) == (Expert.HIGH, Expert.LOW)
    assert f"(here {stage_sigmas(second)[0]:.3f})" in PAGE


@pytest.mark.parametrize("kind", [Sampler, Schedule])
def test_every_sampler_and_schedule_stands_on_the_page(
    kind: type[Sampler] | type[Schedule],
) -> None:
    """And none that is not there is called the same word."""
    row = next(line for line in PAGE.splitlines() if line.startswith("| `euler`"))
    named = set(re.findall(r"`(\w+)`", row)) | {"euler_a"}
    assert set(map(str, kind)) <= named
    assert named <= {*Sampler, *Schedule}
    assert "| `euler_ancestral` | `euler_a` |" in PAGE
