"""The automaton: its table cell by cell against RFC 1661 section 4.1, and what stands beside the table."""

from __future__ import annotations

import pytest
from tests.ppp.harness import Script, codes, options_of, server_config

from headrace.errors import Slug
from headrace.fsm import as_markdown
from headrace.ppp.automaton import ACTIONS, ASKED, LOWER_DOWN, ROWS, TABLE, Event, State
from headrace.ppp.frame import Code, Packet, Proto
from headrace.ppp.option import Option, emit_options

# RFC 1661 section 4.1, in its two halves as printed; footnote letters included.
PRINTED = (
    """
      |    0         1         2         3         4         5
 Up   |    2     irc,scr/6     -         -         -         -
 Down |    -         -         0       tls/1       0         1
 Open |  tls/1       1     irc,scr/6     3r        5r        5r
 Close|    0       tlf/0       2         2         4         4
  TO+ |    -         -         -         -       str/4     str/5
  TO- |    -         -         -         -       tlf/2     tlf/3
 RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5
 RCR- |    -         -       sta/2 irc,scr,scn/6   4         5
 RCA  |    -         -       sta/2     sta/3       4         5
 RCN  |    -         -       sta/2     sta/3       4         5
 RTR  |    -         -       sta/2     sta/3     sta/4     sta/5
 RTA  |    -         -         2         3       tlf/2     tlf/3
 RUC  |    -         -       scj/2     scj/3     scj/4     scj/5
 RXJ+ |    -         -         2         3         4         5
 RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3
 RXR  |    -         -         2         3         4         5
""",
    """
      |    6         7         8           9
 Up   |    -         -         -           -
 Down |    1         1         1         tld/1
 Open |    6         7         8           9r
 Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
  TO+ |  scr/6     scr/6     scr/8         -
  TO- | tlf/3p    tlf/3p    tlf/3p         -
 RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
 RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6
 RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x
 RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x
 RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5
 RTA  |    6         6         8       tld,scr/6
 RUC  |  scj/6     scj/7     scj/8       scj/9
 RXJ+ |    6         6         8           9
 RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5
 RXR  |    6         7         8       ser/9
""",
)


def printed_cells() -> dict[tuple[State, Event], str]:
    cells = {}
    for half in PRINTED:
        head, *rows = half.strip("\n").splitlines()
        states = [State(int(number)) for number in head.partition("|")[2].split()]
        for row in rows:
            name, _, rest = row.partition("|")
            for state, cell in zip(states, rest.split(), strict=True):
                cells[state, Event(name.strip())] = cell.rstrip("rpx")
    return cells


@pytest.mark.parametrize("event", list(Event))
def test_table_is_the_rfcs(event: Event) -> None:
    printed = printed_cells()
    for state in State:
        cell = printed[state, event]
        if cell == "-":
            assert (state, event) not in TABLE
            continue
        actions, _, after = cell.rpartition("/")
        assert TABLE[state, event] == (tuple(ACTIONS[name] for name in actions.split(",") if name), State(int(after)))


def test_table_is_whole() -> None:
    assert len(printed_cells()) == len(State) * len(Event) == 160
    assert set(ROWS) == set(Event)
    assert "| OPENED | RTR | _this_layer_down, _zero_restart_count, _send_terminate_ack | STOPPING |" in as_markdown(TABLE)


def lcp_in(state: State) -> Script:
    """A link whose LCP stands in a state, by the way that leads there."""
    script = Script(
        server_config(auth_methods=(), passive_start=9.0 if state in LOWER_DOWN else 0.0), opened=state is not State.INITIAL
    )
    lcp = script.link._lcp
    request = next((packet for _, packet in script.hear()), None)
    if state in {State.ACK_RCVD, State.OPENED, State.CLOSING, State.STOPPING}:
        assert request is not None
        script.say(Proto.LCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    if state in {State.ACK_SENT, State.OPENED, State.CLOSING, State.STOPPING}:
        script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 1, (Option(5, script.magic),))
    if state is State.CLOSING:
        lcp.close(script.now)
    if state in {State.CLOSED, State.STOPPED}:
        lcp._machine.state = state
        lcp._restart_at = None
    if state is State.STOPPING:
        lcp.receive(Packet(Code.TERMINATE_REQUEST, 1).emit(), script.now)
    script.hear()
    assert lcp.state is state
    return script


@pytest.mark.parametrize("state", list(State))
def test_n131_terminate_request_in_every_state(state: State) -> None:
    script = lcp_in(state)
    after = {
        State.INITIAL: State.INITIAL,
        State.STARTING: State.REQ_SENT,  # the peer's first packet ends the passive start
        State.CLOSED: State.CLOSED,
        State.STOPPED: State.STOPPED,
        State.CLOSING: State.CLOSING,
        State.STOPPING: State.STOPPING,
        State.OPENED: State.STOPPING,
    }.get(state, State.REQ_SENT)
    heard = script.say(Proto.LCP, Code.TERMINATE_REQUEST, 0x5A, b"bye")
    assert script.link._lcp.state is after
    assert ((Proto.LCP, Packet(Code.TERMINATE_ACK, 0x5A)) in heard) is (state is not State.INITIAL)


@pytest.mark.parametrize("state", [state for state in State if state in ASKED])
@pytest.mark.parametrize("code", [Code.CONFIGURE_ACK, Code.CONFIGURE_NAK, Code.CONFIGURE_REJECT])
def test_n125_answers_that_do_not_fit_are_dropped(state: State, code: Code) -> None:
    script = lcp_in(state)
    lcp = script.link._lcp
    out = lcp._request
    identifier = out.identifier if out else lcp._identifier
    data = emit_options(lcp._requested)
    foreign = (
        (identifier + 1 & 0xFF, data),
        (identifier, data + b"\x07\x02"),
        (identifier, data[:-2]),
        (identifier, b""),
        (identifier, b"\x01\x04\x00\x00"),
    )
    for number, octets in foreign:
        if code == Code.CONFIGURE_NAK and number == identifier and octets:
            continue  # a Nak may name any value
        if code == Code.CONFIGURE_REJECT and octets == data[:-2]:
            continue  # a Reject may name a part
        assert script.say(Proto.LCP, code, number, octets) == []
        assert lcp.state is state
    assert set(script.drops()) <= {"lcp_identifier", "lcp_contents"}
    assert script.drops()


def test_answer_counts_once() -> None:
    """A second copy of an Ack, which a network may make, is not the crossed connection of the table's [x]."""
    script = Script(server_config(auth_methods=()))
    ((_, request),) = script.hear()
    for _ in range(3):
        script.say(Proto.LCP, Code.CONFIGURE_ACK, request.identifier, request.data)
        assert script.link._lcp.state is State.ACK_RCVD
    assert script.drops() == ["lcp_identifier"] * 2


def test_reject_must_repeat_in_order() -> None:
    script = Script()
    ((_, request),) = script.hear()
    options = [Option(kind, data) for kind, data in options_of(request).items()]
    assert script.say(Proto.LCP, Code.CONFIGURE_REJECT, request.identifier, tuple(reversed(options))) == []
    assert script.drops() == ["lcp_contents"]


def test_n126_peer_that_naks_for_ever() -> None:
    script = Script(server_config(auth_methods=()))
    heard, asked = script.hear(), []
    while requests := [packet for _, packet in heard if packet.code == Code.CONFIGURE_REQUEST]:
        asked.append(requests[-1])
        heard = script.say(Proto.LCP, Code.CONFIGURE_NAK, requests[-1].identifier, (Option(1, b"\x05\x00"),))
    assert len(asked) == 11
    assert [1 in options_of(packet) for packet in asked] == [True] * 6 + [False] * 5
    script.wait(10)
    assert script.end.why is Slug.LCP_NOT_CONVERGING


def test_we_nak_five_times_and_then_reject() -> None:
    script = Script(server_config(auth_methods=()))
    script.hear()
    answers = []
    for number in range(1, 8):
        answers += codes(script.say(Proto.LCP, Code.CONFIGURE_REQUEST, number, (Option(1, b"\x00\x01"),)), Proto.LCP)
    assert answers == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_REJECT] * 2


def test_peer_that_never_stops_asking_for_the_impossible() -> None:
    script = Script(server_config(auth_methods=()))
    for number in range(1, 30):
        script.say(Proto.LCP, Code.CONFIGURE_REQUEST, number, (Option(1, b"\x00\x01"),))
    script.wait(10)
    assert script.end.why is Slug.LCP_NOT_CONVERGING


def test_n127_code_reject_and_protocol_reject() -> None:
    header = Packet(Code.CONFIGURE_REQUEST, 1).emit()
    for code, data in ((Code.CODE_REJECT, header), (Code.PROTOCOL_REJECT, b"\xc0\x21" + header)):
        script = lcp_in(State.OPENED)
        heard = script.say(Proto.LCP, code, 1, data)
        assert codes(heard, Proto.LCP)[0] == Code.TERMINATE_REQUEST
        script.wait(10)
        assert script.end.why is Slug.LCP_REJECTED
    script = lcp_in(State.OPENED)
    assert script.say(Proto.LCP, Code.CODE_REJECT, 1, Packet(99, 1).emit()) == []
    assert script.say(Proto.LCP, Code.CODE_REJECT, 1, b"\x01") == []
    assert script.link._lcp.opened
    before = lcp_in(State.REQ_SENT)
    before.say(Proto.LCP, Code.CODE_REJECT, 1, header)
    assert before.end.why is Slug.LCP_REJECTED


@pytest.mark.parametrize("code", [0, *range(14, 256)])
def test_n128_unknown_codes_are_code_rejected(code: int) -> None:
    """12 and 13 are known: Identification and Time-Remaining of RFC 1570."""
    script = lcp_in(State.OPENED)
    ((protocol, answer),) = script.say(Proto.LCP, code, 7, b"what")
    assert (protocol, answer.code) == (Proto.LCP, Code.CODE_REJECT)
    assert answer.data == Packet(code, 7, b"what").emit()
    assert script.link._lcp.opened


def test_code_reject_is_cut_to_what_the_peer_takes() -> None:
    script = Script(server_config(auth_methods=()))
    script.negotiate(Proto.LCP, (Option(5, script.magic), Option(1, b"\x00\x80")))
    ((_, answer),) = script.say(Proto.LCP, 99, 7, bytes(1000))
    assert len(answer.emit()) == 128
