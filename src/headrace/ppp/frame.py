"""PPP frames and control packets on the wire (RFC 1661 sections 2 and 5), as L2TP carries them: no flag, no escape, no FCS.

A frame, after the optional address and control octets ``ff 03``::

    +----------+-------------+
    | Protocol | Information |   Protocol: 2 octets, or 1 if the sender compressed it (its low bit is then set at once)
    | 8/16 bits|      *      |
    +----------+-------------+

A control packet, which is the information field of every control and authentication protocol here::

     0                   1                   2                   3
    +---------------+---------------+-------------------------------+
    |     Code      |  Identifier   |            Length             |
    +---------------+---------------+-------------------------------+
    |    Data ...
    +----------------
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from headrace.wire import Malformed, Reader, Writer

DEFAULT_MRU: Final = 1500
"""What every peer takes until something else is agreed (RFC 1661 section 6.1); octets of information."""

HEADER: Final = 4
"""Octets of a control packet's header."""

ADDRESS_CONTROL: Final = b"\xff\x03"


class Proto(IntEnum):
    """Assigned PPP protocol numbers that this package knows by name."""

    IPV4 = 0x0021
    IPX = 0x002B
    VJ_COMPRESSED = 0x002D
    VJ_UNCOMPRESSED = 0x002F
    BRIDGED = 0x0031
    MULTILINK = 0x003D
    IPV6 = 0x0057
    COMPRESSED_LINK = 0x00FB
    COMPRESSED = 0x00FD
    IPCP = 0x8021
    IPXCP = 0x802B
    BCP = 0x8031
    ECP = 0x8053
    IPV6CP = 0x8057
    CCP_LINK = 0x80FB
    CCP = 0x80FD
    LCP = 0xC021
    PAP = 0xC023
    LQR = 0xC025
    CBCP = 0xC029
    BACP = 0xC02B
    BAP = 0xC02D
    CHAP = 0xC223
    EAP = 0xC227


class Code(IntEnum):
    """Codes of control packets (RFC 1661 section 5, RFC 1570, RFC 1962). 1 to 7 exist in every control protocol."""

    CONFIGURE_REQUEST = 1
    CONFIGURE_ACK = 2
    CONFIGURE_NAK = 3
    CONFIGURE_REJECT = 4
    TERMINATE_REQUEST = 5
    TERMINATE_ACK = 6
    CODE_REJECT = 7
    # LCP only
    PROTOCOL_REJECT = 8
    ECHO_REQUEST = 9
    ECHO_REPLY = 10
    DISCARD_REQUEST = 11
    IDENTIFICATION = 12
    TIME_REMAINING = 13
    # CCP and ECP only
    RESET_REQUEST = 14
    RESET_ACK = 15


def protocol_name(number: int) -> str:
    """A protocol number for a person: ``IPCP (8021)``, or the number alone."""
    try:
        return f"{Proto(number).name} ({number:04x})"
    except ValueError:
        return f"{number:04x}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One PPP frame without address, control and FCS."""

    protocol: int
    """16 bits; a compressed one is expanded."""
    information: bytes = field(repr=False)
    """May hold a password (PAP), so it shows in no ``repr``."""

    @classmethod
    def parse(cls, data: bytes) -> Frame:
        """Read a frame, with or without ``ff 03``, with a protocol of one or two octets.

        Raises ``Malformed`` (layer ``ppp``, field ``short``) if the protocol is not all there.
        """
        reader = Reader(data, "ppp")
        if data[:2] == ADDRESS_CONTROL:
            reader.take(2, "short")
        first = reader.u8("short")
        # RFC 1661 section 2: the low bit ends a protocol number, so a first octet that is odd is the whole number.
        protocol = first if first & 1 else first << 8 | reader.u8("short")
        return cls(protocol, reader.rest())

    def emit(self) -> bytes:
        """The frame with a protocol of two octets and no ``ff 03``."""
        return Writer().u16(self.protocol).raw(self.information).bytes()

    def __str__(self) -> str:
        return f"{protocol_name(self.protocol)} {len(self.information)} octets"


@dataclass(frozen=True, slots=True)
class Packet:
    """One control packet."""

    code: int
    identifier: int
    """0 to 255; an answer repeats that of its request."""
    data: bytes = field(default=b"", repr=False)
    """What follows the header; not in ``repr`` either."""

    @classmethod
    def parse(cls, information: bytes, layer: str) -> Packet:
        """Read a packet. Octets behind its length are padding and dropped (RFC 1661 section 5).

        Raises ``Malformed`` (field ``length``) for a length under 4 or over what is there.
        """
        reader = Reader(information, layer)
        code, identifier, length = reader.u8("length"), reader.u8("length"), reader.u16("length")
        if length < HEADER:
            raise Malformed(layer, "length", 2, f"{length} is less than the header's {HEADER}")
        return cls(code, identifier, reader.take(length - HEADER, "length"))

    def emit(self) -> bytes:
        """The packet as octets."""
        return Writer().u8(self.code).u8(self.identifier).u16(HEADER + len(self.data)).raw(self.data).bytes()

    def __str__(self) -> str:
        try:
            name = Code(self.code).name.replace("_", "-").title()
        except ValueError:
            name = f"Code-{self.code}"
        return f"{name} id {self.identifier}, {len(self.data)} octets"
