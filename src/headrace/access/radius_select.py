"""Which session a CoA or Disconnect means (RFC 5176 section 3): every attribute that identifies must fit, and one session alone."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from headrace.radius.names import Attr, Code, ErrorCause, Vendor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headrace.access.radius_request import Line
    from headrace.radius.packet import Packet

_AROUND: Final = frozenset(
    {
        Attr.MESSAGE_AUTHENTICATOR,
        Attr.EVENT_TIMESTAMP,
        Attr.PROXY_STATE,
        Attr.NAS_IDENTIFIER,
        Attr.NAS_IP_ADDRESS,
        Attr.NAS_IPV6_ADDRESS,
        Attr.REPLY_MESSAGE,
        Attr.CLASS,
        Attr.STATE,
        Attr.NAS_PORT_TYPE,
        Attr.ACCT_TERMINATE_CAUSE,
    }
)
"""Neither identifies a session nor changes one."""
CHANGES: Final = frozenset(
    {
        (0, Attr.SESSION_TIMEOUT),
        (0, Attr.IDLE_TIMEOUT),
        (0, Attr.FILTER_ID),
        (Vendor.MIKROTIK, 8),
        (Vendor.WISPR, 7),
        (Vendor.WISPR, 8),
        (Vendor.ASCEND, 197),
        (Vendor.ASCEND, 255),
        (Vendor.ROARING_PENGUIN, 1),
        (Vendor.ROARING_PENGUIN, 2),
    }
)
"""What a CoA may change."""


@dataclass(frozen=True, slots=True)
class Live:
    """A live session, as far as a request can name it."""

    handle: int
    user: str
    line: Line
    address: IPv4Address | None = None
    prefix6: IPv6Network | None = None
    classes: tuple[bytes, ...] = ()


def _same_prefix(live: Live, value: bytes) -> bool:
    """RFC 3162 section 2.3: reserved, length, and as many octets of the prefix as are sent."""
    own = live.prefix6
    if own is None or len(value) < 2 + (own.prefixlen + 7) // 8:
        return False
    return value[1] == own.prefixlen and value[2:] == own.network_address.packed[: len(value) - 2]


_IDENTIFY: Final[Mapping[int, Callable[[Live, bytes], bool]]] = {
    Attr.USER_NAME: lambda live, value: live.user.casefold().encode() == value.decode("utf-8", "replace").casefold().encode(),
    Attr.NAS_PORT: lambda live, value: live.line.port.to_bytes(4, "big") == value,
    Attr.NAS_PORT_ID: lambda live, value: f"l2tp-{live.line.port}".encode() == value,
    Attr.FRAMED_IP_ADDRESS: lambda live, value: live.address is not None and live.address.packed == value,
    Attr.FRAMED_IPV6_PREFIX: _same_prefix,
    Attr.CALLING_STATION_ID: lambda live, value: str(live.line.remote.address).encode() == value,
    Attr.CALLED_STATION_ID: lambda live, value: str(live.line.local.address).encode() == value,
    Attr.ACCT_SESSION_ID: lambda live, value: live.line.session.encode() == value,
}
"""What names a session, and how it is compared."""


def select(
    packet: Packet, sessions: Iterable[Live], nas: str, addresses: frozenset[IPv4Address | IPv6Address]
) -> int | ErrorCause:
    """The handle of the one session that is meant, or why there is none. ``nas`` and ``addresses`` are ours."""
    for kind in (Attr.NAS_IP_ADDRESS, Attr.NAS_IPV6_ADDRESS):
        value = packet.get(kind)
        if value is not None and not (addresses and any(address.packed == value for address in addresses)):
            return ErrorCause.NAS_IDENTIFICATION_MISMATCH
    if packet.get(Attr.NAS_IDENTIFIER) not in {None, nas.encode()}:
        return ErrorCause.NAS_IDENTIFICATION_MISMATCH
    wanted = [a for a in packet.attributes if a.vendor == 0 and a.type in _IDENTIFY]
    if not wanted:
        return ErrorCause.MISSING_ATTRIBUTE
    changes = CHANGES if packet.code == Code.COA_REQUEST else frozenset()
    for attribute in packet.attributes:
        if attribute.key not in changes and (attribute.vendor or attribute.type not in _IDENTIFY.keys() | _AROUND):
            return ErrorCause.UNSUPPORTED_ATTRIBUTE
    found = [live.handle for live in sessions if all(_IDENTIFY[a.type](live, a.value) for a in wanted)]
    if not found:
        return ErrorCause.SESSION_NOT_FOUND
    return found[0] if len(found) == 1 else ErrorCause.SEVERAL_SESSIONS
