"""What every profile says, whatever the client: where to call, who calls, how the machines prove themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from headrace.errors import ConfigError
from headrace.ppp.config import AuthMethod
from headrace.shell.config import IkeAuth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.shell.config import GatewayConfig

_PORTS: Final = (("ike_port", 500), ("natt_port", 4500), ("l2tp_port", 1701))
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,60}")
_USER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a client's computer proves itself with instead of a pre-shared key."""

    bundle: bytes = field(repr=False)
    """PKCS #12, as `headrace pki export` wrote it: certificate, key, authorities."""
    password: str = field(repr=False)
    certificate: bytes
    """The computer's certificate, DER."""
    key: bytes = field(repr=False)
    """Its private key, PEM, not encrypted."""
    authorities: tuple[bytes, ...]
    """DER; the first is the gateway's root."""

    @property
    def thumbprint(self) -> str:
        """What Windows calls the certificate: SHA-1 of its DER, in capitals."""
        return thumbprint(self.certificate)


@dataclass(frozen=True, slots=True)
class Facts:
    """One connection for one user."""

    name: str
    """What the connection is called in the client's list."""
    server: str
    user: str
    user_auth: tuple[AuthMethod, ...]
    psk: str | None = field(default=None, repr=False)
    machine: Machine | None = None
    routes: tuple[IPv4Network, ...] = ()
    """Networks behind the gateway; empty sends everything through the tunnel."""
    behind_nat: bool = False
    """Whether the gateway stands behind a NAT, which Windows refuses unless a registry value allows it."""
    mtu: int = 1400
    ike: tuple[str, ...] = ()
    """Phase 1 proposals that the gateway takes, best first, in swanctl's words."""
    esp: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What will keep some client from connecting; one sentence each."""

    @property
    def file_name(self) -> str:
        """The connection's name, as a part of a file name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.") or "headrace"


def thumbprint(der: bytes) -> str:
    """SHA-1 of a certificate's DER, in capitals."""
    return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, not a proof


def read_bundle(path: Path, password: str) -> Machine:
    """Read a client's .p12 file. Raises ``ConfigError`` if it cannot be opened, or lacks certificate, key or authority."""
    data = path.read_bytes()
    try:
        found = pkcs12.load_pkcs12(data, password.encode())
    except ValueError as error:
        raise ConfigError(f"{path} cannot be opened; it is no .p12 file, or its password is another") from error
    if found.cert is None or found.key is None:
        raise ConfigError(f"{path} lacks the certificate or its key; make it with `headrace pki export NAME --out FILE.p12`")
    authorities = tuple(one.certificate.public_bytes(serialization.Encoding.DER) for one in found.additional_certs)
    if not authorities:
        raise ConfigError(f"{path} lacks the authority's certificate; make it with `headrace pki export NAME --out FILE.p12`")
    return Machine(
        data,
        password,
        found.cert.certificate.public_bytes(serialization.Encoding.DER),
        found.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        authorities,
    )


def gather(
    config: GatewayConfig,
    *,
    user: str,
    ike: Sequence[str],
    esp: Sequence[str],
    certificate_names: Sequence[str] = (),
    name: str = "",
    server: str = "",
    machine: Machine | None = None,
    routes: Sequence[IPv4Network] = (),
    behind_nat: bool = False,
) -> Facts:
    """Put together what a configuration and its caller say. Raises ``ConfigError`` where a client could not connect at all.

    ``server`` is what the client dials: by default the first name of the gateway's certificate, else its only address. ``ike`` and
    ``esp`` are the proposals in force, ``certificate_names`` those in the gateway's certificate.
    """
    server = server or _own_name(config, certificate_names)
    if not (_HOST.fullmatch(server) or _is_address(server)):
        raise ConfigError(f"{server!r} is neither a host name nor an address; say what clients dial: --server NAME")
    name = name or server
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be the name of a connection; use at most 60 letters, digits and blanks")
    if not _USER.fullmatch(user):
        raise ConfigError("the user's name is empty, too long, or holds control characters")
    psk = None
    if machine is None:
        psk = _pre_shared_key(config)
    elif IkeAuth.CERT not in config.ike.auth:
        raise ConfigError('this gateway takes no certificates; add "cert" to ike.auth, with certificate, private_key and ca')
    return Facts(
        name,
        server,
        user,
        config.ppp.auth,
        psk,
        machine,
        tuple(routes),
        behind_nat,
        config.ppp.mru,
        tuple(ike),
        tuple(esp),
        tuple(_warnings(config, server, certificate_names, machine)),
    )


def _own_name(config: GatewayConfig, certificate_names: Sequence[str]) -> str:
    names = [name for name in certificate_names if not name.startswith("*")]
    if names:
        return names[0]
    addresses = [address for address in config.gateway.listen if not address.is_unspecified]
    if len(addresses) == 1:
        return str(addresses[0])
    raise ConfigError("nothing says what clients dial; say it: --server NAME")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _pre_shared_key(config: GatewayConfig) -> str:
    if IkeAuth.PSK not in config.ike.auth:
        raise ConfigError("this gateway takes certificates only; give the client's: --bundle FILE.p12 (headrace pki export)")
    if config.ike.psk is None:
        raise ConfigError("the pre-shared key depends on the client's network; give a certificate: --bundle FILE.p12")
    try:
        return config.ike.psk.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            "the pre-shared key is not text, so no client can be told it; write another to ike.psk_file"
        ) from None


def _warnings(config: GatewayConfig, server: str, certificate_names: Sequence[str], machine: Machine | None) -> list[str]:
    found = []
    for key, port in _PORTS:
        value = getattr(config.gateway, key)
        if value != port:
            found.append(f"gateway.{key} is {value}: Windows, Apple and Android call {port} and can be told nothing else")
    if machine is not None and server.lower() not in {name.lower() for name in certificate_names}:
        found.append(
            f"the gateway's certificate does not name {server}: Windows will show 835; dial one of {', '.join(certificate_names)}"
        )
    if AuthMethod.MSCHAP_V2 not in config.ppp.auth:
        found.append("without mschap-v2 in ppp.auth, Android and many others will show a refused password")
    return found
