"""Requests in flight: what is believed, what is dropped, who is asked next."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.radius.server import SECRET, Octets, answer, bare, resign, with_message_authenticator

from headrace.radius.client import Answered, Client, Outgoing, Server, ServerState, Timing, Unanswered
from headrace.radius.names import Attr, Code
from headrace.radius.packet import Attribute

ALICE = (Attribute(Attr.USER_NAME, b"alice"),)
TIMING = Timing(timeout=2.0, tries=2, dead_time=60.0, status_interval=10.0)


def client(servers: int = 1, **flags: bool) -> Client:
    return Client([Server(f"s{n}", SECRET, **flags) for n in range(servers)], Octets(), TIMING)


def ask(core: Client, code: Code = Code.ACCESS_REQUEST, now: float = 0.0) -> tuple[int, Outgoing]:
    number = core.send(code, ALICE, now)
    (out,) = core.poll_datagrams()
    return number, out


def dropped(core: Client, out: Outgoing, data: bytes) -> str:
    """What became of an answer that must not count: its counter."""
    before = dict(core.drops)
    core.receive(out.server, out.port, data)
    assert not [e for e in core.poll_events() if isinstance(e, Answered | Unanswered)]
    assert core.in_flight >= 1
    (reason,) = [name for name, count in core.drops.items() if count != before.get(name, 0)]
    return reason


def test_answer_is_told_with_what_opens_its_keys() -> None:
    core = client()
    number, out = ask(core)
    core.receive(0, out.port, answer(out.data, Code.ACCESS_ACCEPT, Attribute(Attr.CLASS, b"x")))
    (event,) = core.poll_events()
    assert isinstance(event, Answered)
    assert (event.request, event.packet.get(Attr.CLASS), event.authenticator) == (number, b"x", out.data[4:20])
    assert core.in_flight == 0
    assert core.deadline() is None


@pytest.mark.parametrize("size", range(20))
def test_n167_short_answers(size: int) -> None:
    core = client()
    _, out = ask(core)
    assert dropped(core, out, answer(out.data)[:size]) == "short"


@pytest.mark.parametrize("length", [0, 19, 21, 4097, 65535])
def test_n167_lengths_that_lie(length: int) -> None:
    core = client()
    _, out = ask(core)
    assert dropped(core, out, bare(out.data, Code.ACCESS_ACCEPT, b"", length)) == "length"


def test_n168_authenticator_and_message_authenticator() -> None:
    core = client()
    number, out = ask(core)
    good = answer(out.data)
    assert dropped(core, out, good[:4] + bytes(16) + good[20:]) == "authenticator"
    assert dropped(core, out, answer(out.data, secret=b"another")) == "authenticator"
    assert dropped(core, out, bare(out.data, Code.ACCESS_ACCEPT, b"")) == "ma_missing"
    assert dropped(core, out, resign(out.data, good[:22] + bytes(16) + good[38:])) == "ma_wrong"
    for size in (15, 17):
        body = bytes((Attr.MESSAGE_AUTHENTICATOR, size + 2)) + bytes(size)
        assert dropped(core, out, bare(out.data, Code.ACCESS_ACCEPT, body)) == "ma_length"
    twice = bare(out.data, Code.ACCESS_ACCEPT, 2 * (bytes((Attr.MESSAGE_AUTHENTICATOR, 18)) + bytes(16)))
    assert dropped(core, out, twice) == "ma_length"
    core.receive(0, out.port, good)
    assert [e.request for e in core.poll_events() if isinstance(e, Answered)] == [number]


def test_n168_old_servers_need_no_message_authenticator_where_that_is_allowed() -> None:
    core = client(need_message_authenticator=False)
    _, out = ask(core)
    assert dropped(core, out, resign(out.data, answer(out.data)[:22] + bytes(16))) == "ma_wrong"
    core.receive(0, out.port, bare(out.data, Code.ACCESS_ACCEPT, b""))
    assert [e for e in core.poll_events() if isinstance(e, Answered)]


def test_n169_identifiers_and_ports_of_no_request() -> None:
    core = client(2)
    _, out = ask(core)
    good = answer(out.data)
    assert dropped(core, out, good[:1] + bytes((good[1] ^ 1,)) + good[2:]) == "identifier"
    assert dropped(core, Outgoing(1, 0, b""), good) == "identifier", "another server, which was not asked"
    assert dropped(core, Outgoing(0, 1, b""), good) == "identifier", "a port that is not open"
    core.receive(0, out.port, good)
    core.poll_events()
    core.receive(0, out.port, good)
    assert core.drops["identifier"] == 4, "an answer counts once"


@pytest.mark.parametrize("code", [0, 4, 12, 255, Code.ACCOUNTING_RESPONSE, Code.ACCESS_REQUEST])
def test_n170_codes_that_answer_nothing(code: int) -> None:
    core = client()
    _, out = ask(core)
    assert dropped(core, out, answer(out.data, code)) == "code"


def test_n170_access_accept_for_an_accounting_request() -> None:
    core = client()
    _, out = ask(core, Code.ACCOUNTING_REQUEST)
    assert dropped(core, out, answer(out.data)) == "code"
    core.receive(0, out.port, bare(out.data, Code.ACCOUNTING_RESPONSE, b""))
    assert [e for e in core.poll_events() if isinstance(e, Answered)]


@pytest.mark.parametrize("body", [b"\x08\x00", b"\x08\x01", b"\x08\x06\x01\x02", b"\x1a\x08\0\0\x01\x37\x07\0"])
def test_n171_answers_with_attributes_that_are_not_whole(body: bytes) -> None:
    core = client()
    _, out = ask(core)
    assert dropped(core, out, with_message_authenticator(out.data, Code.ACCESS_ACCEPT, body)) == "attribute"


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_n171_no_octets_do_harm(noise: bytes) -> None:
    core = client()
    _, out = ask(core)
    good = answer(out.data)
    for data in (noise, good[: len(noise)] + noise, good + noise, resign(out.data, good[:20] + noise) if noise else b""):
        core.receive(0, out.port, data)
    assert core.in_flight in {0, 1}


def test_n175_first_server_silent_second_answers() -> None:
    core = client(2)
    number, first = ask(core)
    core.tick(2.0)
    (again,) = core.poll_datagrams()
    assert again == first, "the same octets, so that a server knows its repetition"
    core.tick(4.0)
    (second,) = core.poll_datagrams()
    assert second.server == 1
    assert second.data[4:20] != first.data[4:20]
    core.receive(1, second.port, answer(second.data))
    events = core.poll_events()
    assert ServerState(0, alive=False) in events
    assert [e.request for e in events if isinstance(e, Answered)] == [number]
    assert core.alive() == [False, True]
    _, third = ask(core, now=5.0)
    assert third.server == 1, "who is dead is asked last"
    core.receive(0, first.port, answer(first.data))
    assert core.drops["identifier"] == 1, "a late answer"


def test_n175_all_silent() -> None:
    core = client(2)
    number, _ = ask(core)
    for now in (2.0, 4.0, 6.0):
        core.tick(now)
        assert core.poll_datagrams()
    core.tick(8.0)
    (end,) = [e for e in core.poll_events() if isinstance(e, Unanswered)]
    assert (end.request, end.detail) == (number, "no answer from s0 (2 times), s1 (2 times)")
    _, again = ask(core, now=8.5)
    assert again.server == 0, "when all are dead, they are asked all the same"


def test_n175_answer_after_the_client_has_gone() -> None:
    core = client()
    number, out = ask(core)
    core.cancel(number)
    core.receive(0, out.port, answer(out.data))
    assert core.drops["identifier"] == 1
    core.cancel(number)


def test_what_was_wrong_is_said_when_nobody_answered() -> None:
    core = client()
    _, out = ask(core)
    core.receive(0, out.port, answer(out.data, secret=b"another"))
    core.tick(2.0)
    core.tick(4.0)
    (end,) = [e for e in core.poll_events() if isinstance(e, Unanswered)]
    assert "s0: the authenticator is wrong: the shared secrets differ" in end.detail


def test_dead_server_is_asked_by_status_server_until_it_answers() -> None:
    core = client()
    ask(core)
    core.tick(2.0)
    core.tick(4.0)
    core.poll_datagrams()
    core.poll_events()
    assert core.deadline() == 14.0
    core.tick(14.0)
    (probe,) = core.poll_datagrams()
    assert probe.data[0] == Code.STATUS_SERVER
    assert probe.data[20] == Attr.MESSAGE_AUTHENTICATOR
    core.tick(16.0)
    core.tick(24.0)
    (probe,) = core.poll_datagrams()
    core.receive(0, probe.port, answer(probe.data))
    assert core.poll_events() == [ServerState(0, alive=True)]
    assert core.alive() == [True]
    assert core.deadline() is None


def test_dead_server_without_status_server_is_passed_over_for_a_while() -> None:
    core = client(2, status_server=False)
    ask(core)
    core.tick(2.0)
    core.tick(4.0)
    core.poll_datagrams()
    assert ask(core, now=63.0)[1].server == 1
    assert ask(core, now=64.1)[1].server == 0


def test_conversation_stays_with_its_server() -> None:
    core = client(2)
    core.send(Code.ACCESS_REQUEST, ALICE, 0.0, server=1)
    core.tick(2.0)
    core.tick(4.0)
    assert {out.server for out in core.poll_datagrams()} == {1}
    assert [e for e in core.poll_events() if isinstance(e, Unanswered)]


def test_n176_more_than_256_requests_take_another_port() -> None:
    core = client()
    for _ in range(600):
        core.send(Code.ACCESS_REQUEST, ALICE, 0.0)
    out = core.poll_datagrams()
    assert len({(o.port, o.data[1]) for o in out}) == 600
    assert sorted({o.port for o in out}) == [0, 1, 2]
    core.receive(0, 0, answer(out[5].data))
    core.send(Code.ACCESS_REQUEST, ALICE, 0.0)
    (next_one,) = core.poll_datagrams()
    assert (next_one.port, next_one.data[1]) == (0, out[5].data[1]), "the only one that is free there"


def test_n176_more_than_all_ports_have_is_no_answer() -> None:
    core = client()
    for _ in range(64 * 256):
        core.send(Code.ACCESS_REQUEST, ALICE, 0.0)
    core.poll_datagrams()
    number = core.send(Code.ACCESS_REQUEST, ALICE, 1.0)
    core.tick(1.0)
    assert [e.request for e in core.poll_events() if isinstance(e, Unanswered)] == [number]


def test_no_server_at_all() -> None:
    core = Client([], Octets())
    number = core.send(Code.ACCESS_REQUEST, ALICE, 0.0)
    assert core.poll_events() == [Unanswered(number, "no RADIUS server is configured")]
