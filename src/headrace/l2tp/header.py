"""The L2TP version 2 header (RFC 2661 section 3.1), of control and data messages.

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |T|L|x|x|S|x|O|P|x|x|x|x|  Ver  |          Length (opt)         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |           Tunnel ID           |           Session ID          |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |             Ns (opt)          |             Nr (opt)          |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |      Offset Size (opt)        |    Offset pad... (opt)
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

``parse`` takes either kind apart and is what a capture is read with; ``parse_control`` is strict, and is what the core reads with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.wire import Malformed, Reader, Writer

LAYER: Final = "l2tp"

FLAG_TYPE: Final = 0x8000
FLAG_LENGTH: Final = 0x4000
FLAG_SEQUENCE: Final = 0x0800
FLAG_OFFSET: Final = 0x0200
FLAG_PRIORITY: Final = 0x0100
VERSION_MASK: Final = 0x000F

VERSION: Final = 2
VERSION_3: Final = 3
"""RFC 3931. Its control header over UDP has one 32-bit id where version 2 has two of 16 bits."""

CONTROL_FLAGS: Final = FLAG_TYPE | FLAG_LENGTH | FLAG_SEQUENCE
CONTROL_SIZE: Final = 12
"""Octets of a control header, which is always complete."""


class BadHeader(Malformed):
    """A header that cannot be used. ``counter`` is the reason under which the message is dropped."""

    def __init__(self, counter: str, field: str, offset: int, reason: str) -> None:
        super().__init__(LAYER, field, offset, reason)
        self.counter = counter


@dataclass(frozen=True, slots=True)
class Header:
    """A header as it was on the wire. Ids are those that the receiver of the message has assigned."""

    control: bool
    version: int
    tunnel: int
    """0 to 65535; 0 in a message to a peer that has not assigned one yet."""
    session: int
    """0 to 65535; 0 in a control message about no session."""
    length: int | None = None
    """Octets of the whole message, if the L bit is set."""
    ns: int | None = None
    nr: int | None = None
    offset_size: int | None = None
    """Octets between the header and the payload, if the O bit is set."""
    priority: bool = False

    def __str__(self) -> str:
        kind = "control" if self.control else "data"
        numbers = "" if self.ns is None else f" Ns={self.ns} Nr={self.nr}"
        return f"L2TPv{self.version} {kind} tunnel={self.tunnel} session={self.session}{numbers}"


def parse(data: bytes) -> tuple[Header, bytes]:
    """Take a version 2 message apart: header and payload (AVPs, or a PPP frame).

    A payload that is longer than the length field is cut; see ``surplus``. Raises ``BadHeader`` with the counter ``l2tp_header``,
    ``l2tp_length`` or ``l2tp_offset``.
    """
    reader = Reader(data, LAYER)
    flags = int.from_bytes(data[:2], "big")
    if len(data) < 2 or flags & VERSION_MASK != VERSION:
        raise BadHeader("l2tp_header", "version", 0, f"version {flags & VERSION_MASK} in {len(data)} octets")
    try:
        reader.u16("flags")
        length = reader.u16("length") if flags & FLAG_LENGTH else None
        tunnel, session = reader.u16("tunnel id"), reader.u16("session id")
        ns = nr = offset_size = None
        if flags & FLAG_SEQUENCE:
            ns, nr = reader.u16("Ns"), reader.u16("Nr")
        if flags & FLAG_OFFSET:
            offset_size = reader.u16("offset size")
    except Malformed as error:
        raise BadHeader("l2tp_header", error.field, error.offset, error.reason) from error
    end = len(data) if length is None else length
    if end < reader.offset or end > len(data):
        raise BadHeader("l2tp_length", "length", 2, f"{length} with {len(data)} octets and a header of {reader.offset}")
    start = reader.offset + (offset_size or 0)
    if start > end:
        raise BadHeader("l2tp_offset", "offset size", reader.offset - 2, f"{offset_size} points past the end")
    header = Header(
        control=bool(flags & FLAG_TYPE),
        version=VERSION,
        tunnel=tunnel,
        session=session,
        length=length,
        ns=ns,
        nr=nr,
        offset_size=offset_size,
        priority=bool(flags & FLAG_PRIORITY),
    )
    return header, data[start:end]


@dataclass(frozen=True, slots=True)
class ControlHeader:
    """The header of a control message: nothing in it is optional."""

    tunnel: int
    session: int
    ns: int
    nr: int


def parse_control(data: bytes) -> tuple[ControlHeader, bytes]:
    """Header and AVPs of a version 2 control message. T, L and S must be set, O must not; P and reserved bits are ignored.

    Raises ``BadHeader`` with the counter ``l2tp_header`` or ``l2tp_length``.
    """
    if len(data) < 2:
        raise BadHeader("l2tp_header", "flags", 0, f"{len(data)} octets")
    flags = int.from_bytes(data[:2], "big")
    if flags & CONTROL_FLAGS != CONTROL_FLAGS or flags & FLAG_OFFSET:
        raise BadHeader("l2tp_header", "flags", 0, f"{flags:#06x} is no control message")
    header, body = parse(data)
    assert header.ns is not None
    assert header.nr is not None
    return ControlHeader(header.tunnel, header.session, header.ns, header.nr), body


def surplus(data: bytes) -> int:
    """Octets behind the end that the length field gives; 0 if there is no such field or the header is too short for it."""
    if len(data) < 4 or not data[0] & (FLAG_LENGTH >> 8):
        return 0
    return max(0, len(data) - int.from_bytes(data[2:4], "big"))


def emit_control(header: ControlHeader, body: bytes) -> bytes:
    """A control message. An empty body makes a zero-length-body acknowledgement. Raises ``OverflowError`` beyond 65535 octets."""
    return (
        Writer()
        .u16(CONTROL_FLAGS | VERSION)
        .u16(CONTROL_SIZE + len(body))
        .u16(header.tunnel)
        .u16(header.session)
        .u16(header.ns)
        .u16(header.nr)
        .raw(body)
        .bytes()
    )


def is_version_3_request(data: bytes) -> bool:
    """Whether this is a version 3 control message for no connection yet: of these only SCCRQ deserves an answer (RFC 3931 section 4.1)."""
    if len(data) < CONTROL_SIZE:
        return False
    flags = int.from_bytes(data[:2], "big")
    length = int.from_bytes(data[2:4], "big")
    return (
        flags & VERSION_MASK == VERSION_3
        and flags & CONTROL_FLAGS == CONTROL_FLAGS
        and CONTROL_SIZE <= length <= len(data)
        and not any(data[4:8])
    )
