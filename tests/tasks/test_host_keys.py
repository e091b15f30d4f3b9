"""The keys of the hosts: made once, read by their owner alone, refused where they do not hold."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from manifests.errors import BadInput
from tasks.host_keys import AUTHORITY, CERTIFICATE, KEY, key_faults, make_keys, security


def test_the_key_belongs_to_its_owner_and_to_the_certificate(tmp_path: Path) -> None:
    """Mode 600, and the certificate is the authority's, whose own key is nowhere."""
    made = make_keys(tmp_path / "keys")
    assert {path.name for path in made} == {path.name for path in (tmp_path / "keys").iterdir()}
    assert (tmp_path / "keys" / KEY).stat().st_mode & 0o777 == 0o600
    authority = x509.load_pem_x509_certificate((tmp_path / "keys" / AUTHORITY).read_bytes())
    node = x509.load_pem_x509_certificate((tmp_path / "keys" / CERTIFICATE).read_bytes())
    node.verify_directly_issued_by(authority)
    key = serialization.load_pem_private_key((tmp_path / "keys" / KEY).read_bytes(), None)
    assert key.public_key() == node.public_key() != authority.public_key()
    assert key_faults(tmp_path / "keys") == []
    assert security(tmp_path / "keys").require_encryption


def _strict(folder: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    """As Python 3.13 checks certificates where nothing else is said."""
    context = ssl.create_default_context(purpose=purpose, cafile=folder / AUTHORITY)
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_both_sides_accept_each_other_also_where_certificates_are_checked_strictly(
    tmp_path: Path,
) -> None:
    """From Python 3.13 on that is how TLS does it unless it is told otherwise."""
    make_keys(tmp_path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _strict(tmp_path, ssl.Purpose.SERVER_AUTH).wrap_bio(to_client, to_server)
    server = _strict(tmp_path, ssl.Purpose.CLIENT_AUTH).wrap_bio(
        to_server, to_client, server_side=True
    )
    for side in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    server.do_handshake()
    client.write(b"a word")
    assert server.read() == b"a word"
    assert server.getpeercert()


def test_keys_are_never_replaced(tmp_path: Path) -> None:
    """What the hosts have would stop to work."""
    make_keys(tmp_path)
    before = (tmp_path / KEY).read_bytes()
    with pytest.raises(BadInput, match="holds keys already"):
        make_keys(tmp_path)
    assert (tmp_path / KEY).read_bytes() == before


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    """A key that others may read, a certificate that has run out, a missing authority."""
    make_keys(tmp_path, days=-1)
    (tmp_path / KEY).chmod(0o644)
    (tmp_path / AUTHORITY).unlink()
    with pytest.raises(BadInput) as caught:
        security(tmp_path)
    words = [str(fault) for fault in caught.value.faults]
    assert len(words) == 3
    for each in ("is missing", "can be read by others", "has expired"):
        assert any(each in fault for fault in words)


def test_without_a_folder_nothing_is_encrypted() -> None:
    """Loopback and private networks: the settings see to it that it is meant."""
    assert security(None) is None
