"""The IPX header, and where each of its numbers stands.

::

    +-------------------------------+-------------------------------+
    | Checksum (ffff: none)         | Length, header included       |
    +---------------+---------------+-------------------------------+
    | Hops          | Packet type   |    Destination network        |
    +---------------+---------------+-------------------------------+
    |    network    |             Destination node, 48 bits         |
    +---------------+-----------------------------------------------+
    |    node                       |    Destination socket         |
    +-------------------------------+-------------------------------+
    |    Source network, node, socket in the same way, then the data
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from headrace.wire import Malformed, Reader, Writer

HEADER: Final = 30
NO_CHECKSUM: Final = 0xFFFF
BROADCAST: Final = b"\xff" * 6
HOPS_MAX: Final = 15
"""Routers on a way; the sixteenth drops the packet."""

UNKNOWN: Final = 0
RIP: Final = 1
SAP: Final = 4
PROPAGATED: Final = 20
"""Packet type of NetBIOS broadcasts, which routers pass on to every network."""

SAP_SOCKET: Final = 0x0452
RIP_SOCKET: Final = 0x0453


@dataclass(frozen=True, slots=True)
class Address:
    """Network, node and socket."""

    network: int
    """0: the one that the packet is on."""
    node: bytes
    socket: int

    def __str__(self) -> str:
        return f"{self.network:08x}.{self.node.hex()}.{self.socket:04x}"


@dataclass(frozen=True, slots=True)
class Packet:
    """One IPX packet. ``parse(emit(x)) == x``."""

    destination: Address
    source: Address
    payload: bytes = field(repr=False)
    type: int = UNKNOWN
    hops: int = 0
    checksum: int = NO_CHECKSUM
    """The hops are not in it, so routers pass it on as it is."""

    @classmethod
    def parse(cls, data: bytes) -> Packet:
        """Read a packet; octets behind its length are padding. Raises ``Malformed`` (field ``length``)."""
        reader = Reader(data, "ipx")
        checksum, length, hops, kind = reader.u16("length"), reader.u16("length"), reader.u8("length"), reader.u8("length")
        if length < HEADER:
            raise Malformed("ipx", "length", 2, f"{length} is less than the header's {HEADER}")
        destination, source = (Address(reader.u32("length"), reader.take(6, "length"), reader.u16("length")) for _ in range(2))
        return cls(destination, source, reader.take(length - HEADER, "length"), kind, hops, checksum)

    def emit(self) -> bytes:
        """The packet as octets."""
        writer = Writer().u16(self.checksum).u16(HEADER + len(self.payload)).u8(self.hops).u8(self.type)
        for address in (self.destination, self.source):
            writer.u32(address.network).raw(address.node).u16(address.socket)
        return writer.raw(self.payload).bytes()

    def onward(self) -> Packet:
        """The same one router further."""
        return replace(self, hops=self.hops + 1)
