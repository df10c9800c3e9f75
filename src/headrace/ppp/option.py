"""Configuration options (RFC 1661 section 5 and 6): the wire form, and one row for each option that is known.

::

     0                   1
    +---------------+---------------+-------
    |     Type      |    Length     | Data ...      Length counts type and length too
    +---------------+---------------+-------
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from headrace.ppp.frame import Proto
from headrace.wire import Reader, Writer


@dataclass(frozen=True, slots=True)
class Option:
    """One configuration option."""

    type: int
    data: bytes = b""
    """Without type and length; at most 253 octets."""

    def emit(self) -> bytes:
        """The option as octets."""
        return Writer().u8(self.type).u8(2 + len(self.data)).raw(self.data).bytes()

    @property
    def value(self) -> int:
        """The data as an unsigned number, most significant octet first."""
        return int.from_bytes(self.data, "big")


def parse_options(data: bytes, layer: str) -> tuple[Option, ...]:
    """Read a list of options. Raises ``Malformed`` (field ``option``) for a length of 0 or 1, or one that runs past the end."""
    reader = Reader(data, layer)
    options = []
    while len(reader):
        kind = reader.u8("option")
        length = reader.u8("option")
        if length < 2:
            raise reader.fail("option", f"length {length}")
        options.append(Option(kind, reader.take(length - 2, "option")))
    return tuple(options)


def emit_options(options: Iterable[Option]) -> bytes:
    """A list of options as octets."""
    return b"".join(option.emit() for option in options)


def fitting(options: Iterable[Option], limit: int) -> tuple[Option, ...]:
    """As many of the first options as fit into ``limit`` octets."""
    taken: list[Option] = []
    for option in options:
        limit -= 2 + len(option.data)
        if limit < 0:
            break
        taken.append(option)
    return tuple(taken)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of one option."""

    number: int
    name: str
    low: int
    """Least octets of data."""
    high: int
    """Most octets of data."""
    section: str

    def fits(self, option: Option) -> bool:
        """Whether the option has a length that this kind may have."""
        return self.low <= len(option.data) <= self.high


def _rows(*kinds: Kind) -> Mapping[int, Kind]:
    return {kind.number: kind for kind in kinds}


class Lcp:
    """LCP option types (RFC 1661 section 6, RFC 1570, RFC 1990)."""

    MRU = 1
    ACCM = 2
    AUTH = 3
    QUALITY = 4
    MAGIC = 5
    PFC = 7
    ACFC = 8
    CALLBACK = 13
    MRRU = 17
    SSNHF = 18
    ENDPOINT = 19


class Ipcp:
    """IPCP option types (RFC 1332 section 3, RFC 1877)."""

    ADDRESSES = 1
    COMPRESSION = 2
    ADDRESS = 3
    DNS_1 = 129
    WINS_1 = 130
    DNS_2 = 131
    WINS_2 = 132


class Ipv6cp:
    """IPV6CP option types (RFC 5072 section 4, RFC 5172)."""

    INTERFACE_ID = 1
    COMPRESSION = 2


class Ipxcp:
    """IPXCP option types (RFC 1552 section 3)."""

    NETWORK = 1
    NODE = 2
    COMPRESSION = 3
    ROUTING = 4
    ROUTER_NAME = 5
    COMPLETE = 6


class Bcp:
    """BCP option types (RFC 3518 section 6)."""

    BRIDGE_ID = 1
    LINE_ID = 2
    MAC_SUPPORT = 3
    TINYGRAM = 4
    LAN_ID = 5
    MAC_ADDRESS = 6
    SPANNING_TREE = 7
    TAGGED_FRAME = 8
    MANAGEMENT_INLINE = 9
    CONTROL_PACKETS = 10


class Ccp:
    """CCP option types (RFC 1962 section 4, RFC 3078 section 2, RFC 1979 section 3)."""

    MPPE = 18
    DEFLATE = 26


KINDS: Final[Mapping[int, Mapping[int, Kind]]] = {
    Proto.LCP: _rows(
        Kind(Lcp.MRU, "mru", 2, 2, "RFC 1661 section 6.1"),
        Kind(Lcp.ACCM, "accm", 4, 4, "RFC 1662 section 7.1"),
        Kind(Lcp.AUTH, "auth", 2, 253, "RFC 1661 section 6.2"),
        Kind(Lcp.QUALITY, "quality", 2, 253, "RFC 1661 section 6.3"),
        Kind(Lcp.MAGIC, "magic", 4, 4, "RFC 1661 section 6.4"),
        Kind(Lcp.PFC, "pfc", 0, 0, "RFC 1661 section 6.5"),
        Kind(Lcp.ACFC, "acfc", 0, 0, "RFC 1661 section 6.6"),
        Kind(Lcp.CALLBACK, "callback", 1, 253, "RFC 1570 section 2.3"),
        Kind(Lcp.MRRU, "mrru", 2, 2, "RFC 1990 section 5.1.1"),
        Kind(Lcp.SSNHF, "ssnhf", 0, 0, "RFC 1990 section 5.1.2"),
        Kind(Lcp.ENDPOINT, "endpoint", 1, 253, "RFC 1990 section 5.1.3"),
    ),
    Proto.IPCP: _rows(
        Kind(Ipcp.ADDRESSES, "addresses", 8, 8, "RFC 1332 section 3.1"),
        Kind(Ipcp.COMPRESSION, "compression", 2, 253, "RFC 1332 section 3.2"),
        Kind(Ipcp.ADDRESS, "address", 4, 4, "RFC 1332 section 3.3"),
        Kind(Ipcp.DNS_1, "dns1", 4, 4, "RFC 1877 section 1.1"),
        Kind(Ipcp.WINS_1, "wins1", 4, 4, "RFC 1877 section 1.2"),
        Kind(Ipcp.DNS_2, "dns2", 4, 4, "RFC 1877 section 1.3"),
        Kind(Ipcp.WINS_2, "wins2", 4, 4, "RFC 1877 section 1.4"),
    ),
    Proto.IPV6CP: _rows(
        Kind(Ipv6cp.INTERFACE_ID, "interface-id", 8, 8, "RFC 5072 section 4.1"),
        Kind(Ipv6cp.COMPRESSION, "compression", 2, 253, "RFC 5172 section 3"),
    ),
    Proto.IPXCP: _rows(
        Kind(Ipxcp.NETWORK, "network", 4, 4, "RFC 1552 section 3.1"),
        Kind(Ipxcp.NODE, "node", 6, 6, "RFC 1552 section 3.2"),
        Kind(Ipxcp.COMPRESSION, "compression", 2, 253, "RFC 1552 section 3.3"),
        Kind(Ipxcp.ROUTING, "routing", 2, 253, "RFC 1552 section 3.4"),
        Kind(Ipxcp.ROUTER_NAME, "router-name", 1, 47, "RFC 1552 section 3.5"),
        Kind(Ipxcp.COMPLETE, "complete", 0, 0, "RFC 1552 section 3.6"),
    ),
    Proto.BCP: _rows(
        Kind(Bcp.BRIDGE_ID, "bridge-id", 2, 2, "RFC 3518 section 6.1"),
        Kind(Bcp.LINE_ID, "line-id", 2, 2, "RFC 3518 section 6.2"),
        Kind(Bcp.MAC_SUPPORT, "mac-support", 1, 1, "RFC 3518 section 6.3"),
        Kind(Bcp.TINYGRAM, "tinygram", 1, 1, "RFC 3518 section 6.4"),
        Kind(Bcp.MAC_ADDRESS, "mac-address", 6, 6, "RFC 3518 section 6.5"),
        Kind(Bcp.SPANNING_TREE, "spanning-tree", 1, 253, "RFC 3518 section 6.6"),
        Kind(Bcp.TAGGED_FRAME, "tagged-frame", 1, 1, "RFC 3518 section 6.7"),
        Kind(Bcp.MANAGEMENT_INLINE, "management-inline", 0, 0, "RFC 3518 section 6.8"),
        Kind(Bcp.CONTROL_PACKETS, "control-packets", 0, 0, "RFC 3518 section 6.9"),
    ),
    Proto.CCP: _rows(
        Kind(Ccp.MPPE, "mppe", 4, 4, "RFC 3078 section 2"),
        Kind(Ccp.DEFLATE, "deflate", 2, 2, "RFC 1979 section 3.1"),
    ),
}
"""Every option that is understood, by protocol and type. What is not here, or has another length, is rejected."""

_TEXT_OF_ADDRESS: Final = frozenset({Ipcp.ADDRESS, Ipcp.DNS_1, Ipcp.DNS_2, Ipcp.WINS_1, Ipcp.WINS_2})


def describe(protocol: int, options: Iterable[Option]) -> str:
    """Options on one line for a person: ``<mru 1400> <magic 7cd8cef8>``. Nothing in an option is secret."""
    parts = []
    for option in options:
        kind = KINDS.get(protocol, {}).get(option.type)
        if kind is None or not kind.fits(option):
            parts.append(f"<{option.type} {option.data.hex()}>")
        elif kind.high == 0:
            parts.append(f"<{kind.name}>")
        elif protocol == Proto.IPCP and option.type in _TEXT_OF_ADDRESS:
            parts.append(f"<{kind.name} {IPv4Address(option.data)}>")
        elif protocol == Proto.LCP and option.type in {Lcp.MRU, Lcp.MRRU}:
            parts.append(f"<{kind.name} {option.value}>")
        else:
            parts.append(f"<{kind.name} {option.data.hex()}>")
    return " ".join(parts)
