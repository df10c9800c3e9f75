"""A certificate taken apart once: every field that a verdict needs, read in one place, so that bad DER fails there and nowhere else."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from headrace.errors import Slug
from headrace.ike.config import CertificateRefused
from headrace.model import printable

if TYPE_CHECKING:
    from datetime import datetime

    from headrace.ike.config import PublicKey

MAX_DER: Final = 64 * 1024
"""Octets of one certificate: real ones have one to four thousand."""

UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What ``cryptography`` raises for octets that are no certificate, or for parts of one that it does not take."""

PROCESSED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        # Policies have no say as long as nobody requires one; whoever does (policyConstraints) is refused as unknown.
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    }
)
"""Extensions that may be critical here (RFC 5280 section 4.2): any other one that is refuses its certificate."""

CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
STRONG: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
MAX_RSA_BITS: Final = 8192
"""Longer keys cost more time than a stranger may have of us."""
MIN_EXPONENT: Final = 65537
MAX_EXPONENT_BITS: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A certificate whose every part could be read; nothing of it is believed yet. Two are the same if their octets are."""

    der: bytes = field(repr=False)
    cert: x509.Certificate = field(repr=False)
    subject: str
    """For a person, escaped."""
    name: x509.Name = field(repr=False)
    issuer: x509.Name = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
    version: int
    """1 or 3."""
    ca: bool | None
    """The CA flag; ``None`` without basic constraints."""
    path_length: int | None
    key_usage: x509.KeyUsage | None
    purposes: frozenset[str] | None
    """Extended key usages as dotted numbers; ``None`` without the extension."""
    names: x509.SubjectAlternativeName | None
    constraints: x509.NameConstraints | None
    distribution_points: tuple[x509.GeneralName, ...]
    unknown_critical: tuple[str, ...]
    key_id: bytes | None
    issuer_key_id: bytes | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parsed) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __str__(self) -> str:
        return f"'{self.subject}' (serial {self.serial:x})"

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer have the same name (RFC 5280 section 6.1)."""
        return self.name == self.issuer


def text_of(name: x509.Name) -> str:
    """A distinguished name for a person: RFC 4514 form, escaped, cut."""
    try:
        return printable(name.rfc4514_string().encode("utf-8", "backslashreplace")) or "(empty name)"
    except ValueError:
        return "(unreadable name)"


def read(der: bytes, what: str) -> Parsed:
    """Take a certificate apart. ``what`` says which it is, for the message.

    Raises ``CertificateRefused`` with ``cert-malformed`` for anything that is not a readable DER certificate.
    """
    if len(der) > MAX_DER:
        raise CertificateRefused(Slug.CERT_MALFORMED, f"{what} has {len(der)} octets, at most {MAX_DER} are read")
    try:
        with warnings.catch_warnings():
            # It warns of serial numbers and parameters that are out of fashion: neither matters to a verdict.
            warnings.simplefilter("ignore")
            return parse(x509.load_der_x509_certificate(der))
    except UNREADABLE as error:
        detail = f"{what} cannot be read: {printable(str(error).encode('utf-8', 'replace'))}"
        raise CertificateRefused(Slug.CERT_MALFORMED, detail) from error


def parse(certificate: x509.Certificate) -> Parsed:
    """Read every field that counts. Raises one of ``UNREADABLE``."""
    extensions = {extension.oid: extension for extension in certificate.extensions}

    def value(oid: x509.ObjectIdentifier) -> object:
        return extensions[oid].value if oid in extensions else None

    basic = value(ExtensionOID.BASIC_CONSTRAINTS)
    usage = value(ExtensionOID.KEY_USAGE)
    purposes = value(ExtensionOID.EXTENDED_KEY_USAGE)
    names = value(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    constraints = value(ExtensionOID.NAME_CONSTRAINTS)
    points = value(ExtensionOID.CRL_DISTRIBUTION_POINTS)
    own = value(ExtensionOID.SUBJECT_KEY_IDENTIFIER)
    issuer = value(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    return Parsed(
        der=certificate.public_bytes(Encoding.DER),
        cert=certificate,
        subject=text_of(certificate.subject),
        name=certificate.subject,
        issuer=certificate.issuer,
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        version=3 if certificate.version is x509.Version.v3 else 1,
        ca=basic.ca if isinstance(basic, x509.BasicConstraints) else None,
        path_length=basic.path_length if isinstance(basic, x509.BasicConstraints) else None,
        key_usage=usage if isinstance(usage, x509.KeyUsage) else None,
        purposes=frozenset(oid.dotted_string for oid in purposes) if isinstance(purposes, x509.ExtendedKeyUsage) else None,
        names=names if isinstance(names, x509.SubjectAlternativeName) else None,
        constraints=constraints if isinstance(constraints, x509.NameConstraints) else None,
        distribution_points=full_names(points) if isinstance(points, x509.CRLDistributionPoints) else (),
        unknown_critical=tuple(e.oid.dotted_string for e in extensions.values() if e.critical and e.oid not in PROCESSED),
        key_id=own.digest if isinstance(own, x509.SubjectKeyIdentifier) else None,
        issuer_key_id=issuer.key_identifier if isinstance(issuer, x509.AuthorityKeyIdentifier) else None,
    )


def full_names(points: x509.CRLDistributionPoints) -> tuple[x509.GeneralName, ...]:
    """The names of all distribution points of a certificate."""
    return tuple(name for point in points for name in point.full_name or ())


def public_key(certificate: Parsed, min_rsa_bits: int) -> PublicKey:
    """The key of a certificate, if it is strong enough. Raises ``CertificateRefused``, ``cert-weak``."""
    try:
        key = certificate.cert.public_key()
    except UNREADABLE as error:
        raise CertificateRefused(Slug.CERT_WEAK, f"{certificate} has a key that cannot be used here") from error
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        bits = numbers.n.bit_length()
        if not min_rsa_bits <= bits <= MAX_RSA_BITS:
            detail = f"{certificate} has an RSA key of {bits} bits, {min_rsa_bits} to {MAX_RSA_BITS} are taken"
            raise CertificateRefused(Slug.CERT_WEAK, detail)
        if numbers.n % 2 == 0 or numbers.e % 2 == 0 or numbers.e < MIN_EXPONENT or numbers.e.bit_length() > MAX_EXPONENT_BITS:
            detail = f"{certificate} has an RSA key with an even modulus, or a public exponent other than {MIN_EXPONENT} and up"
            raise CertificateRefused(Slug.CERT_WEAK, detail)
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, CURVES):
            raise CertificateRefused(
                Slug.CERT_WEAK, f"{certificate} has a key on curve {key.curve.name}; P-256, P-384, P-521 are taken"
            )
        return key
    kind = type(key).__name__.removesuffix("PublicKey").lstrip("_")
    raise CertificateRefused(Slug.CERT_WEAK, f"{certificate} has a {kind} key; RSA and ECDSA are taken")


def check_signature_strength(certificate: Parsed, *, allow_sha1: bool) -> None:
    """Raise ``CertificateRefused``, ``cert-weak``, if a certificate is signed with too weak a hash."""
    try:
        digest = certificate.cert.signature_hash_algorithm
    except UNREADABLE:
        digest = None
    if isinstance(digest, STRONG) or (allow_sha1 and isinstance(digest, hashes.SHA1)):
        return
    oid = certificate.cert.signature_algorithm_oid
    name = digest.name.upper() if digest is not None else oid.dotted_string
    if oid == SignatureAlgorithmOID.ED25519:
        name = "Ed25519"
    raise CertificateRefused(Slug.CERT_WEAK, f"{certificate} is signed with {name}; SHA-256, SHA-384 and SHA-512 are taken")


def verify_issued(child: Parsed, parent: Parsed) -> None:
    """Verify names and signature. Raises ``InvalidSignature`` or one of ``UNREADABLE``.

    ``cryptography`` does it, except for SHA-1, which it takes no more; whether that is allowed has been decided before.
    """
    if not isinstance(child.cert.signature_hash_algorithm, hashes.SHA1):
        child.cert.verify_directly_issued_by(parent.cert)
        return
    inner, outer = signature_algorithms(child.der)
    if inner != outer or child.issuer != parent.name:
        raise ValueError("names, or inner and outer signature algorithms, differ")
    key = parent.cert.public_key()
    signature, body = child.cert.signature, child.cert.tbs_certificate_bytes
    sha1 = hashes.SHA1()  # noqa: S303 - for old clients, and only where the configuration asks for it
    if isinstance(key, rsa.RSAPublicKey) and child.cert.signature_algorithm_oid == SignatureAlgorithmOID.RSA_WITH_SHA1:
        key.verify(signature, body, padding.PKCS1v15(), sha1)
    elif (
        isinstance(key, ec.EllipticCurvePublicKey)
        and child.cert.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA1
    ):
        key.verify(signature, body, ec.ECDSA(sha1))
    else:
        raise ValueError("the key does not fit the signature algorithm")


def signature_algorithms(der: bytes) -> tuple[bytes, bytes]:
    """The AlgorithmIdentifier inside and outside of the signed part, as DER. The certificate must have been parsed: this only cuts."""
    signed, outer = _elements(der, 2)
    fields = _elements(signed, 3)
    # version [0] is optional, then serialNumber, signature
    return fields[2] if fields[0][0] == 0xA0 else fields[1], outer


def _elements(der: bytes, count: int) -> list[bytes]:
    """The first elements inside of a DER SEQUENCE."""
    found = []
    place = _header_size(der)
    for _ in range(count):
        end = place + _header_size(der[place:]) + _length(der[place:])
        found.append(der[place:end])
        place = end
    return found


def _header_size(der: bytes) -> int:
    return 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)


def _length(der: bytes) -> int:
    return int.from_bytes(der[2 : _header_size(der)], "big") if der[1] & 0x80 else der[1]
