"""L2TP data (RFC 2661), PPP frames and the UDP header around them, by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass

LENGTH, SEQUENCE, OFFSET, PRIORITY = 0x4000, 0x0800, 0x0200, 0x0100


def udp(payload: bytes, source: int = 1701, destination: int = 1701, *, checksum: int = 0, length: int | None = None) -> bytes:
    """A UDP datagram."""
    return struct.pack("!HHHH", source, destination, 8 + len(payload) if length is None else length, checksum) + payload


def data(
    tunnel: int,
    session: int,
    frame: bytes,
    *,
    ns: int | None = None,
    with_length: bool = False,
    offset: int | None = None,
    priority: bool = False,
    reserved: int = 0,
    length: int | None = None,
) -> bytes:
    """A data message with any of the optional fields."""
    flags = 2 | reserved | (PRIORITY if priority else 0)
    fields = b""
    if with_length or length is not None:
        flags |= LENGTH
    fields += struct.pack("!HH", tunnel, session)
    if ns is not None:
        flags |= SEQUENCE
        fields += struct.pack("!HH", ns, 0)
    if offset is not None:
        flags |= OFFSET
        fields += struct.pack("!H", offset) + b"\xee" * min(offset, 2048)
    size = struct.pack("!H", (4 + len(fields) + len(frame)) if length is None else length) if flags & LENGTH else b""
    return struct.pack("!H", flags) + size + fields + frame


def control(tunnel: int = 7, session: int = 0, ns: int = 0, nr: int = 0, body: bytes = b"", *, flags: int = 0xC802) -> bytes:
    """A control message; no body is a ZLB."""
    return struct.pack("!HHHHHH", flags, 12 + len(body), tunnel, session, ns, nr) + body


@dataclass(frozen=True)
class Data:
    """A parsed data message."""

    tunnel: int
    session: int
    ns: int | None
    length: int | None
    frame: bytes


def parse_data(message: bytes) -> Data:
    """Take a well-formed data message apart."""
    (flags,) = struct.unpack_from("!H", message)
    assert flags & 0x8000 == 0
    assert flags & 0xF == 2
    at, length, ns = 2, None, None
    if flags & LENGTH:
        (length,) = struct.unpack_from("!H", message, at)
        assert length == len(message)
        at += 2
    tunnel, session = struct.unpack_from("!HH", message, at)
    at += 4
    if flags & SEQUENCE:
        (ns,) = struct.unpack_from("!H", message, at)
        at += 4
    assert flags & OFFSET == 0
    return Data(tunnel, session, ns, length, message[at:])


def ppp(protocol: int, information: bytes, *, acfc: bool = False, pfc: bool = False) -> bytes:
    """A PPP frame."""
    return (
        (b"" if acfc else b"\xff\x03") + (bytes([protocol]) if pfc and protocol < 256 else protocol.to_bytes(2)) + information
    )
