"""A client's end: one machine behind an Ethernet port, whose node number is the one that the link was given.

Nothing is routed here. What the machine sends goes to the gateway as it is, what the gateway sends is put into frames for the machine.
"""

from __future__ import annotations

from headrace.core import Outbox
from headrace.ipx.packet import Packet
from headrace.ipx.router import ETHERNET, Sending
from headrace.wire import Malformed


class IpxHost:
    """The same face as ``IpxRouter``, for one session."""

    def __init__(self) -> None:
        self._session = ETHERNET
        self._node = b""
        self._sendings: Outbox[Sending] = Outbox()
        self._drops: Outbox[str] = Outbox()

    def attach(self, port: int, node: bytes, now: float) -> bool:  # noqa: ARG002 (the router's face)
        """The link came up, and this is our node number."""
        self._session, self._node = port, node
        return True

    def detach(self, port: int) -> None:
        """The link went."""
        if port == self._session:
            self._session = ETHERNET

    def receive(self, port: int, data: bytes, now: float, station: bytes = b"") -> None:  # noqa: ARG002 (the router's face)
        """Take one IPX packet from the link or from the machine."""
        try:
            packet = Packet.parse(data)
        except Malformed as error:
            self._drops.put(f"{error.layer}_{error.field}")
            return
        if self._session == ETHERNET:
            self._drops.put("ipx_port")
        elif port != ETHERNET:
            self._sendings.put(Sending(ETHERNET, packet.destination.node, packet.emit()))
        elif packet.source.node != self._node:
            self._drops.put("ipx_source")
        else:
            self._sendings.put(Sending(self._session, b"", packet.emit()))

    def poll_packets(self) -> list[Sending]:
        """Packets to send, oldest first."""
        return self._sendings.drain()

    def poll_drops(self) -> list[str]:
        """Reasons for which packets were ignored."""
        return self._drops.drain()

    def deadline(self) -> float | None:
        """Never."""
        return None

    def tick(self, now: float) -> None:
        """Nothing is ever due."""
