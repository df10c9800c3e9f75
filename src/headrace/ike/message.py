"""An ISAKMP message: header, chain of generic payload headers (RFC 2408 section 3.1, 3.2).

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Initiator Cookie (8)                    |
    |                       Responder Cookie (8)                    |
    |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
    |                          Message ID                           |
    |                            Length                             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    |  Next Payload |   RESERVED    |        Payload Length         |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from headrace.ike.constants import HEADER_OCTETS, VERSION, Flag, PayloadType
from headrace.ike.payloads import LAYER, ROWS, Payload, PayloadRow
from headrace.wire import Malformed, Reader, Writer

MAX_PAYLOADS: Final = 64
MAX_CERTIFICATE_REQUESTS: Final = 256
"""Windows asks once for every root of its machine store, so these do not count as the others do."""
_LAST_ASSIGNED: Final = 21
_FIRST_PRIVATE: Final = 128

T = TypeVar("T")


class TooManyPayloads(Malformed):
    """A chain that is longer than any real message."""


@dataclass(frozen=True, slots=True)
class Header:
    """The ISAKMP header."""

    cookie_i: bytes
    cookie_r: bytes
    """Zero in the very first message."""
    next_payload: int
    exchange: int
    flags: int = 0
    message_id: int = 0
    """0 in phase 1."""
    length: int = 0
    """Octets of the whole message, padding included."""
    version: int = VERSION

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read the first 28 octets. Raises ``Truncated``."""
        reader = Reader(data, LAYER)
        cookie_i, cookie_r = reader.take(8, "initiator cookie"), reader.take(8, "responder cookie")
        following, version, exchange, flags = (
            reader.u8(name) for name in ("next payload", "version", "exchange type", "flags")
        )
        return cls(cookie_i, cookie_r, following, exchange, flags, reader.u32("message id"), reader.u32("length"), version)

    def emit(self) -> bytes:
        """Write the 28 octets."""
        writer = Writer().raw(self.cookie_i).raw(self.cookie_r).u8(self.next_payload).u8(self.version).u8(self.exchange)
        return writer.u8(self.flags).u32(self.message_id).u32(self.length).bytes()

    @property
    def encrypted(self) -> bool:
        """Whether the body is ciphertext."""
        return bool(self.flags & Flag.ENCRYPTED)

    @property
    def cookies(self) -> tuple[bytes, bytes]:
        """Both cookies: the name of the SA."""
        return self.cookie_i, self.cookie_r


@dataclass(frozen=True, slots=True)
class RawPayload:
    """A payload as it stands in a message."""

    type: int
    body: bytes
    """Without the generic header."""
    offset: int
    """Of the body in the whole message."""

    @property
    def row(self) -> PayloadRow | None:
        """What the table knows of it."""
        return ROWS.get(self.type)

    def decode(self) -> Payload | None:
        """The value, ``None`` for a type that is not known. Raises ``Malformed``."""
        return self.row.kind.parse(self.body, self.offset) if self.row else None


@dataclass(frozen=True, slots=True)
class Chain:
    """The payloads of one message in order."""

    items: tuple[RawPayload, ...]
    octets: int
    """From the first generic header to the end of the last payload: what a HASH covers, padding left out."""

    def all(self, kind: int, of: type[T]) -> list[T]:
        """Every payload of a type, decoded. Raises ``Malformed``."""
        decoded = (raw.decode() for raw in self.items if raw.type == kind)
        return [value for value in decoded if isinstance(value, of)]

    def one(self, kind: int, of: type[T]) -> T:
        """The payload of a type. Raises ``Malformed`` if there is none."""
        found = self.all(kind, of)
        if not found:
            raise Malformed(LAYER, ROWS[kind].name, HEADER_OCTETS, "payload is missing")
        return found[0]

    def maybe(self, kind: int, of: type[T]) -> T | None:
        """The payload of a type, ``None`` if there is none. Raises ``Malformed``."""
        found = self.all(kind, of)
        return found[0] if found else None

    def body(self, kind: int) -> bytes:
        """The octets of the payload of a type, as the hashes of RFC 2409 take them. Raises ``Malformed`` if there is none."""
        for raw in self.items:
            if raw.type == kind:
                return raw.body
        raise Malformed(LAYER, ROWS[kind].name, HEADER_OCTETS, "payload is missing")


def parse_chain(first: int, body: bytes, *, padded: bool) -> Chain:
    """Walk the generic headers from payload type ``first`` on. ``body`` begins behind the ISAKMP header.

    Octets behind the last payload are padding where ``padded``, else an error. Types of the private range are kept and of no
    consequence; unassigned ones are an error (RFC 2408 section 5.3). Raises ``Malformed``.
    """
    reader = Reader(body, LAYER, HEADER_OCTETS)
    found: list[RawPayload] = []
    requests = 0
    seen: dict[int, int] = {}
    kind = first
    while kind != PayloadType.NONE:
        if _LAST_ASSIGNED < kind < _FIRST_PRIVATE or kind in {PayloadType.PROPOSAL, PayloadType.TRANSFORM}:
            raise reader.fail("next payload", f"type {kind} has no meaning here")
        requests += kind == PayloadType.CERTIFICATE_REQUEST
        if len(found) - requests >= MAX_PAYLOADS or requests > MAX_CERTIFICATE_REQUESTS:
            raise TooManyPayloads(LAYER, "payloads", reader.offset, f"more than {MAX_PAYLOADS}")
        following = reader.u8("next payload")
        reader.u8("reserved")
        length = reader.u16("payload length")
        if length < 4:
            raise reader.fail("payload length", f"{length} is less than the generic header")
        offset = reader.offset
        found.append(RawPayload(kind, reader.take(length - 4, "payload"), offset))
        seen[kind] = seen.get(kind, 0) + 1
        row = ROWS.get(kind)
        if row and row.most and seen[kind] > row.most:
            raise reader.fail(row.name, f"{seen[kind]} payloads in one message")
        kind = following
    if not padded:
        reader.end("message")
    return Chain(tuple(found), len(body) - len(reader))


def emit_chain(payloads: Sequence[tuple[int, bytes]]) -> bytes:
    """Write payloads (type, body) one behind the other."""
    writer = Writer()
    for i, (_, body) in enumerate(payloads):
        following = payloads[i + 1][0] if i + 1 < len(payloads) else PayloadType.NONE
        writer.u8(following).u8(0).u16(4 + len(body)).raw(body)
    return writer.bytes()


def emit_message(header: Header, payloads: Sequence[tuple[int, bytes]]) -> bytes:
    """A whole message in clear; next payload and length of the header are filled in."""
    body = emit_chain(payloads)
    return replace(header, next_payload=payloads[0][0], length=HEADER_OCTETS + len(body)).emit() + body
