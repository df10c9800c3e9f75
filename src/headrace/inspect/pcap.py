"""Captures as a stream of packets: pcap and pcapng, both byte orders, micro- and nanoseconds, gzip around either.

::

    pcap:    magic (4) | version (2+2) | zone (4) | sigfigs (4) | snaplen (4) | link type (4)
             then per packet: seconds (4) | fraction (4) | captured (4) | original (4) | octets
    pcapng:  blocks of: type (4) | length (4) | body, padded to 4 | length (4)

One packet is in memory at a time, and no length from the file is believed before it is bounded. A file that ends in the middle, or goes
wrong in the middle, gives every packet before that place; ``CaptureReader.problem`` then says what happened and where.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from headrace.errors import HeadraceError

PACKET_MAX: Final = 1 << 18
"""Octets of one packet: libpcap's own limit."""
BLOCK_MAX: Final = 1 << 24
"""Octets of one pcapng block that is not a packet; it is skipped, not kept."""
INTERFACES_MAX: Final = 4096

_PCAP: Final = {0xA1B2C3D4: 1_000_000, 0xA1B23C4D: 1_000_000_000}
_OTHER: Final = {
    0xA1B2CD34: "a pcap of Kuznetzov's patched libpcap",
    0x1C0001AC: "a NetMon capture",
    0x474D4255: "a NetMon capture",
    0x736E6F6F: "a Solaris snoop capture",
}
_GZIP: Final = b"\x1f\x8b"
_SECTION: Final = 0x0A0D0D0A
_BYTE_ORDER: Final = 0x1A2B3C4D
_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE: Final = 3
_PACKET: Final = 6
_SKIP_CHUNK: Final = 1 << 16


class NotACapture(HeadraceError):
    """The file is no capture that can be read."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One packet of a capture."""

    number: int
    """From 1, as Wireshark counts."""
    time: float
    """Seconds since 1970; 0 where the file has no times."""
    link: int
    """LINKTYPE_* of its interface."""
    data: bytes
    length: int
    """Octets that were on the wire; more than ``len(data)`` if the capture cut it."""


@dataclass(slots=True)
class _Interface:
    link: int
    snap: int
    per_second: int = 1_000_000
    offset: int = 0


class CaptureReader:
    """Iterates over the packets of an open file. Raises ``NotACapture`` at once if it is none."""

    def __init__(self, stream: BinaryIO) -> None:
        self.problem = ""
        """What ended the capture early; empty if nothing did."""
        self._stream = stream
        self._at = 0
        magic = self._read(4)
        if magic[:2] == _GZIP:
            self._stream = cast("BinaryIO", gzip.GzipFile(mode="rb", fileobj=cast("BinaryIO", _Rejoined(magic, stream))))
            self._at = 0
            magic = self._read(4)
        if len(magic) < 4:
            raise NotACapture(f"it has {len(magic)} octets and is no capture")
        self._order = ">"
        self._packets = self._begin(magic)

    def __iter__(self) -> Iterator[Captured]:
        return self._packets

    def _begin(self, magic: bytes) -> Iterator[Captured]:
        big, little = int.from_bytes(magic, "big"), int.from_bytes(magic, "little")
        if big == _SECTION:
            return self._pcapng()
        for order, number in ((">", big), ("<", little)):
            if number in _PCAP:
                self._order = order
                return self._pcap(_PCAP[number])
        what = _OTHER.get(big) or _OTHER.get(little) or "neither pcap nor pcapng"
        raise NotACapture(f"it is {what}; `editcap -F pcapng IN OUT` of Wireshark may turn it into one")

    # --- octets ------------------------------------------------------------------------------------------------------------------

    def _read(self, n: int) -> bytes:
        try:
            data = self._stream.read(n)
        except (OSError, EOFError, ValueError, zlib.error) as error:  # a gzip stream that is cut or wrong
            self.problem = f"octet {self._at}: {error}"
            return b""
        self._at += len(data)
        return data

    def _whole(self, n: int, what: str) -> bytes | None:
        """``n`` octets, or ``None`` with ``problem`` set."""
        data = self._read(n)
        if len(data) == n:
            return data
        self.problem = self.problem or f"the file ends in {what} at octet {self._at}"
        return None

    def _skip(self, n: int) -> bool:
        while n:
            data = self._whole(min(n, _SKIP_CHUNK), "a block")
            if data is None:
                return False
            n -= len(data)
        return True

    # --- pcap --------------------------------------------------------------------------------------------------------------------

    def _pcap(self, per_second: int) -> Iterator[Captured]:
        head = self._whole(20, "its header")
        if head is None:
            return
        link = struct.unpack(self._order + "HHiIII", head)[5] & 0x0FFFFFFF  # the upper bits speak of a frame check sequence
        record = struct.Struct(self._order + "IIII")
        number = 0
        while True:
            head = self._read(16)
            if not head:
                return
            if len(head) < 16:
                self.problem = self.problem or f"the file ends in the header of packet {number + 1}"
                return
            seconds, fraction, captured, length = record.unpack(head)
            number += 1
            if captured > PACKET_MAX:
                self.problem = f"packet {number} claims {captured} octets: the file is damaged from octet {self._at - 16} on"
                return
            data = self._whole(captured, f"packet {number}")
            if data is None:
                return
            yield Captured(number, seconds + fraction / per_second, link, data, max(length, captured))

    # --- pcapng ------------------------------------------------------------------------------------------------------------------

    def _pcapng(self) -> Iterator[Captured]:
        interfaces: list[_Interface] = []
        number = 0
        head = b"\x0a\x0d\x0d\x0a" + self._read(4)
        while True:
            if len(head) < 8:
                self.problem = self.problem or f"the file ends in the header of a block at octet {self._at}"
                return
            if head[:4] == b"\x0a\x0d\x0d\x0a":  # the same in either order
                length = self._section(head)
                interfaces = []
                if length is None:
                    return
            else:
                kind, length = struct.unpack(self._order + "II", head)
                packet = kind in {_PACKET, _OLD_PACKET, _SIMPLE}
                if length < 12 or length % 4 or length > (PACKET_MAX + 4096 if packet else BLOCK_MAX):
                    self.problem = f"a block of type {kind} claims {length} octets: damaged from octet {self._at - 8} on"
                    return
                if packet or kind == _INTERFACE:
                    body = self._whole(length - 8, "a block")
                    if body is None:
                        return
                    body = body[:-4]
                    if kind == _INTERFACE:
                        interfaces.append(self._interface(body))
                        if len(interfaces) > INTERFACES_MAX:
                            self.problem = f"more than {INTERFACES_MAX} interfaces"
                            return
                    else:
                        number += 1
                        found = self._packet(kind, body, interfaces, number)
                        if found is None:
                            return
                        yield found
                elif not self._skip(length - 8):
                    return
            head = self._read(8)
            if not head:
                return

    def _section(self, head: bytes) -> int | None:
        magic = self._whole(4, "a section header")
        if magic is None:
            return None
        order = {_BYTE_ORDER: ">", int.from_bytes(_BYTE_ORDER.to_bytes(4, "big"), "little"): "<"}.get(
            int.from_bytes(magic, "big")
        )
        if order is None:
            self.problem = f"a section without a byte order at octet {self._at - 4}"
            return None
        self._order = order
        length = int(struct.unpack(order + "I", head[4:])[0])
        if length < 28 or length % 4 or length > BLOCK_MAX:
            self.problem = f"a section header claims {length} octets"
            return None
        return length if self._skip(length - 12) else None

    def _interface(self, body: bytes) -> _Interface:
        if len(body) < 8:
            return _Interface(-1, 0)
        link, _, snap = struct.unpack(self._order + "HHI", body[:8])
        interface = _Interface(link, snap)
        at = 8
        while at + 4 <= len(body):
            code, length = struct.unpack(self._order + "HH", body[at : at + 4])
            value = body[at + 4 : at + 4 + length]
            if code == 0 or len(value) < length:
                break
            if code == 9 and length == 1:  # if_tsresol: a power of 10, or of 2 with the top bit set
                exponent = value[0] & 0x7F
                interface.per_second = 1 << min(exponent, 63) if value[0] & 0x80 else 10 ** min(exponent, 18)
            elif code == 14 and length == 8:  # if_tsoffset
                interface.offset = struct.unpack(self._order + "q", value)[0]
            at += 4 + length + (-length & 3)
        return interface

    def _packet(self, kind: int, body: bytes, interfaces: list[_Interface], number: int) -> Captured | None:
        sizes = {_PACKET: 20, _OLD_PACKET: 20, _SIMPLE: 4}
        if len(body) < sizes[kind]:
            self.problem = f"packet {number} has a block of {len(body)} octets"
            return None
        if kind == _SIMPLE:
            (length,) = struct.unpack(self._order + "I", body[:4])
            snap = interfaces[0].snap if interfaces else 0
            index, high, low, captured = 0, 0, 0, min(length, snap or length, len(body) - 4)
        elif kind == _PACKET:
            index, high, low, captured, length = struct.unpack(self._order + "IIIII", body[:20])
        else:
            index, _, high, low, captured, length = struct.unpack(self._order + "HHIIII", body[:20])
        data = body[sizes[kind] : sizes[kind] + captured]
        if len(data) < captured:
            self.problem = f"packet {number} claims {captured} octets in a block with {len(data)}"
            return None
        if index >= len(interfaces):
            self.problem = f"packet {number} is of interface {index}, which the file does not describe"
            return None
        interface = interfaces[index]
        time = (high << 32 | low) / interface.per_second + interface.offset if kind != _SIMPLE else 0.0
        return Captured(number, time, interface.link, data, max(length, captured))


class _Rejoined:
    """A stream with the octets in front that were read to look at them."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self, n: int = -1) -> bytes:
        """As of a file."""
        if self._head:
            head, self._head = (self._head, b"") if n < 0 else (self._head[:n], self._head[n:])
            return head
        return self._stream.read(n)
