"""Data attributes of transforms (RFC 2408 section 3.3), and their tables of classes and values for both phases.

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |A|       Attribute Type        |    A=0: length,  A=1: value   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   A=0: the value, as long as it says;   A=1: nothing          .
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from headrace.ike.constants import AuthMethod, Encapsulation, LifeType, Phase1Attribute, Phase2Attribute
from headrace.wire import Reader, Writer

_SHORT: Final = 0x8000
MAX_ATTRIBUTES: Final = 32
"""Attributes of one transform that are read; real ones have at most seven."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute in the encoding that the peer chose, so that it can be repeated exactly."""

    type: int
    """Class, 15 bits."""
    data: bytes
    """The value, most significant octet first: two octets in the short form, any number in the long one."""
    short: bool = True

    @classmethod
    def of(cls, kind: int, value: int) -> Attribute:
        """The short form of a value up to 65535, else the long one with four octets."""
        return cls(kind, value.to_bytes(2, "big")) if value <= 0xFFFF else cls(kind, value.to_bytes(4, "big"), short=False)

    @property
    def value(self) -> int:
        """The value as a number, whatever its length."""
        return int.from_bytes(self.data, "big")

    def __str__(self) -> str:
        return f"{self.type}={self.value}" if len(self.data) <= 8 else f"{self.type}={self.data.hex()}"


def parse_attributes(data: bytes, base: int = 0) -> tuple[Attribute, ...]:
    """Read the attributes of one transform. Raises ``Malformed``."""
    reader = Reader(data, "isakmp attribute", base)
    found: list[Attribute] = []
    while len(reader):
        kind = reader.u16("type")
        if len(found) == MAX_ATTRIBUTES:
            raise reader.fail("attributes", f"more than {MAX_ATTRIBUTES} in one transform")
        if kind & _SHORT:
            found.append(Attribute(kind & ~_SHORT, reader.take(2, "value")))
        else:
            found.append(Attribute(kind, reader.take(reader.u16("length"), "value"), short=False))
    return tuple(found)


def emit_attributes(attributes: Iterable[Attribute]) -> bytes:
    """Write attributes in the form that each of them has."""
    writer = Writer()
    for item in attributes:
        if item.short:
            writer.u16(item.type | _SHORT).raw(item.data)
        else:
            writer.u16(item.type).u16(len(item.data)).raw(item.data)
    return writer.bytes()


@dataclass(frozen=True, slots=True)
class Life:
    """The lives that a transform names."""

    seconds: int | None = None
    kilobytes: int | None = None


def read_life(attributes: Iterable[Attribute], type_class: int, duration_class: int) -> Life:
    """Pair life types with the durations behind them (RFC 2407 section 4.5.4). A duration without a type counts for nothing."""
    seconds = kilobytes = unit = None
    for item in attributes:
        if item.type == type_class:
            unit = item.value
        elif item.type == duration_class and unit is not None:
            if unit == LifeType.SECONDS:
                seconds = item.value if seconds is None else min(seconds, item.value)
            elif unit == LifeType.KILOBYTES:
                kilobytes = item.value if kilobytes is None else min(kilobytes, item.value)
            unit = None
    return Life(seconds, kilobytes)


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """One attribute class: what logs and decoders call it and its values."""

    number: int
    name: str
    section: str
    values: tuple[tuple[int, str], ...] = ()


_LIFE_TYPES: Final = ((LifeType.SECONDS, "seconds"), (LifeType.KILOBYTES, "kilobytes"))
PHASE1: Final = (
    AttributeRow(Phase1Attribute.ENCRYPTION, "encryption", "RFC 2409 A", ((1, "DES"), (5, "3DES"), (7, "AES"))),
    AttributeRow(
        Phase1Attribute.HASH, "hash", "RFC 2409 A", ((1, "MD5"), (2, "SHA-1"), (4, "SHA-256"), (5, "SHA-384"), (6, "SHA-512"))
    ),
    AttributeRow(
        Phase1Attribute.AUTHENTICATION,
        "authentication",
        "RFC 2409 A, RFC 4754",
        (
            (AuthMethod.PSK, "pre-shared key"),
            (2, "DSS signature"),
            (AuthMethod.RSA_SIGNATURE, "RSA signature"),
            (4, "RSA encryption"),
            (5, "revised RSA encryption"),
            (AuthMethod.ECDSA_256, "ECDSA P-256"),
            (AuthMethod.ECDSA_384, "ECDSA P-384"),
            (AuthMethod.ECDSA_521, "ECDSA P-521"),
            (64221, "hybrid RSA"),
            (65001, "XAUTH with a pre-shared key"),
            (65005, "XAUTH with RSA"),
        ),
    ),
    AttributeRow(Phase1Attribute.GROUP, "group", "RFC 2409 A"),
    AttributeRow(Phase1Attribute.LIFE_TYPE, "life type", "RFC 2409 A", _LIFE_TYPES),
    AttributeRow(Phase1Attribute.LIFE_DURATION, "life duration", "RFC 2409 A"),
    AttributeRow(Phase1Attribute.PRF, "PRF", "RFC 2409 A"),
    AttributeRow(Phase1Attribute.KEY_LENGTH, "key length", "RFC 2409 A"),
)
PHASE2: Final = (
    AttributeRow(Phase2Attribute.LIFE_TYPE, "life type", "RFC 2407 4.5", _LIFE_TYPES),
    AttributeRow(Phase2Attribute.LIFE_DURATION, "life duration", "RFC 2407 4.5"),
    AttributeRow(Phase2Attribute.GROUP, "group", "RFC 2407 4.5"),
    AttributeRow(
        Phase2Attribute.ENCAPSULATION,
        "encapsulation",
        "RFC 2407 4.5, RFC 3947 5.1",
        (
            (Encapsulation.TUNNEL, "tunnel mode"),
            (Encapsulation.TRANSPORT, "transport mode"),
            (Encapsulation.UDP_TUNNEL, "UDP-encapsulated tunnel mode"),
            (Encapsulation.UDP_TRANSPORT, "UDP-encapsulated transport mode"),
            (Encapsulation.UDP_TUNNEL_DRAFT, "UDP-encapsulated tunnel mode (draft)"),
            (Encapsulation.UDP_TRANSPORT_DRAFT, "UDP-encapsulated transport mode (draft)"),
        ),
    ),
    AttributeRow(Phase2Attribute.AUTHENTICATION, "authentication", "RFC 2407 4.5, RFC 4868"),
    AttributeRow(Phase2Attribute.KEY_LENGTH, "key length", "RFC 2407 4.5"),
    AttributeRow(Phase2Attribute.KEY_ROUNDS, "key rounds", "RFC 2407 4.5"),
    AttributeRow(Phase2Attribute.EXTENDED_SEQUENCE, "extended sequence number", "RFC 4304"),
)


def value_label(rows: Iterable[AttributeRow], number: int, value: int) -> str:
    """A value of an attribute class in words, or its number."""
    for row in rows:
        if row.number == number:
            return dict(row.values).get(value, f"{row.name} {value}")
    return f"attribute {number} = {value}"
