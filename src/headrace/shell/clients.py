"""What common clients offer, in their order, and whether a configuration takes one of it.

The lists are what these clients were seen to propose out of the box; a person's registry or profile may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from headrace.errors import ConfigError
from headrace.esp.proposal import EspProposal
from headrace.ike.proposal import IkeProposal
from headrace.model import Encryption
from headrace.ppp.config import AuthMethod
from headrace.shell.config import IkeAuth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.shell.config import GatewayConfig

_METHODS: Final = {IkeAuth.CERT: "a computer certificate", IkeAuth.PSK: "the pre-shared key"}


@dataclass(frozen=True, slots=True)
class Client:
    """One family of clients."""

    name: str
    ike: tuple[str, ...]
    esp: tuple[str, ...]
    user_auth: tuple[AuthMethod, ...] = (AuthMethod.MSCHAP_V2,)
    """What it does without anybody changing its settings."""
    mppe_in_esp: bool = True
    """Whether it agrees to MPPE inside ESP."""
    machine_auth: frozenset[IkeAuth] = frozenset(IkeAuth)
    """How its computer can prove itself."""
    settings: str = ""
    """What its user sets, ``{method}`` being the pre-shared key or the certificate."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether a client will be able to connect, and with what."""

    client: str
    good: bool
    ike: str = ""
    esp: str = ""
    reason: str = ""
    remedy: str = ""
    settings: str = ""
    """What its user must set."""


def _each(*parts: str) -> tuple[str, ...]:
    return tuple("-".join(words) for words in product(*(part.split() for part in parts)))


_APPLE_IKE: Final = (
    *_each("aes256", "sha256 sha1 md5 sha512", "modp2048"),
    *_each("aes256", "sha256 sha1 md5", "modp1536"),
    *_each("aes256", "sha256 sha1 md5", "modp1024"),
    *_each("aes128 3des", "sha1 md5", "modp1024"),
)
_APPLE_ESP: Final = _each("aes256 aes128 3des", "sha1 md5")
_SHA1_LIST: Final = ("aes256-sha1", "aes128-sha1", "3des-sha1")

CLIENTS: Final = (
    Client(
        "Windows 7 to 11, Server 2008 R2 and later",
        (
            "aes256-sha1-ecp384",
            "aes128-sha1-ecp256",
            "aes256-sha1-modp2048",
            "3des-sha1-modp2048",
            "3des-sha1-modp1024",
        ),
        _SHA1_LIST,
        mppe_in_esp=False,
        settings="type L2TP/IPsec, under its advanced settings {method}; `headrace profile windows` does it. A gateway behind a NAT needs "
        "AssumeUDPEncapsulationContextOnSendRule = 2 in the registry",
    ),
    Client(
        "macOS",
        _APPLE_IKE,
        _APPLE_ESP,
        settings="type L2TP over IPsec, machine authentication by {method}; `headrace profile apple` does it",
    ),
    Client(
        "iOS, iPadOS",
        _APPLE_IKE,
        _APPLE_ESP,
        machine_auth=frozenset({IkeAuth.PSK}),
        settings="type L2TP, Secret is {method}; `headrace profile apple` does it",
    ),
    Client(
        "Linux, NetworkManager-l2tp",
        (
            *_each("aes256", "sha256 sha1", "modp2048 modp1536 modp1024"),
            "aes256-sha1-ecp384",
            "aes128-sha1-modp1024",
            "aes128-sha1-ecp256",
            *_each("3des", "sha1", "modp2048 modp1024"),
        ),
        _SHA1_LIST,
        settings="machine authentication by {method}; `headrace profile linux` does it, for strongSwan and xl2tpd too",
    ),
    Client(
        "Android 4 to 11",
        _each("aes256 aes128 3des des", "sha256 sha1 md5", "modp1024"),
        _each("aes256 aes128 3des des", "sha256 sha1 md5"),
        settings="type L2TP/IPSec PSK or RSA with {method}, L2TP secret empty; `headrace profile sheet` shows the form. Android 12 and later "
        "make no new connections of this kind",
    ),
    Client(
        "Windows XP, Server 2003",
        ("3des-sha1-modp2048", "3des-sha1-modp1024", "3des-md5-modp1024", "des-sha1-modp768", "des-md5-modp768"),
        ("3des-md5", "3des-sha1", "des-md5", "des-sha1"),
        mppe_in_esp=False,
        settings="type L2TP IPSec VPN, {method} under IPSec Settings on the Security page",
    ),
)


def outlook(config: GatewayConfig, ike: Iterable[IkeProposal], esp: Iterable[EspProposal]) -> list[Outlook]:
    """Compare every known client with what the gateway takes. The first offer of the client's that we take is what it will use."""
    allowed_ike = {str(proposal) for proposal in ike}
    allowed_esp = {str(EspProposal(p.cipher, p.key_bits, p.auth)) for p in esp}
    return [_judge(client, config, allowed_ike, allowed_esp) for client in CLIENTS]


def _judge(client: Client, config: GatewayConfig, ike: set[str], esp: set[str]) -> Outlook:
    methods = [method for method in config.ike.auth if method in client.machine_auth]
    first_ike = next((offer for offer in client.ike if _normal_ike(offer) in ike), None)
    first_esp = next((offer for offer in client.esp if _normal_esp(offer) in esp), None)
    if not config.ike.auth:
        return Outlook(
            client.name, good=False, reason="it uses IPsec, and that is off", remedy="set ike.psk_file or a certificate"
        )
    if not methods:
        return Outlook(
            client.name,
            good=False,
            reason="786: it takes no certificates for L2TP",
            remedy="give it a pre-shared key: ike.psk_file",
        )
    if first_ike is None:
        return Outlook(
            client.name,
            good=False,
            reason="788: no common phase 1; it offers " + _some(client.ike),
            remedy="name one of them in ike.proposals, or choose a wider gateway.policy",
        )
    if first_esp is None:
        return Outlook(
            client.name,
            good=False,
            reason="788: no common phase 2; it offers " + _some(client.esp),
            remedy="name one of them in esp.proposals, or choose a wider gateway.policy",
        )
    if not set(client.user_auth) & set(config.ppp.auth):
        return Outlook(
            client.name,
            good=False,
            ike=first_ike,
            esp=first_esp,
            reason="919: no common user authentication",
            remedy='add "mschap-v2" to ppp.auth',
        )
    required = config.ppp.encryption in {Encryption.REQUIRED, Encryption.REQUIRED_128}
    if required and not client.mppe_in_esp:
        return Outlook(
            client.name,
            good=False,
            ike=first_ike,
            esp=first_esp,
            reason="742: it refuses MPPE inside ESP",
            remedy='set ppp.encryption = "optional"',
        )
    words = " or ".join(_METHODS[method] for method in methods)
    settings = client.settings.format(method=words)
    return Outlook(client.name, good=True, ike=first_ike, esp=first_esp, reason=f"with {words}", settings=settings)


def _some(offers: tuple[str, ...]) -> str:
    return ", ".join(offers[:3]) + (f" and {len(offers) - 3} more" if len(offers) > 3 else "")


def _normal_ike(offer: str) -> str:
    """The offer as we would write it; empty where it holds something that nothing here can do."""
    try:
        return str(IkeProposal.parse(offer))
    except ConfigError:
        return ""


def _normal_esp(offer: str) -> str:
    try:
        return str(EspProposal.parse(offer))
    except ConfigError:
        return ""
