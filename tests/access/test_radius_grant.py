"""What a RADIUS server's answer comes to: verdicts, limits, keys, and what is refused."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Network

import pytest
from tests.radius.server import SECRET

from headrace.access.filters import parse_filters
from headrace.access.radius_grant import TIME_MAX, Challenged, RadiusGrant, read_answer
from headrace.access.radius_request import CannotAsk, Line, access_request
from headrace.errors import Slug
from headrace.model import Encryption, Endpoint
from headrace.ppp.config import AuthMethod, AuthReject
from headrace.ppp.events import AuthRequest
from headrace.ppp.md4 import md4
from headrace.ppp.mppe import start_keys_v1
from headrace.ppp.mschap_crypto import nt_password_hash
from headrace.radius.names import Attr, Code, Ms
from headrace.radius.packet import Attribute, Packet, hide, hide_salted, microsoft, number, tagged_number

AUTHENTICATOR = bytes(range(16))
V2 = AuthRequest(1, AuthMethod.MSCHAP_V2, b"alice", 7, bytes(16), bytes(49))
SUCCESS = microsoft(Ms.CHAP2_SUCCESS, b"\x07S=" + b"A" * 40)
FILTERS = {"staff": parse_filters("deny 10.0.0.0/8")}


def read(*told: Attribute, request: AuthRequest = V2, code: int = Code.ACCESS_ACCEPT) -> RadiusGrant | Challenged | AuthReject:
    return read_answer(Packet(code, 1, bytes(16), told), request, secret=SECRET, authenticator=AUTHENTICATOR, filters=FILTERS)


def grant(*told: Attribute, request: AuthRequest = V2) -> RadiusGrant:
    found = read(SUCCESS, *told, request=request)
    assert isinstance(found, RadiusGrant), found
    return found


def refused(*told: Attribute) -> AuthReject:
    found = read(SUCCESS, *told)
    assert isinstance(found, AuthReject)
    return found


@pytest.mark.parametrize(
    ("address", "given", "choose"),
    [("255.255.255.255", None, True), ("255.255.255.254", None, False), ("10.9.0.7", IPv4Address("10.9.0.7"), False)],
)
def test_n172_addresses_with_a_meaning(address: str, given: IPv4Address | None, choose: bool) -> None:
    accept = grant(Attribute(Attr.FRAMED_IP_ADDRESS, IPv4Address(address).packed)).accept
    assert (accept.address, accept.allow_any_address) == (given, choose)


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.253"])
def test_n172_addresses_of_no_host(address: str) -> None:
    verdict = refused(Attribute(Attr.FRAMED_IP_ADDRESS, IPv4Address(address).packed))
    assert verdict.slug is Slug.RADIUS_POLICY
    assert f"Framed-IP-Address {address} cannot be the address of a host" in verdict.detail


@pytest.mark.parametrize("size", [0, 3, 5])
def test_n171_address_of_a_wrong_length(size: int) -> None:
    assert f"has {size} octets" in refused(Attribute(Attr.FRAMED_IP_ADDRESS, bytes(size))).detail


def keys(send: bytes, receive: bytes) -> tuple[Attribute, Attribute]:
    return microsoft(Ms.MPPE_SEND_KEY, send), microsoft(Ms.MPPE_RECV_KEY, receive)


def salted(key: bytes, salt: bytes) -> bytes:
    return hide_salted(key, AUTHENTICATOR, SECRET, salt)


def test_keys_are_those_that_were_hidden() -> None:
    accept = grant(*keys(salted(b"s" * 16, b"\x80\x01"), salted(b"r" * 32, b"\x80\x02"))).accept
    assert (accept.mppe_send_key, accept.mppe_recv_key) == (b"s" * 16, b"r" * 16)
    assert accept.mschap_success == b"S=" + b"A" * 40


@pytest.mark.parametrize(
    ("send", "receive"),
    [
        *((bytes((0x80,)) * size, salted(b"r" * 16, b"\x80\x02")) for size in (16, 17, 18, 35)),
        (salted(b"s" * 16, b"\x00\x01"), salted(b"r" * 16, b"\x80\x02")),
        (salted(b"s" * 16, b"\x80\x01"), salted(b"r" * 16, b"\x80\x01")),
        (salted(b"s" * 15, b"\x80\x01"), salted(b"r" * 16, b"\x80\x02")),
    ],
)
def test_n173_bad_keys_are_none(send: bytes, receive: bytes) -> None:
    found = grant(*keys(send, receive))
    assert found.accept.mppe_send_key is None
    assert found.accept.mppe_recv_key is None
    assert "MS-MPPE keys are refused" in found.notes[0]


def test_keys_of_mschap_version_1() -> None:
    request = AuthRequest(1, AuthMethod.MSCHAP, b"alice", 7, b"challeng", bytes(49))
    nt_hash = nt_password_hash("secret")
    value = hide(bytes(8) + md4(nt_hash) + bytes(8), AUTHENTICATOR, SECRET)
    accept = grant(microsoft(Ms.CHAP_MPPE_KEYS, value), request=request).accept
    assert (accept.mppe_send_key, accept.mppe_recv_key) == start_keys_v1(nt_hash, b"challeng")
    assert accept.mppe_bits == (128,)
    assert grant(microsoft(Ms.CHAP_MPPE_KEYS, value[:31]), request=request).accept.mppe_send_key is None


@pytest.mark.parametrize(
    "success", [(), (microsoft(Ms.CHAP2_SUCCESS, b"\x07S=short"),), (microsoft(Ms.CHAP2_SUCCESS, b"\x06S=" + b"A" * 40),)]
)
def test_n174_accept_without_the_server_proof(success: tuple[Attribute, ...]) -> None:
    verdict = read(*success)
    assert isinstance(verdict, AuthReject)
    assert verdict.slug is Slug.SERVER_PROOF_MISSING
    assert "server proof missing" in verdict.detail


@pytest.mark.parametrize(("told", "kept"), [(0, 0.0), (1, 1.0), (3600, 3600.0), (2**32 - 1, float(TIME_MAX))])
def test_n177_times_are_clamped(told: int, kept: float) -> None:
    limits = grant(number(Attr.SESSION_TIMEOUT, told), number(Attr.IDLE_TIMEOUT, told)).accept.limits
    assert (limits.session_time, limits.idle_time) == (kept, kept)


@pytest.mark.parametrize(("told", "kept"), [(0, 0.0), (1, 60.0), (300, 300.0), (2**32 - 1, 86400.0)])
def test_n177_interim_intervals_are_clamped(told: int, kept: float) -> None:
    assert grant(number(Attr.ACCT_INTERIM_INTERVAL, told)).interim == kept


def test_n178_classes_are_kept_octet_for_octet() -> None:
    classes = tuple(bytes((n,)) * 253 for n in range(20))
    assert grant(*(Attribute(Attr.CLASS, value) for value in classes)).classes == classes


def test_n178_control_characters_of_a_message_are_escaped() -> None:
    verdict = read(Attribute(Attr.REPLY_MESSAGE, b"no\r\nrefused 192.0.2.1\x1b[2J"), code=Code.ACCESS_REJECT)
    assert isinstance(verdict, AuthReject)
    assert verdict.detail == 'RADIUS rejects alice (mschap-v2): "no\\r\\nrefused 192.0.2.1\\x1b[2J"'


@pytest.mark.parametrize(
    ("error", "slug", "retry"),
    [
        (b"", Slug.AUTH_FAILED, True),
        (b"\x07E=691 R=1 C=00 V=3", Slug.AUTH_FAILED, True),
        (b"\x07E=691 R=0 C=00 V=3", Slug.AUTH_FAILED, False),
        (b"\x07E=646 R=0", Slug.HOURS, False),
        (b"\x07E=647 R=0", Slug.ACCOUNT_DISABLED, False),
        (b"\x07E=648 R=0 C=00 V=3", Slug.PASSWORD_EXPIRED, False),
        (b"\x07E=649 R=0", Slug.DIALIN_DENIED, False),
        (b"\x07E=99999999999 R=0", Slug.AUTH_FAILED, False),
    ],
)
def test_rejects_say_why(error: bytes, slug: Slug, retry: bool) -> None:
    told = (microsoft(Ms.CHAP_ERROR, error),) if error else ()
    verdict = read(*told, code=Code.ACCESS_REJECT)
    assert isinstance(verdict, AuthReject)
    assert (verdict.slug, verdict.retry) == (slug, retry)


@pytest.mark.parametrize(
    ("told", "slug"),
    [
        (number(Attr.SERVICE_TYPE, 1), Slug.RADIUS_SERVICE),
        (number(Attr.FRAMED_PROTOCOL, 2), Slug.RADIUS_FRAMING),
        (tagged_number(Attr.TUNNEL_TYPE, 1), Slug.RADIUS_TUNNEL),
        (Attribute(Attr.FILTER_ID, b"unheard-of"), Slug.RADIUS_POLICY),
        (Attribute(Attr.SESSION_TIMEOUT, bytes(3)), Slug.RADIUS_POLICY),
        (Attribute(Attr.FRAMED_IPV6_PREFIX, bytes((0, 64, 1))), Slug.RADIUS_POLICY),
    ],
)
def test_terms_that_cannot_be_kept_let_nobody_in(told: Attribute, slug: Slug) -> None:
    assert refused(told).slug is slug


@pytest.mark.parametrize(
    ("policy", "types", "encryption", "bits"),
    [
        (None, None, None, (128, 56, 40)),
        (1, 6, Encryption.OPTIONAL, (128, 40)),
        (2, 4, Encryption.REQUIRED_128, (128,)),
        (2, 14, Encryption.REQUIRED, (128, 56, 40)),
        (1, 0, Encryption.OFF, ()),
        (2, 0, Encryption.REQUIRED, ()),
    ],
)
def test_encryption(policy: int | None, types: int | None, encryption: Encryption | None, bits: tuple[int, ...]) -> None:
    told = [microsoft(Ms.MPPE_ENCRYPTION_POLICY, struct.pack(">I", policy))] if policy is not None else []
    told += [microsoft(Ms.MPPE_ENCRYPTION_TYPES, struct.pack(">I", types))] if types is not None else []
    accept = grant(*told).accept
    assert (accept.encryption, accept.mppe_bits) == (encryption, bits)


def test_what_else_a_session_gets() -> None:
    found = grant(
        Attribute(Attr.USER_NAME, b"Alice"),
        Attribute(Attr.FRAMED_POOL, b"guests"),
        Attribute(Attr.FILTER_ID, b"staff.in"),
        Attribute(Attr.FRAMED_IPV6_PREFIX, bytes((0, 64)) + IPv6Network("2001:db8:0:7::/64").network_address.packed[:8]),
        Attribute(Attr.FRAMED_ROUTE, b"10.0.0.0/8"),
        tagged_number(Attr.TUNNEL_TYPE, 3),
        microsoft(Ms.PRIMARY_DNS, bytes((9, 9, 9, 9))),
        microsoft(Ms.SECONDARY_DNS, bytes(4)),
    )
    accept = found.accept
    assert (accept.username, accept.pool, accept.dns) == ("Alice", "guests", (IPv4Address("9.9.9.9"),))
    assert accept.prefix6 == IPv6Network("2001:db8:0:7::/64")
    assert accept.limits.filters == FILTERS["staff"]
    assert found.notes == ("Framed-Route is not carried out",)


@pytest.mark.parametrize(
    ("told", "up", "down"),
    [
        ([Attribute(8, b"10M/20M 15M/30M", 14988)], 10_000_000, 20_000_000),
        ([Attribute(8, b"512k", 14988)], 512_000, 512_000),
        ([Attribute(8, b"fast/faster", 14988)], 0, 0),
        ([number(7, 64000, 14122), number(8, 128000, 14122)], 64000, 128000),
        ([number(197, 1000, 529), number(255, 2000, 529)], 1000, 2000),
        ([number(2, 512, 10055)], 0, 512000),
    ],
)
def test_rates_by_the_common_vendors(told: list[Attribute], up: int, down: int) -> None:
    limits = grant(*told).accept.limits
    assert (limits.rate_up, limits.rate_down) == (up, down)


def test_challenge_carries_eap_on() -> None:
    request = AuthRequest(1, AuthMethod.EAP, b"alice", 1, b"", b"\x02\x01\x00\x0a\x01alice")
    found = read(
        Attribute(Attr.EAP_MESSAGE, b"\x01\x02\x00\x06"),
        Attribute(Attr.EAP_MESSAGE, b"\x0d\x20"),
        Attribute(Attr.STATE, b"st"),
        request=request,
        code=Code.ACCESS_CHALLENGE,
    )
    assert isinstance(found, Challenged)
    assert (found.proceed.packet, found.state) == (b"\x01\x02\x00\x06\x0d\x20", b"st")
    assert isinstance(read(code=Code.ACCESS_CHALLENGE), AuthReject), "a challenge that PPP cannot answer"


LINE = Line("vpn", IPv4Address("192.0.2.1"), "s1", 3, Endpoint.of("198.51.100.7", 4500), Endpoint.of("192.0.2.1", 4500), "pc")


def told(request: AuthRequest) -> Packet:
    return Packet(1, 1, bytes(16), access_request(request, LINE))


def test_what_a_server_is_told() -> None:
    packet = told(V2)
    assert packet.get(Attr.USER_NAME) == b"alice"
    assert packet.get(Attr.CALLING_STATION_ID) == b"198.51.100.7"
    assert packet.get(Attr.TUNNEL_TYPE) == b"\x01\x00\x00\x03"
    assert packet.get(Attr.TUNNEL_CLIENT_AUTH_ID) == b"\x01pc"
    assert packet.get(Attr.NAS_PORT) == struct.pack(">I", 3)
    response = packet.get(Ms.CHAP2_RESPONSE, 311)
    assert response is not None
    assert (len(response), response[0]) == (50, 7)


def test_change_of_a_password_goes_in_pieces() -> None:
    change = bytes(range(256)) * 2 + b"tail" + b"h" * 16
    packet = told(AuthRequest(1, AuthMethod.MSCHAP_V2, b"alice", 7, bytes(16), bytes(49), change))
    pieces = packet.all(Ms.CHAP_NT_ENC_PW, 311)
    assert [piece[:4] for piece in pieces] == [b"\x06\x07\x00" + bytes((n,)) for n in (1, 2, 3)]
    assert b"".join(piece[4:] for piece in pieces) == change[:516]
    wanted = packet.get(Ms.CHAP2_CPW, 311)
    assert wanted is not None
    assert (len(wanted), wanted[:2], wanted[2:18]) == (68, b"\x07\x07", b"h" * 16)


@pytest.mark.parametrize(
    "request_",
    [
        AuthRequest(1, AuthMethod.PAP, b"alice", 1, b"", bytes(129)),
        AuthRequest(1, AuthMethod.PAP, b"", 1, b"", b"x"),
        AuthRequest(1, AuthMethod.PAP, b"a" * 254, 1, b"", b"x"),
        AuthRequest(1, AuthMethod.MSCHAP_V2, b"alice", 1, bytes(16), bytes(48)),
        AuthRequest(1, AuthMethod.EAP_TLS, b"alice", 1, b"", b"x"),
    ],
)
def test_proofs_that_no_request_can_carry(request_: AuthRequest) -> None:
    with pytest.raises(CannotAsk):
        told(request_)
