"""The keys of a studio's hosts: who has them may join, and nobody else can listen.

`distributed` encrypts and checks both sides by TLS. One node key is made for all machines of a
studio, signed by an authority whose own key is forgotten at once: nobody can make another one, and
to shut a machine out new keys are made and given to the rest.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput, Fault
from manifests.files import write_atomic

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import CertificateBuilder, KeyUsage

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "node.pem", "node-key.pem"
"""Names in the folder of the keys."""
DAYS = 730


def make_keys(folder: Path, *, days: int = DAYS) -> tuple[Path, ...]:
    """Write the three files into `folder`, the key readable by its owner alone.

    Raises BadInput where there are keys already: what hosts have would stop to work.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    there = [name for name in (AUTHORITY, CERTIFICATE, KEY) if (folder / name).exists()]
    if there:
        raise BadInput([_keys_there(folder, there)])

    def named(words: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])

    authority, node = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = named("Rushes studio")
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, owner: EllipticCurvePrivateKey) -> CertificateBuilder:
        # NOTE: with all that RFC 5280 wants of both: from Python 3.13 on, TLS refuses others.
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(owner.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(
                x509.BasicConstraints(ca=owner is authority, path_length=None), critical=True
            )
            .add_extension(_usage(signs=owner is authority), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(owner.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                critical=False,
            )
        )

    root = certificate(issuer, authority).sign(authority, hashes.SHA256())
    leaf = certificate(named("Rushes node"), node).sign(authority, hashes.SHA256())
    pem = serialization.Encoding.PEM
    key = node.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / AUTHORITY, folder / CERTIFICATE, folder / KEY
    before = os.umask(0o077)
    try:
        write_atomic(made[2], key)
    finally:
        os.umask(before)
    write_atomic(made[0], root.public_bytes(pem))
    write_atomic(made[1], leaf.public_bytes(pem))
    return made


def _usage(*, signs: bool) -> KeyUsage:
    """What a key may be used for: to sign certificates, or to speak TLS."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def security(folder: Path | None) -> Any:
    """What `distributed` is told to encrypt with; None: nothing is encrypted.

    Raises BadInput where a file is missing, expired, or a key that others may read.
    """
    if folder is None:
        return None
    faults = key_faults(folder)
    if faults:
        raise BadInput(faults)
    from distributed import Security

    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    return Security(
        require_encryption=True,
        tls_ca_file=str(folder / AUTHORITY),
        **{f"tls_{role}_cert": certificate for role in ("client", "scheduler", "worker")},
        **{f"tls_{role}_key": key for role in ("client", "scheduler", "worker")},
    )


def key_faults(folder: Path) -> list[Fault]:
    """All that is wrong with the keys in a folder."""
    faults = [
        _fault(folder / name, "is missing", "copy it from the machine of the night")
        for name in (AUTHORITY, CERTIFICATE, KEY)
        if not (folder / name).is_file()
    ]
    key = folder / KEY
    if key.is_file() and key.stat().st_mode & 0o077:
        faults.append(_fault(key, "can be read by others", f"run `chmod 600 {key}`"))
    certificate = folder / CERTIFICATE
    if certificate.is_file() and (words := _expired(certificate)):
        faults.append(_fault(certificate, words, "make new keys, and copy them to every host"))
    return faults


def _expired(certificate: Path) -> str:
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return f"has expired ({ends:%Y-%m-%d})" if ends < datetime.now(UTC) else ""


def _fault(file: Path, problem: str, remedy: str) -> Fault:
    return Fault(file=file, column="hosts.tls", problem=problem, remedy=remedy)


def _keys_there(folder: Path, names: list[str]) -> Fault:
    return _fault(
        folder,
        f"holds keys already ({', '.join(names)})",
        "use these; or remove them, make new ones, and copy those to every host",
    )
