"""What clients will say of our own certificate, before they say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from datetime import datetime

_SOON: Final = 30
"""Days; enough for an operator to renew it."""
_APPLE_MAX: Final = 825
"""Days of life beyond which Apple's systems refuse a server's certificate."""
_IKE_INTERMEDIATE: Final = "1.3.6.1.5.5.8.2.2"


@dataclass(frozen=True, slots=True)
class Advice:
    """What there is to say of a certificate."""

    subject: str
    names: tuple[str, ...]
    until: datetime
    warnings: tuple[str, ...]


def advise(der: bytes, now: datetime) -> Advice:
    """Look at the gateway's certificate as its clients will. Raises ``ValueError`` for one that cannot be read."""
    certificate = x509.load_der_x509_certificate(der)
    names = _names(certificate)
    warnings = []
    begin, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        warnings.append(f"is valid only from {begin:%Y-%m-%d %H:%M} UTC on: clients will show 787; check this machine's clock")
    elif now >= until:
        warnings.append(f"expired {(now - until).days} days ago: clients will show 787; renew it: headrace pki issue --gateway")
    elif (until - now).days < _SOON:
        warnings.append(f"expires in {(until - now).days} days; renew it: headrace pki issue --gateway")
    if not names:
        warnings.append("has no subject alternative name: most clients will show 787 or 835; issue one with --dns and --ip")
    purposes = _purposes(certificate)
    if purposes is not None and not purposes & {ExtendedKeyUsageOID.SERVER_AUTH.dotted_string, _IKE_INTERMEDIATE}:
        warnings.append("is neither for server authentication nor an IKE intermediate: Windows will show 835; issue another")
    if (until - begin).days > _APPLE_MAX + 1:
        warnings.append(f"is valid for {(until - begin).days} days: Apple's systems take no more than {_APPLE_MAX}")
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        warnings.append(f"has an RSA key of {key.key_size} bits: clients refuse less than 2048")
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in {"md5", "sha1"}:
        warnings.append(f"is signed with {algorithm.name.upper()}: clients refuse that")
    return Advice(certificate.subject.rfc4514_string(), names, until, tuple(warnings))


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def _purposes(certificate: x509.Certificate) -> set[str] | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return {purpose.dotted_string for purpose in found}
