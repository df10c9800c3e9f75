"""Bridged Ethernet in a PPP frame (RFC 3518 section 4.2).

::

    +-+-+-+-+-------+---------------+------------------------------------------------+---------+----------
    |F|0|Z|B| Pads  | MAC type      | Destination 6, source 6, type or length, data  | LAN FCS | Pads ...
    +-+-+-+-+-------+---------------+------------------------------------------------+---------+----------
     F: the LAN's check sequence is there   Z: short frames without their padding   B: a bridge's own packet
"""

from __future__ import annotations

import zlib
from typing import Final

from headrace.wire import Malformed, Reader

HEADER: Final = 2
ETHERNET: Final = 1
"""MAC type: IEEE 802.3 and Ethernet, canonical addresses."""
LEAST: Final = 14
"""Octets of an Ethernet header."""

_FCS: Final = 0x80
_PADS: Final = 0x0F
_LAYER: Final = "bcp"


def wrap(frame: bytes) -> bytes:
    """The information field for an Ethernet frame without its check sequence."""
    return bytes((0, ETHERNET)) + frame


def unwrap(information: bytes) -> bytes:
    """The Ethernet frame without its check sequence.

    Raises ``Malformed``: for another MAC type, for what was refused in negotiation (Z, B), for a check sequence that is wrong.
    """
    reader = Reader(information, _LAYER)
    flags, kind = reader.u8("short"), reader.u8("short")
    if flags & ~(_FCS | _PADS):
        raise Malformed(_LAYER, "flags", 0, f"flags {flags:#04x} were not negotiated")
    if kind != ETHERNET:
        raise Malformed(_LAYER, "mac_type", 1, f"MAC type {kind}")
    frame = reader.take(len(reader) - (flags & _PADS), "short")
    if flags & _FCS:
        frame, check = frame[:-4], frame[-4:]
        if zlib.crc32(frame).to_bytes(4, "little") != check:
            raise Malformed(_LAYER, "fcs", len(frame), "the check sequence is wrong")
    if len(frame) < LEAST:
        raise Malformed(_LAYER, "short", HEADER, f"{len(frame)} octets are no Ethernet frame")
    return frame
