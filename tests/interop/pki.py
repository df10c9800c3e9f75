"""Certificates for both sides: from our own CA by ``headrace pki``, and a foreign chain that is too large for one datagram."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.interop.guest import GUEST_IP, OUR_IP, USER

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from tests.interop.lab import Lab

_LIFE: Final = timedelta(days=30)


class Issued:
    """What one CA gave to both sides."""

    def __init__(self, folder: Path) -> None:
        self.guest = folder / "guest"
        """ca.crt, guest.crt, guest.key and perhaps sub.crt for the guest."""
        self._ours = folder / "ours"

    def ours(self, folder: Path) -> tuple[Path, Path, Path]:
        """Certificate (with its intermediates), key and CA for our side, put into a scenario's folder."""
        names = ("gateway.crt", "gateway.key", "ca.crt")
        for name in names:
            shutil.copy(self._ours / name, folder / name)
        certificate, key, ca = (folder / name for name in names)
        return certificate, key, ca


class Papers:
    """Made when first asked for."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    @cached_property
    def small_ca(self) -> Issued:
        """By ``headrace pki``. The guest may be client or server."""
        folder = self._lab.state / "pki"
        ca = folder / "ca"
        run = self._lab.run
        run("pki", "init", "--dir", ca, "--name", "Interop CA", "--key", "rsa-2048")
        run("pki", "issue", "--gateway", "--ip", OUR_IP, "--dns", "gateway.example", "--dir", ca, "--out", folder / "ours")
        run("pki", "issue", "--gateway", "--ip", GUEST_IP, "--dir", ca, "--out", folder / "guest")
        for suffix in ("crt", "key"):
            (folder / "guest" / f"gateway.{suffix}").rename(folder / "guest" / f"guest.{suffix}")
        return Issued(folder)

    @cached_property
    def alice(self) -> Path:
        """Certificate and key of the user alice, by the small CA, as the guest looks for them: ca.crt, guest.crt, guest.key."""
        self.small_ca  # noqa: B018 (makes the CA)
        home = self._lab.state / "pki" / "alice"
        self._lab.run("pki", "issue", USER, "--dir", self._lab.state / "pki" / "ca", "--out", home)
        for suffix in ("crt", "key"):
            (found,) = (path for path in home.glob(f"*.{suffix}") if path.stem != "ca")
            found.rename(home / f"guest.{suffix}")
        return home

    @cached_property
    def revoked(self) -> Path:
        """A revocation list of the same CA on which the guest's certificate stands."""
        self.small_ca  # noqa: B018 (makes the CA)
        ca, crl = self._lab.state / "pki" / "ca", self._lab.state / "pki" / "revoked.pem"
        self._lab.run("pki", "revoke", GUEST_IP, "--dir", ca)
        self._lab.run("pki", "crl", "--dir", ca, "--out", crl)
        return crl

    @cached_property
    def long_chain(self) -> Issued:
        """From a company's CA with an authority between, and keys so long that neither side's proof fits one datagram."""
        folder = self._lab.state / "chain"
        root_key, sub_key = _key(), _key()
        root = _certificate("Root of a Company", root_key.public_key(), "Root of a Company", root_key, ca=True)
        sub = _certificate("Authority for Computers", sub_key.public_key(), "Root of a Company", root_key, ca=True)
        for side, stem, address in (("ours", "gateway", OUR_IP), ("guest", "guest", GUEST_IP)):
            home = folder / side
            home.mkdir(parents=True)
            key = _key()
            leaf = _certificate(address, key.public_key(), "Authority for Computers", sub_key, ca=False)
            chain = [leaf, sub] if side == "ours" else [leaf]
            (home / f"{stem}.crt").write_bytes(b"".join(map(_pem, chain)))
            (home / "ca.crt").write_bytes(_pem(root))
            (home / "sub.crt").write_bytes(_pem(sub))
            secret = home / f"{stem}.key"
            secret.touch(mode=0o600)
            plain = serialization.NoEncryption()
            secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return Issued(folder)


def _key() -> RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(name: str, key: Any, issuer: str, issuer_key: RSAPrivateKey, *, ca: bool) -> x509.Certificate:
    import ipaddress

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not ca:
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
