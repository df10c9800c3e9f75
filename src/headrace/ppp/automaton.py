"""The option negotiation automaton (RFC 1661 section 4), once, for LCP and every network control protocol.

``TABLE`` is section 4.1 whole; everything that moves the state of a control protocol is in it. What does not fit into a table
stands beside it, in ``ControlProtocol``:

* the counters: restart (Max-Configure, Max-Terminate), failures sent (Max-Failure), and the same bound on failures received, so
  that two ends which never agree stop;
* an answer must fit the request that is out (identifier and contents), otherwise it is no event at all;
* ``listen``: the Stopped state entered on purpose, to answer a peer that begins and not to begin (the RFC's passive option).

The options [r] (restart from Stopped or Opened by Open) and [p] of the table are not used otherwise; [x] cannot be reached,
since an answer is taken once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, Protocol

from headrace.errors import Slug
from headrace.fsm import Machine, Table
from headrace.model import Failure
from headrace.ppp.config import LinkConfig
from headrace.ppp.events import PppEvent
from headrace.ppp.frame import HEADER, Code, Packet
from headrace.ppp.option import KINDS, Option, describe, emit_options, fitting, parse_options


class State(Enum):
    """States of section 4.2, with the RFC's numbers."""

    INITIAL = 0
    STARTING = 1
    CLOSED = 2
    STOPPED = 3
    CLOSING = 4
    STOPPING = 5
    REQ_SENT = 6
    ACK_RCVD = 7
    ACK_SENT = 8
    OPENED = 9


class Event(Enum):
    """Events of section 4.3, with the RFC's abbreviations."""

    UP = "Up"
    DOWN = "Down"
    OPEN = "Open"
    CLOSE = "Close"
    TO_PLUS = "TO+"
    TO_MINUS = "TO-"
    RCR_PLUS = "RCR+"
    RCR_MINUS = "RCR-"
    RCA = "RCA"
    RCN = "RCN"
    RTR = "RTR"
    RTA = "RTA"
    RUC = "RUC"
    RXJ_PLUS = "RXJ+"
    RXJ_MINUS = "RXJ-"
    RXR = "RXR"


ACTIONS: Final = {
    "tlu": "_this_layer_up",
    "tld": "_this_layer_down",
    "tls": "_this_layer_started",
    "tlf": "_this_layer_finished",
    "irc": "_initialize_restart_count",
    "zrc": "_zero_restart_count",
    "scr": "_send_configure_request",
    "sca": "_send_configure_ack",
    "scn": "_send_configure_nak_or_reject",
    "str": "_send_terminate_request",
    "sta": "_send_terminate_ack",
    "scj": "_send_code_reject",
    "ser": "_send_echo_reply",
}
"""Actions of section 4.4 by the RFC's abbreviations."""

# One row per event, one cell per state, as printed in section 4.1: "actions/next state", "-" for what cannot occur.
# fmt: off
ROWS: Final[dict[Event, tuple[str, str, str, str, str, str, str, str, str, str]]] = {
    #                 Initial   Starting     Closed         Stopped          Closing     Stopping    Req-Sent     Ack-Rcvd     Ack-Sent     Opened
    Event.UP:        ("2",     "irc,scr/6", "-",           "-",             "-",        "-",        "-",         "-",         "-",         "-"),
    Event.DOWN:      ("-",     "-",         "0",           "tls/1",         "0",        "1",        "1",         "1",         "1",         "tld/1"),
    Event.OPEN:      ("tls/1", "1",         "irc,scr/6",   "3",             "5",        "5",        "6",         "7",         "8",         "9"),
    Event.CLOSE:     ("0",     "tlf/0",     "2",           "2",             "4",        "4",        "irc,str/4", "irc,str/4", "irc,str/4", "tld,irc,str/4"),
    Event.TO_PLUS:   ("-",     "-",         "-",           "-",             "str/4",    "str/5",    "scr/6",     "scr/6",     "scr/8",     "-"),
    Event.TO_MINUS:  ("-",     "-",         "-",           "-",             "tlf/2",    "tlf/3",    "tlf/3",     "tlf/3",     "tlf/3",     "-"),
    Event.RCR_PLUS:  ("-",     "-",         "sta/2",       "irc,scr,sca/8", "4",        "5",        "sca/8",     "sca,tlu/9", "sca/8",     "tld,scr,sca/8"),
    Event.RCR_MINUS: ("-",     "-",         "sta/2",       "irc,scr,scn/6", "4",        "5",        "scn/6",     "scn/7",     "scn/6",     "tld,scr,scn/6"),
    Event.RCA:       ("-",     "-",         "sta/2",       "sta/3",         "4",        "5",        "irc/7",     "scr/6",     "irc,tlu/9", "tld,scr/6"),
    Event.RCN:       ("-",     "-",         "sta/2",       "sta/3",         "4",        "5",        "irc,scr/6", "scr/6",     "irc,scr/8", "tld,scr/6"),
    Event.RTR:       ("-",     "-",         "sta/2",       "sta/3",         "sta/4",    "sta/5",    "sta/6",     "sta/6",     "sta/6",     "tld,zrc,sta/5"),
    Event.RTA:       ("-",     "-",         "2",           "3",             "tlf/2",    "tlf/3",    "6",         "6",         "8",         "tld,scr/6"),
    Event.RUC:       ("-",     "-",         "scj/2",       "scj/3",         "scj/4",    "scj/5",    "scj/6",     "scj/7",     "scj/8",     "scj/9"),
    Event.RXJ_PLUS:  ("-",     "-",         "2",           "3",             "4",        "5",        "6",         "6",         "8",         "9"),
    Event.RXJ_MINUS: ("-",     "-",         "tlf/2",       "tlf/3",         "tlf/2",    "tlf/3",    "tlf/3",     "tlf/3",     "tlf/3",     "tld,irc,str/5"),
    Event.RXR:       ("-",     "-",         "2",           "3",             "4",        "5",        "6",         "7",         "8",         "ser/9"),
}
# fmt: on


def _transitions() -> Table[State, Event]:
    table: dict[tuple[State, Event], tuple[tuple[str, ...], State]] = {}
    for event, cells in ROWS.items():
        for state, cell in zip(State, cells, strict=True):
            if cell != "-":
                actions, _, after = cell.rpartition("/")
                table[state, event] = (tuple(ACTIONS[name] for name in actions.split(",") if name), State(int(after)))
    return table


TABLE: Final[Table[State, Event]] = _transitions()

TIMED: Final = frozenset({State.CLOSING, State.STOPPING, State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})
"""The states in which the restart timer runs (section 4.2)."""

ASKED: Final = frozenset({State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT, State.OPENED})
"""The states in which an answer must fit our request that is out; in the others the table alone decides."""

NEGOTIATING: Final = ASKED | {State.STOPPED}
"""The states in which a Configure-Request is answered by what it asks for."""

LOWER_DOWN: Final = frozenset({State.INITIAL, State.STARTING})


class Notice(Enum):
    """What a layer tells the link: the actions tlu, tld and tlf."""

    UP = "up"
    DOWN = "down"
    FINISHED = "finished"
    DIVERGED = "diverged"
    """It will never agree, and the link can do without it: it is to be closed."""


class Port(Protocol):
    """What a control protocol needs of the link that carries it."""

    def send(self, protocol: int, information: bytes) -> None:
        """Queue one frame."""

    def emit(self, event: PppEvent) -> None:
        """Tell the driver."""

    def drop(self, reason: str) -> None:
        """Count an input that was ignored."""

    def notice(self, layer: ControlProtocol, what: Notice) -> None:
        """The layer came up, went down, or is finished. Acted on when the call in progress is over."""

    def fail(self, failure: Failure, by_peer: bool = False) -> None:
        """The link cannot go on. The first reason counts; acted on when the call in progress is over."""

    def send_limit(self) -> int:
        """The largest information field that may be sent now, octets."""

    def rand(self, size: int) -> bytes:
        """Octets at random."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What we say to a Configure-Request: Ack if there is nothing to refuse, Reject if anything is rejected, otherwise Nak."""

    nak: tuple[Option, ...] = ()
    """Options with values that we would take; may add some that were not there."""
    reject: tuple[Option, ...] = ()
    """Options that are unknown or not negotiable: the very objects that were judged."""

    @property
    def good(self) -> bool:
        """Whether everything is agreed."""
        return not self.nak and not self.reject


_FIRST_RESTART: Final = 0.5
"""Seconds from the first Configure-Request to its repetition, from the second twice that, and so on up to the restart timer."""


class ControlProtocol(ABC):
    """One control protocol on one link: the automaton, its packets, its counters. What the options mean is the subclass's."""

    protocol: ClassVar[int]
    """PPP protocol number."""
    layer: ClassVar[str]
    """Name in counters and messages, lower case."""
    special_codes: ClassVar[frozenset[int]] = frozenset()
    """Codes beyond 1 to 7 that ``special`` takes."""

    def __init__(self, port: Port, config: LinkConfig) -> None:
        self.port = port
        self.config = config
        self._machine: Machine[State, Event] = Machine(self.layer, TABLE, State.INITIAL, self)
        self._restart_count = 0
        self._restart_at: float | None = None
        self._identifier = 0
        self._request: Packet | None = None
        self._requested: tuple[Option, ...] = ()
        self._peer_options: tuple[Option, ...] = ()
        self._verdict = Verdict()
        self._naks_sent = 0
        self._refusals_sent = 0
        self._refusals_received = 0
        self.requests_received = 0
        """Configure-Requests that could be read, for the one who must say which direction is dead."""
        self.ended_by_peer = False
        """Whether the layer was up and the peer's Terminate-Request took it down."""

    # --- what the subclass says -------------------------------------------------------------------------------------------

    @abstractmethod
    def request(self) -> tuple[Option, ...]:
        """The options of our next Configure-Request."""

    @abstractmethod
    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """What we say to the peer's options: all known, each of a legal length, none twice. ``None`` if the link was failed."""

    @abstractmethod
    def naked(self, options: tuple[Option, ...]) -> None:
        """The peer would rather have these; change what ``request`` gives."""

    @abstractmethod
    def rejected(self, options: tuple[Option, ...]) -> None:
        """The peer will not have these options of ours; change what ``request`` gives."""

    @abstractmethod
    def diverged(self) -> Failure:
        """Why the link fails when negotiation does not settle."""

    def reset(self) -> None:
        """Forget what was negotiated: a negotiation begins afresh."""

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Both sides have acknowledged: the layer is up with these options."""

    def ended(self) -> None:
        """The layer is no longer up."""

    def insist(self, verdict: Verdict, options: tuple[Option, ...]) -> Verdict | None:
        """What to say when Max-Failure Naks were for nothing: by default the same options, rejected (section 4.6)."""
        unwanted = {option.type for option in verdict.nak}
        return Verdict(reject=tuple(option for option in options if option.type in unwanted))

    def give_up(self) -> None:
        """Negotiation does not settle: by default the link cannot go on."""
        self.port.fail(self.diverged())

    def refused(self, detail: str) -> None:
        """The peer does not speak this protocol, or not enough of it."""

    def terminated_by_peer(self, data: bytes) -> None:
        """A Terminate-Request came; ``data`` is its text. Called before the state moves."""

    def terminate_data(self) -> bytes:
        """The data of our Terminate-Request."""
        return b""

    def special(self, packet: Packet, now: float) -> None:
        """A packet with one of ``special_codes``."""

    # --- what the link says -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the automaton stands."""
        return self._machine.state

    @property
    def opened(self) -> bool:
        """Whether the layer is up."""
        return self._machine.state is State.OPENED

    @property
    def unanswered(self) -> str:
        """Our last Configure-Request for a person."""
        return describe(self.protocol, self._requested)

    def open(self, now: float) -> None:
        """Administrative Open."""
        self._fire(Event.OPEN, now)

    def close(self, now: float) -> None:
        """Administrative Close."""
        self._fire(Event.CLOSE, now)

    def up(self, now: float) -> None:
        """The lower layer is up."""
        self._begin()
        self._fire(Event.UP, now)

    def down(self, now: float) -> None:
        """The lower layer is down. Harmless if it was already."""
        if self.state not in LOWER_DOWN:
            self._fire(Event.DOWN, now)

    def listen(self) -> None:
        """The lower layer is up and we are willing, but the peer must begin: enter Stopped from Initial or Starting."""
        if self.state in LOWER_DOWN:
            self._begin()
            self._machine.state = State.STOPPED

    def protocol_rejected(self, now: float) -> None:
        """The peer answered this protocol with an LCP Protocol-Reject."""
        if self.state not in LOWER_DOWN:
            self.refused("the peer answered with Protocol-Reject")
            self._fire(Event.RXJ_MINUS, now)

    def deadline(self) -> float | None:
        """When the restart timer ends."""
        return self._restart_at

    def tick(self, now: float) -> None:
        """Let the restart timer end if it is time."""
        if self._restart_at is not None and now >= self._restart_at:
            self._restart_at = None
            self._fire(Event.TO_PLUS if self._restart_count > 0 else Event.TO_MINUS, now)

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Raises ``Malformed`` for one that cannot be read; the state has then not moved."""
        packet = Packet.parse(information, self.layer)
        if self.state in LOWER_DOWN:
            self.port.drop(f"{self.layer}_state")
        elif packet.code == Code.CONFIGURE_REQUEST:
            self._receive_request(packet, now)
        elif packet.code == Code.CONFIGURE_ACK:
            self._receive_ack(packet, now)
        elif packet.code in {Code.CONFIGURE_NAK, Code.CONFIGURE_REJECT}:
            self._receive_nak_or_reject(packet, now)
        elif packet.code == Code.TERMINATE_REQUEST:
            self.ended_by_peer = self.ended_by_peer or self.opened
            self.terminated_by_peer(packet.data)
            self._fire(Event.RTR, now, packet)
        elif packet.code == Code.TERMINATE_ACK:
            self._fire(Event.RTA, now, packet)
        elif packet.code == Code.CODE_REJECT:
            self._receive_code_reject(packet, now)
        elif packet.code in self.special_codes:
            self.special(packet, now)
        else:
            self._fire(Event.RUC, now, packet)

    # --- packets ----------------------------------------------------------------------------------------------------------

    def _receive_request(self, packet: Packet, now: float) -> None:
        options = parse_options(packet.data, self.layer)
        self.requests_received += 1
        if self.state is State.STOPPED:
            self._begin()
        if self.state in NEGOTIATING:
            verdict = self._weigh(options)
            if verdict is None:
                return
            self._verdict = verdict
        else:
            self._verdict = Verdict()
        self._fire(Event.RCR_PLUS if self._verdict.good else Event.RCR_MINUS, now, packet)

    def _weigh(self, options: tuple[Option, ...]) -> Verdict | None:
        kinds = KINDS[self.protocol]
        fine: dict[int, Option] = {}
        reject: list[Option] = []
        for option in options:
            kind = kinds.get(option.type)
            if kind is None or not kind.fits(option) or option.type in fine:
                reject.append(option)
            else:
                fine[option.type] = option
        known = tuple(fine.values())
        verdict = self.judge(known)
        if verdict is not None and (reject or verdict.reject):
            unwanted = {id(option) for option in (*reject, *verdict.reject)}
            verdict = Verdict(reject=tuple(option for option in options if id(option) in unwanted))
        elif verdict is not None and verdict.nak:
            self._naks_sent += 1
            if self._naks_sent > self.config.max_failure:
                verdict = self.insist(verdict, known)
        if verdict is None or verdict.good:
            return verdict
        self._refusals_sent += 1
        if self._refusals_sent > self.config.max_failure + self.config.max_configure:
            self.give_up()
            return None
        return verdict

    def _receive_ack(self, packet: Packet, now: float) -> None:
        if self.state in ASKED:
            request = self._answered(packet)
            if request is None:
                return
            if packet.data != request.data:
                self.port.drop(f"{self.layer}_contents")
                return
            self._request = None
            self._refusals_received = 0
        self._fire(Event.RCA, now, packet)

    def _receive_nak_or_reject(self, packet: Packet, now: float) -> None:
        options = parse_options(packet.data, self.layer)
        if self.state in ASKED:
            if self._answered(packet) is None:
                return
            reject = packet.code == Code.CONFIGURE_REJECT
            if not options or (reject and not _is_part(options, self._requested)):
                self.port.drop(f"{self.layer}_contents")
                return
            self._refusals_received += 1
            if self._refusals_received > self.config.max_configure:
                self.give_up()
                return
            if reject:
                self.rejected(options)
            elif self._refusals_received > self.config.max_failure:
                # Whoever still Naks will not have it at all (section 4.6, Max-Failure, seen from the other side).
                named = {option.type for option in options}
                self.rejected(tuple(option for option in self._requested if option.type in named))
            else:
                self.naked(options)
            self._request = None
        self._fire(Event.RCN, now, packet)

    def _answered(self, packet: Packet) -> Packet | None:
        """The request that is out, if this answers it. An answer is taken once: a second copy fits nothing."""
        if self._request is None or packet.identifier != self._request.identifier:
            self.port.drop(f"{self.layer}_identifier")
            return None
        return self._request

    def _receive_code_reject(self, packet: Packet, now: float) -> None:
        if len(packet.data) < HEADER:
            self.port.drop(f"{self.layer}_contents")
            return
        code = packet.data[0]
        if Code.CONFIGURE_REQUEST <= code <= Code.CODE_REJECT:
            self.refused(f"the peer answered code {code} with Code-Reject")
            self._fire(Event.RXJ_MINUS, now, packet)
        else:
            self.code_rejected(code)
            self._fire(Event.RXJ_PLUS, now, packet)

    def code_rejected(self, code: int) -> None:
        """The peer does not know a code that it need not know."""

    def send_packet(self, code: int, identifier: int, data: bytes) -> None:
        """Queue one packet, its data cut to what the peer takes."""
        limit = self.port.send_limit() - HEADER
        self.port.send(self.protocol, Packet(code, identifier, data[:limit]).emit())

    def next_identifier(self) -> int:
        """A fresh identifier for a packet that begins an exchange."""
        self._identifier = (self._identifier + 1) & 0xFF
        return self._identifier

    # --- actions of the table ---------------------------------------------------------------------------------------------

    def _fire(self, event: Event, now: float, packet: Packet | None = None) -> None:
        self._machine.fire(event, now, packet)
        if self.state not in TIMED:
            self._restart_at = None
        elif self._restart_at is None:
            self._restart_at = now + self.config.restart_timer

    def _begin(self) -> None:
        self._request = None
        self._naks_sent = self._refusals_sent = self._refusals_received = 0
        self.reset()

    def _this_layer_up(self, now: float, _: Packet | None) -> None:
        self._naks_sent = self._refusals_sent = self._refusals_received = 0
        self.ended_by_peer = False
        self.agreed(self._requested, self._peer_options, now)
        self.port.notice(self, Notice.UP)

    def _this_layer_down(self, _: float, __: Packet | None) -> None:
        self.ended()
        self.port.notice(self, Notice.DOWN)
        if self.state in {State.REQ_SENT, State.ACK_SENT}:  # the peer renegotiates
            self._request = None
            self.reset()

    def _this_layer_started(self, _: float, __: Packet | None) -> None:
        """Nothing: L2TP has brought the lower layer up before we begin."""

    def _this_layer_finished(self, _: float, __: Packet | None) -> None:
        self.port.notice(self, Notice.FINISHED)

    def _initialize_restart_count(self, _: float, __: Packet | None) -> None:
        ending = self.state in {State.CLOSING, State.STOPPING}
        self._restart_count = self.config.max_terminate if ending else self.config.max_configure

    def _zero_restart_count(self, now: float, _: Packet | None) -> None:
        self._restart_count = 0
        self._restart_at = now + self.config.restart_timer

    def _send_configure_request(self, now: float, _: Packet | None) -> None:
        if self._request is None:  # otherwise a retransmission, with the same identifier
            self._requested = self.request()
            self._request = Packet(Code.CONFIGURE_REQUEST, self.next_identifier(), emit_options(self._requested))
        self.port.send(self.protocol, self._request.emit())
        self._restart_count -= 1
        # The first ones come sooner: a peer that has just been called often is not listening yet (pppd is started by the call), and
        # section 4.6 leaves it to the implementation how the timer grows to its value.
        sent = self.config.max_configure - self._restart_count
        self._restart_at = now + min(self.config.restart_timer, _FIRST_RESTART * sent)

    def _send_configure_ack(self, _: float, packet: Packet | None) -> None:
        assert packet is not None
        self._peer_options = parse_options(packet.data, self.layer)
        self._naks_sent = 0
        self.port.send(self.protocol, Packet(Code.CONFIGURE_ACK, packet.identifier, packet.data).emit())

    def _send_configure_nak_or_reject(self, _: float, packet: Packet | None) -> None:
        assert packet is not None
        reject = self._verdict.reject
        code = Code.CONFIGURE_REJECT if reject else Code.CONFIGURE_NAK
        options = fitting(reject or self._verdict.nak, self.port.send_limit() - HEADER)
        self.send_packet(code, packet.identifier, emit_options(options))

    def _send_terminate_request(self, now: float, _: Packet | None) -> None:
        self.send_packet(Code.TERMINATE_REQUEST, self.next_identifier(), self.terminate_data())
        self._restart_count -= 1
        self._restart_at = now + self.config.restart_timer

    def _send_terminate_ack(self, _: float, packet: Packet | None) -> None:
        assert packet is not None
        self.send_packet(Code.TERMINATE_ACK, packet.identifier, b"")

    def _send_code_reject(self, _: float, packet: Packet | None) -> None:
        assert packet is not None
        self.send_packet(Code.CODE_REJECT, self.next_identifier(), packet.emit())

    def _send_echo_reply(self, now: float, packet: Packet | None) -> None:
        assert packet is not None
        self.echo(packet, now)

    def echo(self, packet: Packet, now: float) -> None:
        """Answer an Echo-Request; LCP alone has any."""

    def receive_echo_family(self, packet: Packet, now: float) -> None:
        """Pass an Echo-Request, Echo-Reply or Discard-Request to the table (RXR)."""
        self._fire(Event.RXR, now, packet)


def _is_part(part: Sequence[Option], whole: Sequence[Option]) -> bool:
    """Whether ``part`` is ``whole`` with some left out: unchanged and in order (section 5.4)."""
    rest = iter(whole)
    return all(option in rest for option in part)


def timeout_failure(layer: ControlProtocol, slug: Slug) -> Failure:
    """Why a layer is finished that should be up: the peer ended it, was silent, or never agreed."""
    if layer.ended_by_peer:
        return Failure(slug, f"{layer.layer}: the peer sent a Terminate-Request")
    if layer.requests_received == 0:
        return Failure(
            slug, f"{layer.layer}: {layer.config.max_configure} Configure-Requests sent, none received from the peer"
        )
    return Failure(
        slug,
        f"{layer.layer}: the peer sent {layer.requests_received} Configure-Requests, ours were not acknowledged: {layer.unanswered}",
    )
