"""What the joined stack tells the shell: one record a session, and the few things that happen to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TypeAlias

from headrace.model import Endpoint, Failure, Rung
from headrace.ppp.events import AuthRequest


@dataclass(slots=True)
class PeerRecord:
    """One remote machine, from phase 1 on."""

    handle: int
    """The stack's own number; never reused."""
    local: Endpoint
    remote: Endpoint
    auth: str
    """``cert``, ``psk``, or ``none`` for clear L2TP."""
    remote_id: str = ""
    host_name: str = ""
    """The L2TP host name."""
    vendor: str = ""
    ike_proposal: str = ""
    esp_proposal: str = ""
    nat_local: bool = False
    nat_remote: bool = False
    since: float = 0.0
    rungs: dict[Rung, float] = field(default_factory=dict)


@dataclass(slots=True)
class SessionRecord:
    """One PPP session: what was agreed on each rung, and when each was passed."""

    handle: int
    """Never reused."""
    peer: PeerRecord
    local_tunnel: int
    local_session: int
    remote_tunnel: int
    remote_session: int
    index: int
    """In the data plane's table."""
    host_name: str = ""
    """The L2TP peer's host name."""
    computer: str = ""
    """What LCP Identification said: of Windows' two or three texts, the computer's name."""
    software: str = ""
    """The other texts: ``MSRASV5.20``."""
    calling_number: str = ""
    username: str = ""
    auth_method: str = ""
    lcp: str = ""
    """What LCP agreed for what we send: ``mru 1400, mschap-v2``."""
    mppe: str = ""
    """``128-bit stateless``, or empty."""
    compression: str = ""
    """``mppc``, ``deflate``, or empty."""
    vj: bool = False
    """TCP/IP headers are compressed, either way."""
    local_address: IPv4Address | None = None
    remote_address: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    link_local: IPv6Address | None = None
    """Our end of the IPv6 link; ``None`` while there is none."""
    prefix6: IPv6Network | None = None
    """Gateway: the peer's."""
    addresses6: tuple[IPv6Address, ...] = ()
    """Client: what the gateway's advertisements made; each is on a /64."""
    dns6: tuple[IPv6Address, ...] = ()
    router6: IPv6Address | None = None
    """Client: the default router."""
    ipx: str = ""
    """The client's IPX network and node, ``00c0ffee.020000000042``."""
    bridged: bool = False
    """Ethernet is bridged through it."""
    bundle: int = 0
    """The session that leads the multilink bundle that this one follows; 0: none."""
    mtu: int = 0
    rungs: dict[Rung, float] = field(default_factory=dict)
    up: bool = False


@dataclass(frozen=True, slots=True)
class PeerUp:
    """Phase 1 and the first ESP SA pair are there."""

    peer: PeerRecord


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The peer and everything of it is gone."""

    peer: PeerRecord
    failure: Failure


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """The peer's outer address changed."""

    peer: PeerRecord
    before: Endpoint


@dataclass(frozen=True, slots=True)
class AuthNeeded:
    """Server: somebody must judge this proof; the answer goes to ``Ladder.auth_result``."""

    session: SessionRecord
    request: AuthRequest


@dataclass(frozen=True, slots=True)
class SessionUp:
    """Addresses are agreed: traffic may flow."""

    session: SessionRecord


@dataclass(frozen=True, slots=True)
class SessionDown:
    """A session has ended; ``session.up`` says whether it had come up. Its lease is free again."""

    session: SessionRecord
    failure: Failure
    by_peer: bool


@dataclass(frozen=True, slots=True)
class Ip6Learned:
    """Client: the IPv6 addresses, name servers or router of a session have changed, or IPv6 has gone."""

    session: SessionRecord


@dataclass(frozen=True, slots=True)
class Carried:
    """A packet from the peer that the stack does not use itself.

    It is of the client's IPv6 link, for the system, or of a protocol that was registered (``LinkConfig.foreign``).
    """

    session: SessionRecord
    protocol: int
    information: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProtocolRejected:
    """The peer does not speak a registered protocol."""

    session: SessionRecord
    protocol: int


@dataclass(frozen=True, slots=True)
class TimeRemaining:
    """The gateway says how long the session will last."""

    session: SessionRecord
    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection broke on a rung before a session was up."""

    remote: Endpoint
    failure: Failure
    peer: PeerRecord | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram or frame was ignored: to be counted by reason."""

    layer: str
    reason: str
    remote: Endpoint | None


@dataclass(frozen=True, slots=True)
class IkeKey:
    """For the key log, when it is on."""

    initiator_cookie: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EspKey:
    """For the key log, when it is on."""

    source: Endpoint
    destination: Endpoint
    spi: int
    cipher: int
    auth: int
    enc_key: bytes = field(repr=False)
    auth_key: bytes = field(repr=False)


StackEvent: TypeAlias = (
    PeerUp
    | PeerDown
    | PeerMoved
    | AuthNeeded
    | SessionUp
    | SessionDown
    | Ip6Learned
    | Carried
    | ProtocolRejected
    | TimeRemaining
    | Refused
    | Dropped
    | IkeKey
    | EspKey
)


@dataclass(frozen=True, slots=True)
class L2tpPacket:
    """An L2TP control message for the data plane to send through the SA of a peer."""

    peer: int
    """Index in the data plane."""
    local_port: int
    remote_port: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PppPacket:
    """A PPP frame, from its protocol field on, for the data plane to send in a session."""

    session: int
    """Index in the data plane."""
    data: bytes


@dataclass(frozen=True, slots=True)
class ReleaseSession:
    """Remove the session from the data plane, now that everything queued before this has been sent."""

    session: int
    """Index in the data plane."""


@dataclass(frozen=True, slots=True)
class ReleasePeer:
    """Remove the peer from the data plane, now that everything queued before this has been sent."""

    peer: int
    """Index in the data plane."""


@dataclass(frozen=True, slots=True)
class TapFrame:
    """An Ethernet frame for a TAP."""

    tap: str
    """``ipx`` or ``bridge``."""
    data: bytes = field(repr=False)


Packet: TypeAlias = L2tpPacket | PppPacket | TapFrame | ReleaseSession | ReleasePeer
