"""The RADIUS packet (RFC 2865 section 3) and what proves it.

::

     0                   1                   2                   3
    +---------------+---------------+-------------------------------+
    |     Code      |  Identifier   |            Length             |
    +---------------+---------------+-------------------------------+
    |                                                               |
    |                      Authenticator (16)                       |
    |                                                               |
    +---------------+---------------+-------------------------------+
    |     Type      |    Length     |  Value ...                      attributes, up to the packet's length
    +---------------+---------------+---
    vendor-specific (type 26):  Value = vendor (4) | type | length | value ...

Octets behind the packet's length are padding. A packet with one attribute that is not whole is dropped as a whole.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from headrace.radius.names import Attr, Vendor
from headrace.wire import Malformed, Reader, Writer

HEADER: Final = 20
PACKET_MAX: Final = 4096
VALUE_MAX: Final = 253
VENDOR_VALUE_MAX: Final = 247

_OPAQUE: Final = frozenset({429, 4846, 8164})
"""Vendors whose attributes are not type and length of one octet each (USR, Lucent, Starent): kept as they came."""


class Forged(Exception):
    """A packet that whoever knows the shared secret has not sent like this. ``reason`` is a counter's name."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute, a vendor's or (vendor 0) a standard one."""

    type: int
    value: bytes = field(repr=False)
    vendor: int = 0
    hidden: bool = field(default=False, repr=False)
    """The value is a password that is to be hidden on the wire (RFC 2865 section 5.2)."""

    @property
    def key(self) -> tuple[int, int]:
        """Vendor and type."""
        return self.vendor, self.type

    def emit(self) -> bytes:
        """The attribute as octets. Raises ``ValueError`` for a value that is too long."""
        if self.vendor:
            if len(self.value) > VENDOR_VALUE_MAX:
                raise ValueError(f"{len(self.value)} octets for attribute {self.vendor}/{self.type}")
            inner = Writer().u32(self.vendor).u8(self.type).u8(len(self.value) + 2).raw(self.value).bytes()
            return Writer().u8(Attr.VENDOR_SPECIFIC).u8(len(inner) + 2).raw(inner).bytes()
        if len(self.value) > VALUE_MAX:
            raise ValueError(f"{len(self.value)} octets for attribute {self.type}")
        return Writer().u8(self.type).u8(len(self.value) + 2).raw(self.value).bytes()


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet whose parts are whole; whether it is genuine is another question."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: tuple[Attribute, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Packet:
        """Read a packet. Raises ``Malformed``, field ``short``, ``length`` or ``attribute``."""
        if len(data) < HEADER:
            raise Malformed("radius", "short", 0, f"{len(data)} octets are no packet")
        length = int.from_bytes(data[2:4], "big")
        if not HEADER <= length <= PACKET_MAX or length > len(data):
            raise Malformed("radius", "length", 2, f"length {length} of {len(data)} octets")
        reader = Reader(data[HEADER:length], "radius", HEADER)
        attributes: list[Attribute] = []
        while len(reader):
            attributes += _read(reader)
        return cls(data[0], data[1], data[4:HEADER], tuple(attributes))

    def get(self, kind: int, vendor: int = 0) -> bytes | None:
        """The first value of an attribute."""
        return next((a.value for a in self.attributes if a.type == kind and a.vendor == vendor), None)

    def all(self, kind: int, vendor: int = 0) -> tuple[bytes, ...]:
        """All values of an attribute, in their order."""
        return tuple(a.value for a in self.attributes if a.type == kind and a.vendor == vendor)

    def joined(self, kind: int, vendor: int = 0) -> bytes:
        """All values of an attribute as one: EAP-Message."""
        return b"".join(self.all(kind, vendor))

    def emit(self) -> bytes:
        """The packet as octets, with its authenticator as it is. Raises ``ValueError`` if it gets too long."""
        body = b"".join(a.emit() for a in self.attributes)
        if HEADER + len(body) > PACKET_MAX:
            raise ValueError(f"a RADIUS packet of {HEADER + len(body)} octets")
        return Writer().u8(self.code).u8(self.identifier).u16(HEADER + len(body)).raw(self.authenticator).raw(body).bytes()


def _read(reader: Reader) -> list[Attribute]:
    kind, length = reader.u8("attribute"), reader.u8("attribute")
    if length < 2:
        raise reader.fail("attribute", f"attribute {kind} has length {length}")
    value = reader.sub(length - 2, "attribute")
    if kind != Attr.VENDOR_SPECIFIC:
        return [Attribute(kind, value.rest())]
    vendor = value.u32("attribute")
    if vendor == 0 or vendor in _OPAQUE:
        return [Attribute(kind, vendor.to_bytes(4, "big") + value.rest())]
    inside = []
    while len(value):
        inner, size = value.u8("attribute"), value.u8("attribute")
        if size < 2:
            raise value.fail("attribute", f"attribute {inner} of vendor {vendor} has length {size}")
        inside.append(Attribute(inner, value.take(size - 2, "attribute"), vendor))
    return inside


# --- values ---------------------------------------------------------------------------------------------------------------------


def number(kind: int, value: int, vendor: int = 0) -> Attribute:
    """An attribute that is a number of 32 bits."""
    return Attribute(kind, value.to_bytes(4, "big"), vendor)


def text(kind: int, value: str, vendor: int = 0) -> Attribute:
    """An attribute that is text; cut to what fits."""
    return Attribute(kind, value.encode()[:VENDOR_VALUE_MAX], vendor)


def address(value: IPv4Address | IPv6Address, four: int, six: int) -> Attribute:
    """An address, as the attribute of its family."""
    return Attribute(four if value.version == 4 else six, value.packed)


def tagged_number(kind: int, value: int, tag: int = 1) -> Attribute:
    """A tagged number of 24 bits (RFC 2868 section 3.1)."""
    return Attribute(kind, bytes((tag,)) + value.to_bytes(3, "big"))


def tagged_text(kind: int, value: str, tag: int = 1) -> Attribute:
    """A tagged text (RFC 2868 section 3.3)."""
    return Attribute(kind, bytes((tag,)) + value.encode()[: VALUE_MAX - 1])


def split(kind: int, value: bytes) -> list[Attribute]:
    """One value over as many attributes as it needs: EAP-Message (RFC 3579 section 3.1)."""
    return [Attribute(kind, value[at : at + VALUE_MAX]) for at in range(0, len(value), VALUE_MAX)]


# --- proofs ---------------------------------------------------------------------------------------------------------------------

_EMPTY: Final = Attribute(Attr.MESSAGE_AUTHENTICATOR, bytes(16))


def message_authenticator(data: bytes, authenticator: bytes, secret: bytes) -> tuple[bytes | None, bytes]:
    """The Message-Authenticator that a packet has (``None`` without one) and the one that it should have (RFC 3579 section 3.2).

    ``authenticator`` stands in for the packet's own. Raises ``Forged`` for one of a wrong length, or more than one.
    """
    length = int.from_bytes(data[2:4], "big")
    blank = bytearray(data[:4] + authenticator + data[HEADER:length])
    found = None
    at = HEADER
    while at + 2 <= length:
        if data[at] == Attr.MESSAGE_AUTHENTICATOR:
            if data[at + 1] != 18 or found is not None:
                raise Forged("ma_length", f"Message-Authenticator of {data[at + 1] - 2} octets, or a second one")
            found = bytes(data[at + 2 : at + 18])
            blank[at + 2 : at + 18] = bytes(16)
        at += max(data[at + 1], 2)
    return found, hmac.digest(secret, bytes(blank), "md5")


def response_authenticator(data: bytes, request_authenticator: bytes, secret: bytes) -> bytes:
    """What proves a response (RFC 2865 section 3), and with 16 zeros a request that draws none (RFC 2866, RFC 5176)."""
    length = int.from_bytes(data[2:4], "big")
    return hashlib.md5(data[:4] + request_authenticator + data[HEADER:length] + secret).digest()


def sign_access(packet: Packet, secret: bytes) -> bytes:
    """An Access-Request or Status-Server with its Message-Authenticator, as the first attribute. Its authenticator is drawn at random."""
    attributes = (_EMPTY, *(_hide(a, packet.authenticator, secret) for a in packet.attributes))
    data = Packet(packet.code, packet.identifier, packet.authenticator, attributes).emit()
    proof = message_authenticator(data, packet.authenticator, secret)[1]
    return data[: HEADER + 2] + proof + data[HEADER + 18 :]


def sign_computed(packet: Packet, secret: bytes, over: bytes = bytes(16)) -> bytes:
    """A packet whose authenticator is computed, with a Message-Authenticator first.

    A request of accounting or dynamic authorisation; a response with ``over``, the request's authenticator.
    """
    data = Packet(packet.code, packet.identifier, over, (_EMPTY, *packet.attributes)).emit()
    proof = message_authenticator(data, over, secret)[1]
    data = data[: HEADER + 2] + proof + data[HEADER + 18 :]
    return data[:4] + response_authenticator(data, over, secret) + data[HEADER:]


def verify(data: bytes, over: bytes, secret: bytes, *, need_message_authenticator: bool) -> None:
    """Check a response against its request's authenticator, or a computed request (``over`` is 16 zeros). Raises ``Forged``."""
    if not hmac.compare_digest(response_authenticator(data, over, secret), data[4:HEADER]):
        raise Forged("authenticator", "the authenticator is wrong: the shared secrets differ, or it is forged")
    found, expected = message_authenticator(data, over, secret)
    if found is None:
        if need_message_authenticator:
            raise Forged("ma_missing", "there is no Message-Authenticator")
    elif not hmac.compare_digest(found, expected):
        raise Forged("ma_wrong", "the Message-Authenticator is wrong")


def _hide(attribute: Attribute, authenticator: bytes, secret: bytes) -> Attribute:
    if not attribute.hidden:
        return attribute
    return Attribute(attribute.type, hide(attribute.value, authenticator, secret), attribute.vendor)


# --- hidden values --------------------------------------------------------------------------------------------------------------


def hide(value: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """User-Password as it goes out (RFC 2865 section 5.2): at most 128 octets. Raises ``ValueError`` for more."""
    if len(value) > 128:
        raise ValueError(f"a password of {len(value)} octets")
    padded = value + bytes(-len(value) % 16 if value else 16)
    out, last = b"", authenticator
    for at in range(0, len(padded), 16):
        last = _xor(padded[at : at + 16], hashlib.md5(secret + last).digest())
        out += last
    return out


def reveal(hidden: bytes, authenticator: bytes, secret: bytes, salt: bytes = b"") -> bytes:
    """The reverse of ``hide``, its padding included; with a salt, of MS-MPPE keys. ``hidden``: a multiple of 16 octets."""
    out, last = b"", authenticator + salt
    for at in range(0, len(hidden), 16):
        block = hidden[at : at + 16]
        out += _xor(block, hashlib.md5(secret + last).digest())
        last = block
    return out


def reveal_salted(value: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """MS-MPPE-Send-Key and -Recv-Key (RFC 2548 section 2.4.2): salt 2 | length and key, padded to 16, hidden. Raises ``ValueError``."""
    if len(value) < 2 + 16 or (len(value) - 2) % 16:
        raise ValueError(f"{len(value)} octets")
    if not value[0] & 0x80:
        raise ValueError("a salt whose first bit is clear")
    plain = reveal(value[2:], authenticator, secret, value[:2])
    if plain[0] > len(plain) - 1:
        raise ValueError("a length inside that goes past the end")
    return plain[1 : 1 + plain[0]]


def hide_salted(key: bytes, authenticator: bytes, secret: bytes, salt: bytes) -> bytes:
    """The reverse of ``reveal_salted``, for servers that stand in for one in tests."""
    plain = bytes((len(key),)) + key
    plain += bytes(-len(plain) % 16)
    out, last = b"", authenticator + salt
    for at in range(0, len(plain), 16):
        last = _xor(plain[at : at + 16], hashlib.md5(secret + last).digest())
        out += last
    return salt + out


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def microsoft(kind: int, value: bytes) -> Attribute:
    """An attribute of Microsoft's."""
    return Attribute(kind, value, Vendor.MICROSOFT)
