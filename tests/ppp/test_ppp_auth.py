"""PAP, CHAP and MS-CHAPv2, both roles, and what a peer may try on them."""

from __future__ import annotations

import itertools
import re
from ipaddress import IPv4Address

import pytest
from tests.ppp.harness import REMOTE, Pair, Script, Store, client_config, codes, server_config

from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.auth import error_code
from headrace.ppp.chap import md5_response
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, ClientCredentials
from headrace.ppp.events import Authenticated, AuthRequest, Ipv4Up, LinkDown, MppeUp
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.link import Phase
from headrace.ppp.mschap_crypto import authenticator_response, challenge_hash, nt_password_hash, nt_response
from headrace.ppp.option import Option

PAP = server_config(auth_methods=(AuthMethod.PAP,))
MD5 = server_config(auth_methods=(AuthMethod.CHAP_MD5,))
MS2 = server_config()


def pap(name: bytes, password: bytes) -> bytes:
    return bytes((len(name),)) + name + bytes((len(password),)) + password


def challenged(script: Script) -> Packet:
    (challenge,) = [packet for number, packet in script.lcp() if number == Proto.CHAP]
    assert challenge.code == 1
    return challenge


def number_in(packet: Packet) -> int:
    found = re.fullmatch(rb"E=(\d+) R=[01] C=[0-9A-F]{32} V=3 M=[ -~]+", packet.data)
    assert found, packet.data
    return int(found[1])


# --- server -------------------------------------------------------------------------------------------------------------------


def test_everything_that_a_store_needs_is_in_the_request() -> None:
    script = Script(server_config(name="gateway"))
    challenge = challenged(script)
    assert challenge.data == b"\x10" + challenge.data[1:17] + b"gateway"
    script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge, b"BIG\\alice"))
    request = script.end.one(AuthRequest)
    assert (request.method, request.username, request.identifier) == (AuthMethod.MSCHAP_V2, b"BIG\\alice", challenge.identifier)
    assert request.challenge == challenge.data[1:17]
    assert len(request.response) == 49
    assert request.response.hex() not in repr(request)
    assert script.end.one(Authenticated).username == "alice"


def test_verdict_may_take_its_time() -> None:
    script = Script(MS2)
    script.end.store = None
    challenge = challenged(script)
    response = script.respond(challenge)
    assert script.say(Proto.CHAP, 2, challenge.identifier, response) == []
    assert script.say(Proto.CHAP, 2, challenge.identifier, response) == []  # the peer repeats itself
    assert script.say(Proto.CHAP, 2, challenge.identifier, response[:-5] + b"mallo") == []
    assert script.drops() == ["chap_pending"]
    assert script.wait(10) == []
    request = script.end.one(AuthRequest)
    script.link.auth_result(request.request + 1, AuthAccept("mallory"), script.now)
    assert script.hear() == []
    script.link.auth_result(request.request, Store().check(request), script.now)
    heard = script.hear()
    assert codes(heard, Proto.CHAP) == [3]
    assert script.link.phase is Phase.NETWORK
    script.link.auth_result(request.request, AuthReject(Slug.AUTH_FAILED), script.now)
    assert script.hear() == []


def test_success_that_was_lost_is_said_again() -> None:
    script = Script(MS2)
    challenge = challenged(script)
    response = script.respond(challenge)
    success = script.say(Proto.CHAP, 2, challenge.identifier, response)[0]
    assert script.say(Proto.CHAP, 2, challenge.identifier, response) == [success]
    assert len(script.end.all(AuthRequest)) == 1


def test_challenge_is_repeated() -> None:
    script = Script(MS2)
    first = challenged(script)
    again = script.wait(10)
    assert again == [(Proto.CHAP, first)] * 3


def test_n134_peer_that_skips_authentication() -> None:
    script = Script(server_config(auth_timeout=20.0))
    challenged(script)
    request = Packet(1, 1, b"\x03\x06" + REMOTE.packed).emit()
    for protocol in (Proto.IPCP, Proto.CCP, Proto.IPV6CP, 0x0021):
        script.raw(Frame(protocol, request).emit())
    assert script.hear() == []
    assert script.drops() == ["ppp_phase"] * 4
    script.wait(30)
    down = script.end.one(LinkDown)
    assert down.failure.slug is Slug.AUTH_TIMEOUT
    assert not script.end.has(Ipv4Up)


def test_n132_network_before_authentication_is_dropped() -> None:
    script = Script(MS2)
    for _ in range(2):
        for protocol in (Proto.IPCP, Proto.IPV4, Proto.COMPRESSED):
            script.raw(Frame(protocol, b"\x45" + bytes(60)).emit())
        assert all(packet.code != Code.PROTOCOL_REJECT for _, packet in script.hear())
        script.lcp()
    assert script.drops() == ["ppp_phase"] * 6


def test_lcp_that_starts_anew_buys_no_time() -> None:
    script = Script(server_config(auth_timeout=20.0))
    for number in range(8):
        script.negotiate(Proto.LCP, (Option(5, script.magic),), number)
        script.wait(3)
    script.wait(10)
    assert script.end.why is Slug.AUTH_TIMEOUT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05ali",
        b"\x05alice",
        b"\x05alice\xff",
        pap(b"alice", b""),
        pap(b"", b"wonderland"),
        pap(b"alice", b"x" * 255),
        pap(b"bob", b"x"),
    ],
)
def test_n135_pap_requests_that_fail(data: bytes) -> None:
    script = Script(PAP)
    script.lcp()
    heard = script.say(Proto.PAP, 1, 7, data)
    assert heard[0] == (Proto.PAP, Packet(3, 7, b"\x15Authentication failed"))
    script.wait(10)
    assert script.end.why in {Slug.AUTH_FAILED, Slug.USER_UNKNOWN}


def test_passwords_show_nowhere() -> None:
    script = Script(PAP)
    script.lcp()
    frame = Frame(Proto.PAP, Packet(1, 1, pap(b"alice", b"wonderland")).emit())
    script.raw(frame.emit())
    script.hear()
    shown = [
        repr(frame),
        str(frame),
        repr(Packet.parse(frame.information, "x")),
        *map(repr, script.end.events),
        repr(client_config()),
    ]
    assert not any("wonderland" in text or b"wonderland".hex() in text for text in shown)


def test_pap_repeats_its_answer() -> None:
    script = Script(PAP)
    script.lcp()
    assert script.say(Proto.PAP, 1, 7, pap(b"alice", b"wonderland"))[0] == (Proto.PAP, Packet(2, 7, b"\0"))
    assert script.say(Proto.PAP, 1, 8, pap(b"alice", b"wonderland")) == [(Proto.PAP, Packet(2, 8, b"\0"))]
    script.say(Proto.PAP, 9, 8)
    assert script.drops() == ["pap_code"]
    assert len(script.end.all(AuthRequest)) == 1


def test_pap_retry_and_pending() -> None:
    script = Script(PAP, Store(retry=True))
    script.lcp()
    assert script.say(Proto.PAP, 1, 1, pap(b"alice", b"a")) == [(Proto.PAP, Packet(3, 1, b"\x15Authentication failed"))]
    store, script.end.store = script.end.store, None
    assert script.say(Proto.PAP, 1, 2, pap(b"alice", b"wonderland")) == []
    assert script.say(Proto.PAP, 1, 3, pap(b"alice", b"wonderland")) == []
    assert script.say(Proto.PAP, 1, 4, pap(b"alice", b"wunderland")) == []
    assert script.drops() == ["pap_pending"]
    assert store is not None
    request = script.end.all(AuthRequest)[-1]
    script.link.auth_result(request.request, store.check(request), script.now)
    assert script.hear()[0] == (Proto.PAP, Packet(2, 3, b"\0"))


def test_pap_attempts_are_counted() -> None:
    script = Script(PAP, Store(retry=True))
    script.lcp()
    for number in range(3):
        assert not script.end.down
        script.say(Proto.PAP, 1, number, pap(b"alice", b"guess%d" % number))
    script.wait(10)
    assert script.end.why is Slug.AUTH_FAILED
    assert len(script.end.all(AuthRequest)) == 3


def test_n136_responses_of_a_wrong_size_or_form() -> None:
    for size, config in itertools.product((0, 15, 48, 50, 255), (MS2, MD5)):
        script = Script(config)
        challenge = challenged(script)
        heard = script.say(Proto.CHAP, 2, challenge.identifier, bytes((size,)) + bytes(size) + b"alice")
        assert heard[0][1].code == 4
        script.wait(10)
        assert script.end.why is Slug.AUTH_FAILED
        assert not script.end.has(AuthRequest)
    script = Script(MS2)
    challenge = challenged(script)
    for data in (b"", b"\x31", b"\x31" + bytes(48)):
        assert script.say(Proto.CHAP, 2, challenge.identifier, data) == []
    assert script.drops() == ["chap_size"] * 3
    assert script.say(Proto.CHAP, 2, challenge.identifier + 1 & 0xFF, script.respond(challenge)) == []
    assert script.say(Proto.CHAP, 9, challenge.identifier, b"") == []
    assert script.drops()[3:] == ["chap_identifier", "chap_code"]
    assert codes(script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge, b"")), Proto.CHAP) == [4]
    assert script.end.one(AuthRequest).username == b""
    long = Script(MS2)
    challenge = challenged(long)
    assert number_in(long.say(Proto.CHAP, 2, challenge.identifier, long.respond(challenge, b"a" * 1000))[0][1]) == 691
    assert not long.end.has(AuthRequest)


def test_n137_flags_and_reserved_octets_are_let_pass() -> None:
    script = Script(MS2)
    challenge = challenged(script)
    response = bytearray(script.respond(challenge))
    response[17:25] = b"reserved"
    response[49] = 0xFF
    assert codes(script.say(Proto.CHAP, 2, challenge.identifier, bytes(response)), Proto.CHAP) == [3]


def test_n138_response_to_another_challenge() -> None:
    first = Script(MS2, seed=1)
    challenge = challenged(first)
    response = first.respond(challenge)
    second = Script(MS2, seed=2)
    other = challenged(second)
    assert other.data != challenge.data
    assert number_in(second.say(Proto.CHAP, 2, other.identifier, response)[0][1]) == 691


def test_n139_reflection() -> None:
    script = Script(MS2)
    challenge = challenged(script)
    ours = challenge.data[1:17]
    proof = nt_response(nt_password_hash("wonderland"), challenge_hash(ours, ours, b"alice"))
    heard = script.say(Proto.CHAP, 2, challenge.identifier, b"\x31" + ours + bytes(8) + proof + b"\0alice")
    assert number_in(heard[0][1]) == 691
    assert not script.end.has(AuthRequest)
    swapped = Script(MS2)
    challenge = challenged(swapped)
    peer = b"\x22" * 16
    proof = nt_response(nt_password_hash("wonderland"), challenge_hash(challenge.data[1:17], peer, b"alice"))
    heard = swapped.say(Proto.CHAP, 2, challenge.identifier, b"\x31" + peer + bytes(8) + proof + b"\0alice")
    assert number_in(heard[0][1]) == 691


@pytest.mark.parametrize(
    ("slug", "number", "seen"),
    [
        (Slug.ACCOUNT_DISABLED, 647, Slug.ACCOUNT_DISABLED),
        (Slug.ACCOUNT_EXPIRED, 691, Slug.AUTH_FAILED),
        (Slug.HOURS, 646, Slug.HOURS),
        (Slug.DIALIN_DENIED, 649, Slug.DIALIN_DENIED),
        (Slug.PASSWORD_EXPIRED, 648, Slug.PASSWORD_EXPIRED),
        (Slug.USER_UNKNOWN, 691, Slug.AUTH_FAILED),
        (Slug.NO_NT_HASH, 691, Slug.AUTH_FAILED),
        (Slug.AUTH_LOCKED, 691, Slug.AUTH_FAILED),
        (Slug.USER_LIMIT, 649, Slug.DIALIN_DENIED),
        (Slug.RADIUS_TIMEOUT, 691, Slug.AUTH_FAILED),
    ],
)
def test_n142_reasons_and_their_numbers(slug: Slug, number: int, seen: Slug) -> None:
    """An expired account has no number of its own in MS-CHAP (648 would offer to change the password): 691."""
    assert error_code(slug) == number
    pair = Pair(store=Store(reject=AuthReject(slug, "the rule that said no"))).until_down()
    assert pair.server.one(LinkDown).failure.slug is slug
    assert pair.server.one(LinkDown).failure.detail == "the rule that said no"
    assert pair.client.why is seen
    failure = next(
        packet
        for packet in (Packet.parse(frame.information, "x") for frame in pair.server.sent if frame.protocol == Proto.CHAP)
        if packet.code == 4
    )
    assert number_in(failure) == number
    assert b"rule" not in failure.data
    terminate = [frame.information for frame in pair.server.sent if frame.protocol == Proto.LCP and frame.information[0] == 5]
    assert all(int.from_bytes(data[12:16], "big") == number for data in terminate)


def test_unknown_name_and_wrong_password_look_the_same() -> None:
    def heard(name: bytes, password: str) -> list[bytes]:
        script = Script(MS2)
        challenge = challenged(script)
        script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge, name, password))
        return [frame.emit() for frame in script.end.sent]

    assert heard(b"alice", "wrong") == heard(b"nobody", "wrong")


def test_retry_takes_a_new_challenge_and_the_next_identifier() -> None:
    script = Script(MS2, Store(retry=True))
    challenge = challenged(script)
    wrong = script.respond(challenge, password="wrong")
    ((_, failure),) = script.say(Proto.CHAP, 2, challenge.identifier, wrong)
    assert failure.code == 4
    assert failure.identifier == challenge.identifier
    assert failure.data.startswith(b"E=691 R=1 C=")
    fresh = bytes.fromhex(failure.data[12:44].decode())
    assert fresh != challenge.data[1:17]
    assert script.say(Proto.CHAP, 2, challenge.identifier, wrong) == [(Proto.CHAP, failure)]  # its Failure was lost
    script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge))
    assert script.drops() == ["chap_identifier"]
    again = Packet(1, challenge.identifier + 1 & 0xFF, b"\x10" + fresh + b"headrace")
    heard = script.say(Proto.CHAP, 2, again.identifier, script.respond(again))
    assert codes(heard, Proto.CHAP) == [3]


def test_retries_end() -> None:
    script = Script(MS2, Store(retry=True))
    challenge = challenged(script)
    identifier, texts = challenge.identifier, []
    for number in range(3):
        heard = script.say(Proto.CHAP, 2, identifier + number & 0xFF, script.respond(challenge, password="wrong"))
        texts.append(heard[0][1].data[:9])
    assert texts == [b"E=691 R=1", b"E=691 R=1", b"E=691 R=0"]
    script.wait(10)
    assert script.end.why is Slug.AUTH_FAILED


def test_change_of_password_is_not_offered() -> None:
    script = Script(MS2, Store(reject=AuthReject(Slug.PASSWORD_EXPIRED, retry=False)))
    challenge = challenged(script)
    ((_, failure), *_) = script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge))
    assert failure.data.startswith(b"E=648 R=0")
    fresh = Script(MS2)
    challenge = challenged(fresh)
    assert fresh.say(Proto.CHAP, 7, challenge.identifier, bytes(582)) == []
    assert fresh.drops() == ["chap_code"]


@pytest.mark.parametrize("proof", [None, b"", b"S=", b"S=" + b"0" * 39, b"S=" + b"G" * 40, b"S=" + b"0" * 40 + b" M=x"])
def test_accept_without_the_servers_proof_is_a_refusal(proof: bytes | None) -> None:
    script = Script(MS2)
    script.end.store = None
    challenge = challenged(script)
    script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge))
    script.link.auth_result(
        script.end.one(AuthRequest).request, AuthAccept("alice", address=REMOTE, mschap_success=proof), script.now
    )
    assert number_in(script.hear()[0][1]) == 691
    script.wait(10)
    assert script.end.why is Slug.SERVER_PROOF_MISSING


# --- client -------------------------------------------------------------------------------------------------------------------


def client(method: AuthMethod = AuthMethod.MSCHAP_V2) -> Script:
    script = Script(client_config(auth_methods=(method,)))
    option = {AuthMethod.PAP: b"\xc0\x23", AuthMethod.CHAP_MD5: b"\xc2\x23\x05", AuthMethod.MSCHAP_V2: b"\xc2\x23\x81"}[method]
    script.rest = script.lcp(Option(3, option))  # type: ignore[attr-defined]
    return script


CHALLENGE = b"\x10" + bytes(range(16)) + b"lns"


def right_proof(response: Packet) -> bytes:
    nt_hash = nt_password_hash("wonderland")
    value = response.data[1:50]
    challenge8 = challenge_hash(value[:16], CHALLENGE[1:17], b"alice")
    assert value[24:48] == nt_response(nt_hash, challenge8)
    assert value[16:24] + value[48:] == bytes(9)
    assert response.data[50:] == b"alice"
    return authenticator_response(nt_hash, value[24:48], challenge8).encode()


def test_client_proves_itself_and_checks_the_server() -> None:
    script = client()
    ((_, response),) = script.say(Proto.CHAP, 1, 0x14, CHALLENGE)
    assert (response.code, response.identifier) == (2, 0x14)
    assert script.say(Proto.CHAP, 1, 0x14, CHALLENGE) == [(Proto.CHAP, response)]
    heard = script.say(Proto.CHAP, 3, 0x14, right_proof(response) + b" M=Access granted")
    assert codes(heard, Proto.IPCP) == [1]
    assert script.end.one(Authenticated) == Authenticated("alice", AuthMethod.MSCHAP_V2)
    assert script.link.peer_name == "lns"


def test_response_is_repeated_until_it_is_judged() -> None:
    script = client()
    ((_, response),) = script.say(Proto.CHAP, 1, 1, CHALLENGE)
    assert script.wait(7) == [(Proto.CHAP, response)] * 2


def test_server_may_ask_again_in_mid_session() -> None:
    script = client()
    ((_, response),) = script.say(Proto.CHAP, 1, 1, CHALLENGE)
    script.say(Proto.CHAP, 3, 1, right_proof(response))
    ((_, again),) = script.say(Proto.CHAP, 1, 2, CHALLENGE)
    assert again.data != response.data
    assert script.say(Proto.CHAP, 3, 2, right_proof(again)) == []
    assert len(script.end.all(Authenticated)) == 1
    ((_, third),) = script.say(Proto.CHAP, 1, 3, CHALLENGE)
    script.say(Proto.CHAP, 4, third.identifier, b"E=691 R=0 C=" + b"0" * 32 + b" V=3 M=no")
    script.wait(10)
    assert script.end.why is Slug.AUTH_FAILED


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"M=welcome",
        b"S=",
        b"S=" + b"0" * 39,
        b"S=" + b"0" * 40 + b" M=ok",
        b"S=" + b"0" * 41,
        b" S=" + b"0" * 40,
    ],
)
def test_n140_success_that_proves_nothing(text: bytes) -> None:
    script = client()
    ((_, response),) = script.say(Proto.CHAP, 1, 1, CHALLENGE)
    script.say(Proto.CHAP, 3, 1, text)
    script.wait(10)
    assert script.end.why is Slug.SERVER_PROOF
    assert not script.end.has(Authenticated)
    almost = client()
    ((_, response),) = almost.say(Proto.CHAP, 1, 1, CHALLENGE)
    almost.say(Proto.CHAP, 3, 1, right_proof(response) + b"0")
    almost.wait(10)
    assert almost.end.why is Slug.SERVER_PROOF


def test_success_before_any_response_is_no_success_either() -> None:
    """The last form of N140."""
    script = client()
    script.say(Proto.CHAP, 3, 1, b"S=" + b"0" * 40 + b" M=ok")
    script.wait(10)
    assert script.end.why is Slug.SERVER_PROOF
    other = client()
    other.say(Proto.CHAP, 1, 1, CHALLENGE)
    other.say(Proto.CHAP, 3, 2, b"S=" + b"0" * 40)
    assert other.drops() == ["chap_identifier"]


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        (b"", Slug.AUTH_FAILED),
        (b"E", Slug.AUTH_FAILED),
        (b"E=", Slug.AUTH_FAILED),
        (b"E=6", Slug.AUTH_FAILED),
        (b"R=0 C=" + b"0" * 32 + b" V=3 M=x", Slug.AUTH_FAILED),
        (b"E=99999999999 R=0 C=" + b"0" * 32 + b" V=3 M=x", Slug.AUTH_FAILED),
        (b"E=691 R=1 C=" + b"0" * 31 + b" V=3 M=x", Slug.AUTH_FAILED),
        (b"E=691 R=1 C=" + b"0" * 32 + b" V=3", Slug.AUTH_FAILED),
        (b"E=648 R=0 C=" + b"0" * 32 + b" V=3 M=x", Slug.PASSWORD_EXPIRED),
        (b"E=647 R=0", Slug.ACCOUNT_DISABLED),
        (b"\xff\xfe\x00\x1b[2J", Slug.AUTH_FAILED),
    ],
)
def test_n141_failures_of_every_form(text: bytes, slug: Slug) -> None:
    script = client()
    script.say(Proto.CHAP, 1, 1, CHALLENGE)
    script.say(Proto.CHAP, 4, 1, text)
    script.wait(10)
    down = script.end.one(LinkDown)
    assert down.failure.slug is slug
    assert down.failure.detail.isprintable()


@pytest.mark.parametrize("data", [b"", b"\x10" + bytes(15), b"\x00lns", b"\x08" + bytes(8), b"\xff" + bytes(255)])
def test_challenge_that_cannot_be_answered(data: bytes) -> None:
    script = client()
    assert script.say(Proto.CHAP, 1, 1, data) == []
    assert script.drops() == ["chap_size"]


def test_client_with_md5_and_pap() -> None:
    script = client(AuthMethod.CHAP_MD5)
    ((_, response),) = script.say(Proto.CHAP, 1, 9, CHALLENGE)
    assert response.data == b"\x10" + md5_response(9, b"wonderland", CHALLENGE[1:17]) + b"alice"
    assert script.say(Proto.CHAP, 1, 9, b"\x00") == []
    assert codes(script.say(Proto.CHAP, 3, 9, b"hello"), Proto.IPCP) == [1]
    script = client(AuthMethod.PAP)
    ((_, request),) = script.rest  # type: ignore[attr-defined]
    assert request.data == pap(b"alice", b"wonderland")
    assert script.wait(4) == [(Proto.PAP, request)]
    assert script.say(Proto.PAP, 2, request.identifier + 1 & 0xFF, b"\0") == []
    assert script.say(Proto.PAP, 9, request.identifier, b"\0") == []
    assert script.drops() == ["pap_identifier", "pap_code"]
    assert codes(script.say(Proto.PAP, 2, request.identifier, b"\0"), Proto.IPCP) == [1]
    refused = client(AuthMethod.PAP)
    ((_, request),) = refused.rest  # type: ignore[attr-defined]
    refused.say(Proto.PAP, 3, request.identifier, b"\x03no\x07")
    refused.wait(10)
    assert refused.end.one(LinkDown).failure.slug is Slug.AUTH_FAILED


def test_unasked_verdicts_of_plain_chap_are_dropped() -> None:
    script = client(AuthMethod.CHAP_MD5)
    assert script.say(Proto.CHAP, 3, 1, b"") == []
    assert script.say(Proto.CHAP, 4, 1, b"") == []
    assert script.drops() == ["chap_identifier"] * 2
    script = client()
    script.say(Proto.CHAP, 4, 1, b"E=691")
    script.wait(10)
    assert script.end.why is Slug.AUTH_FAILED


def test_client_waits_for_a_verdict_only_so_long() -> None:
    script = client()
    script.say(Proto.CHAP, 1, 1, CHALLENGE)
    script.wait(60)
    assert script.end.why is Slug.AUTH_TIMEOUT
    assert "no verdict from the peer" in script.end.one(LinkDown).failure.detail


def test_own_store_that_never_answers_is_named() -> None:
    script = Script(MS2)
    script.end.store = None
    challenge = challenged(script)
    script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge))
    script.wait(60)
    assert "our own side" in script.end.one(LinkDown).failure.detail


def test_domain_user_end_to_end() -> None:
    pair = Pair(
        server_config(encryption=Encryption.REQUIRED),
        client_config(credentials=ClientCredentials("BIG\\alice", "wonderland")),
    ).until(Ipv4Up, MppeUp)
    assert pair.server.one(AuthRequest).username == b"BIG\\alice"


def test_policy_of_the_user_replaces_that_of_the_link() -> None:
    store = Store(grant=AuthAccept("alice", address=REMOTE, encryption=Encryption.REQUIRED))
    assert Pair(store=store).until(Ipv4Up, MppeUp).server.has(MppeUp)
    store = Store(grant=AuthAccept("alice", address=IPv4Address("10.0.0.9"), encryption=Encryption.OFF))
    pair = Pair(server_config(encryption=Encryption.REQUIRED), store=store).until(Ipv4Up)
    assert not pair.server.has(MppeUp)
