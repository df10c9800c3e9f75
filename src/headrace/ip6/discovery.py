"""Neighbour discovery on the wire (RFC 4861 section 4, RFC 8106): solicitations, advertisements, and their options.

::

     Router advertisement                                              Prefix information
    +---------------+---------------+-------------------------------+ +-------+-------+-------+-+-+-----+
    | Type 134      | Code 0        | Checksum                      | | 3     | 4     |Length |L|A| 0   |
    +---------------+-+-+-----------+-------------------------------+ +-------+-------+-------+-+-+-----+
    | Cur hop limit |M|O| Reserved  | Router lifetime, s            | | Valid lifetime, s               |
    +---------------+-+-+-----------+-------------------------------+ | Preferred lifetime, s           |
    | Reachable time, ms            | Retrans timer, ms             | | Reserved, Prefix 128 bits       |
    +-------------------------------+-------------------------------+ +---------------------------------+
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from headrace.wire import Malformed, Reader, Writer

_LAYER: Final = "nd"
_UNIT: Final = 8
OPTIONS_MAX: Final = 64
"""Options of one message that are read. Nobody sends ten."""

FOREVER: Final = 0xFFFFFFFF
"""A lifetime without an end."""


class Type(IntEnum):
    """ICMPv6 types that the ends of a link use."""

    ECHO_REQUEST = 128
    ECHO_REPLY = 129
    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136


class Option(IntEnum):
    """Options that are understood."""

    PREFIX = 3
    MTU = 5
    DNS = 25


_MANAGED: Final = 0x80
_OTHER: Final = 0x40
_ON_LINK: Final = 0x80
_AUTONOMOUS: Final = 0x40
_NA_ROUTER: Final = 0x80
_NA_SOLICITED: Final = 0x40
_NA_OVERRIDE: Final = 0x20


@dataclass(frozen=True, slots=True)
class Prefix:
    """One Prefix Information option."""

    network: IPv6Network
    valid: int
    """Seconds; ``FOREVER`` has no end."""
    preferred: int
    on_link: bool = True
    autonomous: bool = True


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A Router Advertisement. ``parse(emit(x)) == x``."""

    hop_limit: int = 64
    managed: bool = False
    other: bool = False
    """Name servers and delegated prefixes are to be had by DHCPv6."""
    lifetime: int = 1800
    """Seconds as a default router; 0: none."""
    prefixes: tuple[Prefix, ...] = ()
    mtu: int = 0
    """Octets; 0 says nothing."""
    dns: tuple[IPv6Address, ...] = ()
    dns_lifetime: int = 0

    def emit(self) -> bytes:
        """What follows the ICMPv6 checksum."""
        flags = (_MANAGED if self.managed else 0) | (_OTHER if self.other else 0)
        writer = Writer().u8(self.hop_limit).u8(flags).u16(self.lifetime).u32(0).u32(0)
        for prefix in self.prefixes:
            bits = (_ON_LINK if prefix.on_link else 0) | (_AUTONOMOUS if prefix.autonomous else 0)
            writer.u8(Option.PREFIX).u8(4).u8(prefix.network.prefixlen).u8(bits)
            writer.u32(prefix.valid).u32(prefix.preferred).u32(0).raw(prefix.network.network_address.packed)
        if self.mtu:
            writer.u8(Option.MTU).u8(1).u16(0).u32(self.mtu)
        if self.dns:
            writer.u8(Option.DNS).u8(1 + 2 * len(self.dns)).u16(0).u32(self.dns_lifetime)
            writer.raw(b"".join(address.packed for address in self.dns))
        return writer.bytes()

    @classmethod
    def parse(cls, body: bytes) -> Advertisement:
        """Read what follows the ICMPv6 checksum. Raises ``Malformed``."""
        reader = Reader(body, _LAYER)
        hop_limit, flags, lifetime = reader.u8("short"), reader.u8("short"), reader.u16("short")
        reader.take(8, "short")
        prefixes: list[Prefix] = []
        dns: tuple[IPv6Address, ...] = ()
        mtu = dns_lifetime = 0
        for kind, option in options(reader):
            if kind == Option.PREFIX and len(option) == 30:
                prefixes.append(_prefix(option))
            elif kind == Option.MTU and len(option) == 6:
                option.take(2, "option")
                mtu = option.u32("option")
            elif kind == Option.DNS and len(option) >= 22 and len(option) % 16 == 6:
                option.take(2, "option")
                dns_lifetime = option.u32("option")
                dns = tuple(IPv6Address(option.take(16, "option")) for _ in range(len(option) // 16))
        managed, other = bool(flags & _MANAGED), bool(flags & _OTHER)
        return cls(hop_limit, managed, other, lifetime, tuple(prefixes), mtu, dns, dns_lifetime)


def _prefix(option: Reader) -> Prefix:
    length, flags, valid, preferred = (option.u8("option"), option.u8("option"), option.u32("option"), option.u32("option"))
    option.take(4, "option")
    address = int.from_bytes(option.take(16, "option"), "big")
    if length > 128:
        raise Malformed(_LAYER, "prefix", option.offset, f"prefix length {length}")
    mask = (1 << 128) - (1 << 128 - length)
    return Prefix(IPv6Network((address & mask, length)), valid, preferred, bool(flags & _ON_LINK), bool(flags & _AUTONOMOUS))


def options(reader: Reader) -> Iterator[tuple[int, Reader]]:
    """The options of a message, each a type and what follows type and length. Raises ``Malformed`` for a length of 0 or past the end."""
    for _ in range(OPTIONS_MAX):
        if not len(reader):
            return
        kind, units = reader.u8("option"), reader.u8("option")
        if units == 0:
            raise reader.fail("option", "length 0")
        yield kind, reader.sub(units * _UNIT - 2, "option")
    raise reader.fail("option", f"more than {OPTIONS_MAX} options")


def neighbour_target(body: bytes) -> IPv6Address:
    """Whom a Neighbour Solicitation looks for. Raises ``Malformed`` for a short one or a multicast target."""
    reader = Reader(body, _LAYER)
    reader.take(4, "short")
    target = IPv6Address(reader.take(16, "short"))
    if target.is_multicast:
        raise Malformed(_LAYER, "target", 8, "a multicast target")
    for _ in options(reader):
        pass
    return target


def neighbour_advertisement(target: IPv6Address, *, solicited: bool) -> bytes:
    """The body of a router's Neighbour Advertisement; a point-to-point link has no link-layer address to tell."""
    flags = _NA_ROUTER | _NA_OVERRIDE | (_NA_SOLICITED if solicited else 0)
    return bytes((flags, 0, 0, 0)) + target.packed
