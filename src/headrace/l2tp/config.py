"""What the L2TP core is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class L2tpConfig:
    """One for all peers of a gateway, or for one client."""

    host_name: str = "headrace"
    vendor_name: str = "headrace"
    firmware: int = 0x0001
    secret: bytes | None = field(default=None, repr=False)
    """Tunnel secret: then challenges are sent and answered, and AVPs may be hidden. ``None``: a challenge of the peer's is refused."""
    hide_avps: bool = False
    """As a sender, hide what may be hidden (needs the secret)."""
    receive_window: int = 16
    hello_interval: float = 60.0
    retransmit_base: float = 1.0
    retransmit_cap: float = 8.0
    retransmit_tries: int = 5
    max_tunnels: int = 8
    """By peer."""
    max_sessions: int = 32
    """By tunnel."""
    accept_incoming: bool = True
    """As an LNS: take ICRQ. A client that only dials says no."""
    setup_timeout: float = 30.0
    """Seconds for a tunnel or call to come up."""
    sequencing: bool = False
    """Number data messages."""


@dataclass(frozen=True, slots=True)
class IdAllocator:
    """Tunnel ids are unique in the whole gateway, for the data plane finds sessions by (tunnel, session) and then asks whose SA it was."""

    take: Callable[[], int | None]
    """A free tunnel id from 1 to 65535, or ``None`` when all are taken."""
    free: Callable[[int], None]
