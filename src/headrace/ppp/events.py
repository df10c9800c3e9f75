"""What the PPP core tells its driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TypeAlias

from headrace.model import Compressor, Failure, MppeKeys, VjSlots
from headrace.ppp.config import AuthMethod
from headrace.ppp.multilink import Terms


@dataclass(frozen=True, slots=True)
class LcpUp:
    """LCP is open: what the data plane may use when it sends."""

    send_mru: int
    send_acfc: bool
    send_pfc: bool
    auth: AuthMethod | None
    """What the authenticating side asks for."""
    send_accm: int = 0xFFFFFFFF
    """On a serial line: the control characters that the peer wants escaped."""


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """Server: the peer has given its proof; answer with ``Link.auth_result(request, ...)``, now or later.

    Everything that a store or a RADIUS server needs to check it. Nothing here says whether it is right.
    """

    request: int
    method: AuthMethod
    username: bytes
    """As sent, unescaped."""
    identifier: int
    challenge: bytes = field(default=b"", repr=False)
    """CHAP: ours."""
    response: bytes = field(default=b"", repr=False)
    """CHAP-MD5: 16 octets. MS-CHAPv2: peer challenge 16, reserved 8, NT response 24, flags 1. MS-CHAP: LM response 24, NT response
    24, flag 1. PAP: the password. EAP-TLS: the user's certificate, DER, which has been verified up to a trusted root. EAP: the whole
    EAP Response; ``username`` is the identity, and the answer ``AuthOffer`` or ``AuthContinue`` says who goes on."""
    change: bytes = field(default=b"", repr=False)
    """MS-CHAPv2: change the password (RFC 2759 section 7): encrypted new password 516, encrypted old hash 16. ``response`` then
    proves the new password."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Authentication is complete (server: accepted; client: accepted and, for MS-CHAPv2, the server's proof verified)."""

    username: str
    """Server: canonical account name. Client: the name that we gave. Empty without authentication."""
    method: AuthMethod | None


@dataclass(frozen=True, slots=True)
class MppeUp:
    """CCP opened: install both directions before the next user packet."""

    send: MppeKeys
    receive: MppeKeys


@dataclass(frozen=True, slots=True)
class CompressionUp:
    """CCP opened without encryption: compress these directions; ``None`` is one that has none."""

    send: Compressor | None
    receive: Compressor | None


@dataclass(frozen=True, slots=True)
class MppeDown:
    """CCP closed or renegotiates: close both directions of encryption and compression."""


@dataclass(frozen=True, slots=True)
class MppeFlush:
    """The peer sent a CCP Reset-Request: set the A bit on the next packet (stateful)."""


@dataclass(frozen=True, slots=True)
class EncryptionDecided:
    """Whether user data must be encrypted is settled: REQUIRED from now on, or never mind."""

    required: bool


@dataclass(frozen=True, slots=True)
class Ipv4Up:
    """IPCP is open."""

    local: IPv4Address
    remote: IPv4Address
    dns: tuple[IPv4Address, ...]
    """Client: as given. Server: as granted."""
    wins: tuple[IPv4Address, ...]
    vj: VjSlots = field(default_factory=VjSlots)
    """Compression of TCP/IP headers."""


@dataclass(frozen=True, slots=True)
class Ipv4Down:
    """IPCP left the open state."""


@dataclass(frozen=True, slots=True)
class Ipv6Up:
    """IPV6CP is open. Global addresses come later, by router advertisement."""

    local: IPv6Address
    """Link-local."""
    remote: IPv6Address | None
    """Link-local; ``None`` if the peer named no interface identifier."""
    prefix: IPv6Network | None
    """Server: what was granted to the peer."""


@dataclass(frozen=True, slots=True)
class Ipv6Down:
    """IPV6CP left the open state."""


@dataclass(frozen=True, slots=True)
class IpxUp:
    """IPXCP is open."""

    network: int
    local: bytes
    """Node numbers, 6 octets."""
    remote: bytes
    name: str
    """What the peer calls itself; empty if it is no router."""


@dataclass(frozen=True, slots=True)
class IpxDown:
    """IPXCP left the open state."""


@dataclass(frozen=True, slots=True)
class BridgeUp:
    """BCP is open."""

    mac: bytes
    """The peer's announced MAC address; empty if it named none."""
    room: int
    """Octets of the largest Ethernet frame, without its check sequence, that fits the link."""
    tagged: bool
    """It takes VLAN tags."""


@dataclass(frozen=True, slots=True)
class BridgeDown:
    """BCP left the open state."""


@dataclass(frozen=True, slots=True)
class MultilinkOffered:
    """Both ends agreed on multilink, and the peer is known: answer with ``Link.lead`` or ``Link.follow``."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class MultilinkLeft:
    """The link is no part of its bundle any more."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A packet of an open network protocol that is not for the data plane to forward, or of one that an embedding program takes."""

    protocol: int
    information: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settled:
    """Every network protocol is up or will not come up, and one at least is up."""


@dataclass(frozen=True, slots=True)
class Identification:
    """LCP Identification text of the peer (Windows: MSRASV5.20, MSRAS-0-COMPUTER), printable."""

    text: str


@dataclass(frozen=True, slots=True)
class TimeRemaining:
    """The peer says how long the link will last (RFC 1570 section 2.2)."""

    seconds: int
    """4294967295 is for ever."""
    text: str


@dataclass(frozen=True, slots=True)
class ProtocolRejected:
    """The peer does not speak a protocol of ``LinkConfig.foreign``."""

    protocol: int


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link has ended; nothing follows. Close the session that carries it."""

    failure: Failure
    by_peer: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A frame was ignored. The driver counts by reason."""

    reason: str
    """Stable counter name: ``ppp_short``, ``lcp_length``, ``chap_size`` ..."""


PppEvent: TypeAlias = (
    LcpUp
    | AuthRequest
    | Authenticated
    | MppeUp
    | CompressionUp
    | MppeDown
    | MppeFlush
    | EncryptionDecided
    | Ipv4Up
    | Ipv4Down
    | Ipv6Up
    | Ipv6Down
    | IpxUp
    | IpxDown
    | BridgeUp
    | BridgeDown
    | MultilinkOffered
    | MultilinkLeft
    | Carried
    | Settled
    | Identification
    | TimeRemaining
    | ProtocolRejected
    | LinkDown
    | Dropped
)
