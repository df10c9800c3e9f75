"""SAP on the wire: which services there are, and where.

::

    request: operation 1 (all) or 3 (the nearest), service type (ffff: any)          16 bits each
    response: operation 2 or 4, then at most 7 of
    +---------------+------------------------+----------------+--------------+------------+----------+
    | Type, 16 bits | Name, 48 octets, zeros | Network 32     | Node 48 bits | Socket 16  | Hops 16  |
    +---------------+------------------------+----------------+--------------+------------+----------+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.ipx.packet import Address
from headrace.wire import Reader, Writer

ALL_REQUEST: Final = 1
ALL_RESPONSE: Final = 2
NEAREST_REQUEST: Final = 3
NEAREST_RESPONSE: Final = 4
ANY: Final = 0xFFFF
NAME_SIZE: Final = 48
ENTRIES_MAX: Final = 7
DOWN: Final = 16
"""Hops of a service that is no more."""


@dataclass(frozen=True, slots=True)
class Service:
    """One entry."""

    type: int
    name: bytes
    """Without the zeros behind it; 1 to 47 octets make sense."""
    address: Address
    hops: int


@dataclass(frozen=True, slots=True)
class Message:
    """A request (``wanted``) or response (``services``)."""

    operation: int
    wanted: int = ANY
    services: tuple[Service, ...] = ()

    @classmethod
    def parse(cls, payload: bytes) -> Message:
        """Read a message; entries beyond seven are not looked at. Raises ``Malformed`` for what is cut short."""
        reader = Reader(payload, "ipx_sap")
        operation = reader.u16("length")
        if operation in {ALL_REQUEST, NEAREST_REQUEST}:
            return cls(operation, reader.u16("length"))
        services: list[Service] = []
        while len(reader) and len(services) < ENTRIES_MAX:
            kind, name = reader.u16("length"), reader.take(NAME_SIZE, "length").split(b"\0", 1)[0]
            address = Address(reader.u32("length"), reader.take(6, "length"), reader.u16("length"))
            services.append(Service(kind, name, address, reader.u16("length")))
        return cls(operation, services=tuple(services))

    def emit(self) -> bytes:
        """The message as octets."""
        writer = Writer().u16(self.operation)
        if self.operation in {ALL_REQUEST, NEAREST_REQUEST}:
            return writer.u16(self.wanted).bytes()
        for service in self.services:
            writer.u16(service.type).raw(service.name[: NAME_SIZE - 1].ljust(NAME_SIZE, b"\0"))
            writer.u32(service.address.network).raw(service.address.node).u16(service.address.socket).u16(service.hops)
        return writer.bytes()


def responses(services: Sequence[Service]) -> list[bytes]:
    """As many responses as are needed for all services."""
    parts = (tuple(services[at : at + ENTRIES_MAX]) for at in range(0, len(services), ENTRIES_MAX))
    return [Message(ALL_RESPONSE, services=part).emit() for part in parts]
