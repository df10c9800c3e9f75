"""What the PPP core is told, and the answers it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Network
from typing import Final, TypeAlias

from headrace.errors import Slug
from headrace.model import Compression, Encryption, SessionLimits
from headrace.ppp.tls import TlsFactory


class AuthMethod(StrEnum):
    """Ways to prove a user's identity."""

    PAP = "pap"
    CHAP_MD5 = "chap-md5"
    MSCHAP = "mschap"
    """Version 1 (RFC 2433): for clients that know nothing else."""
    MSCHAP_V2 = "mschap-v2"
    EAP = "eap"
    """What LCP agrees on for any of the following; by itself, a conversation whose method is still open."""
    EAP_MD5 = "eap-md5"
    EAP_MSCHAP_V2 = "eap-mschap-v2"
    EAP_TLS = "eap-tls"
    PEAP = "peap"
    """PEAPv0 with EAP-MSCHAPv2 inside."""


EAP_METHODS: Final = (AuthMethod.EAP_TLS, AuthMethod.PEAP, AuthMethod.EAP_MSCHAP_V2, AuthMethod.EAP_MD5)
"""Methods that run inside EAP, the strongest first."""

_GIVES_KEYS: Final = frozenset({AuthMethod.MSCHAP_V2, AuthMethod.EAP_MSCHAP_V2, AuthMethod.EAP_TLS, AuthMethod.PEAP})


def gives_keys(method: AuthMethod, *, mschap_mppe: bool = False) -> bool:
    """Whether MPPE can run after a method; after MS-CHAP version 1 only where that was said in so many words."""
    return method in _GIVES_KEYS or (method is AuthMethod.MSCHAP and mschap_mppe)


def lcp_method(method: AuthMethod) -> AuthMethod:
    """What LCP names of a method: every method inside EAP is EAP to it."""
    return AuthMethod.EAP if method in EAP_METHODS else method


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a client proves itself with."""

    username: str
    """May be ``DOMAIN\\user``."""
    password: str = field(repr=False)
    new_password: str | None = field(default=None, repr=False)
    """What to change the password to if the server says that it has expired; ``None``: do not change it."""


@dataclass(frozen=True, slots=True)
class EapConfig:
    """What the methods inside EAP need beyond a password."""

    tls: TlsFactory | None = None
    """Makes the TLS ends of EAP-TLS and PEAP; without it, neither can be had."""
    identity: str = ""
    """Client: the name told before the method, in clear; empty is the user's name."""
    require_binding: bool = False
    """PEAP: end a conversation whose peer does not bind the inner method to the tunnel."""


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """Bridged Ethernet on one link."""

    mac: bytes = b""
    """Our port's MAC address, 6 octets, to be announced; empty is none."""


@dataclass(frozen=True, slots=True)
class IpxConfig:
    """IPX on one link."""

    network: int = 0
    """Server: the network of all sessions. Client: 0 takes the server's."""
    node: bytes = bytes(6)
    """Ours; a client's zeros ask for one."""
    assign: bytes = b""
    """Server: what a peer that has no node number gets."""
    name: str = ""
    """Server: the router's name, at most 47 octets."""


@dataclass(frozen=True, slots=True)
class MultilinkConfig:
    """Multilink on one link."""

    discriminator: bytes
    """Our endpoint discriminator, class and address (RFC 1990 section 5.1.3): the same on all links of this machine."""
    mrru: int = 1500
    """The largest frame that we put together, octets."""
    short: bool = False
    """Ask for 12-bit sequence numbers."""


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One link, either role."""

    server: bool
    """True: this side authenticates the other and gives addresses (LNS)."""
    auth_methods: tuple[AuthMethod, ...] = (AuthMethod.MSCHAP_V2,)
    """Server: demanded, most wanted first. Client: accepted."""
    eap: EapConfig = EapConfig()
    mschap_mppe: bool = False
    """Let MPPE have keys from MS-CHAP version 1: both directions then use one key stream, which protects little."""
    encryption: Encryption = Encryption.OPTIONAL
    """MPPE inside the link. A server's grant may tighten or loosen it for the user."""
    mppe_bits: tuple[int, ...] = (128, 56, 40)
    """Strengths allowed, strongest first. 40 and 56 only where a policy names them."""
    mppe_stateless: bool = True
    """Ask for stateless mode; a peer that insists on stateful gets it only if this is False or ``mppe_allow_stateful``."""
    mppe_allow_stateful: bool = True
    prefer_mppe: bool = False
    """With ``optional``: offer CCP ourselves; otherwise answer only. Inside ESP Windows counts IPsec as the encryption."""
    compression: tuple[Compression, ...] = ()
    """What may compress the link; asked for and taken. Together with MPPE only MPPC goes."""
    vj_slots: int = 0
    """TCP connections whose headers are compressed at a time, each way (RFC 1144): 3 to 16, 0 is none. A link should keep the order of
    its packets."""
    accm: int | None = None
    """On a serial line: the control characters that the peer is to escape, bit n for octet n. ``None``: not a line, no such option."""
    name: str = "headrace"
    """CHAP name of the server."""
    credentials: ClientCredentials | None = None
    mru: int = 1400
    """The largest information field we take, sent in LCP."""
    max_send_mru: int = 1400
    """Never send more than this, whatever the peer takes: what fits the path."""
    pfc: bool = True
    acfc: bool = True
    echo_interval: float = 30.0
    """Seconds between LCP echoes when nothing arrives; 0 is off."""
    echo_failure: int = 4
    restart_timer: float = 3.0
    max_configure: int = 10
    max_terminate: int = 2
    max_failure: int = 5
    auth_timeout: float = 30.0
    network_timeout: float = 30.0
    """Seconds from authentication to an open IPCP."""
    local_address: IPv4Address | None = None
    """Server: our inner address. Client: ``None`` takes what is given."""
    peer_address: IPv4Address | None = None
    """Server: what a peer gets that is not asked who it is."""
    want_dns: bool = True
    """Client: ask for DNS servers."""
    want_wins: bool = False
    ipv6: bool = False
    """IPV6CP. A server has it for those who are granted a prefix."""
    ipx: IpxConfig | None = None
    """IPXCP; ``None`` is none."""
    bridge: BridgeConfig | None = None
    """BCP; ``None`` is none."""
    multilink: MultilinkConfig | None = None
    """Multilink; ``None`` rejects it. Not where encryption is required: MPPE would be inside of it."""
    foreign: frozenset[int] = frozenset()
    """Protocol numbers that an embedding program takes: their frames come as ``Carried``. Whatever else is unknown gets Protocol-Reject."""
    identification: str = ""
    """What LCP Identification says of us when the link opens; empty is nothing."""
    interface_id: bytes = b""
    """Our IPv6 interface identifier, 8 octets; empty is one at random."""
    passive_start: float = 0.0
    """Server: seconds to wait for the peer's first Configure-Request before sending ours (Windows loses one sent too early)."""

    def gives_keys(self, method: AuthMethod) -> bool:
        """Whether MPPE can run after a method."""
        return gives_keys(method, mschap_mppe=self.mschap_mppe)


@dataclass(frozen=True, slots=True)
class AuthAccept:
    """The user may come in. For MS-CHAPv2 the keys and the proof come from the NT hash of the hash; PAP and CHAP-MD5 give no keys."""

    username: str
    """Canonical account name."""
    address: IPv4Address | None = None
    """Inner address of the peer; ``None``: no IPv4."""
    address_failure: str = ""
    """With no address: why (the pool is empty). The link then ends with ``pool-empty`` and this detail."""
    dns: tuple[IPv4Address, ...] = ()
    wins: tuple[IPv4Address, ...] = ()
    encryption: Encryption | None = None
    """The user's own policy; ``None``: the link's."""
    mschap_success: bytes | None = None
    """``S=...`` text for MS-CHAPv2's Success packet, without the message."""
    mppe_send_key: bytes | None = field(default=None, repr=False)
    """RFC 3079 master send key (16 octets, from the server's view), if the method gives keys."""
    mppe_recv_key: bytes | None = field(default=None, repr=False)
    allow_any_address: bool = False
    """The user may choose an address."""
    prefix6: IPv6Network | None = None
    """IPv6 prefix of the peer; ``None``: no IPv6."""
    mppe_bits: tuple[int, ...] = (128, 56, 40)
    """Strengths that these keys serve: after MS-CHAP version 1 only 128."""
    pool: str = ""
    """For the shell, which leases the address: the account's pool; empty is the gateway's first."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    """For the stack: how long, how much, how fast, where to."""
    replaces: tuple[str, ...] = ()
    """For the shell: owners of older sessions of the user that end for this one."""


@dataclass(frozen=True, slots=True)
class AuthReject:
    """The user may not. ``slug`` decides the number that the peer sees (E=691, 646 to 649)."""

    slug: Slug
    detail: str = ""
    retry: bool = False
    """Whether the peer may try again on the same link (MS-CHAP R=1)."""
    delay: float = 0.0
    """For the shell: seconds to hold the answer back, so that guessing is slow."""


@dataclass(frozen=True, slots=True)
class AuthOffer:
    """Answer to an EAP identity: this side runs the method itself, and may run these with this user."""

    methods: tuple[AuthMethod, ...] = ()
    """Most wanted first; empty is what the link allows, in its order."""


@dataclass(frozen=True, slots=True)
class AuthContinue:
    """Answer to an EAP identity or response: somebody else runs the method (RFC 3579), and this is the next request."""

    packet: bytes = field(repr=False)
    """A whole EAP Request; its identifier is kept."""


AuthResult: TypeAlias = AuthAccept | AuthReject | AuthOffer | AuthContinue
"""What may be said to an ``AuthRequest``."""
