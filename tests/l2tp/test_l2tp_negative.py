"""Bad input to L2TP control: N091, N092, N094 to N112 and N115 to N120 of the negative cases.

After each the core answers as its line says, keeps nothing, and takes what is good.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.l2tp.kit import (
    HELLO,
    ICCN,
    REMOTE_SESSION,
    REMOTE_TUNNEL,
    SCCCN,
    Driver,
    Hand,
    body,
    codes,
    established,
    icrq,
    kinds,
    only,
    pair,
    plus,
    read,
    sccrp,
    sccrq,
    with_call,
    without,
)
from tests.sim import Weather

from headrace.errors import Slug
from headrace.l2tp import avp as wire
from headrace.l2tp.avp import Avp, AvpType, Result, Value
from headrace.l2tp.config import L2tpConfig
from headrace.l2tp.events import Dropped, Refused, SessionDown, SessionUp, TunnelDown, TunnelUp
from headrace.l2tp.header import ControlHeader, emit_control
from headrace.l2tp.message import MessageType, emit
from headrace.model import Failure

M, T = MessageType, AvpType
SECRET = L2tpConfig(secret=b"tunnel-secret")


def dropped(driver: Driver) -> list[str]:
    return [event.reason for event in driver.got(Dropped)]


def still_works(hand: Hand) -> None:
    """The tunnel lives: a Hello is acknowledged, a call can be made."""
    assert kinds(hand.send(HELLO)) == ["ZLB"]
    assert kinds(hand.send(icrq(REMOTE_SESSION + 77))) == ["ICRP"]


def takes_a_tunnel(driver: Driver, tunnel: int = 0x7777) -> None:
    assert kinds(Hand(driver).send(sccrq(tunnel))) == ["SCCRP"]


@pytest.mark.parametrize(
    "data",
    [
        *(bytes.fromhex("c8020006 0000")[:n] for n in range(6)),
        bytes.fromhex("8802 0000 0000 0000 0000"),  # L=0
        bytes.fromhex("c002 0008 0000 0000"),  # S=0
        bytes.fromhex("ca02 000e 0000 0000 0000 0000 0000"),  # O=1
        *(bytes([0xC8, version]) + bytes.fromhex("000c 0000 0000 0000 0000") for version in (0, 1, 3, 15)),
        bytes.fromhex("4802 000c 0001 0000 0000 0000"),  # data
    ],
    ids=lambda data: data.hex() or "empty",
)
def test_n091_headers_that_are_none(data: bytes) -> None:
    driver, hand = established()
    assert driver.feed(data) == []
    assert dropped(driver) == ["l2tp_header"]
    still_works(hand)


@pytest.mark.parametrize(("tunnel", "told"), [(REMOTE_TUNNEL, REMOTE_TUNNEL), (None, 0)])
def test_a_version_3_request_is_told_version_2(tunnel: int | None, told: int) -> None:
    avps = [] if tunnel is None else [wire.make(T.ASSIGNED_TUNNEL_ID, tunnel)]
    request = bytearray(emit_control(ControlHeader(0, 0, 0, 0), body(M.SCCRQ, Avp(61, bytes(4)), *avps)))
    request[1] = 3
    driver = Driver()
    answers = driver.feed(bytes(request))
    assert codes(answers, M.STOPCCN) == (5, 0x0100)
    assert answers[0][0] == ControlHeader(told, 0, 0, 1)
    assert len(driver.got(Refused)) == 1
    assert driver.core.finished
    hello = bytearray(emit_control(ControlHeader(0, 0, 0, 0), body(M.HELLO)))
    hello[1] = 3
    assert driver.feed(bytes(hello)) == []
    assert dropped(driver) == ["l2tp_header"]


def test_n092_length_fields() -> None:
    driver, hand = established()
    good = hand.raw(HELLO)
    for length in (0, 11, len(good) + 1, 65535):
        assert driver.feed(good[:2] + length.to_bytes(2, "big") + good[4:]) == []
    assert dropped(driver) == ["l2tp_length"] * 4
    assert kinds(driver.feed(good + b"tail")) == ["ZLB"]
    assert dropped(driver)[4:] == ["l2tp_tail"]
    still_works(hand)


@pytest.mark.parametrize("length", range(6))
def test_n094_avp_lengths_below_their_header(length: int) -> None:
    bad = wire.emit(wire.make(T.MESSAGE_TYPE, M.HELLO)) + (0x8000 | length).to_bytes(2, "big") + bytes(4)
    driver, hand = established()
    assert codes(hand.send(bad), M.STOPCCN) == (2, 2)
    assert driver.got(TunnelDown)[0].failure.slug is Slug.L2TP_MALFORMED
    stranger = Driver()
    assert Hand(stranger).send(bad) == []
    assert dropped(stranger) == ["l2tp_avp"]
    assert stranger.core.finished


def test_n095_avps_too_long_and_too_many() -> None:
    hello = wire.emit(wire.make(T.MESSAGE_TYPE, M.HELLO))
    for bad in (
        hello + b"\x80\x09\0\0\0\x07ab",
        hello + b"\x83\xff\0\0\0\x07" + bytes(1016),
        hello + wire.emit(Avp(7, b"x", mandatory=False)) * 200,
    ):
        driver, hand = established()
        assert codes(hand.send(bad), M.STOPCCN) == (2, 2)
    driver, hand = established()
    assert kinds(hand.send(hello + wire.emit(Avp(8, bytes(1017))))) == ["ZLB"]
    assert driver.got(TunnelDown) == []
    still_works(hand)


@pytest.mark.parametrize(
    "bad",
    [
        wire.emit(wire.make(T.HOST_NAME, b"x")),
        wire.emit(Avp(0, b"\0\6", vendor=9)),
        *(body(kind) for kind in (0, 5, 13, 17, 65535)),
    ],
)
def test_n096_messages_of_no_type(bad: bytes) -> None:
    driver, hand = established()
    assert codes(hand.send(bad), M.STOPCCN) == (2, 8)
    assert len(driver.got(TunnelDown)) == 1
    stranger = Driver()
    assert Hand(stranger).send(bad) == []
    assert dropped(stranger) == ["l2tp_no_tunnel"]


@pytest.mark.parametrize("kind", [0, 5, 13, 65535])
def test_an_unknown_message_that_is_not_mandatory_is_acknowledged(kind: int) -> None:
    driver, hand = established()
    assert kinds(hand.send(wire.emit(Avp(0, kind.to_bytes(2, "big"), mandatory=False)))) == ["ZLB"]
    assert dropped(driver) == ["l2tp_unknown_message"]
    still_works(hand)


UNKNOWN = [Avp(4000, b"x"), Avp(20, b""), Avp(1, bytes(16), vendor=311), Avp(7, b"x", vendor=65535)]
RESERVED = [Avp(7, b"x", reserved=1 << bit) for bit in range(4)]


def not_mandatory(avp: Avp) -> Avp:
    return Avp(avp.number, avp.value, mandatory=False, vendor=avp.vendor, reserved=avp.reserved)


@pytest.mark.parametrize("unknown", UNKNOWN, ids=str)
def test_n097_unknown_avps(unknown: Avp) -> None:
    check_unknown(unknown)


@pytest.mark.parametrize("unknown", RESERVED, ids=lambda avp: str(avp.reserved))
def test_n098_reserved_bits(unknown: Avp) -> None:
    check_unknown(unknown)


def check_unknown(unknown: Avp) -> None:
    driver, hand = established()
    assert kinds(hand.send(plus(HELLO, not_mandatory(unknown)))) == ["ZLB"]
    assert kinds(hand.send(plus(icrq(), not_mandatory(unknown)))) == ["ICRP"]
    answers = hand.send(plus(icrq(9), unknown))
    assert codes(answers, M.CDN) == (2, 8)
    assert only(answers, M.CDN)[0].session == 9
    assert driver.got(TunnelDown) == []
    assert codes(hand.send(plus(HELLO, unknown)), M.STOPCCN) == (2, 8)
    driver, hand, session = with_call()
    assert codes(hand.send(plus(ICCN, unknown), session), M.CDN) == (2, 8)
    assert len(driver.got(SessionDown)) == 1
    assert driver.got(TunnelDown) == []
    driver = Driver()
    assert codes(Hand(driver).send(plus(sccrq(), unknown)), M.STOPCCN) == (2, 8)
    assert driver.core.finished
    assert kinds(Hand(driver).send(plus(sccrq(), not_mandatory(unknown)))) == ["SCCRP"]


def test_n099_sccrq_that_is_incomplete() -> None:
    driver = Driver()
    for request in (without(sccrq(), T.ASSIGNED_TUNNEL_ID), without(sccrq(), T.PROTOCOL_VERSION) and sccrq(0)):
        assert Hand(driver).send(request) == []
    for number in (T.HOST_NAME, T.FRAMING_CAPABILITIES, T.PROTOCOL_VERSION):
        answers = Hand(driver).send(without(sccrq(), number))
        assert codes(answers, M.STOPCCN) == (2, 6)
        assert answers[0][0].tunnel == REMOTE_TUNNEL
    assert len(driver.got(Refused)) == 5
    assert driver.core.finished
    assert driver.ids.taken == set()
    takes_a_tunnel(driver)


def test_n100_a_tunnel_id_twice() -> None:
    driver, hand = established()
    answers = Hand(driver).send(sccrq(HOST_NAME=b"another"))
    assert codes(answers, M.STOPCCN) == (3, 0)
    assert len(driver.got(TunnelUp)) == 1
    assert driver.got(TunnelDown) == []
    still_works(hand)
    # The very same again is a repetition: acknowledged, and no second tunnel.
    assert kinds(driver.feed(Hand(driver).raw(sccrq()))) == ["ZLB"]
    assert len(driver.ids.taken) == 1


def test_n101_session_ids() -> None:
    driver, hand = established()
    answers = hand.send(without(icrq(), T.ASSIGNED_SESSION_ID))
    assert codes(answers, M.CDN) == (2, 6)
    assert codes(hand.send(icrq(0)), M.CDN) == (2, 5)
    assert kinds(hand.send(icrq(5))) == ["ICRP"]
    answers = hand.send(icrq(5, serial=2))
    assert codes(answers, M.CDN) == (2, 5)
    assert answers[0][0].session == 0, "the call that lives must not hear it"
    assert driver.got(TunnelDown) == []
    assert len(driver.got(Refused)) == 3
    still_works(hand)


def test_icrp_with_session_id_zero() -> None:
    driver = Driver()
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    session = driver.core.open_session(tunnel, driver.now)
    hand = Hand(driver, tunnel)
    hand.nr = 1
    hand.send(sccrp())
    hand.nr = 3
    assert codes(hand.send(emit(M.ICRP, {T.ASSIGNED_SESSION_ID: 0}), session), M.CDN) == (2, 5)
    assert driver.got(SessionDown)
    assert driver.got(TunnelDown) == []


@pytest.mark.parametrize("version", [0x0000, 0x0200, 0x01FF])
def test_n102_protocol_versions(version: int) -> None:
    driver = Driver()
    assert codes(Hand(driver).send(sccrq(PROTOCOL_VERSION=version)), M.STOPCCN) == (5, 0x0100)
    assert driver.core.finished
    driver.core.open_tunnel(1701, 1701, driver.now)
    driver.take()
    hand = Hand(driver, 100)
    hand.nr = 1
    answers = hand.send(sccrp(PROTOCOL_VERSION=version))
    assert codes(answers, M.STOPCCN) == (5, 0x0100)
    assert answers[0][0].tunnel == REMOTE_TUNNEL


@pytest.mark.parametrize("window", [0, 1, 65535])
def test_n103_receive_windows(window: int) -> None:
    driver, hand = established(RECEIVE_WINDOW_SIZE=window)
    for n in range(1, 20):
        answers = hand.send(icrq(n))
        assert kinds(answers) == ["ICRP"]
    assert len(driver.got(TunnelUp)) == 1
    _, _, session = with_call()
    assert session


def test_n104_tunnel_authentication() -> None:
    driver = Driver(SECRET)
    assert codes(Hand(driver).send(sccrq(CHALLENGE=b"")), M.STOPCCN) == (4, 0)
    assert codes(Hand(Driver()).send(sccrq(CHALLENGE=b"c")), M.STOPCCN) == (4, 0)
    for answer in (None, bytes(16), b"\xff" * 16):
        driver = Driver(SECRET)
        hand = Hand(driver)
        _, reply = only(hand.send(sccrq()), M.SCCRP)
        hand.tunnel = reply.number(T.ASSIGNED_TUNNEL_ID) or 0
        confirm = emit(M.SCCCN, {} if answer is None else {T.CHALLENGE_RESPONSE: answer})
        assert codes(hand.send(confirm), M.STOPCCN) == (4, 0)
        assert [event.failure.slug for event in driver.got(Refused)] == [Slug.TUNNEL_AUTH]
        assert driver.got(TunnelUp) == []
    driver = Driver()
    hand = Hand(driver)
    hand.send(sccrq())
    hand.tunnel = 100
    assert codes(hand.send(emit(M.SCCCN, {T.CHALLENGE_RESPONSE: bytes(16)})), M.STOPCCN) == (4, 0)


def test_our_own_challenge_sent_back() -> None:
    driver = Driver(SECRET)
    driver.core.open_tunnel(1701, 1701, driver.now)
    ((_, request),) = driver.said()
    assert request is not None
    challenge = request.octets(T.CHALLENGE)
    assert challenge is not None
    answers = Hand(driver).send(sccrq(CHALLENGE=challenge, TIE_BREAKER=bytes(8)))
    assert codes(answers, M.STOPCCN) == (4, 0)
    hand = Hand(driver, 100)
    hand.nr = 1
    assert codes(hand.send(sccrp(CHALLENGE=challenge, CHALLENGE_RESPONSE=bytes(16))), M.STOPCCN) == (4, 0)


def hidden(value: bytes, vector: bytes = b"v" * 16, number: int = 22) -> Avp:
    return wire.hide(Avp(number, value), b"tunnel-secret", vector)


def authenticated() -> tuple[Driver, Hand]:
    driver = Driver(SECRET)
    hand = Hand(driver)
    _, reply = only(hand.send(sccrq()), M.SCCRP)
    hand.tunnel = reply.number(T.ASSIGNED_TUNNEL_ID) or 0
    response = wire.challenge_response(M.SCCCN, b"tunnel-secret", reply.octets(T.CHALLENGE) or b"")
    hand.send(emit(M.SCCCN, {T.CHALLENGE_RESPONSE: response}))
    assert driver.got(TunnelUp)
    return driver, hand


def test_n105_hidden_avps_that_nobody_can_read() -> None:
    for extra in ((hidden(b"1"),), (Avp(36, b""), hidden(b"1"))):
        driver, hand = authenticated()
        assert codes(hand.send(plus(icrq(), *extra)), M.STOPCCN) == (2, 6)
        assert driver.got(TunnelDown)[0].failure.slug is Slug.HIDDEN_AVP
    driver, hand = established()
    assert codes(hand.send(plus(icrq(), Avp(36, b"v" * 16), hidden(b"1"))), M.STOPCCN) == (2, 6)
    assert "hidden AVP, no secret" in driver.got(TunnelDown)[0].failure.detail
    driver = Driver()
    assert codes(Hand(driver).send(plus(sccrq(), Avp(36, b"v" * 16), hidden(b"1"))), M.STOPCCN) == (2, 6)
    assert "hidden AVP, no secret" in driver.got(Refused)[0].failure.detail
    assert driver.core.finished


@pytest.mark.parametrize("size", [8, 16, 17, 32])
def test_n106_hidden_lengths(size: int) -> None:
    driver, hand = authenticated()
    for length in (0xFFFF, size - 1, 0):
        plain = length.to_bytes(2, "big") + bytes(size - 2)
        cipher = wire._keystream_xor(22, b"tunnel-secret", b"v" * 16, plain, reveal=False)
        answers = hand.send(plus(icrq(), Avp(36, b"v" * 16), Avp(22, cipher, hidden=True)))
        assert kinds(answers) == ["ZLB"]
    assert dropped(driver) == ["l2tp_hidden_length"] * 3
    still_works(hand)


def test_n107_sequence_numbers() -> None:
    driver, hand = established()
    window = driver.config.receive_window
    for ahead in (window, 100, 32767):
        assert driver.feed(hand.raw(HELLO, ns=hand.ns + ahead)) == []
    assert dropped(driver) == ["l2tp_ns"] * 3
    for ns in range(hand.ns + 1, hand.ns + window):
        assert driver.feed(hand.raw(HELLO, ns=ns)) == []
    assert dropped(driver) == ["l2tp_ns"] * 3
    ((header, message),) = driver.feed(hand.raw(HELLO, ns=hand.ns))
    assert (message, header.nr) == (None, hand.ns + window)
    hand.ns += window
    for behind in (1, 5, 30000):
        assert kinds(driver.feed(hand.raw(HELLO, ns=(hand.ns - behind) % 65536))) == ["ZLB"]
    for nr in (hand.nr + 1, hand.nr + 1000):
        assert driver.feed(hand.raw(HELLO, ns=hand.ns, nr=nr)) == []
    assert dropped(driver)[3:] == ["l2tp_nr"] * 2
    assert kinds(driver.feed(hand.raw(HELLO, ns=hand.ns, nr=0))) == ["ZLB"]
    hand.ns += 1
    still_works(hand)


@pytest.mark.parametrize(("double", "swap"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("seed", range(5))
def test_n108_everything_twice_and_out_of_order(double: bool, swap: bool, seed: int) -> None:
    left, right, sim = pair(Weather(duplicate=float(double), reorder=0.5 * swap, reorder_delay=0.4), seed)
    with sim:
        tunnel = left.core.open_tunnel(1701, 1701, sim.now)
        for _ in range(3):
            left.core.open_session(tunnel, sim.now)
        sim.run_until(lambda: len(left.got(SessionUp)) == len(right.got(SessionUp)) == 3, limit=20)
        left.core.close_all(Failure(Slug.USER_REQUEST), sim.now)
        sim.run_for(70)
        for side in (left, right):
            for kind, count in ((TunnelUp, 1), (SessionUp, 3), (SessionDown, 3), (TunnelDown, 1), (Refused, 0), (Dropped, 0)):
                assert len(side.got(kind)) == count, kind
            assert side.core.finished


def test_n109_no_acknowledgement_at_all() -> None:
    driver = Driver(L2tpConfig(setup_timeout=60))
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    session = driver.core.open_session(tunnel, driver.now)
    start = driver.now
    said = driver.wait(100)
    assert [when - start for when, _, message in said if message is not None and message.type is M.SCCRQ] == [
        0,
        1,
        3,
        7,
        15,
        23,
    ]
    assert [event.failure.slug for event in driver.got(Refused)] == [Slug.L2TP_SILENT]
    assert [event.local_session for event in driver.got(SessionDown)] == [session]
    assert [event.local_tunnel for event in driver.got(TunnelDown)] == [tunnel]
    assert driver.core.finished
    assert driver.ids.taken == set()


def test_silence_with_the_default_times() -> None:
    driver = Driver()
    driver.core.open_tunnel(1701, 1701, driver.now)
    driver.wait(31)
    assert [event.failure.slug for event in driver.got(Refused)] == [Slug.L2TP_SILENT]
    driver.wait(31)
    assert driver.core.finished


def test_n110_messages_out_of_state() -> None:
    driver, hand = established()
    answers = hand.send(emit(M.ICRP, {T.ASSIGNED_SESSION_ID: 9}), 555)
    assert codes(answers, M.CDN) == (2, 5)
    assert answers[0][0].session == 9
    assert kinds(hand.send(ICCN, 556)) == ["ZLB"]
    assert dropped(driver) == ["l2tp_no_session"] * 2
    ocrq: dict[AvpType, Value] = {
        T.ASSIGNED_SESSION_ID: 9,
        T.CALL_SERIAL_NUMBER: 1,
        T.MINIMUM_BPS: 1,
        T.MAXIMUM_BPS: 2,
        T.BEARER_TYPE: 1,
        T.FRAMING_TYPE: 1,
        T.CALLED_NUMBER: b"1",
    }
    assert codes(hand.send(emit(M.OCRQ, ocrq)), M.CDN) == (5, 0)
    assert driver.got(TunnelDown) == []
    still_works(hand)
    assert codes(hand.send(SCCCN), M.STOPCCN) == (7, 0)
    assert len(driver.got(TunnelDown)) == 1


@pytest.mark.parametrize("message", [sccrq(9), sccrp(9)])
def test_tunnel_messages_out_of_state(message: bytes) -> None:
    driver, hand = established()
    assert codes(hand.send(message), M.STOPCCN) == (7, 0)
    driver = Driver()
    hand = Hand(driver)
    hand.send(sccrq())
    hand.tunnel = 100
    assert codes(hand.send(message), M.STOPCCN) == (7, 0)
    assert driver.got(TunnelUp) == []


@pytest.mark.parametrize("message", [icrq(), ICCN, emit(M.CDN, {T.RESULT_CODE: Result(1), T.ASSIGNED_SESSION_ID: 1})])
def test_calls_before_there_is_a_tunnel(message: bytes) -> None:
    driver = Driver()
    hand = Hand(driver)
    hand.send(sccrq())
    hand.tunnel = 100
    assert codes(hand.send(message), M.STOPCCN) == (7, 0)
    driver = Driver()
    driver.core.open_tunnel(1701, 1701, driver.now)
    hand = Hand(driver, 100)
    hand.nr = 1
    assert codes(hand.send(message), M.STOPCCN) == (7, 0)


@pytest.mark.parametrize(
    "message", [icrq(), ICCN, emit(M.ICRP, {T.ASSIGNED_SESSION_ID: 5}), emit(M.OCRP, {T.ASSIGNED_SESSION_ID: 5})]
)
def test_call_messages_out_of_state(message: bytes) -> None:
    driver, hand, session = with_call()
    answers = hand.send(message, session)
    assert codes(answers, M.CDN) == (2, 6)
    assert answers[0][0].session == REMOTE_SESSION
    assert driver.got(SessionDown)[0].failure.slug is Slug.L2TP_MALFORMED
    still_works(hand)


def test_n111_ends_of_what_does_not_exist() -> None:
    driver, hand = established()
    for result in (Result(0), Result(65535, 65535, b"\xff\x1b[2J")):
        assert kinds(hand.send(emit(M.CDN, {T.RESULT_CODE: result, T.ASSIGNED_SESSION_ID: 3}), 77)) == ["ZLB"]
    assert kinds(hand.send(body(M.CDN), 77)) == ["ZLB"]
    assert dropped(driver) == ["l2tp_no_session"] * 3
    stop = emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: 3, T.RESULT_CODE: Result(1)})
    assert driver.feed(hand.raw(stop, tunnel=999, ns=0)) == []
    assert driver.feed(hand.raw(stop, tunnel=0, ns=0)) == []
    assert dropped(driver)[3:] == ["l2tp_no_tunnel"] * 2
    still_works(hand)


@pytest.mark.parametrize("avps", [(), (Avp(1, b""),), (Avp(1, bytes(2)),), (Avp(1, b"\xff" * 6),)])
def test_ends_without_a_reason_are_ends(avps: tuple[Avp, ...]) -> None:
    driver, hand, session = with_call()
    assert kinds(hand.send(body(M.CDN, *avps), session)) == ["ZLB"]
    assert len(driver.got(SessionDown)) == 1
    assert kinds(hand.send(body(M.STOPCCN, *avps))) == ["ZLB"]
    assert len(driver.got(TunnelDown)) == 1
    assert all(event.failure.slug is Slug.PEER_CLOSED and event.failure.detail for event in driver.got(TunnelDown))
    assert all(event.failure.detail.isprintable() for event in driver.got(SessionDown))


def test_n112_hello_on_a_closing_tunnel() -> None:
    driver, hand = established()
    driver.core.close_all(Failure(Slug.ADMIN), driver.now)
    driver.take()
    assert kinds(hand.send(HELLO)) == ["ZLB"]
    assert kinds(hand.send(icrq())) == ["ZLB"]
    said = driver.wait(100)
    assert {message.type for _, _, message in said if message} == {M.STOPCCN}
    assert driver.core.finished
    assert len(driver.got(TunnelDown)) == 1
    assert driver.ids.taken == set()


@pytest.mark.parametrize("name", [b"x" * 1000, b"a\0b", b"\x1b[31m\n", b"\xff\xfe", "\u202egnp.exe".encode(), b""])
def test_n115_names_of_any_octets(name: bytes) -> None:
    driver, _ = established(HOST_NAME=name, VENDOR_NAME=name)
    (up,) = driver.got(TunnelUp)
    for text in (up.host_name, up.vendor_name):
        assert text.isprintable()
        assert len(text) <= 255 * 4 + 3
    if name == b"x" * 1000:
        assert up.host_name == "x" * 255 + "..."


def test_n116_numbers_and_proxy_avps() -> None:
    driver, hand = established()
    answers = hand.send(icrq(CALLING_NUMBER=b"9" * 1017, SUB_ADDRESS=b"sub", CALLED_NUMBER=b"\0"))
    session = only(answers, M.ICRP)[1].number(T.ASSIGNED_SESSION_ID) or 0
    proxy: dict[AvpType, Value] = {
        T.TX_CONNECT_SPEED: 1,
        T.FRAMING_TYPE: 1,
        T.INITIAL_RECEIVED_LCP_CONFREQ: b"",
        T.LAST_SENT_LCP_CONFREQ: b"\1",
        T.PROXY_AUTHEN_TYPE: 65535,
        T.PROXY_AUTHEN_ID: 65535,
        T.PROXY_AUTHEN_NAME: b"\0" * 1000,
    }
    assert kinds(hand.send(emit(M.ICCN, proxy), session)) == ["ZLB"]
    (up,) = driver.got(SessionUp)
    assert up.proxy_lcp is None
    assert up.calling_number == "9" * 255 + "..."
    assert up.called_number == "\\x00"


def test_n117_ten_thousand_tunnels() -> None:
    driver = Driver()
    for n in range(1, 10_001):
        answers = Hand(driver).send(sccrq(n))
        if n <= 8:
            assert kinds(answers) == ["SCCRP"]
        else:
            assert codes(answers, M.STOPCCN) == (2, 4)
            assert answers[0][0].tunnel == n
    assert len(driver.ids.taken) == 8
    assert len(driver.got(Refused)) == 10_000 - 8
    assert {event.failure.slug for event in driver.got(Refused)} == {Slug.LIMIT_TUNNELS}
    driver.wait(100)
    assert driver.core.finished
    takes_a_tunnel(driver)


def test_n118_ten_thousand_calls() -> None:
    driver, hand = established()
    refused = 0
    for n in range(1, 10_001):
        answers = hand.send(icrq(n))
        refused += "CDN" in kinds(answers) and codes(answers, M.CDN) == (4, 0)
    assert refused == 10_000 - driver.config.max_sessions
    assert driver.got(TunnelDown) == []
    assert {event.failure.slug for event in driver.got(Refused)} == {Slug.LIMIT_SESSIONS}


def test_a_peer_that_asks_and_never_acknowledges() -> None:
    driver, hand = established()
    acked = hand.nr
    for n in range(1, 10_001):
        hand.nr = acked
        driver.feed(hand.raw(icrq(n)))
        if driver.got(TunnelDown):
            break
    assert n < 400
    assert "does not acknowledge" in driver.got(TunnelDown)[0].failure.detail
    driver.wait(100)
    assert driver.core.finished


def with_tie(datagram: bytes, tie: bytes | None) -> bytes:
    """An SCCRQ with another tie breaker, or with none."""
    _, request = read(datagram)
    assert request is not None
    values = {AvpType(number): value for number, value in request.values.items() if number != T.TIE_BREAKER}
    return emit_control(ControlHeader(0, 0, 0, 0), emit(M.SCCRQ, values | ({} if tie is None else {T.TIE_BREAKER: tie})))


def crossing(left_tie: bytes | None, right_tie: bytes | None, seed: int = 0) -> tuple[Driver, Driver]:
    """Both sides ask at once; the first tie breaker of each is forced."""
    left, right, sim = pair(seed=seed, lac=L2tpConfig(host_name="left"), lns=L2tpConfig(host_name="right"))
    with sim:
        requests = []
        for side, tie, other in ((left, left_tie, right), (right, right_tie, left)):
            local = side.core.open_tunnel(1701, 1701, sim.now)
            side.core.open_session(local, sim.now, calling_number=side.config.host_name)
            side.core._tunnels[local].tie = tie
            ((datagram),) = side.take()
            requests.append((other, with_tie(datagram.data, tie)))
        for other, data in requests:
            other.core.receive(data, 1701, 1701, sim.now)
        sim.run_for(20)
    return left, right


LOW, HIGH = bytes(8), b"\xff" * 8


@pytest.mark.parametrize(("left_tie", "right_tie"), [(LOW, HIGH), (HIGH, LOW), (LOW, None), (None, LOW)])
def test_n119_the_lower_tie_breaker_wins(left_tie: bytes | None, right_tie: bytes | None) -> None:
    left, right = crossing(left_tie, right_tie)
    for side in (left, right):
        assert len(side.got(TunnelUp)) == 1
        assert not side.got(TunnelDown)
        assert not side.got(Refused)
        other = right if side is left else left
        assert {(up.lns, up.calling_number) for up in side.got(SessionUp)} == {
            (False, side.config.host_name),
            (True, other.config.host_name),
        }


@pytest.mark.parametrize("seed", range(6))
def test_equal_tie_breakers_draw_and_try_again(seed: int) -> None:
    left, right = crossing(LOW, LOW, seed)
    for side in (left, right):
        assert len(side.got(TunnelUp)) == 1
        assert len(side.got(SessionUp)) == 2
        assert not side.got(TunnelDown)
        assert not side.got(Refused)


def test_without_tie_breakers_there_are_two_tunnels() -> None:
    left, right = crossing(None, None)
    for side in (left, right):
        assert len(side.got(TunnelUp)) == 2
        assert len(side.got(SessionUp)) == 2


def test_n120_stopccn_with_100_calls() -> None:
    driver, hand = established(L2tpConfig(max_sessions=100))
    sessions = set()
    for n in range(1, 101):
        session = only(hand.send(icrq(n)), M.ICRP)[1].number(T.ASSIGNED_SESSION_ID) or 0
        hand.send(ICCN, session)
        sessions.add(session)
    hand.send(emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: REMOTE_TUNNEL, T.RESULT_CODE: Result(6)}))
    downs = driver.got(SessionDown)
    assert len(downs) == 100
    assert {down.local_session for down in downs} == sessions
    assert isinstance(driver.events[-1], TunnelDown)
    assert len(driver.got(TunnelDown)) == 1


# Fuzzing: any octets, in any state, in whole and mutated conversations, give events and datagrams, and never an exception.

CONVERSATION = [
    sccrq(),
    SCCCN,
    icrq(),
    ICCN,
    HELLO,
    emit(M.CDN, {T.RESULT_CODE: Result(1), T.ASSIGNED_SESSION_ID: REMOTE_SESSION}),
]


def mutate(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randint(0, 3)):
        choice = dice.random()
        place = dice.randrange(len(out)) if out else 0
        if choice < 0.5 and out:
            out[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        elif choice < 0.7:
            del out[place:]
        elif choice < 0.85:
            out[place:place] = dice.randbytes(dice.randint(1, 8))
        else:
            del out[place : place + dice.randint(1, 6)]
    return bytes(out)


@pytest.mark.parametrize("seed", range(40))
def test_mutated_conversations_never_raise_and_leave_nothing(seed: int) -> None:
    dice = random.Random(seed)
    driver = Driver(L2tpConfig(secret=b"s") if seed % 4 == 0 else None)
    if seed % 3 == 0:
        driver.core.open_session(driver.core.open_tunnel(1701, 1701, driver.now), driver.now)
    for _ in range(60):
        hand = Hand(driver, tunnel=dice.choice((0, 100, 101, 102)))
        tunnels = driver.core._tunnels
        sessions = [s for t in tunnels.values() for s in t.sessions] or [0]
        hand.nr = dice.randint(0, 4)
        data = hand.raw(dice.choice([*CONVERSATION, sccrp()]), dice.choice([0, *sessions]), ns=dice.randint(0, 5))
        driver.core.receive(mutate(data, dice), 1701, 1701, driver.now)
        driver.take()
        if dice.random() < 0.2:
            driver.wait(dice.uniform(0, 10))
    driver.core.close_all(Failure(Slug.ADMIN), driver.now)
    driver.wait(100)
    assert driver.core.finished
    assert driver.ids.taken == set()
    ups = {(up.local_tunnel, up.local_session) for up in driver.got(SessionUp)}
    downs = [(down.local_tunnel, down.local_session) for down in driver.got(SessionDown)]
    assert ups <= set(downs)
    assert len(downs) == len(set(downs))
    for text in (event.failure.detail for event in driver.events if hasattr(event, "failure")):
        assert text.isprintable()


@given(st.lists(st.binary(max_size=80), max_size=5))
@settings(max_examples=150)
def test_any_octets_are_taken_without_harm(items: list[bytes]) -> None:
    driver, hand = established()
    for data in items:
        driver.feed(data)
        driver.feed(bytes.fromhex("c802") + (12 + len(data)).to_bytes(2, "big") + bytes(8) + data)
    assert driver.got(TunnelDown) == []
    still_works(hand)
