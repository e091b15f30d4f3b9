"""Addresses hold tokens: no fault of the settings tells one, whatever is typed wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import BadInput
from manifests.secret import error_words, without_addresses, without_user
from manifests.settings import load_studio

TOKEN = "xoxb-SEC-ret/T0ken"
URL = f"slack://{TOKEN}"
ALIAS = "xoxb-T0ken"
"""As YAML lets an alias, a tag or a key be called."""


def told(root: Path) -> str:
    """All that the faults of the settings tell, as text and as `--json` has it."""
    with pytest.raises(BadInput) as caught:
        load_studio(root)
    data = json.dumps([fault.to_dict() for fault in caught.value.faults])
    return f"{caught.value}\n{data}\n{caught.value.__cause__!r} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    "text",
    [
        f"notifi: {{urls: ['{URL}']}}",
        f"notify: {{url: '{URL}'}}",
        f"notify: {{urls: [{{slack: '{URL}'}}]}}",
        f"notify: {{urls: ['{URL}'], on: '{URL}'}}",
        f"notify: ['{URL}']",
        f"notify: {URL}",
        f"notify: {{'{URL}': ''}}",
        f"notify: {{'{TOKEN}': ''}}",
        f"'{URL}': notify",
        f"'{URL}': 1\n'{URL}': 2",
        f"notify:\n  '{URL}': 1\n  '{URL}': 2",
        f"urls: ['{URL}']",
        f"urls: ['{TOKEN}']",
        f"webhook: {TOKEN}",
        f"device: {URL}",
        f"max_takes: '{URL}'",
        f"crf: ['{URL}', '{URL}']",
        f"thresholds: {{flicker: '{URL}'}}",
        f"window: '{URL}'",
        f"hosts: {{listen: '{URL}'}}",
        f"default_model: '{URL}'",
        f"models: {{x: {{family: '{URL}', location: y}}}}",
        f"inbox: {{urls: '{TOKEN}'}}",
        f"notify: !<{URL}> x",
        f"device: 'mailtos://me:pa;{TOKEN}@h'",
        f"device: 'slack://to ken/{TOKEN}'",
        f'device: "slack://it\'s {TOKEN}"',
        f"'mailtos://me:p a;{TOKEN}@h': 1\n'mailtos://me:p a;{TOKEN}@h': 2",
        f"window: {{'mailtos://me:p a;{TOKEN}@h': 1}}",
        f"crf: {{a: '{URL}', b: '{TOKEN}'}}",
        f"device: 'slack:/{TOKEN}'",
        f"device: 'https:/hooks.example/services/{TOKEN}'",
        f"device: 'https:\\\\hooks.example\\{TOKEN}'",
        f"'slack:/{TOKEN}': 1",
        f"window: {{'slack:/x/{TOKEN}': 1}}",
        f"crf: ['slack:/x/{TOKEN}']",
        f"notify: {{urls: [*{ALIAS}]}}",
        f"device: *{ALIAS}",
        f"notify: {{urls: [!{ALIAS} x]}}",
        f"notify: {{urls: [!!{ALIAS} x]}}",
        f"notify:\n  {ALIAS}: 1\n  {ALIAS}: 2",
    ],
)
def test_no_fault_of_the_file_tells_a_token(tmp_path: Path, text: str) -> None:
    """A key typed wrongly, a list for a mapping, an address in another setting's place."""
    (tmp_path / "studio.yaml").write_text(f"{text}\n")
    found = told(tmp_path)
    assert TOKEN not in found
    assert "T0ken" not in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUSHES_NOTIFY__URLS", URL),
        ("RUSHES_NOTIFY__URL", f'["{URL}"]'),
        ("RUSHES_NOTIFY", URL),
        ("RUSHES_NOTIFY", f'{{"urls": [{{"a": "{URL}"}}]}}'),
        ("RUSHES_NOTIFI__URLS", f'["{URL}"]'),
        ("RUSHES_DEVICE", URL),
        ("RUSHES_DEVICE", f"slack:/x/{TOKEN}"),
        ("RUSHES_CRF", URL),
    ],
)
def test_no_fault_of_the_environment_tells_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Where the addresses are best kept."""
    monkeypatch.setenv(name, value)
    assert "T0ken" not in told(tmp_path)


def test_what_is_no_secret_is_still_told(tmp_path: Path) -> None:
    """The key that is unknown, what it should be, and what is wrong with other values."""
    (tmp_path / "studio.yaml").write_text("notify: {url: x}\ndevice: gpu\n")
    found = told(tmp_path)
    assert "column notify.url: there is no setting 'url'; did you mean 'urls'?" in found
    assert "'gpu'" in found


def test_words_of_the_file_that_are_names_are_still_told(tmp_path: Path) -> None:
    """What stands twice, which tag and which alias: most of them are no token."""
    (tmp_path / "studio.yaml").write_text("device: *card\ncrf: !int 3\nlooks: 1\nlooks: 2\n")
    found = told(tmp_path)
    assert "'*card' stands for nothing" in found
    assert "the key 'looks' stands twice" in found


def test_a_drive_is_no_address(tmp_path: Path) -> None:
    """One letter before a colon: the folder that is not there is told."""
    (tmp_path / "studio.yaml").write_text("source_roots: ['C:/stills']\n")
    assert "C:/stills'" in told(tmp_path)


@given(
    scheme=st.from_regex(r"\A[a-z][a-z0-9+.-]{0,8}\Z"),
    rest=st.text(st.characters(exclude_categories=["C"], exclude_characters="'\""), min_size=1),
    around=st.sampled_from(["{}", "'{}' is refused", "the key {!r} stands twice (line 3 before)"]),
)
def test_of_an_address_only_the_scheme_is_told(scheme: str, rest: str, around: str) -> None:
    """Wherever in a sentence it stands."""
    text = around.format(f"{scheme}://{rest}")
    assert without_addresses(text) == around.replace("{!r}", "'{}'").format(f"{scheme}://…")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api"),
        ("https://ann:pa@ss@prefect.example/api", "https://prefect.example/api"),
        ("https://ann:pa/ss@prefect.example/api", "https://prefect.example/api"),
        ("https://:key@prefect.example/api", "https://prefect.example/api"),
        ("https:/ann:pass@prefect.example/api", "https:/prefect.example/api"),
    ],
)
def test_a_servers_address_is_told_without_its_user(url: str, shown: str) -> None:
    """And as it is where it holds none."""
    assert without_user(url) == shown


def test_what_a_client_says_of_an_address_is_told_without_its_user() -> None:
    """Into the ledger, the report, messages and logs."""
    request = httpx.Request("GET", "https://ann:sec-ret@prefect.example/api/health")
    with pytest.raises(httpx.HTTPStatusError) as caught:
        httpx.Response(401, request=request).raise_for_status()
    assert "sec-ret" in str(caught.value)
    words = error_words(caught.value)
    assert words.startswith("HTTPStatusError: Client error '401 Unauthorized' for url ")
    assert "'https://prefect.example/api/health'" in words
    assert "sec-ret" not in words
