"""The way in: all L2TP control with one IPsec peer, as LNS, as LAC, or both.

A control message goes: ``receive`` -> header -> the tunnel it names (or, for tunnel 0, a new one) -> its transport -> its table ->
events. After each call the driver takes ``poll_events`` first and then ``poll_datagrams``, and re-arms a timer from ``deadline``.

Refusing a tunnel costs nothing here: the StopCCN goes out once and nothing is kept. The peer repeats its SCCRQ if it got lost.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from headrace.core import Outbox, earliest
from headrace.errors import LocalError, Slug
from headrace.l2tp import avp as wire
from headrace.l2tp.avp import AvpType, ErrorCode, HiddenLength, HiddenUnreadable
from headrace.l2tp.events import ControlDatagram, Dropped, L2tpEvent, Refused
from headrace.l2tp.header import (
    CONTROL_SIZE,
    BadHeader,
    ControlHeader,
    emit_control,
    is_version_3_request,
    parse_control,
    surplus,
)
from headrace.l2tp.judge import judge_opening
from headrace.l2tp.message import Message, MessageType, UnknownMessage, emit, parse
from headrace.l2tp.reasons import Refusal, already_exists, call_result, erroneous, stop_result, stopping, wrong_version
from headrace.l2tp.tunnel import Room, State, Tunnel, digest
from headrace.wire import Malformed

if TYPE_CHECKING:
    from headrace.l2tp.config import IdAllocator, L2tpConfig
    from headrace.model import Failure, Rand


class Tie(Enum):
    """How an SCCRQ of the peer's stands to one of ours."""

    NONE = auto()
    WON = auto()
    LOST = auto()
    DRAWN = auto()


class L2tpPeer:
    """L2TP control with the machine at the other end of one security association."""

    def __init__(self, config: L2tpConfig, ids: IdAllocator, rand: Rand) -> None:
        self._config = config
        self._ids = ids
        self._room = Room(config, rand, Outbox[ControlDatagram](), Outbox[L2tpEvent]())
        self._tunnels: dict[int, Tunnel] = {}
        """By local tunnel id, oldest first."""
        self._leaving: Failure | None = None
        """Set when everything is to go: then nothing new is taken."""

    # What the driver polls

    def poll_datagrams(self) -> list[ControlDatagram]:
        """Control messages to send, oldest first."""
        return self._room.datagrams.drain()

    def poll_events(self) -> list[L2tpEvent]:
        """Events since the last call, oldest first. To be acted on before what ``poll_datagrams`` gives is sent."""
        return self._room.events.drain()

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        return earliest(tunnel.deadline() for tunnel in self._tunnels.values())

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to keep: all tunnels are gone, and the time in which their end is still acknowledged is over."""
        return not self._tunnels

    @property
    def settled(self) -> bool:
        """Whether all tunnels are closed and the peer knows it: a client that hangs up need not wait for ``finished``."""
        return all(tunnel.settled for tunnel in self._tunnels.values())

    def tick(self, now: float) -> None:
        """Do what is due at ``now``."""
        for tunnel in list(self._tunnels.values()):
            tunnel.tick(now)
            tunnel.flush(now)
            if tunnel.over(now):
                self._remove(tunnel)

    # Commands

    def open_tunnel(self, local_port: int, remote_port: int, now: float) -> int:
        """Ask the peer for a tunnel, as a LAC does; returns its local id.

        Raises ``LocalError`` if there are as many tunnels as allowed, or no id is free.
        """
        if self._live() >= self._config.max_tunnels:
            raise LocalError(f"{self._live()} tunnels with this peer, no more are allowed")
        tunnel = self._make(local_port, remote_port, now)
        if tunnel is None:
            raise LocalError("no tunnel id is free")
        tunnel.open(now)
        tunnel.flush(now)
        return tunnel.local_id

    def open_session(self, local_tunnel: int, now: float, *, calling_number: str = "", called_number: str = "") -> int:
        """Ask for a call in a tunnel, as a LAC does; it waits until the tunnel is up. Returns its local session id.

        Raises ``LocalError`` if there is no such tunnel or it has as many calls as allowed.
        """
        tunnel = self._tunnels.get(local_tunnel)
        if tunnel is None:
            raise LocalError(f"no tunnel {local_tunnel}")
        session = tunnel.open_session(now, calling_number, called_number)
        tunnel.flush(now)
        return session

    def close_session(self, local_tunnel: int, local_session: int, failure: Failure, now: float) -> None:
        """Clear a call. Harmless for one that is gone: the peer may have been quicker."""
        tunnel = self._tunnels.get(local_tunnel)
        session = tunnel.sessions.get(local_session) if tunnel else None
        if tunnel is not None and session is not None:
            session.close(Refusal(call_result(failure), failure), now)
            tunnel.flush(now)

    def close_all(self, failure: Failure, now: float) -> None:
        """Close every tunnel. After ``shutdown`` or ``draining`` no new one is taken."""
        if failure.slug in {Slug.SHUTDOWN, Slug.DRAINING}:
            self._leaving = failure
        for tunnel in list(self._tunnels.values()):
            tunnel.close(Refusal(stop_result(failure), failure), now)
            tunnel.flush(now)
            if tunnel.over(now):
                self._remove(tunnel)

    def abandon(self) -> None:
        """The way to the peer is gone for good: give the tunnel ids back, without a word to anyone. Nothing may be asked of it after."""
        for tunnel in list(self._tunnels.values()):
            self._remove(tunnel)

    def saw_data(self, local_tunnel: int, now: float) -> None:
        """Data arrived in a tunnel: no Hello is needed for a while."""
        tunnel = self._tunnels.get(local_tunnel)
        if tunnel is not None:
            tunnel.saw_data(now)

    # Receiving

    def receive(self, data: bytes, local_port: int, remote_port: int, now: float) -> None:
        """Take one control message, L2TP header first. The ports are the inner UDP ports that it came with."""
        try:
            header, body = parse_control(data)
        except BadHeader as error:
            if is_version_3_request(data):
                self._version_3(data, local_port, remote_port)
            else:
                self._drop(error.counter)
            return
        if surplus(data):
            self._drop("l2tp_tail")
        if header.tunnel == 0:
            self._unaddressed(header, body, local_port, remote_port, now)
            return
        tunnel = self._tunnels.get(header.tunnel)
        if tunnel is None:
            self._drop("l2tp_no_tunnel")
            return
        self._deliver(tunnel, header, body, remote_port, now)

    def _deliver(self, tunnel: Tunnel, header: ControlHeader, body: bytes, remote_port: int, now: float) -> None:
        """Hand a message to its tunnel. The responder may answer from a port of its own, once (section 8.1)."""
        if tunnel.state is State.WAIT_CTL_REPLY:
            tunnel.remote_port = remote_port
        tunnel.receive(header, body, now)
        tunnel.flush(now)
        if tunnel.over(now):
            self._remove(tunnel)

    def _unaddressed(self, header: ControlHeader, body: bytes, local_port: int, remote_port: int, now: float) -> None:
        """A message for tunnel 0: SCCRQ, or StopCCN from a peer that never learned our id."""
        if not body:
            self._drop("l2tp_no_tunnel")
            return
        try:
            message = parse(body, self._config.secret, CONTROL_SIZE)
        except HiddenLength:
            self._drop("l2tp_hidden_length")
            return
        except Malformed:
            self._drop("l2tp_avp")
            return
        except UnknownMessage:
            self._drop("l2tp_no_tunnel")
            return
        except HiddenUnreadable as error:
            refusal = erroneous(ErrorCode.VENDOR_SPECIFIC, str(error), Slug.HIDDEN_AVP)
            self._refuse(_clear_tunnel_id(wire.parse(body)), refusal, local_port, remote_port)
            return
        remote = message.number(AvpType.ASSIGNED_TUNNEL_ID)
        known = self._by_remote(remote) if remote else None
        if message.type is MessageType.STOPCCN and known is not None:
            self._deliver(known, header, body, remote_port, now)
        elif message.type is not MessageType.SCCRQ:
            self._drop("l2tp_no_tunnel")
        elif known is None:
            self._request(header, body, message, local_port, remote_port, now)
        elif known.request == digest(body):
            self._deliver(known, header, body, remote_port, now)
        else:
            refusal = already_exists(f"SCCRQ with Assigned Tunnel ID {remote}, which this peer has in use")
            self._refuse(remote or 0, refusal, local_port, remote_port)

    def _request(
        self, header: ControlHeader, body: bytes, message: Message, local_port: int, remote_port: int, now: float
    ) -> None:
        """A new SCCRQ: refuse it, discard it, give way to it, or make a tunnel of it (section 7.2.1, the first rows)."""
        if header.ns != 0:
            self._drop("l2tp_ns")
            return
        remote = message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0
        tie, tunnel = self._tie(message)
        # A challenge of ours that comes back would have us answer it for the peer.
        own = next((t.challenge for t in self._tunnels.values() if t.challenge == message.octets(AvpType.CHALLENGE)), None)
        refusal = self._judge_request(message, own, takes_place=tunnel is None)
        if tie is Tie.WON:
            self._drop("l2tp_tie")
        elif refusal is not None:
            self._refuse(remote, refusal, local_port, remote_port)
        elif tie is Tie.DRAWN and tunnel is not None:
            tunnel.tie_drawn(message.octets(AvpType.TIE_BREAKER) or b"", now)
            self._drop("l2tp_tie")
        else:
            if tunnel is not None:
                tunnel.give_way(local_port, remote_port, now)
            else:
                tunnel = self._make(local_port, remote_port, now)
            if tunnel is None:
                self._refuse(
                    remote, stopping(Slug.LIMIT_TUNNELS, "no tunnel id is free in this gateway"), local_port, remote_port
                )
                return
            tunnel.request = digest(body)
            self._deliver(tunnel, header, body, remote_port, now)

    def _judge_request(self, message: Message, own_challenge: bytes | None, *, takes_place: bool) -> Refusal | None:
        """Why a tunnel is refused, ``None`` if it is not."""
        refusal = judge_opening(message, self._config, own_challenge)
        if refusal is not None:
            return refusal
        if self._leaving is not None:
            return Refusal(stop_result(self._leaving), self._leaving)
        if not self._config.accept_incoming:
            return stopping(Slug.L2TP_REFUSED, "tunnels are not taken here")
        if takes_place and self._live() >= self._config.max_tunnels:
            return stopping(Slug.LIMIT_TUNNELS, f"{self._live()} tunnels with this peer, no more are allowed")
        return None

    def _tie(self, message: Message) -> tuple[Tie, Tunnel | None]:
        """Whether an SCCRQ crosses one of ours, and who wins: the lower tie breaker, or the only one (section 4.4.3).

        If neither has any there is no conflict: two tunnels come up.
        """
        theirs = message.octets(AvpType.TIE_BREAKER)
        for tunnel in self._tunnels.values():
            if tunnel.state not in {State.WAIT_CTL_REPLY, State.IDLE}:
                continue
            if theirs is not None and theirs == tunnel.drawn:
                return Tie.WON, tunnel
            if tunnel.state is State.IDLE:  # after a draw, about to ask anew: the peer was quicker
                return Tie.LOST, tunnel
            if theirs is None and tunnel.tie is None:
                continue
            if theirs is None:
                return Tie.WON, tunnel
            if tunnel.tie is None or theirs < tunnel.tie:
                return Tie.LOST, tunnel
            return (Tie.DRAWN if theirs == tunnel.tie else Tie.WON), tunnel
        return Tie.NONE, None

    def _version_3(self, data: bytes, local_port: int, remote_port: int) -> None:
        """A version 3 peer asks for a tunnel: tell it which version is spoken, in the version that is (RFC 3931 section 4.7.3)."""
        try:
            avps = wire.parse(data[CONTROL_SIZE : int.from_bytes(data[2:4], "big")], CONTROL_SIZE)
        except Malformed:
            avps = ()
        sccrq = MessageType.SCCRQ.to_bytes(2, "big")
        if not avps or (avps[0].vendor, avps[0].number, avps[0].value) != (wire.IETF, AvpType.MESSAGE_TYPE, sccrq):
            self._drop("l2tp_header")
            return
        self._refuse(_clear_tunnel_id(avps), wrong_version("L2TP version 3"), local_port, remote_port, to_nobody=True)

    # Parts

    def _live(self) -> int:
        """Tunnels that are up or coming up."""
        return sum(tunnel.state is not State.CLOSED for tunnel in self._tunnels.values())

    def _by_remote(self, remote: int) -> Tunnel | None:
        """The tunnel that the peer calls so, if it is not closed: a closed one no longer holds its id."""
        return next((t for t in self._tunnels.values() if t.remote_id == remote and t.state is not State.CLOSED), None)

    def _make(self, local_port: int, remote_port: int, now: float) -> Tunnel | None:
        """A new tunnel, ``None`` if there is no id for it. Of closed ones that linger as many are kept as may be live."""
        closed = [tunnel for tunnel in self._tunnels.values() if tunnel.state is State.CLOSED]
        if len(closed) >= self._config.max_tunnels:
            self._remove(closed[0])
        local_id = self._ids.take()
        if local_id is None:
            return None
        tunnel = Tunnel(self._room, local_id, local_port, remote_port, now)
        self._tunnels[local_id] = tunnel
        return tunnel

    def _remove(self, tunnel: Tunnel) -> None:
        """Forget a tunnel and give its id back."""
        if self._tunnels.pop(tunnel.local_id, None) is not None:
            self._ids.free(tunnel.local_id)

    def _drop(self, reason: str) -> None:
        self._room.events.put(Dropped(reason))

    def _refuse(self, remote: int, refusal: Refusal, local_port: int, remote_port: int, *, to_nobody: bool = False) -> None:
        """Refuse a tunnel that does not exist; nothing is kept of it. Without the peer's id there is no one to tell."""
        self._room.events.put(Refused(refusal.failure))
        if not remote and not to_nobody:
            return
        number = int.from_bytes(self._room.rand(2), "big")
        while number == 0 or number in self._tunnels:
            number = (number + 1) % 0x10000
        body = emit(MessageType.STOPCCN, {AvpType.ASSIGNED_TUNNEL_ID: number, AvpType.RESULT_CODE: refusal.result})
        data = emit_control(ControlHeader(remote, 0, ns=0, nr=1), body)
        self._room.datagrams.put(ControlDatagram(data, local_port, remote_port))


def _clear_tunnel_id(avps: tuple[wire.Avp, ...]) -> int:
    """The Assigned Tunnel ID of a message that cannot be read as a whole; 0 if it has none, or a hidden one."""
    for avp in avps:
        if avp.spec is not None and avp.number == AvpType.ASSIGNED_TUNNEL_ID and not avp.hidden and len(avp.value) == 2:
            return int.from_bytes(avp.value, "big")
    return 0
