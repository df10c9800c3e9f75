"""IPX and bridged Ethernet of all sessions, and the Ethernet ports (TAPs) that they lead to.

A packet goes straight: session or TAP -> router or switch -> session or TAP. The ladder brings what sessions carry and takes what is for
them; the shell does the same for the TAPs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from headrace.bridge import pdu
from headrace.bridge.switch import TAP, Switch
from headrace.core import Outbox, earliest
from headrace.ipx.ethernet import Frame, FrameType, unwrap, wrap
from headrace.ipx.host import IpxHost
from headrace.ipx.packet import Address, Packet
from headrace.ipx.router import ETHERNET, IpxRouter, RouterConfig, Sending
from headrace.ppp.frame import Proto
from headrace.wire import Malformed

IPX: Final = "ipx"
BRIDGE: Final = "bridge"
"""Names of the TAPs."""

__all__ = ["BRIDGE", "IPX", "Address", "EthernetConfig", "Ethernets", "ToSession", "ToTap"]


@dataclass(frozen=True, slots=True)
class EthernetConfig:
    """What there is beside IP."""

    ipx: RouterConfig | None = None
    """Gateway: the IPX router."""
    ipx_host: bool = False
    """Client: one machine behind the TAP."""
    ipx_frames: FrameType = FrameType.ETHERNET_II
    bridge: bool = False
    bridge_mtu: int = 1376
    """Octets behind the Ethernet header that the bridge's TAP takes."""


@dataclass(frozen=True, slots=True)
class ToSession:
    """A packet for a session, by its handle."""

    session: int
    protocol: int
    information: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToTap:
    """An Ethernet frame for a TAP."""

    tap: str
    frame: bytes = field(repr=False)


Output: TypeAlias = ToSession | ToTap

_VLAN_HEADER: Final = 14 + 4


class _Ipx(Protocol):
    """What ``IpxRouter`` and ``IpxHost`` have in common."""

    def attach(self, port: int, node: bytes, now: float) -> bool:
        """A session came up."""

    def detach(self, port: int) -> None:
        """It went."""

    def receive(self, port: int, data: bytes, now: float, station: bytes = b"") -> None:
        """A packet."""

    def poll_packets(self) -> list[Sending]:
        """Packets to send."""

    def poll_drops(self) -> list[str]:
        """Reasons for which packets were ignored."""

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""

    def tick(self, now: float) -> None:
        """Do what is due."""


class Ethernets:
    """See the module's text, and ``headrace.core`` for how it is driven."""

    def __init__(self, config: EthernetConfig) -> None:
        self.config = config
        self._ipx: _Ipx | None = None
        self._mac = b""
        if config.ipx is not None:
            self._ipx, self._mac = IpxRouter(config.ipx, 0.0), config.ipx.node
        elif config.ipx_host:
            self._ipx = IpxHost()
        self._switch = Switch() if config.bridge else None
        if self._switch is not None:
            self._switch.attach(TAP, config.bridge_mtu + _VLAN_HEADER, 0.0)
        self._outputs: Outbox[Output] = Outbox()
        self._drops: Outbox[str] = Outbox()

    def ipx_up(self, session: int, node: bytes, now: float) -> bool:
        """IPXCP opened: the session's node for a router, our own for a host. False if another session has that node."""
        return self._ipx is None or self._ipx.attach(session, node, now)

    def takes(self, protocol: int) -> bool:
        """Whether packets of this PPP protocol are for us."""
        return (protocol == Proto.IPX and self._ipx is not None) or (protocol == Proto.BRIDGED and self._switch is not None)

    def bridge_up(self, session: int, room: int, now: float, *, tagged: bool) -> None:
        """BCP opened."""
        if self._switch is not None:
            self._switch.attach(session, room, now, tagged=tagged)

    def ipx_down(self, session: int) -> None:
        """IPXCP closed."""
        if self._ipx is not None:
            self._ipx.detach(session)

    def bridge_down(self, session: int) -> None:
        """BCP closed."""
        if self._switch is not None:
            self._switch.detach(session)

    def from_session(self, session: int, protocol: int, information: bytes, now: float) -> None:
        """Take a packet that a session carried."""
        if protocol == Proto.IPX and self._ipx is not None:
            self._ipx.receive(session, information, now)
            self._collect_ipx()
        elif protocol == Proto.BRIDGED and self._switch is not None:
            try:
                self._switch.receive(session, pdu.unwrap(information), now)
            except Malformed as error:
                self._drops.put(f"{error.layer}_{error.field}")
            self._collect_bridge()

    def from_tap(self, tap: str, frame: bytes, now: float) -> None:
        """Take an Ethernet frame from a TAP."""
        if tap == BRIDGE and self._switch is not None:
            self._switch.receive(TAP, frame, now)
            self._collect_bridge()
        elif tap == IPX and self._ipx is not None:
            found = unwrap(self.config.ipx_frames, frame)
            if found is not None and found.source != self._mac:
                self._ipx.receive(ETHERNET, found.packet, now, found.source)
                self._collect_ipx()

    def poll(self) -> list[Output]:
        """What to send, oldest first."""
        return self._outputs.drain()

    def poll_drops(self) -> list[str]:
        """Reasons for which packets were ignored."""
        return self._drops.drain()

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        return earliest((self._ipx.deadline() if self._ipx is not None else None,))

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._ipx is not None:
            self._ipx.tick(now)
            self._collect_ipx()

    def _collect_ipx(self) -> None:
        assert self._ipx is not None
        for sending in self._ipx.poll_packets():
            if sending.port != ETHERNET:
                self._outputs.put(ToSession(sending.port, Proto.IPX, sending.data))
            else:
                # A host has no address of its own on its port: its frames come from whoever sent the packet.
                source = self._mac or Packet.parse(sending.data).source.node
                self._outputs.put(ToTap(IPX, wrap(self.config.ipx_frames, Frame(sending.node, source, sending.data))))
        for reason in self._ipx.poll_drops():
            self._drops.put(reason)

    def _collect_bridge(self) -> None:
        assert self._switch is not None
        for port, frame in self._switch.poll_frames():
            self._outputs.put(ToTap(BRIDGE, frame) if port == TAP else ToSession(port, Proto.BRIDGED, pdu.wrap(frame)))
        for reason in self._switch.poll_drops():
            self._drops.put(reason)
