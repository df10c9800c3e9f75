"""A workshop for certificates, good and bad: any field as it is wanted, DER by hand where the library will not write it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from headrace.pki.verify import ChainVerifier

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)

OIDS = {
    "server": "1.3.6.1.5.5.7.3.1",
    "client": "1.3.6.1.5.5.7.3.2",
    "email": "1.3.6.1.5.5.7.3.4",
    "ike": "1.3.6.1.5.5.7.3.17",
    "intermediate": "1.3.6.1.5.5.8.2.2",
    "any": "2.5.29.37.0",
}


@cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def dn(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.RFC822Name(name) if "@" in name else x509.DNSName._init_without_validation(name)


def usage(*on: str) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: name in on for name in names})


@dataclass
class Made:
    """A certificate with its key."""

    cert: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.cert.public_bytes(Encoding.DER)


@dataclass
class Wish:
    """What a certificate shall be; the defaults are good."""

    name: str = "leaf"
    key: Any = None
    ca: bool | None = None
    path_length: int | None = None
    purposes: tuple[str, ...] = ()
    usage: x509.KeyUsage | None = None
    names: tuple[str, ...] = ()
    general_names: tuple[x509.GeneralName, ...] = ()
    start: datetime = NOW - 30 * DAY
    end: datetime = NOW + 365 * DAY
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    digest: Any = field(default_factory=hashes.SHA256)
    subject: x509.Name | None = None
    serial: int = 0
    pss: bool = False


def make(issuer: Made | None, **wishes: Any) -> Made:
    """A certificate by an issuer, or by itself."""
    wish = Wish(**wishes)
    key = wish.key or ec_key(hash(wish.name) % 7)
    subject = wish.subject if wish.subject is not None else dn(wish.name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(wish.serial or x509.random_serial_number())
        .not_valid_before(wish.start)
        .not_valid_after(wish.end)
    )
    if wish.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(wish.ca, wish.path_length), critical=True)
    if wish.usage is not None:
        builder = builder.add_extension(wish.usage, critical=True)
    if wish.purposes:
        oids = [x509.ObjectIdentifier(OIDS.get(purpose, purpose)) for purpose in wish.purposes]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    names = [*map(general, wish.names), *wish.general_names]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject.rdns)
    for extension, critical in wish.extra:
        builder = builder.add_extension(extension, critical=critical)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if wish.pss else None
    return Made(builder.sign(issuer.key if issuer else key, wish.digest, rsa_padding=pss), key)


def root(name: str = "root", **wishes: Any) -> Made:
    return make(None, **{"name": name, "key": ec_key(100), "ca": True, "usage": usage("key_cert_sign", "crl_sign"), **wishes})


def authority(issuer: Made, name: str = "sub", **wishes: Any) -> Made:
    return make(issuer, **{"name": name, "ca": True, "usage": usage("key_cert_sign", "crl_sign"), **wishes})


def crl(
    issuer: Made,
    revoked: Sequence[Made] = (),
    *,
    key: Any = None,
    start: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    reason: x509.ReasonFlags | None = None,
) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.cert.subject).last_update(start).next_update(end)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    for item in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(item.cert.serial_number).revocation_date(NOW - 2 * DAY)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key or issuer.key, hashes.SHA256())


class Notes(list[str]):
    """Collects notices."""


def verifier(*roots: Made, notes: list[str] | None = None, now: datetime = NOW, **options: Any) -> ChainVerifier:
    notes = [] if notes is None else notes
    options = {"purpose": "client", "clock": lambda: now, "note": notes.append, **options}
    crls = options.pop("crls", ())
    return ChainVerifier([item.cert for item in roots], crls, **options)


# DER by hand


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def split(der: bytes) -> list[bytes]:
    """The elements of one constructed element."""
    elements = []
    data = _content(der)
    while data:
        size = len(data) - len(_rest(data))
        elements.append(data[:size])
        data = data[size:]
    return elements


def _header(der: bytes) -> tuple[int, int]:
    if der[1] < 0x80:
        return 2, der[1]
    count = der[1] & 0x7F
    return 2 + count, int.from_bytes(der[2 : 2 + count], "big")


def _content(der: bytes) -> bytes:
    start, length = _header(der)
    return der[start : start + length]


def _rest(der: bytes) -> bytes:
    start, length = _header(der)
    return der[start + length :]


def resign(tbs: bytes, algorithm: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate of a hand-made body."""
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs, algorithm, tlv(0x03, b"\0", signature))


def with_tbs(der: bytes, place: int, element: bytes | None, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate with one element of its body replaced (or removed), signed anew. Places: 0 version, 1 serial, 2 algorithm,
    3 issuer, 4 validity, 5 subject, 6 key, 7 extensions."""
    tbs, algorithm, _ = split(der)
    elements = split(tbs)
    elements[place : place + 1] = [] if element is None else [element]
    return resign(tlv(0x30, *elements), algorithm, key)
