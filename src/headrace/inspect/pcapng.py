"""Writes pcapng that Wireshark opens: several link types in one file, a comment on any packet."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

LINK_PPP: Final = 9
LINK_RAW: Final = 101
"""An IPv4 or IPv6 packet without anything before it."""

_COMMENT: Final = 1
_RESOLUTION: Final = 9
_NAME: Final = 2
_APPLICATION: Final = 4


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) & 3)


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


class PcapngWriter:
    """One section; an interface is described when its link type comes up first."""

    def __init__(self, stream: BinaryIO, application: str) -> None:
        self._stream = stream
        self._interfaces: dict[int, int] = {}
        options = _option(_APPLICATION, application.encode()) + _option(0, b"")
        stream.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options))

    def write(self, link: int, time: float, data: bytes, comment: str = "") -> None:
        """Append a packet. ``time``: seconds since 1970."""
        index = self._interfaces.get(link)
        if index is None:
            index = self._interfaces[link] = len(self._interfaces)
            names = {LINK_PPP: b"ppp", LINK_RAW: b"decrypted"}
            options = _option(_NAME, names.get(link, b"captured")) + _option(_RESOLUTION, b"\x06") + _option(0, b"")
            self._stream.write(_block(1, struct.pack("<HHI", link, 0, 1 << 18) + options))
        stamp = max(0, round(time * 1_000_000))
        head = struct.pack("<IIIII", index, stamp >> 32 & 0xFFFFFFFF, stamp & 0xFFFFFFFF, len(data), len(data))
        options = _option(_COMMENT, comment.encode()[:1000]) + _option(0, b"") if comment else b""
        self._stream.write(_block(6, head + data + bytes(-len(data) & 3) + options))
