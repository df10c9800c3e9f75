"""What a RADIUS server answered: its attributes as a verdict and as limits, and which of them cannot be kept.

What is out of bounds is clamped where that is harmless (times), and refused where it is not (addresses, filters): a user whose filter
is unknown must not come in without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Network
from typing import TYPE_CHECKING, Final

from headrace.errors import Slug
from headrace.model import Encryption, FilterRule, SessionLimits, printable
from headrace.ppp.auth import slug_of_code
from headrace.ppp.config import AuthAccept, AuthContinue, AuthMethod, AuthReject
from headrace.ppp.mppe import start_keys_of_v1
from headrace.radius.names import Attr, Code, MppeTypes, Ms, Vendor
from headrace.radius.packet import Packet, reveal, reveal_salted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.ppp.events import AuthRequest

TIME_MAX: Final = 366 * 86400
"""Seconds; longer Session-Timeouts and Idle-Timeouts are this one. 0 is no limit."""
INTERIM_MIN: Final = 60
"""Seconds (RFC 2869 section 5.16); shorter intervals are this one."""
INTERIM_MAX: Final = 86400
CLASSES: Final = 20
"""Class attributes that are kept; who sends more loses the last ones."""
_LEFT_OUT: Final = (Attr.FRAMED_ROUTE, Attr.FRAMED_IPV6_ROUTE, Attr.FRAMED_IPV6_POOL, Attr.FRAMED_INTERFACE_ID)
_RATE: Final = re.compile(r"([0-9]{1,15})([kKmMgG]?)", re.ASCII)
_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


class _Refused(Exception):
    def __init__(self, slug: Slug, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug


@dataclass(frozen=True, slots=True)
class RadiusGrant:
    """An Access-Accept as the gateway needs it."""

    accept: AuthAccept
    classes: tuple[bytes, ...] = ()
    """To be said again in accounting, octet for octet."""
    interim: float | None = None
    """Seconds between interim records; ``None``: the gateway's own."""
    notes: tuple[str, ...] = ()
    """Attributes that are not carried out, for the log."""
    choose_address: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class Challenged:
    """An Access-Challenge: the next EAP request, and what the server wants to hear again."""

    proceed: AuthContinue
    state: bytes = field(repr=False)


def read_answer(
    packet: Packet,
    request: AuthRequest,
    *,
    secret: bytes,
    authenticator: bytes,
    filters: Mapping[str, tuple[FilterRule, ...]],
) -> RadiusGrant | Challenged | AuthReject:
    """Judge a genuine answer. ``authenticator`` is the request's; ``filters`` are the lists that Filter-Id may name."""
    try:
        if packet.code == Code.ACCESS_REJECT:
            return _rejected(packet, request)
        if packet.code == Code.ACCESS_CHALLENGE:
            return _challenged(packet, request)
        return _accepted(packet, request, secret, authenticator, filters)
    except _Refused as error:
        return AuthReject(error.slug, str(error))


def _message(packet: Packet) -> str:
    texts = [printable(value) for value in packet.all(Attr.REPLY_MESSAGE)[:4]]
    return f': "{" ".join(texts)}"' if texts else ""


def _rejected(packet: Packet, request: AuthRequest) -> AuthReject:
    name, said = printable(request.username), _message(packet)
    error = packet.get(Ms.CHAP_ERROR, Vendor.MICROSOFT)
    found = re.search(rb"E=(\d{1,9})(?!\d)", error or b"")
    code = int(found[1]) if found else 691
    again = error is None or re.search(rb"R=0", error) is None
    number = f" with E={code}" if found else ""
    slug = slug_of_code(code)
    return AuthReject(slug, f"RADIUS rejects {name} ({request.method}){number}{said}", retry=again and slug is Slug.AUTH_FAILED)


def _challenged(packet: Packet, request: AuthRequest) -> Challenged:
    eap = packet.joined(Attr.EAP_MESSAGE)
    if request.method is not AuthMethod.EAP or not eap:
        raise _Refused(Slug.RADIUS_POLICY, f"RADIUS sends a challenge, which {request.method} cannot answer{_message(packet)}")
    return Challenged(AuthContinue(eap), packet.get(Attr.STATE) or b"")


def _accepted(
    packet: Packet,
    request: AuthRequest,
    secret: bytes,
    authenticator: bytes,
    filters: Mapping[str, tuple[FilterRule, ...]],
) -> RadiusGrant:
    _check_service(packet)
    notes: list[str] = []
    keys = _keys(packet, request, secret, authenticator, notes)
    encryption, bits = _encryption(packet)
    address, choose = _address(packet)
    success = _success(packet, request)
    name = packet.get(Attr.USER_NAME) or request.username
    left_out = (kind for kind in _LEFT_OUT if packet.get(kind) is not None)
    notes += [f"{kind.name.replace('_', '-').title()} is not carried out" for kind in left_out]
    limits = read_limits(packet, SessionLimits(), filters, notes)
    accept = AuthAccept(
        username=printable(name),
        address=address,
        dns=_servers(packet, Ms.PRIMARY_DNS, Ms.SECONDARY_DNS),
        wins=_servers(packet, Ms.PRIMARY_NBNS, Ms.SECONDARY_NBNS),
        encryption=encryption,
        mschap_success=success,
        mppe_send_key=keys[0] if keys else None,
        mppe_recv_key=keys[1] if keys else None,
        mppe_bits=bits if request.method is not AuthMethod.MSCHAP else tuple(b for b in bits if b == 128),
        allow_any_address=choose,
        prefix6=_prefix6(packet),
        pool=_text(packet.get(Attr.FRAMED_POOL)),
        limits=limits,
    )
    interim = _number(packet, Attr.ACCT_INTERIM_INTERVAL)
    return RadiusGrant(
        accept,
        packet.all(Attr.CLASS)[:CLASSES],
        None if interim is None else float(min(max(interim, INTERIM_MIN), INTERIM_MAX)) if interim else 0.0,
        tuple(notes),
        choose,
    )


# --- attributes -----------------------------------------------------------------------------------------------------------------


def _number(packet: Packet, kind: int, vendor: int = 0) -> int | None:
    value = packet.get(kind, vendor)
    if value is None:
        return None
    if len(value) != 4:
        raise _Refused(
            Slug.RADIUS_POLICY, f"RADIUS attribute {vendor or ''}{'/' if vendor else ''}{kind} has {len(value)} octets, not 4"
        )
    return int.from_bytes(value, "big")


def _text(value: bytes | None) -> str:
    return printable(value or b"")


def _check_service(packet: Packet) -> None:
    service = _number(packet, Attr.SERVICE_TYPE)
    if service not in {None, 2, 4}:
        raise _Refused(Slug.RADIUS_SERVICE, f"Service-Type {service} in the Access-Accept, not 2 (Framed)")
    framing = _number(packet, Attr.FRAMED_PROTOCOL)
    if framing not in {None, 1}:
        raise _Refused(Slug.RADIUS_FRAMING, f"Framed-Protocol {framing} in the Access-Accept, not 1 (PPP)")
    tunnels = [int.from_bytes(value[1:], "big") for value in packet.all(Attr.TUNNEL_TYPE)]
    if tunnels and 3 not in tunnels:
        raise _Refused(Slug.RADIUS_TUNNEL, f"Tunnel-Type {tunnels[0]} in the Access-Accept, not 3 (L2TP)")


def _address(packet: Packet) -> tuple[IPv4Address | None, bool]:
    """The address to give, and whether the user may choose one (RFC 2865 section 5.8)."""
    value = packet.get(Attr.FRAMED_IP_ADDRESS)
    if value is None:
        return None, False
    if len(value) != 4:
        raise _Refused(Slug.RADIUS_POLICY, f"Framed-IP-Address has {len(value)} octets, not 4")
    address = IPv4Address(value)
    if address == IPv4Address("255.255.255.255"):
        return None, True
    if address == IPv4Address("255.255.255.254"):
        return None, False
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_reserved:
        raise _Refused(Slug.RADIUS_POLICY, f"Framed-IP-Address {address} cannot be the address of a host")
    return address, False


def _prefix6(packet: Packet) -> IPv6Network | None:
    """RFC 3162 section 2.3: reserved, prefix length, as many octets as it needs."""
    value = packet.get(Attr.FRAMED_IPV6_PREFIX)
    if value is None:
        return None
    if not 2 <= len(value) <= 18 or value[1] > 128 or (value[1] + 7) // 8 > len(value) - 2:
        raise _Refused(Slug.RADIUS_POLICY, f"Framed-IPv6-Prefix of {len(value)} octets is none")
    return IPv6Network((value[2:].ljust(16, b"\0"), value[1]), strict=False)


def _servers(packet: Packet, *kinds: Ms) -> tuple[IPv4Address, ...]:
    values = (packet.get(kind, Vendor.MICROSOFT) for kind in kinds)
    return tuple(IPv4Address(value) for value in values if value is not None and len(value) == 4 and any(value))


def _success(packet: Packet, request: AuthRequest) -> bytes | None:
    """What MS-CHAPv2 owes the client; the link refuses an Accept without it."""
    value = packet.get(Ms.CHAP2_SUCCESS, Vendor.MICROSOFT)
    if request.method is not AuthMethod.MSCHAP_V2:
        return None
    if value is None or len(value) < 43 or value[0] != request.identifier:
        raise _Refused(
            Slug.SERVER_PROOF_MISSING, "server proof missing: the Access-Accept has no MS-CHAP2-Success for this response"
        )
    return value[1:43]


def _keys(
    packet: Packet, request: AuthRequest, secret: bytes, authenticator: bytes, notes: list[str]
) -> tuple[bytes, bytes] | None:
    """Start keys for MPPE, send and receive. Bad ones are none: where encryption is required, the link says 742."""
    try:
        if request.method is AuthMethod.MSCHAP:
            return _keys_v1(packet, request, secret, authenticator)
        return _keys_v2(packet, secret, authenticator)
    except ValueError as error:
        notes.append(f"MS-MPPE keys are refused: {error}")
        return None


def _keys_v2(packet: Packet, secret: bytes, authenticator: bytes) -> tuple[bytes, bytes] | None:
    send, receive = (packet.get(kind, Vendor.MICROSOFT) for kind in (Ms.MPPE_SEND_KEY, Ms.MPPE_RECV_KEY))
    if send is None or receive is None:
        return None
    if send[:2] == receive[:2]:
        raise ValueError("both have the same salt")
    keys = reveal_salted(send, authenticator, secret), reveal_salted(receive, authenticator, secret)
    if min(map(len, keys)) < 16:
        raise ValueError(f"keys of {len(keys[0])} and {len(keys[1])} octets")
    return keys[0][:16], keys[1][:16]


def _keys_v1(packet: Packet, request: AuthRequest, secret: bytes, authenticator: bytes) -> tuple[bytes, bytes] | None:
    """RFC 2548 section 2.4.1: LM key 8 | NT key 16 | padding 8, hidden as a password is; the NT key is the hash of the NT hash."""
    value = packet.get(Ms.CHAP_MPPE_KEYS, Vendor.MICROSOFT)
    if value is None:
        return None
    if len(value) != 32:
        raise ValueError(f"{len(value)} octets")
    return start_keys_of_v1(reveal(value, authenticator, secret)[8:24], request.challenge)


def _encryption(packet: Packet) -> tuple[Encryption | None, tuple[int, ...]]:
    policy = _number(packet, Ms.MPPE_ENCRYPTION_POLICY, Vendor.MICROSOFT)
    types = _number(packet, Ms.MPPE_ENCRYPTION_TYPES, Vendor.MICROSOFT)
    bits: tuple[int, ...] = (128, 56, 40)
    if types is not None:
        known = ((128, MppeTypes.BITS128), (56, MppeTypes.BITS56), (40, MppeTypes.BITS40))
        bits = tuple(strength for strength, flag in known if types & flag)
    if policy is None:
        return None, bits
    if types is not None and not bits:
        return Encryption.OFF if policy == 1 else Encryption.REQUIRED, bits
    if policy == 2:
        return Encryption.REQUIRED_128 if bits == (128,) else Encryption.REQUIRED, bits
    return Encryption.OPTIONAL, bits


# --- limits ---------------------------------------------------------------------------------------------------------------------


def read_limits(
    packet: Packet, before: SessionLimits, filters: Mapping[str, tuple[FilterRule, ...]], notes: list[str]
) -> SessionLimits:
    """What an Accept or a CoA says about a session's limits; what it does not name stays as it was. Raises ``_Refused``."""
    out = before
    session, idle = _number(packet, Attr.SESSION_TIMEOUT), _number(packet, Attr.IDLE_TIMEOUT)
    if session is not None:
        out = replace(out, session_time=float(min(session, TIME_MAX)))
    if idle is not None:
        out = replace(out, idle_time=float(min(idle, TIME_MAX)))
    up, down = _rates(packet, notes)
    out = replace(out, rate_up=out.rate_up if up is None else up, rate_down=out.rate_down if down is None else down)
    names = packet.all(Attr.FILTER_ID)
    if names:
        rules: list[FilterRule] = []
        for raw in names:
            known = filters.get(_text(raw).removesuffix(".in"))
            if known is None:
                raise _Refused(Slug.RADIUS_POLICY, f"Filter-Id {_text(raw)!r} is not in [radius.filters]")
            rules += known
        out = replace(out, filters=tuple(rules[:16]))
        if len(rules) > 16:
            raise _Refused(Slug.RADIUS_POLICY, f"the filters that Filter-Id names have {len(rules)} rules, 16 are the most")
    return out


def change_limits(packet: Packet, before: SessionLimits, filters: Mapping[str, tuple[FilterRule, ...]]) -> SessionLimits:
    """What a CoA says about a session's limits. Raises ``ValueError`` for what cannot be done."""
    try:
        return read_limits(packet, before, filters, [])
    except _Refused as error:
        raise ValueError(str(error)) from None


def _rates(packet: Packet, notes: list[str]) -> tuple[int | None, int | None]:
    """Bits a second up and down, by whichever vendor's attributes are there."""
    text = packet.get(8, Vendor.MIKROTIK)  # Mikrotik-Rate-Limit: "rx[/tx] ...", as the gateway sees it
    if text is not None:
        first = _text(text).split(" ")[0].split("/")
        found = [_RATE.fullmatch(part) for part in first[:2]]
        if found and all(found):
            bits = [int(match[1]) * _UNITS[match[2].lower()] for match in found if match]
            return bits[0], bits[-1]
        notes.append(f"Mikrotik-Rate-Limit {_text(text)!r} cannot be read")
    for up, down, vendor, unit in (
        (7, 8, Vendor.WISPR, 1),  # WISPr-Bandwidth-Max-Up, -Down
        (197, 255, Vendor.ASCEND, 1),  # Ascend-Data-Rate is what the user sends, Ascend-Xmit-Rate what he gets
        (1, 2, Vendor.ROARING_PENGUIN, 1000),  # RP-Upstream-Speed-Limit, RP-Downstream-Speed-Limit, kbit/s
    ):
        pair = _number(packet, up, vendor), _number(packet, down, vendor)
        if pair != (None, None):
            return tuple(value * unit if value is not None else None for value in pair)  # type: ignore[return-value]
    return None, None
