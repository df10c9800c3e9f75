"""A small CA in a directory: computer certificates for a gateway and its clients (`headrace pki`).

::

    ca.crt              the root, to be trusted by clients and gateway
    ca.key              its key, readable by its owner alone, with a passphrase if one was given
    index.json          what was issued and revoked
    issued/SERIAL.crt   certificates
    issued/SERIAL.key   their keys, readable by the owner alone
    crl.pem crl.der     the revocation list

What is issued suits Windows, macOS, iOS, Android and strongSwan as they are: RSA, SHA-256, names in subjectAltName, and the extended
key usages that each of them looks for.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.errors import LocalError
from headrace.pki.names import address_of
from headrace.pki.path import IKE_INTERMEDIATE, IPSEC_IKE
from headrace.pki.store import PRIVATE, Index, Record, locked, read_index, write_atomically, write_index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.ike.config import PrivateKey

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 825
"""Apple's systems take no server certificate that is valid for longer, whoever issued it."""
CRL_DAYS: Final = 30

BACKDATE: Final = timedelta(hours=1)
"""Clients whose clock is a little behind must not find it not yet valid."""

MAX_NAME: Final = 64
"""Octets of a common name (RFC 5280 appendix A)."""

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)


class KeyType(StrEnum):
    """Kinds of keys. Windows' IKEv1 wants RSA unless it was told otherwise."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_256 = "ecdsa-256"
    ECDSA_384 = "ecdsa-384"


class Pkcs12Encryption(StrEnum):
    """How a PKCS #12 file is encrypted."""

    COMPATIBLE = "compatible"
    """Triple-DES and SHA-1: every Windows, macOS and iOS reads it. Meant for the way to the client, not for keeping."""
    MODERN = "modern"
    """AES-256 and SHA-256: Windows 10 1709 and later, macOS 15 and iOS 18 and later, OpenSSL."""


class Reason(StrEnum):
    """Why a certificate is revoked."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    SUPERSEDED = "superseded"
    CESSATION = "cessationOfOperation"
    AFFILIATION = "affiliationChanged"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key."""

    record: Record
    certificate: x509.Certificate = field(repr=False)
    key: PrivateKey = field(repr=False)


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def generate(kind: KeyType) -> PrivateKey:
    """A new private key."""
    match kind:
        case KeyType.ECDSA_256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ECDSA_384:
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))


def is_host_name(name: str) -> bool:
    """Whether this can be a dNSName: labels of letters, digits and hyphens; no wildcard."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def alternative_name(name: str) -> x509.GeneralName:
    """An address, a mail address or a host name as the subjectAltName holds it. Raises ``LocalError`` for anything else."""
    address = address_of(name)
    if address is not None:
        return x509.IPAddress(address)
    local, at, host = name.rpartition("@")
    try:
        ascii_host = host.encode("idna").decode().lower() if not host.isascii() else host.lower()
    except UnicodeError as error:
        raise LocalError(f"{name} is no host name: {error}") from error
    if not is_host_name(ascii_host) or (at and not re.fullmatch(r"[\x21-\x7e]+", local)):
        raise LocalError(f"{name!r} is no host name, address or mail address; wildcards are not issued")
    return x509.RFC822Name(f"{local}@{ascii_host}") if at else x509.DNSName(ascii_host.removesuffix("."))


def _common_name(name: str) -> str:
    if not name.isprintable() or not name.strip() or len(name.encode()) > MAX_NAME:
        raise LocalError(f"{name!r} cannot be a common name: 1 to {MAX_NAME} octets of printable text are needed")
    return name


def _days(days: int) -> timedelta:
    if not 1 <= days <= 36500:
        raise LocalError(f"{days} days are no life for a certificate: 1 to 36500")
    return timedelta(days=days)


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash to sign with: as strong as the key."""
    return hashes.SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size == 384 else hashes.SHA256()


def _key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


class Authority:
    """The CA of one directory. Every method that changes something holds the directory's lock."""

    def __init__(
        self, directory: Path, certificate: x509.Certificate, key: PrivateKey, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """Take what ``create`` made or ``open`` found."""
        self.directory = directory
        self.certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def create(
        cls,
        directory: Path,
        name: str,
        *,
        days: int = CA_DAYS,
        key_type: KeyType = KeyType.RSA_3072,
        passphrase: bytes | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> Authority:
        """Make a new CA, with an empty revocation list.

        Raises ``LocalError`` if the directory holds one already or a value is out of range, ``OSError`` if it cannot be written.
        """
        life = _days(days)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _common_name(name))])
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(directory):
            if (directory / "ca.key").exists() or (directory / "ca.crt").exists():
                raise LocalError(f"{directory} holds a CA already; choose another directory, or remove it by hand")
            key = generate(key_type)
            now = clock().astimezone(UTC)
            certificate = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(subject)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - BACKDATE)
                .not_valid_after(now + life)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                .sign(key, _digest(key))
            )
            (directory / "issued").mkdir(exist_ok=True, mode=0o700)
            write_index(directory / "index.json", Index())
            write_atomically(directory / "ca.key", _key_pem(key, passphrase), PRIVATE)
            write_atomically(directory / "ca.crt", certificate.public_bytes(Encoding.PEM))
            authority = cls(directory, certificate, key, clock)
            authority._write_crl(CRL_DAYS)
        return authority

    @classmethod
    def open(cls, directory: Path, *, passphrase: bytes | None = None, clock: Callable[[], datetime] = utc_now) -> Authority:
        """Open the CA of a directory. Raises ``LocalError`` with what is missing, wrong or readable by others, ``OSError``."""
        key_file, certificate_file = directory / "ca.key", directory / "ca.crt"
        for path in (key_file, certificate_file, directory / "index.json"):
            if not path.exists():
                raise LocalError(f"{directory} holds no CA: {path.name} is missing; `headrace pki init` makes one")
        key = load_key(key_file, passphrase)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except ValueError as error:
            raise LocalError(f"{certificate_file} cannot be read: {error}") from error
        if certificate.public_key() != key.public_key():
            raise LocalError(f"{key_file} is not the key of {certificate_file}")
        return cls(directory, certificate, key, clock)

    # Issuing

    def issue_gateway(self, names: Sequence[str], *, days: int = LEAF_DAYS, key_type: KeyType = KeyType.RSA_2048) -> Issued:
        """A certificate for a gateway. ``names`` are all host names and addresses that clients dial; the first is its common name.

        Raises ``LocalError`` for a name that cannot be issued or a life beyond the CA's own, ``OSError``.
        """
        if not names:
            raise LocalError("a gateway's certificate needs the name or address that clients dial")
        if any("@" in name for name in names):
            raise LocalError("a gateway is dialled by host name or address, not by a mail address")
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier(IKE_INTERMEDIATE), x509.ObjectIdentifier(IPSEC_IKE)]
        return self._issue("gateway", names[0], [alternative_name(name) for name in names], purposes, days, key_type)

    def issue_client(
        self, name: str, *, names: Sequence[str] = (), days: int = LEAF_DAYS, key_type: KeyType = KeyType.RSA_2048
    ) -> Issued:
        """A certificate for a client's computer. ``name`` is its common name; if it is a host or mail address, it is named by it too.

        Raises as ``issue_gateway``.
        """
        alternative = [alternative_name(item) for item in names]
        with suppress(LocalError):  # "Anna's laptop" is a good common name and no host name
            alternative.insert(0, alternative_name(name))
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, x509.ObjectIdentifier(IKE_INTERMEDIATE), x509.ObjectIdentifier(IPSEC_IKE)]
        return self._issue("client", name, alternative, purposes, days, key_type)

    def _issue(
        self,
        kind: str,
        name: str,
        alternative: list[x509.GeneralName],
        purposes: list[x509.ObjectIdentifier],
        days: int,
        key_type: KeyType,
    ) -> Issued:
        now = self._clock().astimezone(UTC)
        until = now + _days(days)
        if until > self.certificate.not_valid_after_utc:
            left = (self.certificate.not_valid_after_utc - now).days
            raise LocalError(f"the CA itself is valid for {left} more days; issue for no longer, or make a new CA")
        key = generate(key_type)
        encipher = isinstance(key, rsa.RSAPrivateKey)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _common_name(name))]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_encipherment=encipher), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        unique = list(dict.fromkeys(alternative))
        if unique:
            builder = builder.add_extension(x509.SubjectAlternativeName(unique), critical=False)
        certificate = builder.sign(self._key, _digest(self._key))
        record = Record(
            serial=f"{certificate.serial_number:x}",
            kind=kind,
            name=name,
            names=tuple(str(item.value) for item in unique),
            not_before=certificate.not_valid_before_utc.isoformat(timespec="seconds"),
            not_after=certificate.not_valid_after_utc.isoformat(timespec="seconds"),
        )
        with locked(self.directory):
            index = self._index()
            write_atomically(self._file(record, "key"), _key_pem(key), PRIVATE)
            write_atomically(self._file(record, "crt"), certificate.public_bytes(Encoding.PEM))
            write_index(self.directory / "index.json", replace(index, issued=(*index.issued, record)))
        return Issued(record, certificate, key)

    # Looking up and handing out

    def records(self) -> tuple[Record, ...]:
        """Everything that was issued, oldest first. Raises ``LocalError``, ``OSError``."""
        return self._index().issued

    def load(self, which: str) -> Issued:
        """A certificate with its key, by serial number or name. Raises ``LocalError``, ``OSError``."""
        record = self._index().find(which)
        key = load_key(self._file(record, "key"), None)
        certificate = x509.load_pem_x509_certificate(self._file(record, "crt").read_bytes())
        return Issued(record, certificate, key)

    def export_pem(self, which: str, passphrase: bytes | None = None) -> tuple[bytes, bytes, bytes]:
        """Certificate, private key (PKCS #8, encrypted if there is a passphrase) and CA certificate, each as PEM."""
        issued = self.load(which)
        chain = (issued.certificate.public_bytes(Encoding.PEM), _key_pem(issued.key, passphrase))
        return (*chain, self.certificate.public_bytes(Encoding.PEM))

    def export_pkcs12(self, which: str, password: str, encryption: Pkcs12Encryption = Pkcs12Encryption.COMPATIBLE) -> bytes:
        """Certificate, key and CA certificate in one PKCS #12 file. Raises ``LocalError`` for an empty password, too."""
        if not password:
            raise LocalError("a PKCS #12 file holds a private key: it needs a password")
        issued = self.load(which)
        builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(20000)
        if encryption is Pkcs12Encryption.COMPATIBLE:
            builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(hashes.SHA1())  # noqa: S303
        else:
            builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
        friendly = issued.record.name.encode()
        return pkcs12.serialize_key_and_certificates(
            friendly, issued.key, issued.certificate, [self.certificate], builder.build(password.encode())
        )

    # Revoking

    def revoke(self, which: str, reason: Reason = Reason.UNSPECIFIED) -> Record:
        """Revoke a certificate and write a new revocation list. Raises ``LocalError`` if it is revoked already, ``OSError``."""
        with locked(self.directory):
            index = self._index()
            record = index.find(which)
            if record.revoked:
                raise LocalError(f"{record.name} ({record.serial}) was revoked at {record.revoked_at} already")
            index = index.revoke(record.serial, self._clock(), reason)
            write_index(self.directory / "index.json", index)
            self._write_crl(CRL_DAYS)
        return index.find(record.serial)

    def write_crl(self, days: int = CRL_DAYS) -> bytes:
        """Write the revocation list anew, valid for so many days from now; returns its PEM form. Raises ``LocalError``, ``OSError``."""
        _days(days)
        with locked(self.directory):
            return self._write_crl(days)

    def _write_crl(self, days: int) -> bytes:
        index = self._index()
        index = replace(index, crl_number=index.crl_number + 1)
        now = self._clock().astimezone(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - BACKDATE)
            .next_update(now + timedelta(days=days))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.CRLNumber(index.crl_number), critical=False)
        )
        for record in index.issued:
            if record.revoked:
                entry = (
                    x509.RevokedCertificateBuilder()
                    .serial_number(int(record.serial, 16))
                    .revocation_date(datetime.fromisoformat(record.revoked_at))
                )
                if record.reason not in {"", Reason.UNSPECIFIED}:  # which must not be written (RFC 5280 section 5.3.1)
                    entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(record.reason)), critical=False)
                builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self._key, _digest(self._key))
        pem = crl.public_bytes(Encoding.PEM)
        write_atomically(self.directory / "crl.pem", pem)
        write_atomically(self.directory / "crl.der", crl.public_bytes(Encoding.DER))
        write_index(self.directory / "index.json", index)
        return pem

    def _index(self) -> Index:
        return read_index(self.directory / "index.json")

    def _file(self, record: Record, suffix: str) -> Path:
        return self.directory / "issued" / f"{record.serial}.{suffix}"


def load_key(path: Path, passphrase: bytes | None) -> PrivateKey:
    """A private key from its PEM file. Raises ``LocalError`` if others may read it, or it cannot be used; ``OSError``."""
    if path.stat().st_mode & 0o077:
        raise LocalError(f"{path} may be read by others; `chmod 600 {path}`, and think of it as known to them")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except TypeError as error:
        remedy = "give its passphrase" if passphrase is None else "leave the passphrase away"
        raise LocalError(f"{path}: {error}; {remedy}") from error
    except ValueError as error:
        raise LocalError(f"{path} holds no private key, or its passphrase is wrong") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise LocalError(f"{path} is a {type(key).__name__}; RSA and ECDSA are used")
    return key
