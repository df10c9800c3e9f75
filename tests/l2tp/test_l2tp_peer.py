"""Tunnels and calls: against recorded peers, by hand, and two of our own back to back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.l2tp.kit import (
    HELLO,
    ICCN,
    REMOTE_SESSION,
    REMOTE_TUNNEL,
    SCCCN,
    Driver,
    Hand,
    Ids,
    codes,
    established,
    icrq,
    kinds,
    only,
    pair,
    plus,
    sccrp,
    sccrq,
    with_call,
)
from tests.sim import BAD, Weather

from headrace.errors import LocalError, Slug
from headrace.fsm import as_markdown
from headrace.l2tp.avp import Avp, AvpType, CallResult, ErrorCode, Result
from headrace.l2tp.config import L2tpConfig
from headrace.l2tp.events import Dropped, Refused, SessionDown, SessionPending, SessionUp, TunnelDown, TunnelUp
from headrace.l2tp.header import parse_control
from headrace.l2tp.message import MessageType, emit
from headrace.l2tp.peer import L2tpPeer
from headrace.l2tp.reasons import failure_of_call
from headrace.l2tp.session import LAC_CALL, LNS_CALL
from headrace.l2tp.tunnel import CONTROL_CONNECTION
from headrace.model import Failure

GOLDEN = json.loads((Path(__file__).parent.parent / "vectors" / "l2tp" / "xl2tpd.json").read_text())
M, T = MessageType, AvpType
SECRET = L2tpConfig(secret=b"tunnel-secret")


def number_of(items: list[bytes], kind: MessageType, avp: AvpType) -> int:
    """An id out of a recorded conversation."""
    from tests.l2tp.kit import read

    message = next(m for _, m in map(read, items) if m is not None and m.type is kind)
    number = message.number(avp)
    assert number is not None
    return number


def with_recorded_ids(tunnel: int, session: int) -> Driver:
    """A driver that assigns the ids that the recorded program did, so that the other side's messages fit it."""
    driver = Driver()
    driver.ids = Ids(tunnel)
    driver.core = L2tpPeer(L2tpConfig(), driver.ids.allocator, lambda n: session.to_bytes(2, "big").rjust(n, b"\1"))
    return driver


# Recorded peers


@pytest.mark.parametrize("name", GOLDEN)
def test_as_lns_of_a_recorded_xl2tpd(name: str) -> None:
    lac = [bytes.fromhex(item["data"]) for item in GOLDEN[name] if item["from"] == "lac"]
    lns = [bytes.fromhex(item["data"]) for item in GOLDEN[name] if item["from"] == "lns"]
    tunnel, session = number_of(lns, M.SCCRP, T.ASSIGNED_TUNNEL_ID), number_of(lns, M.ICRP, T.ASSIGNED_SESSION_ID)
    driver = with_recorded_ids(tunnel, session)
    for data in lac:
        if data is lac[-1] and name == "linux-mppe-refused":  # it acknowledges the CDN that the recorded LNS had sent
            driver.core.close_session(tunnel, session, Failure(Slug.LCP_TERMINATED), driver.now)
            driver.take()
        driver.feed(data)
    (up,) = driver.got(TunnelUp)
    assert (up.local_tunnel, up.host_name, up.vendor_name, up.firmware, up.framing) == (
        tunnel,
        "(none)",
        "xelerance.com",
        0x690,
        3,
    )
    (call,) = driver.got(SessionUp)
    assert (call.local_session, call.lns, call.call_serial, call.sequencing_required) == (session, True, 1, False)
    assert call.remote_session == number_of(lac, M.ICRQ, T.ASSIGNED_SESSION_ID)
    assert driver.got(Dropped) == []
    assert driver.got(Refused) == []
    if any(kind == 4 for kind in (data[19] for data in lac if len(data) > 19)):
        (down,) = driver.got(TunnelDown)
        assert down.failure == Failure(Slug.PEER_CLOSED, "StopCCN result 1 (general): Goodbye!")
        assert isinstance(driver.events[-1], TunnelDown)
        assert isinstance(driver.events[-2], SessionDown)


@pytest.mark.parametrize("name", GOLDEN)
def test_as_lac_of_a_recorded_xl2tpd(name: str) -> None:
    lac = [bytes.fromhex(item["data"]) for item in GOLDEN[name] if item["from"] == "lac"]
    lns = [bytes.fromhex(item["data"]) for item in GOLDEN[name] if item["from"] == "lns"]
    tunnel, session = number_of(lac, M.SCCRQ, T.ASSIGNED_TUNNEL_ID), number_of(lac, M.ICRQ, T.ASSIGNED_SESSION_ID)
    driver = with_recorded_ids(tunnel, session)
    assert driver.core.open_tunnel(1701, 1701, driver.now) == tunnel
    assert driver.core.open_session(tunnel, driver.now) == session
    for data in lns:
        driver.feed(data)
    assert [type(event) for event in driver.events][:2] == [TunnelUp, SessionUp]
    (call,) = driver.got(SessionUp)
    assert not call.lns
    assert call.remote_session == number_of(lns, M.ICRP, T.ASSIGNED_SESSION_ID)
    if name == "linux-mppe-refused":
        (down,) = driver.got(SessionDown)
        assert down.failure == Failure(Slug.PEER_CLOSED, "CDN result 1 (lost carrier)")


def test_as_lns_of_a_windows_client() -> None:
    """Its habits: bearer capabilities 0 with the M bit, no tie breaker, window 8, a vendor AVP in ICRQ, CDN and StopCCN at the end."""
    driver = Driver()
    hand = Hand(driver)
    request = sccrq(
        FRAMING_CAPABILITIES=1, BEARER_CAPABILITIES=0, FIRMWARE_REVISION=0x0A00, VENDOR_NAME=b"Microsoft", RECEIVE_WINDOW_SIZE=8
    )
    _, reply = only(hand.send(request), M.SCCRP)
    hand.tunnel = reply.number(T.ASSIGNED_TUNNEL_ID) or 0
    assert kinds(hand.send(SCCCN)) == ["ZLB"]
    call = plus(icrq(BEARER_TYPE=2), Avp(1, bytes(range(16)), mandatory=False, vendor=311))
    _, reply = only(hand.send(call), M.ICRP)
    session = reply.number(T.ASSIGNED_SESSION_ID) or 0
    assert kinds(hand.send(ICCN, session)) == ["ZLB"]
    (up,) = driver.got(SessionUp)
    assert (up.remote_tunnel, up.remote_session, up.local_port, up.remote_port) == (REMOTE_TUNNEL, REMOTE_SESSION, 1701, 1701)
    hand.send(emit(M.CDN, {T.RESULT_CODE: Result(1, 0), T.ASSIGNED_SESSION_ID: REMOTE_SESSION}), session)
    hand.send(emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: REMOTE_TUNNEL, T.RESULT_CODE: Result(6, 0)}))
    assert [type(event) for event in driver.events] == [TunnelUp, SessionPending, SessionUp, SessionDown, TunnelDown]
    assert not driver.core.finished
    driver.wait(31.0)
    assert driver.core.finished
    assert driver.ids.taken == set()


def test_ports_are_learned_from_sccrq_and_then_fixed() -> None:
    """Android dials from a port of its own."""
    driver = Driver()
    hand = Hand(driver)
    driver.core.receive(hand.raw(sccrq()), 1701, 40123, driver.now)
    (answer,) = driver.take()
    assert (answer.local_port, answer.remote_port) == (1701, 40123)
    hand.tunnel, hand.nr = 100, 1
    driver.core.receive(hand.raw(SCCCN), 1701, 9, driver.now)
    (answer,) = driver.take()
    assert (answer.local_port, answer.remote_port) == (1701, 40123)


def test_the_responder_may_answer_from_another_port() -> None:
    driver = Driver()
    driver.core.open_tunnel(1701, 1701, driver.now)
    driver.take()
    hand = Hand(driver, tunnel=100)
    hand.nr = 1
    driver.core.receive(hand.raw(sccrp()), 1701, 5000, driver.now)
    assert {datagram.remote_port for datagram in driver.take()} == {5000}


# Two of our own


def test_a_tunnel_with_several_calls() -> None:
    left, right, sim = pair()
    with sim:
        tunnel = left.core.open_tunnel(1701, 1701, sim.now)
        calls = [left.core.open_session(tunnel, sim.now, calling_number=f"user{n}", called_number="vpn") for n in range(5)]
        sim.run_until(lambda: len(right.got(SessionUp)) == 5 and len(left.got(SessionUp)) == 5, limit=10)
        assert [up.local_session for up in left.got(SessionUp)] == calls
        assert [up.calling_number for up in right.got(SessionUp)] == [f"user{n}" for n in range(5)]
        assert [up.call_serial for up in right.got(SessionUp)] == [1, 2, 3, 4, 5]
        assert all(up.connect_speed == 100_000_000 and up.called_number == "vpn" for up in right.got(SessionUp))
        ours, theirs = left.got(SessionUp)[0], right.got(SessionUp)[0]
        assert (ours.local_tunnel, ours.local_session) == (theirs.remote_tunnel, theirs.remote_session)
        assert (ours.remote_tunnel, ours.remote_session) == (theirs.local_tunnel, theirs.local_session)
        left.core.close_session(tunnel, calls[2], Failure(Slug.USER_REQUEST, "bye"), sim.now)
        sim.run_for(1)
        (down,) = right.got(SessionDown)
        assert down.failure == Failure(Slug.PEER_CLOSED, "CDN result 3 (administrative): user-request")
        right.core.close_all(Failure(Slug.SHUTDOWN), sim.now)
        sim.run_for(1)
        assert len(left.got(SessionDown)) == 5
        assert left.got(TunnelDown)[0].failure.detail == "StopCCN result 6 (shutting down): shutdown"
        assert left.core.settled
        assert right.core.settled
        assert not left.core.finished
        sim.run_for(32)
        assert left.core.finished
        assert right.core.finished
        assert left.ids.taken == right.ids.taken == set()
        assert left.core.deadline() is None


def test_a_call_opened_later_goes_at_once() -> None:
    left, right, sim = pair()
    with sim:
        tunnel = left.core.open_tunnel(1701, 1701, sim.now)
        sim.run_until(lambda: bool(left.got(TunnelUp)), limit=5)
        left.core.open_session(tunnel, sim.now)
        sim.run_until(lambda: bool(right.got(SessionUp)), limit=5)


@pytest.mark.parametrize("hide", [False, True])
def test_tunnel_authentication_both_ways_and_hidden_avps(hide: bool) -> None:
    lac = replace(SECRET, hide_avps=hide, accept_incoming=False)
    left, right, sim = pair(lac=lac, lns=replace(SECRET, hide_avps=hide))
    with sim:
        tunnel = left.core.open_tunnel(1701, 1701, sim.now)
        left.core.open_session(tunnel, sim.now, calling_number="4155550123")
        sim.run_until(lambda: bool(right.got(SessionUp)), limit=5)
        assert right.got(SessionUp)[0].calling_number == "4155550123"
        assert left.got(TunnelUp)[0].host_name == "headrace"


@pytest.mark.parametrize(
    ("lac", "lns"),
    [(b"one", b"two"), (b"one", None), (None, b"two")],
    ids=["differ", "lns has none", "lac has none"],
)
def test_secrets_that_do_not_fit(lac: bytes | None, lns: bytes | None) -> None:
    left, right, sim = pair(lac=L2tpConfig(secret=lac), lns=L2tpConfig(secret=lns))
    with sim:
        left.core.open_tunnel(1701, 1701, sim.now)
        sim.run_for(40)
        assert left.got(TunnelUp) == right.got(TunnelUp) == []
        slugs = {event.failure.slug for side in (left, right) for event in side.got(Refused)}
        assert Slug.TUNNEL_AUTH in slugs
        assert left.got(TunnelDown)
        assert left.core.finished
        assert right.core.finished


def test_different_secrets_with_hidden_avps_name_the_secret() -> None:
    left, right, sim = pair(lac=L2tpConfig(secret=b"one", hide_avps=True), lns=L2tpConfig(secret=b"two", hide_avps=True))
    with sim:
        left.core.open_tunnel(1701, 1701, sim.now)
        sim.run_for(100)
        assert [event for event in right.events if isinstance(event, Dropped | Refused)]
        assert not right.got(TunnelUp)
        assert right.core.finished
        assert left.core.finished


@pytest.mark.parametrize("seed", range(25))
def test_bad_weather(seed: int) -> None:
    left, right, sim = pair(BAD, seed)
    with sim:
        tunnel = left.core.open_tunnel(1701, 1701, sim.now)
        calls = [left.core.open_session(tunnel, sim.now) for _ in range(4)]
        sim.run_until(lambda: len(right.got(SessionUp)) == 4 and len(left.got(SessionUp)) == 4, limit=29)
        left.core.close_session(tunnel, calls[0], Failure(Slug.USER_REQUEST), sim.now)
        right.core.close_all(Failure(Slug.ADMIN), sim.now)
        sim.run_for(70)
        for side in (left, right):
            assert side.core.finished
            assert len(side.got(TunnelUp)) == len(side.got(TunnelDown)) == 1
            assert len(side.got(SessionUp)) == len(side.got(SessionDown)) == 4
            assert side.got(Refused) == []
            assert side.ids.taken == set()


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> list[object]:
        left, right, sim = pair(BAD, 3)
        tunnel = left.core.open_tunnel(1701, 1701, sim.now)
        left.core.open_session(tunnel, sim.now)
        sim.run_for(100)
        return [*left.events, *right.events, sim.sent]

    assert run() == run()


# Time


def test_hello_is_sent_into_silence_and_data_postpones_it() -> None:
    driver, hand, _ = with_call()
    start = driver.now
    driver.wait(50)
    driver.core.saw_data(hand.tunnel, driver.now)
    driver.core.saw_data(9999, driver.now)
    said = driver.wait(61)
    assert next((when, message.type) for when, _, message in said if message) == (start + 110, M.HELLO)


def test_an_answered_hello_keeps_the_tunnel() -> None:
    left, right, sim = pair()
    with sim:
        left.core.open_tunnel(1701, 1701, sim.now)
        sim.run_for(3600)
        assert left.got(TunnelDown) == right.got(TunnelDown) == []
        assert 60 < sim.sent < 300


def test_no_hello_without_an_interval() -> None:
    driver, _ = established(L2tpConfig(hello_interval=0))
    assert driver.core.deadline() is None


def test_a_peer_that_falls_silent_is_given_up() -> None:
    driver, _, session = with_call()
    start = driver.now
    said = driver.wait(200)
    hellos = [when - start for when, _, message in said if message is not None and message.type is M.HELLO]
    assert hellos == [60, 61, 63, 67, 75, 83]
    assert [message.type for _, _, message in said if message][-1] is M.STOPCCN
    down, tunnel_down = driver.events[-2:]
    assert isinstance(down, SessionDown)
    assert down.local_session == session
    assert isinstance(tunnel_down, TunnelDown)
    assert tunnel_down.failure.slug is Slug.HELLO_LOST
    assert driver.core.finished
    assert driver.ids.taken == set()


def test_a_tunnel_that_is_never_confirmed_is_given_up() -> None:
    driver = Driver()
    hand = Hand(driver)
    hand.send(sccrq())
    hand.tunnel = 100
    hand.ack()
    said = driver.wait(40)
    assert kinds([(header, message) for _, header, message in said])[0] == "STOPCCN"
    (refused,) = driver.got(Refused)
    assert refused.failure.slug is Slug.L2TP_SILENT
    assert "WAIT_CTL_CONN" in refused.failure.detail
    assert driver.got(TunnelDown) == []


def test_a_call_that_is_never_confirmed_is_given_up() -> None:
    driver, hand = established()
    hand.send(icrq())
    hand.ack()
    said = driver.wait(30.5)
    _, _, message = next(item for item in said if item[2] is not None)
    assert message is not None
    assert message.type is M.CDN
    assert message.result is not None
    assert message.result.result == 10
    assert driver.got(Refused)[0].failure.slug is Slug.L2TP_SILENT
    assert driver.got(TunnelDown) == []


# Commands


def test_commands_in_the_wrong_place() -> None:
    driver = Driver(L2tpConfig(max_tunnels=1, max_sessions=1), id_count=1)
    with pytest.raises(LocalError, match="no tunnel 7"):
        driver.core.open_session(7, driver.now)
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    driver.core.open_session(tunnel, driver.now)
    with pytest.raises(LocalError, match="1 calls"):
        driver.core.open_session(tunnel, driver.now)
    with pytest.raises(LocalError, match="1 tunnels"):
        driver.core.open_tunnel(1701, 1701, driver.now)
    driver.core.close_session(tunnel, 1, Failure(Slug.ADMIN), driver.now)
    driver.core.close_session(9, 1, Failure(Slug.ADMIN), driver.now)
    driver.core.close_all(Failure(Slug.ADMIN), driver.now)
    with pytest.raises(LocalError, match="closed"):
        driver.core.open_session(tunnel, driver.now)
    with pytest.raises(LocalError, match="no tunnel id is free"):
        driver.core.open_tunnel(1701, 1701, driver.now)


def test_a_call_that_waits_for_its_tunnel_can_be_cleared() -> None:
    driver = Driver()
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    session = driver.core.open_session(tunnel, driver.now)
    driver.core.close_session(tunnel, session, Failure(Slug.USER_REQUEST), driver.now)
    assert [event.local_session for event in driver.got(SessionDown)] == [session]


@pytest.mark.parametrize(
    ("slug", "expected"),
    [
        (Slug.ADMIN, (3, 0)),
        (Slug.LIMIT_SESSIONS, (4, 0)),
        (Slug.DRAINING, (4, 0)),
        (Slug.POOL_EMPTY, (4, 0)),
        (Slug.ECHO_LOST, (1, 0)),
        (Slug.LCP_TERMINATED, (1, 0)),
        (Slug.IDLE_TIMEOUT, (3, 0)),
        (Slug.INTERNAL, (2, 6)),
    ],
)
def test_the_result_of_a_cleared_call_follows_its_slug(slug: Slug, expected: tuple[int, int]) -> None:
    driver, hand, session = with_call()
    driver.core.close_session(hand.tunnel, session, Failure(slug, "secret detail"), driver.now)
    said = driver.said()
    assert codes(said, M.CDN) == expected
    result = only(said, M.CDN)[1].result
    assert result is not None
    assert result.text.startswith(str(slug).encode())
    assert (b"secret detail" in result.text) is (slug is Slug.LIMIT_SESSIONS)
    assert driver.got(SessionDown)[0].failure == Failure(slug, "secret detail")


@pytest.mark.parametrize("slug", [Slug.USER_UNKNOWN, Slug.NO_NT_HASH, Slug.AUTH_FAILED])
def test_the_peer_does_not_learn_which_accounts_exist(slug: Slug) -> None:
    driver, hand, session = with_call()
    driver.core.close_session(hand.tunnel, session, Failure(slug, "nobody"), driver.now)
    result = only(driver.said(), M.CDN)[1].result
    assert result == Result(3, 0, b"auth-failed")


def test_after_a_shutdown_nothing_new_is_taken() -> None:
    driver = Driver()
    driver.core.close_all(Failure(Slug.DRAINING), driver.now)
    assert codes(Hand(driver).send(sccrq()), M.STOPCCN) == (6, 0)
    assert driver.core.finished


def test_after_another_end_a_new_tunnel_is_taken() -> None:
    driver, _ = established()
    driver.core.close_all(Failure(Slug.ADMIN), driver.now)
    assert codes(driver.said(), M.STOPCCN) == (1, 0)
    assert kinds(Hand(driver).send(sccrq())) == ["SCCRP"]


def test_a_dialler_takes_neither_tunnels_nor_calls() -> None:
    driver = Driver(L2tpConfig(accept_incoming=False))
    assert codes(Hand(driver).send(sccrq()), M.STOPCCN) == (4, 0)
    driver.core.open_tunnel(1701, 1701, driver.now)
    ((_, request),) = driver.said()
    assert request is not None
    assert request.octets(T.TIE_BREAKER) is None
    hand = Hand(driver, tunnel=100)
    hand.nr = 1
    hand.send(sccrp())
    hand.ack()
    assert codes(hand.send(icrq()), M.CDN) == (5, 0)


def test_sequencing_is_announced_by_the_lac() -> None:
    left, right, sim = pair(lac=L2tpConfig(sequencing=True))
    with sim:
        left.core.open_session(left.core.open_tunnel(1701, 1701, sim.now), sim.now)
        sim.run_until(lambda: bool(right.got(SessionUp)), limit=5)
        assert right.got(SessionUp)[0].sequencing_required
        assert left.got(SessionUp)[0].sequencing_required


def test_wen_and_sli_are_tolerated() -> None:
    from tests.l2tp.kit import body

    from headrace.l2tp.avp import AccmPair, CallErrors

    driver, hand, session = with_call()
    for message in (
        emit(M.WEN, {T.CALL_ERRORS: CallErrors(1, 2, 3, 4, 5, 6)}),
        emit(M.SLI, {T.ACCM: AccmPair(1, 2)}),
        body(M.WEN),
        body(M.SLI, Avp(35, b"short")),
    ):
        assert kinds(hand.send(message, session)) == ["ZLB"]
    assert driver.got(SessionDown) == []
    assert codes(hand.send(body(M.WEN, Avp(999, b"")), session), M.CDN) == (2, 8)


def test_a_cdn_may_name_the_call_by_the_peers_id() -> None:
    driver, hand = established()
    hand.send(icrq())
    hand.send(emit(M.CDN, {T.RESULT_CODE: Result(3, 0, b"never mind"), T.ASSIGNED_SESSION_ID: REMOTE_SESSION}), 0)
    assert driver.got(Refused)[0].failure == Failure(Slug.L2TP_REFUSED, "CDN result 3 (administrative): never mind")
    assert kinds(hand.send(icrq())) == ["ICRP"]


@pytest.mark.parametrize(("code", "slug"), [(4, Slug.LIMIT_SESSIONS), (8, Slug.LIMIT_SESSIONS), (3, Slug.L2TP_REFUSED)])
def test_a_refused_call_says_why(code: int, slug: Slug) -> None:
    driver = Driver()
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    session = driver.core.open_session(tunnel, driver.now)
    hand = Hand(driver, tunnel)
    hand.nr = 1
    hand.send(sccrp())
    hand.send(emit(M.CDN, {T.RESULT_CODE: Result(code, 0), T.ASSIGNED_SESSION_ID: 9}), session)
    assert [event.failure.slug for event in driver.got(Refused)] == [slug]
    assert [event.local_session for event in driver.got(SessionDown)] == [session]
    assert driver.got(TunnelDown) == []


@pytest.mark.parametrize(
    ("result", "slug"),
    [
        (Result(4, 0), Slug.L2TP_REFUSED),
        (Result(6, 0), Slug.DRAINING),
        (Result(2, 4), Slug.LIMIT_TUNNELS),
        (Result(5, 0x0100), Slug.L2TP_REFUSED),
    ],
)
def test_a_refused_tunnel_says_why(result: Result, slug: Slug) -> None:
    driver = Driver()
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    session = driver.core.open_session(tunnel, driver.now)
    hand = Hand(driver, tunnel)
    hand.nr = 1
    answers = hand.send(emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: 9, T.RESULT_CODE: result}))
    assert kinds(answers)[-1] == "ZLB"
    assert answers[-1][0].tunnel == 9
    assert [event.failure.slug for event in driver.got(Refused)] == [slug]
    assert [(type(event), event.failure.slug) for event in driver.events[-2:]] == [(SessionDown, slug), (TunnelDown, slug)]  # type: ignore[union-attr]
    assert not driver.got(TunnelUp)
    assert session


def test_a_stopccn_without_our_id_ends_a_half_open_tunnel() -> None:
    driver = Driver()
    hand = Hand(driver)
    hand.send(sccrq())
    hand.nr = 0
    answers = hand.send(emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: REMOTE_TUNNEL, T.RESULT_CODE: Result(1, 0)}), tunnel=0)
    assert kinds(answers) == ["ZLB"]
    assert len(driver.got(Refused)) == 1
    driver.wait(31)
    assert driver.core.finished


def test_stopccn_is_acknowledged_again_for_31_seconds() -> None:
    driver, hand = established()
    stop = emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: REMOTE_TUNNEL, T.RESULT_CODE: Result(1, 0)})
    data = hand.raw(stop)
    assert kinds(driver.feed(data)) == ["ZLB"]
    for _ in range(3):
        driver.wait(10)
        assert kinds(driver.feed(data)) == ["ZLB"]
    driver.wait(1)
    assert driver.feed(data) == []
    assert driver.got(Dropped) == [Dropped("l2tp_no_tunnel")]
    assert len(driver.got(TunnelDown)) == 1


def test_crossing_stopccns_end_quietly() -> None:
    left, right, sim = pair()
    with sim:
        left.core.open_tunnel(1701, 1701, sim.now)
        sim.run_until(lambda: bool(right.got(TunnelUp)), limit=5)
        left.core.close_all(Failure(Slug.ADMIN), sim.now)
        right.core.close_all(Failure(Slug.ADMIN), sim.now)
        sim.run_for(2)
        assert left.core.settled
        assert right.core.settled
        assert len(left.got(TunnelDown)) == len(right.got(TunnelDown)) == 1


def test_proxy_lcp_is_handed_up_only_if_it_is_whole() -> None:
    option = bytes.fromhex("0506deadbeef")
    parts = {
        T.INITIAL_RECEIVED_LCP_CONFREQ: option,
        T.LAST_SENT_LCP_CONFREQ: option,
        T.LAST_RECEIVED_LCP_CONFREQ: option + option,
    }
    for change, expected in (({}, tuple(parts.values())), ({T.LAST_SENT_LCP_CONFREQ: b"\5\7abcd"}, None)):
        driver, hand = established()
        session = only(hand.send(icrq()), M.ICRP)[1].number(T.ASSIGNED_SESSION_ID) or 0
        hand.send(emit(M.ICCN, {T.TX_CONNECT_SPEED: 1, T.FRAMING_TYPE: 1, **parts, **change}), session)
        assert driver.got(SessionUp)[0].proxy_lcp == expected


def test_closed_tunnels_that_linger_are_bounded() -> None:
    driver = Driver()
    for n in range(1, 200):
        hand = Hand(driver)
        _, reply = only(hand.send(sccrq(n)), M.SCCRP)
        hand.tunnel = reply.number(T.ASSIGNED_TUNNEL_ID) or 0
        hand.send(SCCCN)
        hand.send(emit(M.STOPCCN, {T.ASSIGNED_TUNNEL_ID: n, T.RESULT_CODE: Result(1, 0)}))
        assert len(driver.ids.taken) <= 2 * driver.config.max_tunnels
    assert len(driver.got(TunnelDown)) == 199


def test_ids_run_out() -> None:
    driver = Driver(id_count=1)
    Hand(driver).send(sccrq(1))
    assert codes(Hand(driver).send(sccrq(2)), M.STOPCCN) == (2, 4)


def test_hello_of_the_peer_is_acknowledged() -> None:
    _driver, hand = established()
    ((header, message),) = hand.send(HELLO)
    assert message is None
    assert header.nr == 3


def test_the_tables_print() -> None:
    printed = [as_markdown(CONTROL_CONNECTION), as_markdown(LAC_CALL), as_markdown(LNS_CALL)]
    assert [text.count("\n") - 1 for text in printed] == [len(CONTROL_CONNECTION), len(LAC_CALL), len(LNS_CALL)]


def test_lossless_setup_takes_few_messages() -> None:
    left, right, sim = pair(Weather(latency=0.02))
    with sim:
        left.core.open_session(left.core.open_tunnel(1701, 1701, sim.now), sim.now)
        took = sim.run_until(lambda: bool(right.got(SessionUp)), limit=5)
        assert took < 0.2
        assert sim.sent <= 9


def test_our_sccrq_reads_as_other_implementations_expect() -> None:
    driver = Driver(L2tpConfig(accept_incoming=False))
    driver.core.open_tunnel(1701, 1701, driver.now)
    (datagram,) = driver.take()
    header, rest = parse_control(datagram.data)
    assert (header.tunnel, header.session, header.ns, header.nr) == (0, 0, 0, 0)
    from headrace.l2tp.avp import parse

    assert [avp.number for avp in parse(rest)] == [0, 2, 3, 4, 6, 7, 8, 9, 10]


def test_a_call_is_announced_before_its_icrp_leaves() -> None:
    """Its first PPP frames may overtake the ICCN."""
    driver, hand = established()
    _, reply = only(hand.send(icrq(CALLING_NUMBER=b"anna")), M.ICRP)
    (pending,) = driver.got(SessionPending)
    assert (pending.local_session, pending.remote_session) == (reply.number(T.ASSIGNED_SESSION_ID), REMOTE_SESSION)
    assert (pending.local_tunnel, pending.remote_tunnel, pending.calling_number) == (hand.tunnel, REMOTE_TUNNEL, "anna")
    driver.core.close_session(pending.local_tunnel, pending.local_session, Failure(Slug.ADMIN), driver.now)
    assert [event.local_session for event in driver.got(SessionDown)] == [pending.local_session]
    assert len(driver.got(Refused)) == 1


def test_an_abandoned_peer_says_nothing_and_keeps_nothing() -> None:
    driver, _, _ = with_call()
    driver.core.open_tunnel(1701, 1701, driver.now)
    driver.take()
    driver.core.abandon()
    assert driver.take() == []
    assert driver.core.finished
    assert driver.ids.taken == set()


def test_a_tunnel_may_be_given_up_between_two_attempts_of_a_draw() -> None:
    driver = Driver()
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    tie = driver.core._tunnels[tunnel].tie
    assert tie is not None
    driver.take()
    assert Hand(driver).send(sccrq(TIE_BREAKER=tie)) == []
    assert driver.got(Dropped) == [Dropped("l2tp_tie")]
    assert Hand(driver).send(sccrq(TIE_BREAKER=tie)) == [], "a late copy of the drawn SCCRQ"
    driver.core.close_all(Failure(Slug.USER_REQUEST), driver.now)
    assert driver.take() == []
    assert [event.local_tunnel for event in driver.got(TunnelDown)] == [tunnel]
    assert driver.core.finished


def test_after_a_draw_the_quicker_peer_wins() -> None:
    driver = Driver()
    tunnel = driver.core.open_tunnel(1701, 1701, driver.now)
    driver.core.open_session(tunnel, driver.now)
    tie = driver.core._tunnels[tunnel].tie
    assert tie is not None
    driver.take()
    Hand(driver).send(sccrq(TIE_BREAKER=tie))
    hand = Hand(driver)
    _, reply = only(hand.send(sccrq(TIE_BREAKER=b"\xff" * 8)), M.SCCRP)
    assert reply.number(T.ASSIGNED_TUNNEL_ID) == tunnel
    hand.tunnel = tunnel
    assert kinds(hand.send(SCCCN)) == ["ICRQ"]
    assert driver.got(TunnelUp)[0].local_tunnel == tunnel


def test_nothing_of_a_secret_shows() -> None:
    driver = Driver(SECRET)
    driver.core.open_tunnel(1701, 1701, driver.now)
    (tunnel,) = driver.core._tunnels.values()
    for thing in (SECRET, driver.core, tunnel, tunnel._room):
        assert "tunnel-secret" not in repr(thing)


@pytest.mark.parametrize("established", [False, True])
def test_a_full_gateway_is_told_as_such_whenever_it_finds_out(established: bool) -> None:
    full = Result(CallResult.NO_FACILITIES_NOW, ErrorCode.NONE, b"1 of 1 sessions are in use")
    assert failure_of_call(full, established=established).slug is Slug.LIMIT_SESSIONS
