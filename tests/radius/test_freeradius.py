"""Our requests and FreeRADIUS's answers, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tests.radius.freeradius import SECRET, FreeRadius, freeradius, reason_to_skip

from headrace.access.filters import parse_filters
from headrace.access.radius_grant import Challenged, RadiusGrant, read_answer
from headrace.access.radius_request import Line, access_request
from headrace.errors import Slug
from headrace.model import Endpoint
from headrace.ppp.chap import md5_response
from headrace.ppp.config import AuthMethod, AuthReject
from headrace.ppp.events import AuthRequest
from headrace.ppp.mppe import start_keys
from headrace.ppp.mschap_crypto import authenticator_response, challenge_hash, nt_password_hash, nt_response
from headrace.radius import accounting
from headrace.radius.client import Answered, Server, Timing, Unanswered
from headrace.radius.names import Attr, Cause, Code, Status
from headrace.radius.packet import text
from headrace.shell.radius_transport import RadiusTransport

pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-")

PASSWORD = "correct horse"
NT_HASH = nt_password_hash(PASSWORD)
CHALLENGE = bytes(range(16))
LINE = Line("vpn", IPv4Address("127.0.0.1"), "s1", 3, Endpoint.of("198.51.100.7", 4500), Endpoint.of("192.0.2.1", 4500))
FILTERS = {"staff": parse_filters("deny 10.0.0.0/8")}
TIMING = Timing(timeout=1.0, tries=2, status_interval=1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    with freeradius(tmp_path_factory.mktemp("raddb")) as running:
        yield running


def ask(
    server: FreeRadius, request: AuthRequest, *, secret: bytes = SECRET
) -> RadiusGrant | Challenged | AuthReject | Unanswered:
    async def run() -> RadiusGrant | Challenged | AuthReject | Unanswered:
        transport = RadiusTransport([(Endpoint.of("127.0.0.1", server.auth), Server("f", secret))], TIMING)
        try:
            answer = await transport.ask(Code.ACCESS_REQUEST, access_request(request, LINE))
        finally:
            transport.close()
        if isinstance(answer, Unanswered):
            return answer
        return read_answer(answer.packet, request, secret=secret, authenticator=answer.authenticator, filters=FILTERS)

    return asyncio.run(run())


def mschap_v2(password: str = PASSWORD, name: bytes = b"alice") -> AuthRequest:
    peer = bytes(range(100, 116))
    response = nt_response(nt_password_hash(password), challenge_hash(peer, CHALLENGE, name))
    return AuthRequest(1, AuthMethod.MSCHAP_V2, name, 9, CHALLENGE, peer + bytes(8) + response + b"\0")


PAP = AuthRequest(1, AuthMethod.PAP, b"alice", 1, b"", PASSWORD.encode())
PROOFS = {
    "pap": PAP,
    "chap-md5": AuthRequest(1, AuthMethod.CHAP_MD5, b"alice", 5, CHALLENGE, md5_response(5, PASSWORD.encode(), CHALLENGE)),
    "mschap": AuthRequest(
        1, AuthMethod.MSCHAP, b"alice", 6, CHALLENGE[:8], bytes(24) + nt_response(NT_HASH, CHALLENGE[:8]) + b"\1"
    ),
    "mschap-v2": mschap_v2(),
}


@pytest.mark.parametrize("method", PROOFS)
def test_users_come_in(server: FreeRadius, method: str) -> None:
    found = ask(server, PROOFS[method])
    assert isinstance(found, RadiusGrant), found
    accept = found.accept
    assert (accept.username, accept.address, accept.pool) == ("alice", IPv4Address("10.99.0.77"), "guests")
    limits = accept.limits
    assert (limits.session_time, limits.idle_time, limits.rate_up, limits.rate_down) == (3600.0, 600.0, 1000000, 2000000)
    assert limits.filters == FILTERS["staff"]
    assert (found.classes, found.interim) == ((b"\x01\x02\xff\x00",), 60.0)


def test_mschap_v2_brings_the_servers_proof_and_the_keys(server: FreeRadius) -> None:
    request = mschap_v2()
    found = ask(server, request)
    assert isinstance(found, RadiusGrant)
    response, challenge8 = request.response[24:48], challenge_hash(request.response[:16], CHALLENGE, b"alice")
    accept = found.accept
    assert accept.mschap_success == authenticator_response(NT_HASH, response, challenge8).encode()
    assert (accept.mppe_send_key, accept.mppe_recv_key) == start_keys(NT_HASH, response, server=True)
    assert accept.mppe_bits == (128,)


@pytest.mark.parametrize("request_", [replace(PAP, response=b"wrong"), mschap_v2("wrong"), mschap_v2(name=b"nobody")])
def test_wrong_proofs_do_not(server: FreeRadius, request_: AuthRequest) -> None:
    found = ask(server, request_)
    assert isinstance(found, AuthReject)
    assert found.slug is Slug.AUTH_FAILED


def test_entry_for_another_service_is_told_apart(server: FreeRadius) -> None:
    found = ask(server, AuthRequest(1, AuthMethod.PAP, b"printer", 1, b"", b"x"))
    assert isinstance(found, AuthReject)
    assert found.slug is Slug.RADIUS_SERVICE


def test_eap_is_passed_through(server: FreeRadius) -> None:
    identity = b"\x02\x01\x00\x0a\x01alice"
    found = ask(server, AuthRequest(1, AuthMethod.EAP, b"alice", 1, b"", identity))
    assert isinstance(found, Challenged)
    assert (found.proceed.packet[0], found.proceed.packet[4]) == (1, 4), "an EAP Request for MD5"
    assert found.state


def test_wrong_secret_is_no_answer(server: FreeRadius) -> None:
    assert isinstance(ask(server, PAP, secret=b"another secret"), Unanswered)


def test_accounting_and_status(server: FreeRadius, tmp_path: Path) -> None:
    async def run() -> list[Answered | Unanswered]:
        transport = RadiusTransport([(Endpoint.of("127.0.0.1", server.acct), Server("f", SECRET))], TIMING)
        user = (text(Attr.USER_NAME, "alice"), *LINE.attributes())
        traffic = accounting.Traffic(60, (3 << 32) + 5, 7, 11, 13)
        try:
            return [
                await transport.ask(Code.ACCOUNTING_REQUEST, (*user, *accounting.record(status, 1_800_000_000.0, told, cause)))
                for status, told, cause in (
                    (Status.START, None, None),
                    (Status.INTERIM, traffic, None),
                    (Status.STOP, traffic, Cause.USER_REQUEST),
                )
            ]
        finally:
            transport.close()

    assert all(isinstance(answer, Answered) for answer in asyncio.run(run()))
    told = server.detail()
    for words in (
        "Acct-Status-Type = Start",
        "Acct-Status-Type = Interim-Update",
        "Acct-Status-Type = Stop",
        "Acct-Input-Gigawords = 3",
        "Acct-Input-Octets = 5",
        "Acct-Terminate-Cause = User-Request",
        "Tunnel-Type:1 = L2TP",
    ):
        assert words in told, told
