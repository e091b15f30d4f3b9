"""`hosts.machines` of studio.yaml: the cards of each host, and what is refused there."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import BadInput
from manifests.settings import load_studio

HOSTS = """
hosts:
  machines:
    render1:
      cards: {exclude: [0]}
      placement: {vae: cuda:1}
    render2: {device: "cuda:0", threads: 8}
"""


def test_each_host_has_its_own_cards(tmp_path: Path) -> None:
    """By its name; what is not said is as for any machine."""
    (tmp_path / "studio.yaml").write_text(HOSTS)
    machines = load_studio(tmp_path).hosts.machines
    assert machines["render1"].cards is not None
    assert machines["render1"].cards.exclude == ("0",)
    assert machines["render1"].placement.vae == "cuda:1"
    assert (machines["render1"].device, machines["render1"].threads) == ("auto", None)
    assert (machines["render2"].device, machines["render2"].cards) == ("cuda:0", None)


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    """Mistyped settings with what was meant, cards that are none, a host that renders nothing, and
    a name that is none, all at once."""
    (tmp_path / "studio.yaml").write_text(
        "hosts:\n"
        "  machines:\n"
        "    render1:\n"
        "      placment: {vae: cuda:1}\n"
        "      placement: {vea: cuda:1, vae: first}\n"
        "      cards: {exlude: [0]}\n"
        "    render2: {device: none}\n"
        "    'a/b': {device: tpu}\n"
    )
    with pytest.raises(BadInput) as caught:
        load_studio(tmp_path)
    found = {
        fault.column: (fault.row, f"{fault.problem}; {fault.remedy}")
        for fault in caught.value.faults
    }
    prefix = "hosts.machines.render1"
    for column, row, words in (
        (f"{prefix}.placment", 4, "placement"),
        (f"{prefix}.placement.vea", 5, "vae"),
        (f"{prefix}.placement.vae", 5, "write cuda:1"),
        (f"{prefix}.cards.exlude", 6, "exclude"),
        ("hosts.machines.render2.device", 7, "renders nothing"),
        ("hosts.machines.a/b", 8, "is no name of a host"),
        ("hosts.machines.a/b.device", 8, "is no device"),
    ):
        assert found[column][0] == row, column
        assert words in found[column][1], column
