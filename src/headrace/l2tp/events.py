"""What the L2TP core tells its driver. Ids are the numbers on the wire: ``local`` is assigned by this side, ``remote`` by the peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from headrace.model import Failure


@dataclass(frozen=True, slots=True)
class ControlDatagram:
    """A control message to send through the SA of this peer, with its inner UDP ports."""

    data: bytes
    local_port: int
    remote_port: int


@dataclass(frozen=True, slots=True)
class TunnelUp:
    """The control connection is established."""

    local_tunnel: int
    remote_tunnel: int
    host_name: str
    """Printable, as the peer gave it."""
    vendor_name: str
    firmware: int
    framing: int
    """Framing capabilities, bit 0 synchronous, bit 1 asynchronous."""


@dataclass(frozen=True, slots=True)
class TunnelDown:
    """The control connection is closed; ``SessionDown`` came before for each of its sessions.

    Comes for every tunnel that was up, and for every one that ``open_tunnel`` gave an id, up or not.
    """

    local_tunnel: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class SessionPending:
    """LNS: a call was answered and waits for ICCN; ``SessionUp`` or ``SessionDown`` follows.

    A LAC sends its first PPP frames together with ICCN, and they overtake it: whoever carries data should know the session from here on.
    """

    local_tunnel: int
    local_session: int
    remote_tunnel: int
    remote_session: int
    local_port: int
    remote_port: int
    calling_number: str


@dataclass(frozen=True, slots=True)
class SessionUp:
    """A call is established: PPP may start. Put it into the data plane before anything else is sent."""

    local_tunnel: int
    local_session: int
    remote_tunnel: int
    remote_session: int
    local_port: int
    remote_port: int
    call_serial: int
    calling_number: str
    called_number: str
    connect_speed: int
    """Bits a second, as announced."""
    sequencing_required: bool
    """The LAC sent the Sequencing Required AVP: both sides must number data (RFC 2661 section 4.4.6)."""
    lns: bool
    """Whether this side is the LNS of the call."""
    proxy_lcp: tuple[bytes, bytes, bytes] | None = None
    """Initial received, last sent and last received LCP CONFREQ of a proxying LAC, if it sent any."""


@dataclass(frozen=True, slots=True)
class SessionDown:
    """A call has ended, whoever ended it. Comes once for every call that ``SessionPending`` announced or ``open_session`` gave an id."""

    local_tunnel: int
    local_session: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Refused:
    """A tunnel or call was refused before it was up (by us or by the peer): once for its cause, before the ends that follow from it."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Dropped:
    """A control message was ignored. The driver counts by reason."""

    reason: str
    """Stable counter name: ``l2tp_header``, ``l2tp_length``, ``l2tp_no_tunnel``, ``l2tp_hidden_length`` ..."""


L2tpEvent: TypeAlias = TunnelUp | TunnelDown | SessionPending | SessionUp | SessionDown | Refused | Dropped
