"""Disconnect and CoA: who is heard, what is answered, and that only the right session is meant."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

import pytest
from tests.radius.server import SECRET

from headrace.access.radius_request import Line
from headrace.access.radius_select import Live, select
from headrace.model import Endpoint
from headrace.radius.dynauth import DynAuth
from headrace.radius.names import Attr, Code, ErrorCause
from headrace.radius.packet import Attribute, Packet, number, response_authenticator, sign_computed, text

SERVER = Endpoint.of("192.0.2.5", 50000)
WALL = 1_800_000_000.0


def request(*told: Attribute, code: Code = Code.DISCONNECT_REQUEST, secret: bytes = SECRET, identifier: int = 1) -> bytes:
    return sign_computed(Packet(code, identifier, bytes(16), told), secret)


def core() -> DynAuth:
    return DynAuth({ip_address("192.0.2.5"): SECRET})


def test_answer_is_proven_and_repeated() -> None:
    server = core()
    data = request(text(Attr.USER_NAME, "alice"), Attribute(Attr.PROXY_STATE, b"ps"), number(Attr.EVENT_TIMESTAMP, int(WALL)))
    server.receive(data, SERVER, 0.0, WALL)
    (asked,) = server.poll_events()
    assert asked.disconnect
    server.receive(data, SERVER, 0.1, WALL)
    assert not server.poll_datagrams(), "it is being worked on"
    server.answer(asked.request)
    ((where, answer),) = server.poll_datagrams()
    assert where == SERVER
    assert answer[0] == Code.DISCONNECT_ACK
    assert answer[4:20] == response_authenticator(answer, data[4:20], SECRET)
    assert Packet.parse(answer).get(Attr.PROXY_STATE) == b"ps"
    server.receive(data, SERVER, 1.0, WALL)
    assert server.poll_datagrams() == [(SERVER, answer)]
    assert server.poll_events() == []


def test_n179_strangers_and_wrong_secrets_get_no_answer() -> None:
    server = core()
    good = request(text(Attr.USER_NAME, "alice"))
    for data, source, reason in (
        (good, Endpoint.of("192.0.2.6", 50000), "source"),
        (request(text(Attr.USER_NAME, "alice"), secret=b"another"), SERVER, "authenticator"),
        (good[:-1], SERVER, "length"),
        (good[:10], SERVER, "short"),
        (request(number(Attr.EVENT_TIMESTAMP, int(WALL) - 301)), SERVER, "old"),
        (request(Attribute(Attr.EVENT_TIMESTAMP, b"x")), SERVER, "old"),
        (request(code=Code.ACCOUNTING_REQUEST), SERVER, "code"),
    ):
        server.receive(data, source, 0.0, WALL)
        assert server.drops[reason] >= 1, reason
    bare = bytes((40, 1, 0, 20)) + bytes(16)
    server.receive(bare[:4] + response_authenticator(bare, bytes(16), SECRET), SERVER, 0.0, WALL)
    assert server.drops["ma_missing"] == 1
    assert server.poll_events() == []
    assert server.poll_datagrams() == []


def live(handle: int, user: str = "alice", address: str = "10.9.0.7") -> Live:
    line = Line(
        "vpn",
        IPv4Address("192.0.2.1"),
        f"boot-{handle}",
        handle,
        Endpoint.of("198.51.100.7", 4500),
        Endpoint.of("192.0.2.1", 4500),
    )
    return Live(handle, user, line, IPv4Address(address), IPv6Network("2001:db8:0:7::/64"))


SESSIONS = [live(1), live(2, address="10.9.0.8"), live(3, "bob", "10.9.0.9")]
OURS = frozenset({ip_address("192.0.2.1")})


def chosen(*told: Attribute, code: Code = Code.DISCONNECT_REQUEST) -> int | ErrorCause:
    return select(Packet(code, 1, bytes(16), told), SESSIONS, "vpn", OURS)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([text(Attr.USER_NAME, "BOB")], 3),
        ([text(Attr.USER_NAME, "alice")], ErrorCause.SEVERAL_SESSIONS),
        ([text(Attr.USER_NAME, "mallory")], ErrorCause.SESSION_NOT_FOUND),
        ([text(Attr.USER_NAME, "alice"), number(Attr.NAS_PORT, 2)], 2),
        ([text(Attr.USER_NAME, "bob"), number(Attr.NAS_PORT, 2)], ErrorCause.SESSION_NOT_FOUND),
        ([text(Attr.ACCT_SESSION_ID, "boot-2")], 2),
        ([Attribute(Attr.FRAMED_IP_ADDRESS, bytes((10, 9, 0, 9)))], 3),
        ([text(Attr.NAS_PORT_ID, "l2tp-1")], 1),
        ([text(Attr.CALLING_STATION_ID, "198.51.100.7")], ErrorCause.SEVERAL_SESSIONS),
        ([text(Attr.CALLED_STATION_ID, "192.0.2.1"), text(Attr.USER_NAME, "bob")], 3),
        ([Attribute(Attr.FRAMED_IPV6_PREFIX, b"\0\x40\x20\x01\x0d\xb8\0\0\0\7"), text(Attr.USER_NAME, "bob")], 3),
        ([Attribute(Attr.FRAMED_IPV6_PREFIX, b"\0\x40\x20\x01\x0d\xb8\0\0\0\6")], ErrorCause.SESSION_NOT_FOUND),
        ([Attribute(Attr.FRAMED_IPV6_PREFIX, b"\0\x40")], ErrorCause.SESSION_NOT_FOUND),
        ([], ErrorCause.MISSING_ATTRIBUTE),
        ([text(Attr.USER_NAME, "bob"), text(Attr.NAS_IDENTIFIER, "other")], ErrorCause.NAS_IDENTIFICATION_MISMATCH),
        ([text(Attr.USER_NAME, "bob"), text(Attr.NAS_IDENTIFIER, "vpn")], 3),
        ([text(Attr.USER_NAME, "bob"), Attribute(Attr.NAS_IP_ADDRESS, bytes((192, 0, 2, 1)))], 3),
        (
            [text(Attr.USER_NAME, "bob"), Attribute(Attr.NAS_IP_ADDRESS, bytes((192, 0, 2, 9)))],
            ErrorCause.NAS_IDENTIFICATION_MISMATCH,
        ),
        ([text(Attr.USER_NAME, "bob"), number(Attr.SESSION_TIMEOUT, 1)], ErrorCause.UNSUPPORTED_ATTRIBUTE),
    ],
)
def test_n179_which_session_is_meant(told: list[Attribute], expected: int | ErrorCause) -> None:
    assert chosen(*told) == expected


def test_coa_may_change_limits_and_nothing_else() -> None:
    bob = text(Attr.USER_NAME, "bob")
    assert chosen(bob, number(Attr.SESSION_TIMEOUT, 60), Attribute(8, b"1M", 14988), code=Code.COA_REQUEST) == 3
    assert chosen(bob, text(Attr.FRAMED_POOL, "x"), code=Code.COA_REQUEST) is ErrorCause.UNSUPPORTED_ATTRIBUTE


def test_refusal_says_why() -> None:
    server = core()
    server.receive(request(text(Attr.USER_NAME, "x"), code=Code.COA_REQUEST), SERVER, 0.0, WALL)
    (asked,) = server.poll_events()
    server.answer(asked.request, ErrorCause.SEVERAL_SESSIONS)
    ((_, answer),) = server.poll_datagrams()
    assert (answer[0], Packet.parse(answer).get(Attr.ERROR_CAUSE)) == (Code.COA_NAK, (508).to_bytes(4, "big"))
