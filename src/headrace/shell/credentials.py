"""Certificates and keys from files, checked before anything is started with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.errors import ConfigError
from headrace.ike.config import LocalCertificate
from headrace.pki.verify import ChainVerifier
from headrace.shell.secretfile import check_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from headrace.ike.config import CertificateVerifier, PrivateKey


def load_certificate(certificate: Path, private_key: Path, passphrase: bytes | None) -> LocalCertificate:
    """Our own certificate with its intermediates (PEM, own first) and its key (PEM). Raises ``ConfigError``."""
    chain = _certificates(certificate)
    key = _private_key(private_key, passphrase)
    mine = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != mine:
        raise ConfigError(f"{private_key} is not the key of {certificate}; name the two files that were issued together")
    return LocalCertificate(key, tuple(item.public_bytes(Encoding.DER) for item in chain))


def load_verifier(
    ca: Sequence[Path], crl: Sequence[Path], policy: str, *, purpose: str, clock: Callable[[], datetime]
) -> CertificateVerifier:
    """Whoever judges peers' certificates by these CAs and revocation lists (PEM or DER). Raises ``ConfigError``."""
    roots = load_roots(ca)
    if not roots:
        raise ConfigError("no CA is named, so no peer's certificate could be accepted; name one in ike.ca (or --ca)")
    if policy == "off":
        return ChainVerifier(roots, clock=clock, purpose=purpose, note=lambda _: None)
    return ChainVerifier(roots, load_crls(crl), clock=clock, purpose=purpose, crl_policy=policy)


def load_roots(ca: Sequence[Path]) -> list[x509.Certificate]:
    """The certificates of authorities (PEM or DER). Raises ``ConfigError``."""
    return [item for path in ca for item in _certificates(path)]


def load_crls(crl: Sequence[Path]) -> list[x509.CertificateRevocationList]:
    """Revocation lists (PEM or DER). Raises ``ConfigError``."""
    return [_crl(path) for path in crl]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file that this process may read") from error


def _certificates(path: Path) -> list[x509.Certificate]:
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM or DER; `headrace pki issue` makes one ({error})") from error


def _crl(path: Path) -> x509.CertificateRevocationList:
    data = _read(path)
    try:
        return x509.load_pem_x509_crl(data) if b"-----BEGIN" in data else x509.load_der_x509_crl(data)
    except ValueError as error:
        raise ConfigError(f"{path} holds no revocation list in PEM or DER; `headrace pki crl` makes one ({error})") from error


def _private_key(path: Path, passphrase: bytes | None) -> PrivateKey:
    check_private(path)
    try:
        key = serialization.load_pem_private_key(_read(path), passphrase)
    except TypeError as error:
        remedy = "give its passphrase" if passphrase is None else "leave the passphrase away"
        raise ConfigError(f"{path}: {error}; {remedy}") from error
    except ValueError as error:
        raise ConfigError(f"{path} holds no private key in PEM, or its passphrase is wrong") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is a {type(key).__name__}; IKE signs with RSA or ECDSA")
    return key
