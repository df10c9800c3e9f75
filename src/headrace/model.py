"""Frozen values that cross rooms: endpoints, datagrams, keys, limits, failures.

Nothing here knows a protocol's state; everything here may be logged, for secrets hide themselves in ``repr``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias

from headrace.errors import Slug

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

Rand: TypeAlias = Callable[[int], bytes]
"""A source of random octets: ``rand(n)`` gives ``n`` of them. The shell passes ``secrets.token_bytes``, tests a seeded one."""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An outer IP address and UDP port."""

    address: IPAddress
    port: int
    """0 to 65535; 0 where no port is meant (raw ESP)."""

    @classmethod
    def of(cls, address: str, port: int) -> Endpoint:
        """Build from text. Raises ``ValueError`` for a bad address."""
        return cls(ipaddress.ip_address(address), port)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram of the control plane with both of its ends, as this side sees them.

    ``data`` of an IKE datagram never contains the non-ESP marker: ``local.port`` says whether one belongs on the wire.
    """

    local: Endpoint
    remote: Endpoint
    data: bytes


class Cipher(IntEnum):
    """ESP encryption; the numbers are those of ``enum hr_cipher``."""

    NULL = 0
    DES_CBC = 1
    TRIPLE_DES_CBC = 2
    AES_CBC = 3
    AES_GCM16 = 4


class Auth(IntEnum):
    """ESP authentication; the numbers are those of ``enum hr_auth``."""

    NONE = 0
    HMAC_MD5_96 = 1
    HMAC_SHA1_96 = 2
    HMAC_SHA2_256_128 = 3
    HMAC_SHA2_384_192 = 4
    HMAC_SHA2_512_256 = 5
    HMAC_SHA2_256_96 = 6


@dataclass(frozen=True, slots=True)
class EspKeys:
    """One direction of an ESP SA as negotiated: what the data plane's table needs, and no more."""

    spi: int
    """Chosen by the receiver of the traffic; 256 to 2^32 - 1."""
    outbound: bool
    cipher: Cipher
    auth: Auth
    enc_key: bytes = field(repr=False)
    """Octets of key; with GCM the 4 octets of salt behind them (RFC 4106 section 8.1)."""
    auth_key: bytes = field(repr=False)
    udp_encap: bool = False
    """ESP in UDP 4500 (RFC 3948)."""
    esn: bool = False
    soft_bytes: int = 0
    """Octets after which a rekey is wanted; 0 is none."""
    hard_bytes: int = 0


class MppePolicy(IntEnum):
    """What the data plane lets through; the numbers are those of ``enum hr_mppe_policy``."""

    NEVER = 0
    WHEN_OPEN = 1
    REQUIRED = 2


@dataclass(frozen=True, slots=True)
class MppeKeys:
    """One direction of MPPE as CCP agreed it (RFC 3078, RFC 3079)."""

    outbound: bool
    bits: int
    """40, 56 or 128."""
    stateless: bool
    start_key: bytes = field(repr=False)
    """RFC 3079 start key of this direction: 8 octets for 40 and 56 bits, 16 for 128."""
    mppc: bool = False
    """Compressed before it is encrypted (RFC 2118)."""


class Compression(StrEnum):
    """Ways to compress a link, as CCP agrees on them. The data plane's numbers are those of ``enum hr_compression``."""

    MPPC = "mppc"
    DEFLATE = "deflate"


@dataclass(frozen=True, slots=True)
class Compressor:
    """One direction of compression without encryption as CCP agreed it (RFC 2118, RFC 1979)."""

    method: Compression
    stateless: bool = False
    """MPPC: a history for each packet by itself."""
    window: int = 15
    """Deflate: the power of two of its history, 9 to 15."""


@dataclass(frozen=True, slots=True)
class VjSlots:
    """Van Jacobson's compression of TCP/IP headers as IPCP agreed it (RFC 1144): connections remembered each way, 0 is none."""

    send: int = 0
    receive: int = 0
    omit_slot: bool = False
    """The peer takes packets that do not name their slot."""


class Encryption(StrEnum):
    """The encryption policy of a gateway, group or user for the PPP layer."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"
    REQUIRED_128 = "required-128"


class FilterAction(IntEnum):
    """What a filter rule does with what it fits; the numbers are those of ``enum hr_filter_action``."""

    DENY = 0
    ALLOW = 1


IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class FilterRule:
    """Where a session's packets may go: ``struct hr_filter_rule``. The first rule that fits decides; without one the packet passes."""

    action: FilterAction
    destination: IPNetwork | None = None
    """``None`` is everywhere, of both families."""
    protocol: int = 0
    """IP protocol number; 0 is any."""
    ports: tuple[int, int] = (0, 65535)
    """First and last destination port, of TCP and UDP."""

    def __str__(self) -> str:
        protocol = {0: "", 1: "icmp ", 6: "tcp ", 17: "udp ", 58: "icmp6 "}.get(self.protocol, f"proto-{self.protocol} ")
        first, last = self.ports
        ports = "" if self.ports == (0, 65535) else f" {first}" if first == last else f" {first}-{last}"
        return f"{self.action.name.lower()} {protocol}{self.destination or 'any'}{ports}"


FILTER_RULES: Final = 16
"""The most that a session may have (``HR_FILTER_RULES``)."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may use, whoever said so: an account, a group, a RADIUS server."""

    session_time: float | None = None
    """Seconds; 0 is no limit, ``None`` the gateway's own."""
    idle_time: float | None = None
    """Seconds without an inner packet; 0 is no limit, ``None`` the gateway's own."""
    quota_time: float | None = None
    """Seconds that are left of a quota; ``None`` is no quota."""
    quota_octets: int | None = None
    """Inner octets, both ways together, that are left of a quota; ``None`` is no quota."""
    rate_up: int = 0
    """Bits a second from the client; 0 is no limit."""
    rate_down: int = 0
    """Bits a second to the client."""
    filters: tuple[FilterRule, ...] = ()
    """At most ``FILTER_RULES``."""


class Rung(IntEnum):
    """The ladder of a connection: the step on which it stands or broke."""

    NAME = 1
    PATH = 2
    IKE_PROPOSAL = 3
    IKE_AUTH = 4
    ESP = 5
    L2TP = 6
    LCP = 7
    USER_AUTH = 8
    ENCRYPTION = 9
    NETWORK = 10
    TRAFFIC = 11


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something was refused or ended. The slug is the stable identity; ``errors.py`` has number, meaning and remedy for it."""

    slug: Slug
    detail: str = ""
    """What was seen here, for a person: both proposals, the nearest miss, the check that failed. Never a secret; peer text escaped."""

    def __str__(self) -> str:
        return f"{self.slug}: {self.detail}" if self.detail else str(self.slug)


def printable(data: bytes, limit: int = 255) -> str:
    """Peer-supplied text made safe for a log line: UTF-8 where it is, control characters and direction marks escaped, cut at ``limit``."""
    text = data[:limit].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + (
        "..." if len(data) > limit else ""
    )
