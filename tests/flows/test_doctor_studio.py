"""What `rushes doctor` says of Prefect, ports, hours, clocks and folders."""

from __future__ import annotations

import socket
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from free_port import free_port

from flows import doctor_studio
from flows.doctor_studio import PINS
from flows.serving import sole_server
from manifests.settings import Studio, load_studio
from reports.ledger import Ledger


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return load_studio(tmp_path, prefect_port=free_port(), metrics_port=free_port())


def test_the_pins_are_those_of_the_project() -> None:
    """What doctor takes for right is what pyproject.toml installs."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    wanted = tomllib.loads(text)["project"]["dependencies"]
    assert f"prefect=={PINS['prefect'][0]}" in wanted
    assert f"fastapi>={PINS['fastapi'][0]},<{PINS['fastapi'][1]}" in wanted
    first, beyond = PINS["sqlalchemy"]
    assert f"sqlalchemy[asyncio]>={first},<{beyond}" in wanted


def test_everything_is_well_on_this_machine(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, ports, hours, clock and folders of an empty root are as they should be."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = [check(studio) for check in doctor_studio.CHECKS]
    assert [finding for finding in found if not finding.well or finding.remedy] == []


def test_a_version_outside_the_pins_is_named(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy 2.1 lets the server start and its cron sleep: it must not pass."""
    versions = {"prefect": "3.8.8", "fastapi": "0.150.1", "sqlalchemy": "2.1.0"}
    monkeypatch.setattr(doctor_studio, "version", versions.__getitem__)
    found = doctor_studio.prefect_versions(studio)
    assert not found.well
    assert found.remedy.startswith("sqlalchemy 2.1.0 is not 2.0 or later and below 2.1")


def test_a_taken_port_is_a_fault_unless_it_is_ours(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program's port keeps `rushes serve` from starting; our own server's does not."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", studio.prefect_port))
        taken.listen()
        found = doctor_studio.prefect_server(studio)
        assert not found.well
        assert "set prefect_port" in found.remedy
        with sole_server(studio.state_dir) as tell:
            tell("http://127.0.0.1:1")
            assert doctor_studio.prefect_server(studio).well


def test_a_server_of_the_users_that_is_silent_is_a_fault(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PREFECT_API_URL is asked."""
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    found = doctor_studio.prefect_server(studio)
    assert not found.well
    assert "unset PREFECT_API_URL" in found.remedy


@pytest.mark.parametrize("port", ["", ":{}"])
def test_the_password_of_a_server_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """Where PREFECT_API_URL holds one, with a port and without."""
    address = f"127.0.0.1{port.format(free_port())}"
    monkeypatch.setenv("PREFECT_API_URL", f"http://ann:sec-ret@{address}/api")
    found = doctor_studio.prefect_server(Studio(root=tmp_path))
    assert "sec-ret" not in repr(found)
    assert found.words == f"http://{address}/api, not ours"


def test_hours_are_told_in_their_own_zone(tmp_path: Path) -> None:
    """The next night, with the zone's short name, so that a wrong zone is seen."""
    window = {"start": "22:00", "end": "22:00", "timezone": "UTC"}
    words = doctor_studio.hours(load_studio(tmp_path, window=window)).words
    assert words.startswith("22:00 to 22:00 UTC; on until ")
    assert words.endswith("22:00 (UTC)")


def test_a_clock_before_the_last_night_is_a_fault(studio: Studio) -> None:
    """A machine that lost its time would name nights wrongly and take new sheets for old ones."""
    with Ledger(studio.ledger_path) as ledger:
        ledger.begin_night(
            night_id="2099-01-01",
            arguments_key="k",
            arguments={},
            at=datetime.now(UTC) + timedelta(days=1),
        )
    found = doctor_studio.clock(studio)
    assert not found.well
    assert "night 2099-01-01 began at" in found.remedy


def test_a_disk_with_another_clock_is_a_fault(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File times of a share come from its server; sheets would never be quiet, or at once."""
    monkeypatch.setattr(doctor_studio.time, "time", lambda: datetime.now(UTC).timestamp() + 3600)
    assert "differs by 3600 s" in doctor_studio.clock(studio).remedy


def test_what_is_no_folder_is_named(studio: Studio) -> None:
    """A file where a folder must be is found before a night fails on it."""
    studio.delivered_dir.write_text("")
    studio.inbox_dir.write_text("")
    assert "delivered is no folder" in doctor_studio.folders(studio).remedy
    assert "inbox is no folder" in doctor_studio.inbox(studio).remedy


def test_a_root_without_settings_is_told(tmp_path: Path) -> None:
    """One that was mistyped is not there; another has no studio.yaml; the right one is its name."""
    gone = doctor_studio.root_folder(load_studio(tmp_path / "stduio"))
    assert (gone.well, gone.words.partition("stduio")[2]) == (
        True,
        ", which is not there yet: without studio.yaml, so the defaults hold",
    )
    bare = doctor_studio.root_folder(load_studio(tmp_path))
    assert bare.words == f"{tmp_path}: without studio.yaml, so the defaults hold"
    (tmp_path / "studio.yaml").write_text("crf: 17\n")
    assert doctor_studio.root_folder(load_studio(tmp_path)).words == str(tmp_path)
