"""The four ways in which IPX lies in an Ethernet frame. Each is a network of its own on the same cable.

::

    ethernet-ii   destination 6 | source 6 | 8137                               | IPX
    802.3         destination 6 | source 6 | length |                             IPX, which begins with ffff
    802.2         destination 6 | source 6 | length | e0 e0 03                  | IPX
    snap          destination 6 | source 6 | length | aa aa 03 00 00 00 81 37   | IPX
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_ETHERTYPE: Final = b"\x81\x37"
_LENGTH_MAX: Final = 1500
_LEAST: Final = 60
"""Octets of the shortest frame, without its check sequence."""


class FrameType(StrEnum):
    """Names as a person knows them from NET.CFG."""

    ETHERNET_II = "ethernet-ii"
    RAW = "802.3"
    LLC = "802.2"
    SNAP = "snap"


_LLC: Final = {FrameType.RAW: b"", FrameType.LLC: b"\xe0\xe0\x03", FrameType.SNAP: b"\xaa\xaa\x03\0\0\0" + _ETHERTYPE}


@dataclass(frozen=True, slots=True)
class Frame:
    """An IPX packet and the stations it goes between."""

    destination: bytes
    source: bytes
    packet: bytes = field(repr=False)


def wrap(kind: FrameType, frame: Frame) -> bytes:
    """The Ethernet frame, padded to the least length, without check sequence."""
    head = frame.destination + frame.source
    if kind is FrameType.ETHERNET_II:
        return (head + _ETHERTYPE + frame.packet).ljust(_LEAST, b"\0")
    body = _LLC[kind] + frame.packet
    return (head + len(body).to_bytes(2, "big") + body).ljust(_LEAST, b"\0")


def unwrap(kind: FrameType, data: bytes) -> Frame | None:
    """What an Ethernet frame of this kind carries; ``None`` for any other frame."""
    if len(data) < 14:
        return None
    number, body = int.from_bytes(data[12:14], "big"), data[14:]
    if kind is FrameType.ETHERNET_II:
        return Frame(data[:6], data[6:12], body) if data[12:14] == _ETHERTYPE else None
    start = _LLC[kind] or b"\xff\xff"
    if number > _LENGTH_MAX or number > len(body) or not body.startswith(start):
        return None
    return Frame(data[:6], data[6:12], body[len(_LLC[kind]) : number])
