"""The payloads of ISAKMP and IKE (RFC 2408 section 3.4 to 3.16, RFC 2407 section 4.6, RFC 3947, MS-IKEE): one frozen value each.

``parse`` takes the body behind the generic header and raises ``Malformed``, nothing else; ``emit`` gives the body back.
``parse(emit(x)) == x`` for every value. ``PAYLOADS`` is the one table that parser, decoder and documents read.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final, Protocol, Self, TypeAlias

from headrace.ike.attributes import Attribute, emit_attributes, parse_attributes
from headrace.ike.constants import DOI_IPSEC, SIT_IDENTITY_ONLY, IdType, PayloadType, notify_name
from headrace.model import IPAddress, printable
from headrace.wire import Malformed, Reader, Writer

LAYER: Final = "isakmp"
MAX_PROPOSALS: Final = 64
MAX_TRANSFORMS: Final = 256
"""Transforms of a whole SA payload: Android sends 24, Windows 5; each costs time to judge."""


class UnsupportedDoi(Malformed):
    """An SA of another domain of interpretation: answered with DOI-NOT-SUPPORTED."""


class UnsupportedSituation(Malformed):
    """Labelled networking is asked for: answered with SITUATION-NOT-SUPPORTED."""


class BadProposal(Malformed):
    """The inside of an SA payload makes no sense: answered with BAD-PROPOSAL-SYNTAX."""


class Payload(Protocol):
    """What every payload can do."""

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Read a body. Raises ``Malformed``."""

    def emit(self) -> bytes:
        """Write the body."""


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform (RFC 2408 section 3.6). Its attributes stay octets: a transform that cannot be read is skipped, not fatal.

    ::

        | next (3 or 0) | reserved | length        |
        | number        | id       | reserved      |
        | attributes ...                           |
    """

    number: int
    id: int
    body: bytes
    """The attributes as they stand on the wire."""

    @classmethod
    def of(cls, number: int, kind: int, attributes: tuple[Attribute, ...]) -> Transform:
        """Build from attributes."""
        return cls(number, kind, emit_attributes(attributes))

    def attributes(self) -> tuple[Attribute, ...]:
        """Read the attributes. Raises ``Malformed``."""
        return parse_attributes(self.body)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One protocol with its transforms, any one of which will do (RFC 2408 section 3.5).

    ::

        | next (2 or 0) | reserved | length                    |
        | number        | protocol | SPI octets | transforms   |
        | SPI ...                                              |
    """

    number: int
    """The same number twice is a bundle (AND), different numbers are alternatives (OR)."""
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """SA payload (RFC 2408 section 3.4, RFC 2407 section 4.6.1): DOI (4), situation (4), proposals."""

    proposals: tuple[Proposal, ...]

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``UnsupportedDoi``, ``UnsupportedSituation`` or ``BadProposal``, all of them ``Malformed``."""
        reader = Reader(body, LAYER, base)
        place = reader.offset
        doi = reader.u32("DOI")
        if doi != DOI_IPSEC:
            raise UnsupportedDoi(LAYER, "DOI", place, f"{doi} is not the IPsec DOI")
        place = reader.offset
        situation = reader.u32("situation")
        if situation != SIT_IDENTITY_ONLY:
            raise UnsupportedSituation(LAYER, "situation", place, f"{situation:#x} asks for more than identities")
        try:
            return cls(_parse_proposals(reader))
        except BadProposal:
            raise
        except Malformed as error:
            raise BadProposal(LAYER, error.field, error.offset, error.reason) from error

    def emit(self) -> bytes:
        """Write the body."""
        writer = Writer().u32(DOI_IPSEC).u32(SIT_IDENTITY_ONLY)
        for i, proposal in enumerate(self.proposals, 1):
            inner = Writer().u8(proposal.number).u8(proposal.protocol).u8(len(proposal.spi)).u8(len(proposal.transforms))
            inner.raw(proposal.spi)
            for j, transform in enumerate(proposal.transforms, 1):
                inner.u8(0 if j == len(proposal.transforms) else PayloadType.TRANSFORM).u8(0).u16(8 + len(transform.body))
                inner.u8(transform.number).u8(transform.id).u16(0).raw(transform.body)
            writer.u8(0 if i == len(self.proposals) else PayloadType.PROPOSAL).u8(0).u16(4 + len(inner)).raw(inner.bytes())
        return writer.bytes()

    def __str__(self) -> str:
        return f"SA with {len(self.proposals)} proposals, {sum(len(p.transforms) for p in self.proposals)} transforms"


def _parse_proposals(reader: Reader) -> tuple[Proposal, ...]:
    proposals: list[Proposal] = []
    transforms = 0
    following: int = PayloadType.PROPOSAL
    while following == PayloadType.PROPOSAL:
        following, inner = _enclosed(reader, "proposal")
        number, protocol, spi_octets, count = (inner.u8(name) for name in ("number", "protocol", "SPI size", "transform count"))
        spi = inner.take(spi_octets, "SPI")
        transforms += count
        if count == 0 or transforms > MAX_TRANSFORMS or len(proposals) == MAX_PROPOSALS:
            raise inner.fail("transform count", f"{count} transforms in proposal {number}")
        proposals.append(Proposal(number, protocol, spi, _parse_transforms(inner, count)))
    if following:
        raise reader.fail("proposal", f"payload {following} inside an SA payload")
    reader.end("SA payload")
    return tuple(proposals)


def _parse_transforms(reader: Reader, count: int) -> tuple[Transform, ...]:
    found: list[Transform] = []
    for _ in range(count):
        _, inner = _enclosed(reader, "transform")
        number, kind = inner.u8("transform number"), inner.u8("transform id")
        inner.u16("reserved")
        found.append(Transform(number, kind, inner.rest()))
    reader.end("proposal")
    return tuple(found)


def _enclosed(reader: Reader, what: str) -> tuple[int, Reader]:
    following = reader.u8("next payload")
    reader.u8("reserved")
    length = reader.u16("length")
    if length < 8:
        raise reader.fail("length", f"{what} of {length} octets")
    return following, reader.sub(length - 4, what)


@dataclass(frozen=True, slots=True)
class Opaque:
    """A payload whose body is its value."""

    data: bytes

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Any octets are legal."""
        del base
        return cls(body)

    def emit(self) -> bytes:
        """Write the body."""
        return self.data


class KeyExchange(Opaque):
    """Public Diffie-Hellman value (RFC 2408 section 3.7)."""


class Nonce(Opaque):
    """Nonce, 8 to 256 octets (RFC 2408 section 3.13); the length is judged by who uses it."""


class Hash(Opaque):
    """Hash (RFC 2408 section 3.11)."""


class Signature(Opaque):
    """Signature (RFC 2408 section 3.12)."""


class VendorId(Opaque):
    """Vendor id (RFC 2408 section 3.16)."""


class NatDetection(Opaque):
    """NAT-D: a hash of cookies, address and port (RFC 3947 section 3.2)."""


class Unknown(Opaque):
    """A payload that is skipped."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Identity of phase 1, selector of phase 2 (RFC 2407 section 4.6.2).

    ::

        | ID type | protocol | port        |
        | data ...                         |
    """

    type: int
    protocol: int
    """IP protocol; 0 for any."""
    port: int
    data: bytes

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``Malformed`` if the fixed part is missing; what the data is worth is judged by who uses it."""
        reader = Reader(body, LAYER, base)
        return cls(reader.u8("ID type"), reader.u8("protocol"), reader.u16("port"), reader.rest())

    @classmethod
    def of_address(cls, address: IPAddress, protocol: int = 0, port: int = 0) -> Identification:
        """An address as identity."""
        return cls(IdType.IPV4_ADDR if address.version == 4 else IdType.IPV6_ADDR, protocol, port, address.packed)

    def emit(self) -> bytes:
        """Write the body."""
        return Writer().u8(self.type).u8(self.protocol).u16(self.port).raw(self.data).bytes()

    @property
    def address(self) -> IPAddress | None:
        """The address, if it is one and its length is right."""
        if self.type == IdType.IPV4_ADDR and len(self.data) == 4:
            return ipaddress.IPv4Address(self.data)
        if self.type == IdType.IPV6_ADDR and len(self.data) == 16:
            return ipaddress.IPv6Address(self.data)
        return None

    def __str__(self) -> str:
        address = self.address
        if address is not None:
            text = str(address)
        elif self.type in {IdType.FQDN, IdType.USER_FQDN}:
            text = printable(self.data)
        else:
            text = f"ID type {self.type}: {self.data[:64].hex()}"
        return f"{text} {self.protocol}/{self.port}" if self.protocol or self.port else text


@dataclass(frozen=True, slots=True)
class Certificate:
    """Certificate (RFC 2408 section 3.9): encoding (1), data."""

    encoding: int
    data: bytes

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``Malformed`` if it is empty."""
        reader = Reader(body, LAYER, base)
        return cls(reader.u8("certificate encoding"), reader.rest())

    def emit(self) -> bytes:
        """Write the body."""
        return Writer().u8(self.encoding).raw(self.data).bytes()

    def __str__(self) -> str:
        return f"certificate, encoding {self.encoding}, {len(self.data)} octets"


class CertificateRequest(Certificate):
    """Certificate request (RFC 2408 section 3.10): encoding (1), DER name of a CA or nothing."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Notification (RFC 2408 section 3.14).

    ::

        | DOI                                      |
        | protocol | SPI octets | type             |
        | SPI ... | data ...                       |
    """

    type: int
    protocol: int
    spi: bytes = b""
    data: bytes = b""
    doi: int = DOI_IPSEC

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``Malformed``."""
        reader = Reader(body, LAYER, base)
        doi, protocol, octets, kind = reader.u32("DOI"), reader.u8("protocol"), reader.u8("SPI size"), reader.u16("notify type")
        return cls(kind, protocol, reader.take(octets, "SPI"), reader.rest(), doi)

    def emit(self) -> bytes:
        """Write the body."""
        head = Writer().u32(self.doi).u8(self.protocol).u8(len(self.spi)).u16(self.type)
        return head.raw(self.spi).raw(self.data).bytes()

    def __str__(self) -> str:
        return notify_name(self.type)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete (RFC 2408 section 3.15).

    ::

        | DOI                                      |
        | protocol | SPI octets | SPIs             |
        | SPI ...                                  |
    """

    protocol: int
    spi_octets: int
    spis: tuple[bytes, ...]
    """Of ESP: the inbound ones of the sender. Of ISAKMP: both cookies."""
    doi: int = DOI_IPSEC

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``Malformed`` if count and length do not agree."""
        reader = Reader(body, LAYER, base)
        doi, protocol, octets, count = reader.u32("DOI"), reader.u8("protocol"), reader.u8("SPI size"), reader.u16("SPI count")
        if octets == 0 and count:
            raise reader.fail("SPI size", f"{count} SPIs of no octets")
        if len(reader) != octets * count:
            raise reader.fail("SPI count", f"{count} SPIs of {octets} octets in {len(reader)} octets")
        return cls(protocol, octets, tuple(reader.take(octets, "SPI") for _ in range(count)), doi)

    def emit(self) -> bytes:
        """Write the body."""
        writer = Writer().u32(self.doi).u8(self.protocol).u8(self.spi_octets).u16(len(self.spis))
        return writer.raw(b"".join(self.spis)).bytes()

    def __str__(self) -> str:
        return f"delete {len(self.spis)} SPIs of protocol {self.protocol}"


@dataclass(frozen=True, slots=True)
class NatOriginalAddress:
    """NAT-OA (RFC 3947 section 5.2): ID type (1: 1 or 5), reserved (3), address."""

    address: IPAddress

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``Malformed``."""
        reader = Reader(body, LAYER, base)
        kind = reader.u8("ID type")
        reader.take(3, "reserved")
        octets = reader.rest()
        if (kind, len(octets)) == (IdType.IPV4_ADDR, 4):
            return cls(ipaddress.IPv4Address(octets))
        if (kind, len(octets)) == (IdType.IPV6_ADDR, 16):
            return cls(ipaddress.IPv6Address(octets))
        raise reader.fail("NAT-OA", f"ID type {kind} with {len(octets)} octets")

    def emit(self) -> bytes:
        """Write the body."""
        kind = IdType.IPV4_ADDR if self.address.version == 4 else IdType.IPV6_ADDR
        return Writer().u8(kind).raw(bytes(3)).raw(self.address.packed).bytes()

    def __str__(self) -> str:
        return f"NAT-OA {self.address}"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a whole ISAKMP message (MS-IKEE 2.2.3.1): id (2), number (1), flags (1), data."""

    id: int
    number: int
    """From 1."""
    last: bool
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, body: bytes, base: int = 0) -> Self:
        """Raises ``Malformed``."""
        reader = Reader(body, LAYER, base)
        return cls(
            reader.u16("fragment id"), reader.u8("fragment number"), bool(reader.u8("fragment flags") & 1), reader.rest()
        )

    def emit(self) -> bytes:
        """Write the body."""
        return Writer().u16(self.id).u8(self.number).u8(int(self.last)).raw(self.data).bytes()

    def __str__(self) -> str:
        return f"fragment {self.number} of message {self.id}{', the last' if self.last else ''}"


AnyPayload: TypeAlias = (
    SecurityAssociation
    | KeyExchange
    | Identification
    | Certificate
    | CertificateRequest
    | Hash
    | Signature
    | Nonce
    | Notify
    | Delete
    | VendorId
    | NatDetection
    | NatOriginalAddress
    | Fragment
    | Unknown
)


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """One payload type: how it is called, which class reads it, how often one message may hold it."""

    number: int
    name: str
    kind: type[Payload]
    most: int
    """Occurrences in one message; 0 is no limit of its own."""
    section: str


PAYLOADS: Final = (
    PayloadRow(PayloadType.SA, "SA", SecurityAssociation, 1, "RFC 2408 3.4"),
    PayloadRow(PayloadType.KEY_EXCHANGE, "KE", KeyExchange, 1, "RFC 2408 3.7"),
    PayloadRow(PayloadType.IDENTIFICATION, "ID", Identification, 2, "RFC 2407 4.6.2"),
    PayloadRow(PayloadType.CERTIFICATE, "CERT", Certificate, 0, "RFC 2408 3.9"),
    PayloadRow(PayloadType.CERTIFICATE_REQUEST, "CERTREQ", CertificateRequest, 0, "RFC 2408 3.10"),
    PayloadRow(PayloadType.HASH, "HASH", Hash, 1, "RFC 2408 3.11"),
    PayloadRow(PayloadType.SIGNATURE, "SIG", Signature, 1, "RFC 2408 3.12"),
    PayloadRow(PayloadType.NONCE, "NONCE", Nonce, 1, "RFC 2408 3.13"),
    PayloadRow(PayloadType.NOTIFY, "N", Notify, 0, "RFC 2408 3.14"),
    PayloadRow(PayloadType.DELETE, "D", Delete, 0, "RFC 2408 3.15"),
    PayloadRow(PayloadType.VENDOR_ID, "VID", VendorId, 0, "RFC 2408 3.16"),
    PayloadRow(PayloadType.NAT_D, "NAT-D", NatDetection, 0, "RFC 3947 3.2"),
    PayloadRow(PayloadType.NAT_OA, "NAT-OA", NatOriginalAddress, 2, "RFC 3947 5.2"),
    PayloadRow(PayloadType.NAT_D_DRAFT, "NAT-D (draft)", NatDetection, 0, "draft-ietf-ipsec-nat-t-ike-03"),
    PayloadRow(PayloadType.NAT_OA_DRAFT, "NAT-OA (draft)", NatOriginalAddress, 2, "draft-ietf-ipsec-nat-t-ike-03"),
    PayloadRow(PayloadType.FRAGMENT, "FRAG", Fragment, 1, "MS-IKEE 2.2.3.1"),
)
ROWS: Final = {row.number: row for row in PAYLOADS}
