"""Figures for Prometheus: what a ledger and a driver say, in the format that is scraped."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from fake_driver import FakeDriver
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from manifests.settings import load_studio
from tasks.card_load import CardLoad, card_loads
from tasks.host_book import BOOK, HostBook, HostCard, HostLine
from tasks.metrics import StudioCollector

ROOT = Path(__file__).parents[2]
CARD = CardLoad(
    name="H200 #0", uuid="GPU-1", busy=0.97, memory_used=70, memory_total=141, temperature=61.0
)


def figures(root: Path, cards: tuple[CardLoad, ...] = ()) -> dict[str, Any]:
    """Metric name with its labels -> value, through the library's own writer and parser."""
    registry = CollectorRegistry()
    registry.register(StudioCollector(load_studio(root), cards=lambda: cards))
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_a_root_without_a_night_has_its_disk(tmp_path: Path) -> None:
    """Before the first night there is a disk to watch and nothing else is made up."""
    found = figures(tmp_path)
    assert found["rushes_disk_free_bytes{}"] > 0
    assert not any(name.startswith(("rushes_takes", "rushes_night")) for name in found)


def test_cards_are_told_by_name(tmp_path: Path) -> None:
    """Busy, memory and temperature of every card."""
    found = figures(tmp_path, (CARD,))
    assert found["rushes_gpu_busy_ratio{gpu=H200 #0,uuid=GPU-1}"] == 0.97
    assert found["rushes_gpu_memory_used_bytes{gpu=H200 #0,uuid=GPU-1}"] == 70


def test_a_lost_card_is_left_out() -> None:
    """What can be read is told; what a card does not tell is NaN."""
    (load,) = card_loads(FakeDriver({"GPU-9": [], "GPU-8": []}, total=9, busy=40, lost={"GPU-8"}))
    assert (load.name, load.busy, load.memory_total) == ("Card #0", 0.4, 9)
    assert math.isnan(load.temperature)


@pytest.mark.parametrize(
    "path", ["deploy/grafana/rushes.json", "deploy/prometheus/rushes.rules.yml"]
)
def test_dashboard_and_alerts_ask_for_figures_that_exist(path: str, tmp_path: Path) -> None:
    """Every name they use is one that the collector can tell."""
    source = (ROOT / "tasks/metrics.py").read_text()
    known = set(re.findall(r"\"(rushes_\w+)\"", source))
    known |= {f"rushes_gpu_{name}" for name in re.findall(r"\(\"(\w+)\", \"", source)}
    asked = set(re.findall(r"\brushes_\w+", (ROOT / path).read_text()))
    assert asked
    assert {name.removesuffix("_total") for name in asked} - {
        name.removesuffix("_total") for name in known
    } == set()


def test_hosts_are_counted_by_what_their_cards_do(tmp_path: Path) -> None:
    """Rendering, idle, used by others; nothing at all where no night has hosts."""
    assert not [name for name in figures(tmp_path) if "rushes_host" in str(name)]
    cards = tuple(
        HostCard(name=f"Card #{number}", memory=None, away=away, takes=takes)
        for number, (away, takes) in enumerate([(False, ("t1",)), (False, ()), (True, ())])
    )
    book = HostBook(load_studio(tmp_path).state_dir / BOOK)
    book.write("tcp://127.0.0.1:1", [HostLine(host="a", state="here", cards=cards)])
    text = generate_text(tmp_path)
    for state in ("rendering", "idle", "away"):
        assert f'rushes_host_cards{{host="a",state="{state}"}} 1.0' in text


def generate_text(root: Path) -> str:
    registry = CollectorRegistry()
    registry.register(StudioCollector(load_studio(root), cards=lambda: ()))
    return generate_latest(registry).decode()
