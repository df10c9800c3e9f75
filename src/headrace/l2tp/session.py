"""One call inside a tunnel, as its LAC or as its LNS (RFC 2661 section 7.4).

Only incoming calls exist here: the LAC asks (ICRQ), the LNS answers (ICRP), the LAC confirms (ICCN). Outgoing calls, where an LNS
would have a LAC dial out, are refused by the tunnel before there is a session. Everything that decides what a call does next is in
the two tables; what only a tunnel can know (limits, ids in use) is judged there, before the first event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from headrace.errors import Slug
from headrace.fsm import Machine, Table
from headrace.l2tp.avp import AvpType, ErrorCode, Value
from headrace.l2tp.events import L2tpEvent, Refused, SessionDown, SessionPending, SessionUp
from headrace.l2tp.message import Message, MessageType
from headrace.l2tp.reasons import Refusal, clearing, erroneous, failure_of_call
from headrace.model import Failure, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.l2tp.config import L2tpConfig

CONNECT_SPEED: Final = 100_000_000
"""Bits a second that we announce as a LAC. There is no line; the number is only shown to people."""

FRAMING_SYNC: Final = 1


class State(Enum):
    """States of a call. ``IDLE`` is both before the first event and after the last."""

    IDLE = auto()
    WAIT_TUNNEL = auto()
    WAIT_REPLY = auto()
    WAIT_CONNECT = auto()
    ESTABLISHED = auto()


class Event(Enum):
    """What happens to a call. ``NOT_ACCEPTABLE`` stands for a message that the RFC's tables call so, of whatever type."""

    OPEN = auto()
    TUNNEL_OPEN = auto()
    ICRQ = auto()
    ICRP = auto()
    ICCN = auto()
    CDN = auto()
    NOT_ACCEPTABLE = auto()
    OUTGOING = auto()
    """OCRQ, OCRP or OCCN."""
    NOTICE = auto()
    """WEN or SLI: about a modem line that neither side has."""
    CLOSE = auto()
    """Local close request, or the time for setting up is over."""
    TUNNEL_CLOSED = auto()


S: Final = State
E: Final = Event

LAC_CALL: Final[Table[State, Event]] = {  # section 7.4.1
    (S.IDLE, E.OPEN): ("", S.WAIT_TUNNEL),
    (S.WAIT_TUNNEL, E.TUNNEL_OPEN): ("send_icrq", S.WAIT_REPLY),
    (S.WAIT_TUNNEL, E.CLOSE): ("end", S.IDLE),
    (S.WAIT_TUNNEL, E.TUNNEL_CLOSED): ("end_with_tunnel", S.IDLE),
    (S.WAIT_REPLY, E.ICRP): (("learn_peer", "send_iccn", "announce"), S.ESTABLISHED),
    (S.WAIT_REPLY, E.NOT_ACCEPTABLE): (("send_cdn", "end"), S.IDLE),
    (S.WAIT_REPLY, E.ICRQ): ("refuse_state", S.IDLE),
    (S.WAIT_REPLY, E.ICCN): ("refuse_state", S.IDLE),
    (S.WAIT_REPLY, E.OUTGOING): ("refuse_state", S.IDLE),
    (S.WAIT_REPLY, E.NOTICE): ("", S.WAIT_REPLY),
    (S.WAIT_REPLY, E.CDN): ("peer_cleared", S.IDLE),
    (S.WAIT_REPLY, E.CLOSE): (("send_cdn", "end"), S.IDLE),
    (S.WAIT_REPLY, E.TUNNEL_CLOSED): ("end_with_tunnel", S.IDLE),
    (S.ESTABLISHED, E.CDN): ("peer_cleared", S.IDLE),
    (S.ESTABLISHED, E.NOT_ACCEPTABLE): (("send_cdn", "end"), S.IDLE),
    (S.ESTABLISHED, E.ICRQ): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.ICRP): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.ICCN): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.OUTGOING): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.NOTICE): ("", S.ESTABLISHED),
    (S.ESTABLISHED, E.CLOSE): (("send_cdn", "end"), S.IDLE),
    (S.ESTABLISHED, E.TUNNEL_CLOSED): ("end_with_tunnel", S.IDLE),
}

LNS_CALL: Final[Table[State, Event]] = {  # section 7.4.2; ICRQ that is not acceptable makes no session
    (S.IDLE, E.ICRQ): (("learn_peer", "learn_call", "expect", "send_icrp"), S.WAIT_CONNECT),
    (S.WAIT_CONNECT, E.ICCN): (("learn_line", "announce"), S.ESTABLISHED),
    (S.WAIT_CONNECT, E.NOT_ACCEPTABLE): (("send_cdn", "end"), S.IDLE),
    (S.WAIT_CONNECT, E.ICRQ): ("refuse_state", S.IDLE),
    (S.WAIT_CONNECT, E.ICRP): ("refuse_state", S.IDLE),
    (S.WAIT_CONNECT, E.OUTGOING): ("refuse_state", S.IDLE),
    (S.WAIT_CONNECT, E.NOTICE): ("", S.WAIT_CONNECT),
    (S.WAIT_CONNECT, E.CDN): ("peer_cleared", S.IDLE),
    (S.WAIT_CONNECT, E.CLOSE): (("send_cdn", "end"), S.IDLE),
    (S.WAIT_CONNECT, E.TUNNEL_CLOSED): ("end_with_tunnel", S.IDLE),
    (S.ESTABLISHED, E.CDN): ("peer_cleared", S.IDLE),
    (S.ESTABLISHED, E.NOT_ACCEPTABLE): (("send_cdn", "end"), S.IDLE),
    (S.ESTABLISHED, E.ICRQ): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.ICRP): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.ICCN): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.OUTGOING): ("refuse_state", S.IDLE),
    (S.ESTABLISHED, E.NOTICE): ("", S.ESTABLISHED),
    (S.ESTABLISHED, E.CLOSE): (("send_cdn", "end"), S.IDLE),
    (S.ESTABLISHED, E.TUNNEL_CLOSED): ("end_with_tunnel", S.IDLE),
}

EVENT_OF: Final = {
    MessageType.ICRQ: E.ICRQ,
    MessageType.ICRP: E.ICRP,
    MessageType.ICCN: E.ICCN,
    MessageType.CDN: E.CDN,
    MessageType.OCRQ: E.OUTGOING,
    MessageType.OCRP: E.OUTGOING,
    MessageType.OCCN: E.OUTGOING,
    MessageType.WEN: E.NOTICE,
    MessageType.SLI: E.NOTICE,
}


class Carrier(Protocol):
    """What a call needs of its tunnel."""

    local_id: int
    local_port: int
    remote_port: int

    @property
    def remote_id(self) -> int:
        """The peer's tunnel id."""

    def send_session(self, session: int, kind: MessageType, values: Mapping[AvpType, Value]) -> None:
        """Queue a message about a call; ``session`` is the peer's id of it."""

    def event(self, event: L2tpEvent) -> None:
        """Tell the driver."""

    def forget(self, session: Session) -> None:
        """The call is over: drop it from the tunnel's table."""


@dataclass(slots=True)
class Call:
    """What the two ends have said of a call."""

    serial: int = 0
    calling_number: bytes = b""
    called_number: bytes = b""
    speed: int = 0
    sequencing: bool = False
    proxy_lcp: tuple[bytes, bytes, bytes] | None = field(default=None, repr=False)


def lcp_options(octets: bytes | None) -> bool:
    """Whether these are one or more LCP options, each of its own length (RFC 1661 section 6)."""
    if not octets:
        return False
    while octets:
        if len(octets) < 2 or not 2 <= octets[1] <= len(octets):
            return False
        octets = octets[octets[1] :]
    return True


class Session:
    """One call. ``fire`` events come from its tunnel; it removes itself when it is over."""

    def __init__(self, carrier: Carrier, config: L2tpConfig, local_id: int, call: Call, *, lns: bool) -> None:
        self.local_id = local_id
        self.remote_id = 0
        """The peer's session id; 0 until it is known."""
        self.deadline: float | None = None
        """When a call that has not come up is given up."""
        self.call = call
        self.lns = lns
        self._carrier = carrier
        self._config = config
        self._known = False
        """As an LNS: the driver has heard of the call."""
        self._was_up = False
        role = "LNS" if lns else "LAC"
        self._fsm: Machine[State, Event] = Machine(f"{role} call {local_id}", LNS_CALL if lns else LAC_CALL, State.IDLE, self)

    @property
    def state(self) -> State:
        """Where the call stands."""
        return self._fsm.state

    # Ways in

    def open(self) -> None:
        """As a LAC: wait for the tunnel."""
        self._fsm.fire(Event.OPEN)

    def tunnel_open(self, now: float) -> None:
        """As a LAC: the tunnel is up, ask for the call."""
        self._fsm.fire(Event.TUNNEL_OPEN, now)

    def receive(self, message: Message, now: float) -> None:
        """A message for this call."""
        event = EVENT_OF[message.type]
        problem = message.problem
        if event is Event.NOTICE and problem is not None and problem.error is not ErrorCode.UNKNOWN_MANDATORY:
            return  # nothing in it is used
        if event is Event.ICRP and not self.remote_id:
            self.remote_id = message.number(AvpType.ASSIGNED_SESSION_ID) or 0  # also to refuse it
        if event is Event.ICRP and problem is None and not message.number(AvpType.ASSIGNED_SESSION_ID):
            refusal = erroneous(ErrorCode.INVALID_SESSION, "ICRP with Assigned Session ID 0")
            self._fsm.fire(Event.NOT_ACCEPTABLE, refusal, now)
        elif problem is not None and event is not Event.CDN and self._fsm.accepts(event):
            self._fsm.fire(Event.NOT_ACCEPTABLE, erroneous(problem.error, problem.detail), now)
        else:
            self._fsm.fire(event, message, now)

    def close(self, refusal: Refusal, now: float) -> None:
        """Clear the call from this side."""
        self._fsm.fire(Event.CLOSE, refusal, now)

    def tunnel_closed(self, failure: Failure) -> None:
        """The tunnel is gone, and the call with it."""
        self._fsm.fire(Event.TUNNEL_CLOSED, failure)

    def tick(self, now: float) -> None:
        """Give up if the call has not come up in time."""
        if self.deadline is not None and now >= self.deadline:
            detail = f"call did not come up within {self._config.setup_timeout:g} s, still in state {self.state.name}"
            self.close(clearing(Slug.L2TP_SILENT, detail), now)

    # Actions of the tables

    def send_icrq(self, now: float) -> None:
        """Ask for the call (section 6.6)."""
        values: dict[AvpType, Value] = {
            AvpType.ASSIGNED_SESSION_ID: self.local_id,
            AvpType.CALL_SERIAL_NUMBER: self.call.serial,
        }
        if self.call.calling_number:
            values[AvpType.CALLING_NUMBER] = self.call.calling_number
        if self.call.called_number:
            values[AvpType.CALLED_NUMBER] = self.call.called_number
        self.deadline = now + self._config.setup_timeout
        self._carrier.send_session(0, MessageType.ICRQ, values)

    def learn_peer(self, message: Message, _now: float) -> None:
        """Take the peer's session id."""
        self.remote_id = message.number(AvpType.ASSIGNED_SESSION_ID) or 0

    def learn_call(self, message: Message, _now: float) -> None:
        """Take what an ICRQ says of the call."""
        self.call.serial = message.number(AvpType.CALL_SERIAL_NUMBER) or 0
        self.call.calling_number = message.octets(AvpType.CALLING_NUMBER) or b""
        self.call.called_number = message.octets(AvpType.CALLED_NUMBER) or b""

    def expect(self, _message: Message, _now: float) -> None:
        """The call is answered: PPP frames may come with ICCN, and before it."""
        self._known = True
        self._carrier.event(
            SessionPending(
                local_tunnel=self._carrier.local_id,
                local_session=self.local_id,
                remote_tunnel=self._carrier.remote_id,
                remote_session=self.remote_id,
                local_port=self._carrier.local_port,
                remote_port=self._carrier.remote_port,
                calling_number=printable(self.call.calling_number),
            )
        )

    def send_icrp(self, _message: Message, now: float) -> None:
        """Take the call (section 6.7)."""
        self.deadline = now + self._config.setup_timeout
        self._carrier.send_session(self.remote_id, MessageType.ICRP, {AvpType.ASSIGNED_SESSION_ID: self.local_id})

    def send_iccn(self, _message: Message, _now: float) -> None:
        """Confirm the call (section 6.8)."""
        self.call.speed = CONNECT_SPEED
        self.call.sequencing = self._config.sequencing
        values: dict[AvpType, Value] = {AvpType.TX_CONNECT_SPEED: CONNECT_SPEED, AvpType.FRAMING_TYPE: FRAMING_SYNC}
        if self.call.sequencing:
            values[AvpType.SEQUENCING_REQUIRED] = b""
        self._carrier.send_session(self.remote_id, MessageType.ICCN, values)

    def learn_line(self, message: Message, _now: float) -> None:
        """Take what an ICCN says of the line. Proxy LCP counts only if it is complete and well formed; else LCP starts anew."""
        self.call.speed = message.number(AvpType.TX_CONNECT_SPEED) or 0
        self.call.sequencing = message.octets(AvpType.SEQUENCING_REQUIRED) is not None
        proxy = (
            message.octets(AvpType.INITIAL_RECEIVED_LCP_CONFREQ) or b"",
            message.octets(AvpType.LAST_SENT_LCP_CONFREQ) or b"",
            message.octets(AvpType.LAST_RECEIVED_LCP_CONFREQ) or b"",
        )
        self.call.proxy_lcp = proxy if all(lcp_options(part) for part in proxy) else None

    def announce(self, _message: Message, _now: float) -> None:
        """The call is up."""
        self._was_up = True
        self.deadline = None
        self._carrier.event(
            SessionUp(
                local_tunnel=self._carrier.local_id,
                local_session=self.local_id,
                remote_tunnel=self._carrier.remote_id,
                remote_session=self.remote_id,
                local_port=self._carrier.local_port,
                remote_port=self._carrier.remote_port,
                call_serial=self.call.serial,
                calling_number=printable(self.call.calling_number),
                called_number=printable(self.call.called_number),
                connect_speed=self.call.speed,
                sequencing_required=self.call.sequencing,
                lns=self.lns,
                proxy_lcp=self.call.proxy_lcp,
            )
        )

    def send_cdn(self, refusal: Refusal, _now: float) -> None:
        """Tell the peer that the call is over (section 6.12)."""
        values: dict[AvpType, Value] = {AvpType.RESULT_CODE: refusal.result, AvpType.ASSIGNED_SESSION_ID: self.local_id}
        self._carrier.send_session(self.remote_id, MessageType.CDN, values)

    def refuse_state(self, message: Message, now: float) -> None:
        """A message that has no place in the state: the call is over. CDN knows no code for that, so the text says it."""
        refusal = erroneous(ErrorCode.VENDOR_SPECIFIC, f"{message.type.name} is out of place in call {self.local_id}")
        self.send_cdn(refusal, now)
        self.end(refusal, now)

    def peer_cleared(self, message: Message, _now: float) -> None:
        """The peer's CDN."""
        self._finish(failure_of_call(message.result, established=self._was_up))

    def end(self, refusal: Refusal, _now: float) -> None:
        """The call is over."""
        self._finish(refusal.failure)

    def end_with_tunnel(self, failure: Failure) -> None:
        """The call is over because its tunnel is; a refusal of the tunnel has been told already."""
        self._finish(failure, refused=False)

    def _finish(self, failure: Failure, *, refused: bool = True) -> None:
        """Tell the driver what it can know of: a call that it heard of or asked for has an id, others were only refused."""
        self.deadline = None
        if refused and not self._was_up:
            self._carrier.event(Refused(failure))
        if self._known or not self.lns:
            self._carrier.event(SessionDown(self._carrier.local_id, self.local_id, failure))
        self._carrier.forget(self)
