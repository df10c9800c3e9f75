"""What the IKE core tells its driver. ``peer`` is the handle of one remote machine: it outlives phase-1 and phase-2 rekeying."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from headrace.model import Endpoint, EspKeys, Failure


@dataclass(frozen=True, slots=True)
class PeerUp:
    """Phase 1 is complete for a new peer (not for a rekey)."""

    peer: int
    local: Endpoint
    remote: Endpoint
    initiator: bool
    """Whether this side began."""
    auth: str
    """``psk`` or ``cert``."""
    remote_id: str
    """Printable identity as the peer gave it."""
    proposal: str
    """Agreed phase-1 transform, for example ``aes256-sha1-modp2048``."""
    nat_local: bool
    """A NAT stands before us."""
    nat_remote: bool
    """A NAT stands before the peer."""
    vendor: str
    """What the vendor ids say of the peer, for example ``Windows (MS NT5 9)``; empty if nothing."""
    began: float = 0.0
    """When the first message went out or came in."""
    chosen: float = 0.0
    """When the transform of phase 1 was agreed."""


@dataclass(frozen=True, slots=True)
class InstallSa:
    """Put one direction of an ESP SA into the data plane.

    Inbound comes first, before message 2 or 3 of quick mode leaves; outbound follows when it may be used, and is then to be used at
    once for everything sent to this peer.
    """

    peer: int
    keys: EspKeys
    remote: Endpoint
    """Where the peer's ESP goes and comes from now; port 4500 or as mapped with ``keys.udp_encap``."""
    follow: bool
    """Whether the data plane may follow an authenticated packet from another address (we are not behind a NAT, RFC 3947 section 4)."""
    local_selector_port: int
    """Inner UDP port of our side: 1701."""
    remote_selector_port: int
    """Inner UDP port of the peer's side: 1701, or 0 for any."""


@dataclass(frozen=True, slots=True)
class RemoveSa:
    """Take one direction out of the data plane."""

    peer: int
    spi: int
    outbound: bool


@dataclass(frozen=True, slots=True)
class UseSa:
    """Use an outbound SA again that was installed before a newer one: the peer took the newer one away."""

    peer: int
    spi: int


@dataclass(frozen=True, slots=True)
class ChildUp:
    """Quick mode is complete: both directions are installed."""

    peer: int
    spi_in: int
    spi_out: int
    proposal: str
    """For example ``aes256-sha1``."""
    rekey: bool
    """False for the peer's first."""
    lifetime: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """The peer's outer address or port changed, proven by an authenticated message."""

    peer: int
    remote: Endpoint


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The peer is gone: its SAs have been removed (``RemoveSa`` came before), its tunnels must go too."""

    peer: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Refused:
    """A negotiation ended before there was a peer, or a later one for it failed."""

    remote: Endpoint
    failure: Failure
    peer: int | None = None
    """The peer, if phase 1 was complete."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram was ignored. The driver counts by reason and logs at most a few a second."""

    remote: Endpoint
    reason: str
    """Stable counter name: ``ike_short``, ``ike_length``, ``ike_exchange``, ``ike_unauth_info``, ``ike_too_many_payloads`` ..."""


@dataclass(frozen=True, slots=True)
class Keys:
    """For a key log, on request only (``IkeConfig.keylog``): Wireshark's IKEv1 decryption table takes cookie and key."""

    initiator_cookie: bytes
    key: bytes = field(repr=False)
    """The encryption key Ka, as long as the cipher takes."""


IkeEvent: TypeAlias = PeerUp | InstallSa | RemoveSa | UseSa | ChildUp | PeerMoved | PeerDown | Refused | Dropped | Keys
