"""One control connection (RFC 2661 section 7.2) with its calls.

A tunnel reads its messages in the order that its transport gives, judges them, and runs the table. After the last event it stays in
``CLOSED`` for one full cycle of retransmission, so that a peer that did not hear our acknowledgement gets it again (section 5.7).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from headrace.core import Outbox, earliest
from headrace.errors import LocalError, Slug
from headrace.fsm import Machine, Table, UnexpectedEvent
from headrace.l2tp.avp import AvpType, ErrorCode, HiddenLength, HiddenUnreadable, Result, Value, challenge_response
from headrace.l2tp.events import ControlDatagram, Dropped, L2tpEvent, Refused, TunnelDown, TunnelUp
from headrace.l2tp.judge import judge_opening, judge_response
from headrace.l2tp.message import Hiding, Message, MessageType, Scope, UnknownMessage, emit, parse
from headrace.l2tp.reasons import (
    HIGHEST_VERSION,
    Refusal,
    clearing,
    erroneous,
    failure_of_stop,
    out_of_state,
    stopping,
)
from headrace.l2tp.session import Call, Session
from headrace.l2tp.session import State as CallState
from headrace.l2tp.transport import Ignored, Letter, Transport, full_cycle
from headrace.model import Failure, Rand, printable
from headrace.wire import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.l2tp.config import L2tpConfig
    from headrace.l2tp.header import ControlHeader

FRAMING_BOTH: Final = 3
"""Synchronous and asynchronous: what xl2tpd and Android say; there is no line in either case."""

BEARER_NONE: Final = 0
"""Neither digital nor analog: no dialling out."""

CHALLENGE_SIZE: Final = 16


class State(Enum):
    """States of a control connection."""

    IDLE = auto()
    WAIT_CTL_REPLY = auto()
    WAIT_CTL_CONN = auto()
    ESTABLISHED = auto()
    CLOSED = auto()
    """The RFC's idle after the end: nothing is left but acknowledging."""


class Event(Enum):
    """What happens to a control connection. ``NOT_ACCEPTABLE`` stands for a message that the RFC's table calls so."""

    OPEN = auto()
    SCCRQ = auto()
    SCCRP = auto()
    SCCCN = auto()
    STOPCCN = auto()
    HELLO = auto()
    TIE_LOST = auto()
    """The peer's SCCRQ crossed ours and wins."""
    TIE_DRAWN = auto()
    """The peer's SCCRQ crossed ours with the same tie breaker: both go, and come again."""
    NOT_ACCEPTABLE = auto()
    CALL_MESSAGE = auto()
    """A message about a call before there may be any."""
    CLOSE = auto()
    SILENCE = auto()
    """A message was repeated as often as allowed, without an answer."""


S: Final = State
E: Final = Event

CONTROL_CONNECTION: Final[Table[State, Event]] = {  # section 7.2.1; SCCRQ that is not acceptable makes no tunnel
    (S.IDLE, E.OPEN): ("send_sccrq", S.WAIT_CTL_REPLY),
    (S.IDLE, E.SCCRQ): (("learn_peer", "send_sccrp"), S.WAIT_CTL_CONN),
    (S.IDLE, E.CLOSE): ("end", S.CLOSED),
    (S.WAIT_CTL_REPLY, E.SCCRP): (("learn_peer", "send_scccn", "announce", "open_calls"), S.ESTABLISHED),
    (S.WAIT_CTL_REPLY, E.TIE_LOST): ("start_over", S.IDLE),
    (S.WAIT_CTL_REPLY, E.TIE_DRAWN): (("start_over", "open_later"), S.IDLE),
    (S.WAIT_CTL_REPLY, E.SCCRQ): ("refuse_state", S.CLOSED),
    (S.WAIT_CTL_REPLY, E.SCCCN): ("refuse_state", S.CLOSED),
    (S.WAIT_CTL_REPLY, E.CALL_MESSAGE): ("refuse_state", S.CLOSED),
    (S.WAIT_CTL_REPLY, E.HELLO): ("", S.WAIT_CTL_REPLY),
    (S.WAIT_CTL_REPLY, E.STOPCCN): ("peer_stopped", S.CLOSED),
    (S.WAIT_CTL_REPLY, E.NOT_ACCEPTABLE): (("send_stopccn", "end"), S.CLOSED),
    (S.WAIT_CTL_REPLY, E.CLOSE): (("send_stopccn", "end"), S.CLOSED),
    (S.WAIT_CTL_REPLY, E.SILENCE): ("lost", S.CLOSED),
    (S.WAIT_CTL_CONN, E.SCCCN): (("announce", "open_calls"), S.ESTABLISHED),
    (S.WAIT_CTL_CONN, E.SCCRQ): ("refuse_state", S.CLOSED),
    (S.WAIT_CTL_CONN, E.SCCRP): ("refuse_state", S.CLOSED),
    (S.WAIT_CTL_CONN, E.CALL_MESSAGE): ("refuse_state", S.CLOSED),
    (S.WAIT_CTL_CONN, E.HELLO): ("", S.WAIT_CTL_CONN),
    (S.WAIT_CTL_CONN, E.STOPCCN): ("peer_stopped", S.CLOSED),
    (S.WAIT_CTL_CONN, E.NOT_ACCEPTABLE): (("send_stopccn", "end"), S.CLOSED),
    (S.WAIT_CTL_CONN, E.CLOSE): (("send_stopccn", "end"), S.CLOSED),
    (S.WAIT_CTL_CONN, E.SILENCE): ("lost", S.CLOSED),
    (S.ESTABLISHED, E.SCCRQ): ("refuse_state", S.CLOSED),
    (S.ESTABLISHED, E.SCCRP): ("refuse_state", S.CLOSED),
    (S.ESTABLISHED, E.SCCCN): ("refuse_state", S.CLOSED),
    (S.ESTABLISHED, E.HELLO): ("", S.ESTABLISHED),
    (S.ESTABLISHED, E.STOPCCN): ("peer_stopped", S.CLOSED),
    (S.ESTABLISHED, E.NOT_ACCEPTABLE): (("send_stopccn", "end"), S.CLOSED),
    (S.ESTABLISHED, E.CLOSE): (("send_stopccn", "end"), S.CLOSED),
    (S.ESTABLISHED, E.SILENCE): ("lost", S.CLOSED),
}

EVENT_OF: Final = {
    MessageType.SCCRQ: E.SCCRQ,
    MessageType.SCCRP: E.SCCRP,
    MessageType.SCCCN: E.SCCCN,
    MessageType.STOPCCN: E.STOPCCN,
    MessageType.HELLO: E.HELLO,
}


@dataclass(frozen=True, slots=True)
class Room:
    """What all tunnels of a peer share."""

    config: L2tpConfig
    rand: Rand = field(repr=False)
    datagrams: Outbox[ControlDatagram]
    events: Outbox[L2tpEvent]


class Tunnel:
    """One control connection of one peer."""

    def __init__(self, room: Room, local_id: int, local_port: int, remote_port: int, now: float) -> None:
        self.local_id = local_id
        self.local_port = local_port
        self.remote_port = remote_port
        self.sessions: dict[int, Session] = {}
        self.request: bytes | None = None
        """Digest of the SCCRQ that made this tunnel: the same again is a repetition, another one with the same id is not."""
        self.tie: bytes | None = None
        """The tie breaker of our SCCRQ."""
        self.drawn: bytes | None = None
        """The tie breaker of a draw: late copies of that SCCRQ mean nothing."""
        self.challenge: bytes | None = None
        """Our challenge, as long as no answer was accepted."""
        self._room = room
        self._config = room.config
        self._transport = Transport(room.config)
        self._fsm: Machine[State, Event] = Machine(f"tunnel {local_id}", CONTROL_CONNECTION, State.IDLE, self)
        self._opened_here = False
        self._was_up = False
        self._setup_deadline: float | None = now + room.config.setup_timeout
        self._reopen: float | None = None
        self._heard = now
        self._linger_until: float | None = None
        self._serial = 0
        self._overflow = False
        self._hint = ""
        """What may explain it if the tunnel never comes up."""
        self._peer = TunnelUp(local_id, 0, "", "", 0, 0)

    def __repr__(self) -> str:
        return f"<Tunnel {self.local_id} to {self.remote_id} {self.state.name}, {len(self.sessions)} calls>"

    # What others may know

    @property
    def state(self) -> State:
        """Where the control connection stands."""
        return self._fsm.state

    @property
    def remote_id(self) -> int:
        """The peer's tunnel id; 0 until it is known."""
        return self._transport.remote_tunnel

    @property
    def settled(self) -> bool:
        """Whether the tunnel is closed and the peer has acknowledged everything."""
        return self.state is State.CLOSED and self._transport.idle

    def over(self, now: float) -> bool:
        """Whether nothing is left to be kept."""
        return self.state is State.CLOSED and (self._linger_until is None or now >= self._linger_until)

    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        if self.state is State.CLOSED:
            return earliest((self._linger_until, self._transport.deadline()))
        hello = self._heard + self._config.hello_interval if self._may_hello() else None
        calls = (session.deadline for session in self.sessions.values())
        return earliest((self._transport.deadline(), self._setup_deadline, self._reopen, hello, *calls))

    def _may_hello(self) -> bool:
        """Hello is for silent tunnels: whatever waits for an acknowledgement asks the same question."""
        return self.state is State.ESTABLISHED and self._config.hello_interval > 0 and self._transport.idle

    # Ways in

    def open(self, now: float) -> None:
        """As the initiator: ask for the tunnel."""
        self._opened_here = True
        self._fsm.fire(Event.OPEN, now)

    def open_session(self, now: float, calling_number: str, called_number: str) -> int:
        """Ask for a call, at once or when the tunnel is up. Raises ``LocalError`` if there can be none."""
        if self.state is State.CLOSED:
            raise LocalError(f"tunnel {self.local_id} is closed")
        if len(self.sessions) >= self._config.max_sessions:
            raise LocalError(f"tunnel {self.local_id} has {len(self.sessions)} calls, no more are allowed")
        self._serial += 1
        call = Call(self._serial, calling_number.encode(), called_number.encode())
        session = Session(self, self._config, self._free_session_id(), call, lns=False)
        self.sessions[session.local_id] = session
        session.open()
        if self.state is State.ESTABLISHED:
            session.tunnel_open(now)
        return session.local_id

    def close(self, refusal: Refusal, now: float) -> None:
        """Close from this side; nothing if it is closed."""
        if self._fsm.accepts(Event.CLOSE):
            self._fsm.fire(Event.CLOSE, refusal, now)

    def saw_data(self, now: float) -> None:
        """Data came through the tunnel: the peer lives."""
        self._heard = max(self._heard, now)

    def receive(self, header: ControlHeader, body: bytes, now: float) -> None:
        """One message for this tunnel; an empty body is an acknowledgement."""
        try:
            letters = self._transport.receive(header.ns, header.nr, Letter(header.session, body) if body else None, now)
        except Ignored as error:
            self.event(Dropped(error.counter))
            return
        self._heard = max(self._heard, now)
        for letter in letters:
            self._read(letter, now)

    def give_way(self, local_port: int, remote_port: int, now: float) -> None:
        """The peer's SCCRQ wins over ours; it is to be received next, and calls that wait here go through it."""
        self.local_port, self.remote_port = local_port, remote_port
        self._reopen = None
        self._setup_deadline = now + self._config.setup_timeout
        if self.state is State.WAIT_CTL_REPLY:
            self._fsm.fire(Event.TIE_LOST, now)

    def tie_drawn(self, tie: bytes, now: float) -> None:
        """Give way, as the peer does, and ask anew a little later."""
        self.drawn = tie
        self._fsm.fire(Event.TIE_DRAWN, now)

    def tick(self, now: float) -> None:
        """Whatever is due: repetitions, Hello, the end of patience."""
        self._transport.tick(now)
        if self._transport.failed and self._fsm.accepts(Event.SILENCE):
            self._fsm.fire(Event.SILENCE, now)
        if self.state is State.CLOSED:
            return
        if self._reopen is not None and now >= self._reopen:
            self._reopen = None
            self._fsm.fire(Event.OPEN, now)
        if self._setup_deadline is not None and now >= self._setup_deadline:
            hint = f"; {self._hint}" if self._hint else ""
            slug = Slug.HIDDEN_AVP if self._hint else Slug.L2TP_SILENT
            detail = f"tunnel did not come up within {self._config.setup_timeout:g} s, still in state {self.state.name}{hint}"
            self.close(Refusal(Result(1), Failure(slug, detail)), now)
            return
        for session in list(self.sessions.values()):
            session.tick(now)
        if self._may_hello() and now >= self._heard + self._config.hello_interval:
            self._send(0, MessageType.HELLO, {})

    def flush(self, now: float) -> None:
        """Hand over what the windows allow to be sent. A peer that lets too much pile up loses the tunnel."""
        if self._overflow:
            self._overflow = False
            detail = "peer does not acknowledge, too many control messages wait for it"
            self.close(erroneous(ErrorCode.NO_RESOURCES, detail, Slug.L2TP_REFUSED), now)
        for data in self._transport.poll(now):
            self._room.datagrams.put(ControlDatagram(data, self.local_port, self.remote_port))

    # What calls need (session.Carrier)

    def send_session(self, session: int, kind: MessageType, values: Mapping[AvpType, Value]) -> None:
        """Queue a message about a call."""
        self._send(session, kind, values)

    def event(self, event: L2tpEvent) -> None:
        """Tell the driver."""
        self._room.events.put(event)

    def forget(self, session: Session) -> None:
        """A call is over."""
        self.sessions.pop(session.local_id, None)

    # Reading

    def _read(self, letter: Letter, now: float) -> None:
        """Judge one message in its turn, and run the table. What follows the end is acknowledged and no more."""
        if self.state is State.CLOSED:
            return
        try:
            message = parse(letter.body, self._config.secret, base=12)
        except HiddenLength as error:
            self._hint = str(error)
            self.event(Dropped("l2tp_hidden_length"))
        except HiddenUnreadable as error:
            self._not_acceptable(erroneous(ErrorCode.VENDOR_SPECIFIC, str(error), Slug.HIDDEN_AVP), now)
        except Malformed as error:
            self._not_acceptable(erroneous(ErrorCode.WRONG_LENGTH, str(error)), now)
        except UnknownMessage as error:
            if error.mandatory:
                self._not_acceptable(erroneous(ErrorCode.UNKNOWN_MANDATORY, str(error)), now)
            else:
                self.event(Dropped("l2tp_unknown_message"))
        else:
            try:
                if message.spec.scope is Scope.TUNNEL:
                    self._tunnel_message(message, now)
                elif self.state is State.ESTABLISHED:
                    self._call_message(letter.session, message, now)
                else:
                    self._fsm.fire(Event.CALL_MESSAGE, message, now)
            except UnexpectedEvent:
                self.event(Dropped("l2tp_state"))

    def _not_acceptable(self, refusal: Refusal, now: float) -> None:
        self._fsm.fire(Event.NOT_ACCEPTABLE, refusal, now)

    def _tunnel_message(self, message: Message, now: float) -> None:
        """A message about the control connection."""
        event = EVENT_OF[message.type]
        refusal = self._judge(message, event) if event is not Event.STOPCCN and self._fsm.accepts(event) else None
        if refusal is not None:
            if message.type is MessageType.SCCRP and not self.remote_id:
                self._transport.remote_tunnel = message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0  # to refuse it there
            self._not_acceptable(refusal, now)
        else:
            self._fsm.fire(event, message, now)

    def _judge(self, message: Message, event: Event) -> Refusal | None:
        """Whether a message may be accepted in the state that it is meant for."""
        if message.type is MessageType.SCCRP and self.state is State.WAIT_CTL_REPLY:
            return judge_opening(message, self._config, self.challenge) or judge_response(message, self._config, self.challenge)
        if message.problem is not None:
            return erroneous(message.problem.error, message.problem.detail)
        if event is Event.SCCCN and self.state is State.WAIT_CTL_CONN:
            return judge_response(message, self._config, self.challenge)
        return None

    def _call_message(self, session_id: int, message: Message, now: float) -> None:
        """A message about a call: to the call, or judged here if there is none."""
        session = self.sessions.get(session_id)
        if session is None and message.type is MessageType.CDN and session_id == 0:
            # The peer clears a call of which it does not know our id yet (section 6.12).
            remote = message.number(AvpType.ASSIGNED_SESSION_ID)
            session = next((s for s in self.sessions.values() if s.remote_id == remote), None) if remote else None
        if session is not None:
            session.receive(message, now)
        elif message.type is MessageType.ICRQ:
            self._incoming(message, now)
        elif message.type is MessageType.OCRQ:
            self._refuse_call(message, clearing(Slug.L2TP_REFUSED, "outgoing calls (OCRQ) are not offered here"))
        else:
            self.event(Dropped("l2tp_no_session"))
            remote = message.number(AvpType.ASSIGNED_SESSION_ID)
            if message.type in {MessageType.ICRP, MessageType.OCRP} and remote:
                detail = f"{message.type.name} for session {session_id}, which does not exist"
                self._send_cdn(remote, erroneous(ErrorCode.INVALID_SESSION, detail))

    def _incoming(self, message: Message, now: float) -> None:
        """An ICRQ: take the call or say why not (section 7.4.2, the first two rows)."""
        refusal = self._judge_call(message)
        if refusal is not None:
            self._refuse_call(message, refusal)
            return
        session = Session(self, self._config, self._free_session_id(), Call(), lns=True)
        self.sessions[session.local_id] = session
        session.receive(message, now)

    def _judge_call(self, message: Message) -> Refusal | None:
        remote = message.number(AvpType.ASSIGNED_SESSION_ID)
        if message.problem is not None:
            return erroneous(message.problem.error, message.problem.detail)
        if not remote:
            return erroneous(ErrorCode.INVALID_SESSION, "ICRQ with Assigned Session ID 0")
        if any(session.remote_id == remote for session in self.sessions.values()):
            return erroneous(ErrorCode.INVALID_SESSION, f"ICRQ with Assigned Session ID {remote}, which is in use")
        if not self._config.accept_incoming:
            return clearing(Slug.L2TP_REFUSED, "incoming calls are not taken here")
        if len(self.sessions) >= self._config.max_sessions:
            return clearing(Slug.LIMIT_SESSIONS, f"tunnel has {len(self.sessions)} calls, no more are allowed")
        return None

    def _refuse_call(self, message: Message, refusal: Refusal) -> None:
        """Refuse a call without making one. The peer's id goes into the header only if no living call would hear it."""
        self.event(Refused(refusal.failure))
        remote = message.number(AvpType.ASSIGNED_SESSION_ID) or 0
        taken = any(session.remote_id == remote for session in self.sessions.values())
        self._send_cdn(0 if taken else remote, refusal)

    def _send_cdn(self, remote: int, refusal: Refusal) -> None:
        """A CDN for a call that does not exist. It names an id that is not in use, for the AVP must have one."""
        values: dict[AvpType, Value] = {
            AvpType.RESULT_CODE: refusal.result,
            AvpType.ASSIGNED_SESSION_ID: self._free_session_id(),
        }
        self._send(remote, MessageType.CDN, values)

    # Actions of the table

    def send_sccrq(self, _now: float) -> None:
        """Ask for the tunnel (section 6.1). A tie breaker only where the peer might ask as well."""
        values = self._introduction()
        if self._config.accept_incoming:
            self.tie = self._room.rand(8)
            values[AvpType.TIE_BREAKER] = self.tie
        self._challenge(values)
        self._send(0, MessageType.SCCRQ, values)

    def learn_peer(self, message: Message, _now: float) -> None:
        """Take what the peer says of itself."""
        self._transport.remote_tunnel = message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0
        self._transport.set_peer_window(message.number(AvpType.RECEIVE_WINDOW_SIZE))
        self._peer = TunnelUp(
            local_tunnel=self.local_id,
            remote_tunnel=self.remote_id,
            host_name=printable(message.octets(AvpType.HOST_NAME) or b""),
            vendor_name=printable(message.octets(AvpType.VENDOR_NAME) or b""),
            firmware=message.number(AvpType.FIRMWARE_REVISION) or 0,
            framing=message.number(AvpType.FRAMING_CAPABILITIES) or 0,
        )

    def send_sccrp(self, message: Message, _now: float) -> None:
        """Agree to the tunnel (section 6.2)."""
        values = self._introduction()
        self._challenge(values)
        self._answer(message, MessageType.SCCRP, values)
        self._send(0, MessageType.SCCRP, values)

    def send_scccn(self, message: Message, _now: float) -> None:
        """Confirm the tunnel (section 6.3)."""
        values: dict[AvpType, Value] = {}
        self._answer(message, MessageType.SCCCN, values)
        self._send(0, MessageType.SCCCN, values)

    def announce(self, _message: Message, _now: float) -> None:
        """The tunnel is up."""
        self._was_up = True
        self._setup_deadline = None
        self.challenge = None
        self.event(self._peer)

    def open_calls(self, _message: Message, now: float) -> None:
        """Calls that waited for the tunnel may be asked for."""
        for session in list(self.sessions.values()):
            if session.state is CallState.WAIT_TUNNEL:
                session.tunnel_open(now)

    def start_over(self, now: float) -> None:
        """Discard what was said on this connection; the calls that wait for it stay (section 4.4.3, Tie Breaker)."""
        self._transport = Transport(self._config)
        self.tie = None
        self.challenge = None
        self._heard = now

    def open_later(self, now: float) -> None:
        """Ask again after a moment that differs between the two sides."""
        self._reopen = now + 0.1 + int.from_bytes(self._room.rand(2), "big") / 0x10000

    def refuse_state(self, message: Message, now: float) -> None:
        """A message that has no place in this state."""
        refusal = out_of_state(f"{message.type.name} is out of place in tunnel {self.local_id}")
        self.send_stopccn(refusal, now)
        self.end(refusal, now)

    def send_stopccn(self, refusal: Refusal, now: float) -> None:
        """Tell the peer that the tunnel is over (section 6.4)."""
        values: dict[AvpType, Value] = {AvpType.ASSIGNED_TUNNEL_ID: self.local_id, AvpType.RESULT_CODE: refusal.result}
        self._transport.send_last(Letter(0, emit(MessageType.STOPCCN, values, self._hiding())))
        self._linger_until = now + full_cycle(self._config)

    def peer_stopped(self, message: Message, now: float) -> None:
        """The peer's StopCCN: acknowledge it, again if need be, for a full cycle."""
        self._linger_until = now + full_cycle(self._config)
        self._transport.abandon()
        if not self.remote_id:
            self._transport.remote_tunnel = message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0  # to acknowledge it there
        authenticating = self._config.secret is not None
        failure = failure_of_stop(message.result, established=self._was_up, authenticating=authenticating)
        self._finish(failure)

    def lost(self, now: float) -> None:
        """The peer does not acknowledge: clean up, and say so once, into the silence."""
        cycle = full_cycle(self._config)
        if self._was_up:
            failure = Failure(Slug.HELLO_LOST, f"peer has not acknowledged control messages for {cycle:g} s")
        else:
            failure = Failure(Slug.L2TP_SILENT, f"no answer in state of setting up for {cycle:g} s")
        self._transport.abandon()
        self.send_stopccn(stopping(failure.slug, failure.detail), now)
        self.flush(now)
        self._linger_until = None
        self._finish(failure)

    def end(self, refusal: Refusal, _now: float) -> None:
        """The tunnel is over from this side."""
        self._finish(refusal.failure)

    # Parts of the actions

    def _finish(self, failure: Failure) -> None:
        """Tell the driver: the refusal once, then the end of each call and of the tunnel, as far as it knows of them."""
        self._setup_deadline = self._reopen = None
        self.challenge = None
        if not self._was_up:
            self.event(Refused(failure))
        for session in list(self.sessions.values()):
            session.tunnel_closed(failure)
        if self._was_up or self._opened_here:
            self.event(TunnelDown(self.local_id, failure))

    def _introduction(self) -> dict[AvpType, Value]:
        """What SCCRQ and SCCRP say of us, in the order that other implementations use."""
        return {
            AvpType.PROTOCOL_VERSION: HIGHEST_VERSION,
            AvpType.FRAMING_CAPABILITIES: FRAMING_BOTH,
            AvpType.BEARER_CAPABILITIES: BEARER_NONE,
            AvpType.FIRMWARE_REVISION: self._config.firmware,
            AvpType.HOST_NAME: self._config.host_name.encode(),
            AvpType.VENDOR_NAME: self._config.vendor_name.encode(),
            AvpType.ASSIGNED_TUNNEL_ID: self.local_id,
            AvpType.RECEIVE_WINDOW_SIZE: max(1, self._config.receive_window),
        }

    def _challenge(self, values: dict[AvpType, Value]) -> None:
        """With a secret, ask the peer to prove that it has it too."""
        if self._config.secret is not None:
            self.challenge = self._room.rand(CHALLENGE_SIZE)
            values[AvpType.CHALLENGE] = self.challenge

    def _answer(self, message: Message, carrier: MessageType, values: dict[AvpType, Value]) -> None:
        """Answer the peer's challenge, which has been judged before."""
        challenge = message.octets(AvpType.CHALLENGE)
        if challenge is not None and self._config.secret is not None:
            values[AvpType.CHALLENGE_RESPONSE] = challenge_response(carrier, self._config.secret, challenge)

    def _hiding(self) -> Hiding | None:
        if not self._config.hide_avps or self._config.secret is None:
            return None
        return Hiding(self._config.secret, self._room.rand)

    def _send(self, session: int, kind: MessageType, values: Mapping[AvpType, Value]) -> None:
        """Queue a message."""
        if not self._transport.send(Letter(session, emit(kind, values, self._hiding()))):
            self._overflow = True  # not now: a call may be in the middle of its own end

    def _free_session_id(self) -> int:
        """An id from 1 to 65535 that no call of this tunnel has. There always is one: calls are bounded far below."""
        number = int.from_bytes(self._room.rand(2), "big")
        while number == 0 or number in self.sessions:
            number = (number + 1) % 0x10000
        return number


def digest(body: bytes) -> bytes:
    """What a repeated SCCRQ is recognised by."""
    return hashlib.sha256(body).digest()
