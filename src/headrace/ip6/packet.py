"""IPv6 packets of the control plane (RFC 8200): one header, and ICMPv6 (RFC 4443) or UDP right behind it.

::

    +-------+---------------+---------------------------------------+
    |Version| Traffic class |              Flow label               |
    +-------+---------------+-------+---------------+---------------+
    |        Payload length         |  Next header  |   Hop limit   |
    +-------------------------------+---------------+---------------+
    |                    Source address, 128 bits                   |
    +---------------------------------------------------------------+
    |                  Destination address, 128 bits                |
    +---------------------------------------------------------------+
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final

from headrace.wire import Malformed, Reader, Writer

HEADER: Final = 40
UDP: Final = 17
ICMP: Final = 58

UNSPECIFIED: Final = IPv6Address("::")
ALL_NODES: Final = IPv6Address("ff02::1")
ALL_ROUTERS: Final = IPv6Address("ff02::2")
DHCP_AGENTS: Final = IPv6Address("ff02::1:2")

_LAYER: Final = "ip6"


def checksum(source: IPv6Address, destination: IPv6Address, next_header: int, payload: bytes) -> int:
    """The checksum over pseudo-header and payload (RFC 8200 section 8.1): 0 over a payload whose own is right."""
    data = source.packed + destination.packed + len(payload).to_bytes(4, "big") + bytes(3) + bytes([next_header]) + payload
    if len(data) % 2:
        data += b"\0"
    total = sum(memoryview(data).cast("B")[0::2]) * 256 + sum(memoryview(data).cast("B")[1::2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, slots=True)
class Packet:
    """One IPv6 packet without extension headers, its checksum verified."""

    source: IPv6Address
    destination: IPv6Address
    next_header: int
    payload: bytes = field(repr=False)
    hop_limit: int = 255

    @classmethod
    def parse(cls, data: bytes) -> Packet:
        """Read a packet. Raises ``Malformed`` for one that is not whole, or whose ICMPv6 or UDP checksum is wrong."""
        reader = Reader(data, _LAYER)
        first = reader.u32("short")
        if first >> 28 != 6:
            raise Malformed(_LAYER, "version", 0, f"version {first >> 28}")
        length, next_header, hop_limit = reader.u16("short"), reader.u8("short"), reader.u8("short")
        source, destination = IPv6Address(reader.take(16, "short")), IPv6Address(reader.take(16, "short"))
        payload = reader.take(length, "length")
        if next_header in {ICMP, UDP} and checksum(source, destination, next_header, payload) != 0:
            raise Malformed(_LAYER, "checksum", HEADER, "the checksum is wrong")
        return cls(source, destination, next_header, payload, hop_limit)

    def emit(self) -> bytes:
        """The packet as octets; the payload's checksum is right already."""
        head = Writer().u32(6 << 28).u16(len(self.payload)).u8(self.next_header).u8(self.hop_limit)
        return head.raw(self.source.packed).raw(self.destination.packed).raw(self.payload).bytes()


def icmp(source: IPv6Address, destination: IPv6Address, kind: int, body: bytes, code: int = 0) -> bytes:
    """A whole ICMPv6 packet with hop limit 255; ``body`` is what follows the checksum."""
    blank = bytes((kind, code, 0, 0)) + body
    value = checksum(source, destination, ICMP, blank)
    return Packet(source, destination, ICMP, blank[:2] + value.to_bytes(2, "big") + body).emit()


def udp(source: IPv6Address, destination: IPv6Address, ports: tuple[int, int], body: bytes) -> bytes:
    """A whole UDP packet; ``ports`` are source and destination."""
    blank = Writer().u16(ports[0]).u16(ports[1]).u16(8 + len(body)).u16(0).raw(body).bytes()
    value = checksum(source, destination, UDP, blank) or 0xFFFF
    return Packet(source, destination, UDP, blank[:6] + value.to_bytes(2, "big") + body, hop_limit=64).emit()


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP datagram."""

    source: int
    destination: int
    body: bytes = field(repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Udp:
        """Read a datagram. Raises ``Malformed`` for a length that is not the payload's, or a checksum that is missing."""
        reader = Reader(payload, _LAYER)
        source, destination, length, check = (reader.u16("udp") for _ in range(4))
        if length != len(payload) or check == 0:
            raise Malformed(_LAYER, "udp", 4, f"length {length} of {len(payload)}, checksum {check:#06x}")
        return cls(source, destination, reader.rest())
