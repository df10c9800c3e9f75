"""What the stack asks of the data plane: its tables, as one protocol. ``dataplane`` satisfies it; tests pass a recording one.

Table changes are memory operations, not I/O: they take effect at once and answer at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network
from typing import Protocol

from headrace.errors import LocalError
from headrace.model import Compressor, Endpoint, EspKeys, FilterRule, MppeKeys, MppePolicy, VjSlots


class TableFull(LocalError):
    """The data plane has no free record of the kind asked for."""


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """``struct hr_peer_config``: where a peer is and how it is reached."""

    remote: Endpoint
    local: Endpoint
    """Names the listener by address."""
    udp_encap: bool
    follow: bool
    """Whether an authenticated packet from elsewhere moves ``remote``."""
    clear: bool = False
    """L2TP without IPsec."""
    l2tp_port: int = 1701
    cookie: int = 0
    """The stack's handle; comes back with every exception."""


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """``struct hr_session_config``: one L2TP session as the hot path needs it."""

    peer: int
    """Index of the peer in the data plane."""
    local_tunnel: int
    local_session: int
    remote_tunnel: int
    remote_session: int
    local_port: int
    remote_port: int
    lns: bool
    cookie: int
    send_length: bool = False
    """An L field in data headers: two octets that no peer needs (the Linux kernel never sends it)."""
    send_sequence: bool = False
    require_sequence: bool = False
    send_acfc: bool = False
    send_pfc: bool = False
    mppe_policy: MppePolicy = MppePolicy.WHEN_OPEN
    open4: bool = False
    open6: bool = False
    default_route: bool = False
    send_mru: int = 1400
    recv_mru: int = 1500
    """What a frame may expand to."""
    mss4: int = 0
    mss6: int = 0
    own4: IPv4Address | None = None
    own6: IPv6Network | None = None
    rate_rx: int = 0
    """Octets a second from the peer; 0 is no limit."""
    rate_tx: int = 0
    filters: tuple[FilterRule, ...] = ()
    """Where the peer's packets may go; at most ``FILTER_RULES``."""


class Tables(Protocol):
    """Every method that adds raises ``TableFull`` when there is no room, and changes nothing then."""

    def add_peer(self, entry: PeerEntry) -> int:
        """A new peer record; its index."""

    def update_peer(self, index: int, entry: PeerEntry) -> None:
        """Replace a peer record."""

    def remove_peer(self, index: int) -> None:
        """Remove a peer and everything that hangs on it; its SAs have been removed one by one before."""

    def add_sa(self, peer: int, keys: EspKeys) -> int:
        """A new SA; an outbound one is idle until ``use_sa``."""

    def use_sa(self, index: int) -> None:
        """Send everything of the SA's peer through it from now on."""

    def remove_sa(self, index: int) -> None:
        """Remove an SA; its keys are wiped."""

    def add_session(self, entry: SessionEntry) -> int:
        """A new session record; its index."""

    def update_session(self, index: int, entry: SessionEntry) -> None:
        """Replace a session's settings; numbering and MPPE state stay."""

    def set_mppe(self, index: int, keys: MppeKeys) -> None:
        """Open one direction of MPPE."""

    def set_compression(self, index: int, send: Compressor | None, receive: Compressor | None) -> None:
        """Compress without encryption; ``None`` is a direction that is not compressed."""

    def set_vj(self, index: int, slots: VjSlots) -> None:
        """Compress TCP/IP headers, afresh."""

    def close_mppe(self, index: int) -> None:
        """Close both directions of MPPE and compression."""

    def flush_mppe(self, index: int) -> None:
        """Mark the next packet out as flushed (stateful)."""

    def remove_session(self, index: int) -> None:
        """Remove a session; its keys are wiped."""

    def sa_packets(self, index: int) -> int:
        """Good packets that an SA has carried: the sign of life for DPD."""

    def session_packets(self, index: int) -> tuple[int, int]:
        """Inner packets that a session has brought in and taken out: signs of life, and of use."""

    def session_octets(self, index: int) -> tuple[int, int]:
        """Octets of the inner packets that a session has brought in and taken out."""
