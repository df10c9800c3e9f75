"""IPv4 and IPv6 packets, whole and right, and their checksums."""

from __future__ import annotations

import struct
from ipaddress import ip_address


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(
    payload: bytes,
    source: str = "10.9.0.2",
    destination: str = "192.0.2.7",
    *,
    protocol: int = 17,
    fragment: int = 0x4000,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet. `fragment` is the word of flags and offset."""
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | (20 + len(options)) // 4,
        tos,
        20 + len(options) + len(payload),
        0x1234,
        fragment,
        64,
        protocol,
        0,
        ip_address(source).packed,
        ip_address(destination).packed,
    )
    head += options
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload


def ip6(
    payload: bytes,
    source: str = "2001:db8:9::2",
    destination: str = "2001:db8:ff::7",
    *,
    next_header: int = 17,
    traffic: int = 0,
) -> bytes:
    """An IPv6 packet."""
    return (
        struct.pack("!IHBB", 6 << 28 | traffic << 20, len(payload), next_header, 64)
        + ip_address(source).packed
        + ip_address(destination).packed
        + payload
    )


def pseudo(source: str, destination: str, length: int, protocol: int) -> bytes:
    """The pseudo-header of TCP, UDP and ICMPv6 checksums."""
    a, b = ip_address(source), ip_address(destination)
    return (
        a.packed
        + b.packed
        + (struct.pack("!BBH", 0, protocol, length) if a.version == 4 else struct.pack("!IxxxB", length, protocol))
    )


def tcp_syn(source: str, destination: str, options: bytes, *, flags: int = 0x02) -> bytes:
    """A TCP segment with a right checksum; options are padded to words."""
    options += b"\0" * (-len(options) % 4)
    head = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, (20 + len(options)) // 4 << 4, flags, 65535, 0, 0) + options
    value = checksum(pseudo(source, destination, len(head), 6) + head)
    return head[:16] + value.to_bytes(2) + head[18:]
