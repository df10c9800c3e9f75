"""The Extensible Authentication Protocol on the wire (RFC 3748 sections 4 and 5).

::

     0                   1                   2                   3
    +---------------+---------------+-------------------------------+
    |     Code      |  Identifier   |            Length             |   code: 1 request, 2 response, 3 success, 4 failure
    +---------------+---------------+-------------------------------+
    |     Type      |  Type-Data ...                                    requests and responses alone
    +---------------+---------------
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from headrace.ppp.config import AuthMethod
from headrace.wire import Malformed, Reader, Writer

REQUEST: Final = 1
RESPONSE: Final = 2
SUCCESS: Final = 3
FAILURE: Final = 4

IDENTITY: Final = 1
NOTIFICATION: Final = 2
NAK: Final = 3
MD5_CHALLENGE: Final = 4
TLS: Final = 13
PEAP: Final = 25
MSCHAP_V2: Final = 26
TLV: Final = 33
EXPANDED: Final = 254

HEADER: Final = 5
"""Octets before the type-data."""

ROUNDS: Final = 64
"""Requests in one conversation. With a small MRU and a long certificate chain an honest one has about twenty."""

MESSAGE_LIMIT: Final = 64 * 1024
"""Octets of one TLS message, put together from fragments."""

IDENTITY_LIMIT: Final = 256
"""Octets of an identity that are taken; an account's name has fewer."""

TYPE_OF: Final = {
    AuthMethod.EAP_MD5: MD5_CHALLENGE,
    AuthMethod.EAP_TLS: TLS,
    AuthMethod.PEAP: PEAP,
    AuthMethod.EAP_MSCHAP_V2: MSCHAP_V2,
}
"""The EAP type of each method."""

METHOD_OF: Final = {number: method for method, number in TYPE_OF.items()}

_NAMES: Final = {
    0: "none",
    IDENTITY: "identity",
    NOTIFICATION: "notification",
    NAK: "nak",
    MD5_CHALLENGE: "md5",
    5: "one-time password",
    6: "token card",
    TLS: "tls",
    21: "ttls",
    PEAP: "peap",
    MSCHAP_V2: "mschapv2",
    43: "fast",
    52: "pwd",
    55: "teap",
    EXPANDED: "expanded",
}


def type_name(number: int) -> str:
    """An EAP type for a person."""
    return f"{_NAMES[number]} ({number})" if number in _NAMES else str(number)


@dataclass(frozen=True, slots=True)
class EapPacket:
    """One EAP packet."""

    code: int
    identifier: int
    type: int = 0
    """0 in Success and Failure, which have none."""
    data: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, octets: bytes) -> EapPacket:
        """Read a packet; octets behind its length are padding. Raises ``Malformed``, field ``length``, ``code`` or ``type``."""
        reader = Reader(octets, "eap")
        code, identifier, length = reader.u8("length"), reader.u8("length"), reader.u16("length")
        if length < 4:
            raise Malformed("eap", "length", 2, f"{length} is less than the header's 4")
        body = reader.sub(length - 4, "length")
        if code in {SUCCESS, FAILURE}:
            body.end("length")
            return cls(code, identifier)
        if code not in {REQUEST, RESPONSE}:
            raise Malformed("eap", "code", 0, f"there is no code {code}")
        number = body.u8("type")
        if number == 0:
            raise Malformed("eap", "type", 4, "there is no type 0")
        return cls(code, identifier, number, body.rest())

    def emit(self) -> bytes:
        """The packet as octets."""
        writer = Writer().u8(self.code).u8(self.identifier)
        if self.code in {SUCCESS, FAILURE}:
            return writer.u16(4).bytes()
        return writer.u16(HEADER + len(self.data)).u8(self.type).raw(self.data).bytes()

    def __str__(self) -> str:
        name = {REQUEST: "Request", RESPONSE: "Response", SUCCESS: "Success", FAILURE: "Failure"}[self.code]
        return f"{name} id {self.identifier}" + (f", {type_name(self.type)}, {len(self.data)} octets" if self.type else "")


def emit_nak(identifier: int, refused: int, wanted: tuple[int, ...]) -> EapPacket:
    """Refuse a request's type and say what would do (section 5.3); no type at all would do: type 0."""
    if refused != EXPANDED:
        return EapPacket(RESPONSE, identifier, NAK, bytes(wanted) or b"\0")
    data = _expanded(NAK) + b"".join(map(_expanded, wanted or (0,)))
    return EapPacket(RESPONSE, identifier, EXPANDED, data)


def _expanded(number: int) -> bytes:
    """The rest of an expanded type of the IETF's (section 5.7): vendor 0 and a type of 32 bits; behind the first, each with its 254."""
    lead = b"" if number == NAK else bytes((EXPANDED,))
    return lead + bytes(3) + number.to_bytes(4, "big")


def parse_nak(packet: EapPacket) -> tuple[int, ...] | None:
    """The types that a Nak of either kind asks for, in its order; ``None`` if the packet is no Nak.

    Types of other vendors are left out: none is spoken here. Raises ``Malformed``.
    """
    if packet.type == NAK:
        return tuple(number for number in packet.data if number not in {0, NAK})
    if packet.type != EXPANDED:
        return None
    reader = Reader(packet.data, "eap", HEADER)
    if reader.take(3, "nak") != bytes(3) or reader.u32("nak") != NAK:
        return None
    wanted = []
    while len(reader):
        lead, vendor, number = reader.u8("nak"), reader.take(3, "nak"), reader.u32("nak")
        if lead != EXPANDED:
            raise reader.fail("nak", f"an expanded Nak holds type {lead}")
        if vendor == bytes(3) and 0 < number < EXPANDED and number != NAK:
            wanted.append(number)
    return tuple(wanted)
