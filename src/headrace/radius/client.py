"""Requests in flight: identifiers, repetition, fail-over, servers that are dead or alive. A sans-IO core.

A request goes to the first server that lives, a few times; then to the next one. A server that leaves a request unanswered is dead until a
Status-Server (RFC 5997) is answered, or, without that, for a while; when all are dead, they are asked in their order all the same. Each
server has source ports of its own, with 256 identifiers each: an identifier is free again only when its request is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from headrace.core import Outbox, earliest
from headrace.model import Rand
from headrace.radius.names import ANSWERS, Code
from headrace.radius.packet import Attribute, Forged, Packet, sign_access, sign_computed, verify
from headrace.wire import Malformed

PORTS_MAX: Final = 64
"""Source ports to one server: 16384 requests in flight."""
IDENTIFIERS: Final = 256


@dataclass(frozen=True, slots=True)
class Server:
    """One server as this core needs it."""

    name: str
    secret: bytes = field(repr=False)
    need_message_authenticator: bool = True
    status_server: bool = True
    """Ask with Status-Server whether it lives again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient to be, in seconds."""

    timeout: float = 2.0
    """For one answer."""
    tries: int = 2
    """To one server."""
    dead_time: float = 60.0
    """For which a dead server is passed over, if it knows no Status-Server."""
    status_interval: float = 10.0
    """Between Status-Server to a dead one."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A datagram to send to a server from one of its source ports, numbered from 0; a new number is a new port."""

    server: int
    port: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request has its answer, which is genuine."""

    request: int
    packet: Packet = field(repr=False)
    server: int
    authenticator: bytes = field(repr=False)
    """The request's, with which keys are hidden."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No server answered; ``detail`` says which were asked, and what was wrong with answers that were thrown away."""

    request: int
    detail: str


@dataclass(frozen=True, slots=True)
class ServerState:
    """A server has died or come back."""

    server: int
    alive: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram was ignored."""

    server: int
    reason: str
    """``short``, ``length``, ``attribute``, ``code``, ``identifier``, ``authenticator``, ``ma_missing``, ``ma_wrong``, ``ma_length``."""


ClientEvent: TypeAlias = Answered | Unanswered | ServerState | Dropped


@dataclass(slots=True)
class _Request:
    number: int
    code: Code
    attributes: tuple[Attribute, ...]
    only: bool
    """To one server alone: it is part of a conversation."""
    order: list[int]
    """Servers still to be asked, the current one first."""
    tries: int = 0
    until: float = 0.0
    place: tuple[int, int, int] = (-1, -1, -1)
    """Server, port, identifier."""
    authenticator: bytes = b""
    data: bytes = b""
    asked: list[str] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    server: Server
    ports: list[dict[int, _Request]] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    """Where on each port the search for a free identifier goes on."""
    dead_until: float | None = None
    status_at: float | None = None
    probing: bool = False


class Client:
    """Asks some servers of one kind, authentication or accounting."""

    def __init__(self, servers: Iterable[Server], rand: Rand, timing: Timing | None = None) -> None:
        self._states = [_State(server) for server in servers]
        self._rand = rand
        self._timing = timing or Timing()
        self._requests: dict[int, _Request] = {}
        self._next = 0
        self._out: Outbox[Outgoing] = Outbox()
        self._events: Outbox[ClientEvent] = Outbox()
        self.drops: Counter[str] = Counter()

    # --- what goes in -----------------------------------------------------------------------------------------------------

    def send(self, code: Code, attributes: Iterable[Attribute], now: float, *, server: int | None = None) -> int:
        """Begin a request; its number. ``server`` is the one that must answer it, in a conversation.

        Raises ``ValueError`` for attributes that do not fit a packet.
        """
        self._next += 1
        order = self._order(now) if server is None else [server]
        request = _Request(self._next, code, tuple(attributes), server is not None, order)
        if not order:
            self._events.put(Unanswered(request.number, "no RADIUS server is configured"))
            return request.number
        self._requests[request.number] = request
        try:
            self._place(request, now)
        except ValueError:
            self._forget(request)
            raise
        return request.number

    def cancel(self, request: int) -> None:
        """Nobody wants the answer any more. One that comes is dropped."""
        found = self._requests.get(request)
        if found is not None:
            self._forget(found)

    def receive(self, server: int, port: int, data: bytes) -> None:
        """Take a datagram that came from a server to one of its ports. Never raises for its content."""
        state = self._states[server]
        try:
            packet = Packet.parse(data)
        except Malformed as error:
            self._drop(server, error.field)
            return
        request = state.ports[port].get(packet.identifier) if 0 <= port < len(state.ports) else None
        if request is None:
            self._drop(server, "identifier")
            return
        if packet.code not in ANSWERS[request.code]:
            self._drop(server, "code")
            return
        need = state.server.need_message_authenticator and request.code is not Code.ACCOUNTING_REQUEST
        try:
            verify(data, request.authenticator, state.server.secret, need_message_authenticator=need)
        except Forged as error:
            request.flaws.append(f"{state.server.name}: {error}")
            del request.flaws[4:]
            self._drop(server, error.reason)
            return
        self._forget(request)
        self._alive(server)
        if request.number >= 0:
            self._events.put(Answered(request.number, packet, server, request.authenticator))

    def _drop(self, server: int, reason: str) -> None:
        self.drops[reason] += 1
        self._events.put(Dropped(server, reason))

    # --- what comes out ---------------------------------------------------------------------------------------------------

    def poll_datagrams(self) -> list[Outgoing]:
        """Datagrams to send."""
        return self._out.drain()

    def poll_events(self) -> list[ClientEvent]:
        """What happened since the last call."""
        return self._events.drain()

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer."""
        return len(self._requests)

    def alive(self) -> list[bool]:
        """Which servers are taken to live."""
        return [state.dead_until is None for state in self._states]

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        waits = (request.until for request in self._requests.values())
        return earliest((*waits, *(state.status_at for state in self._states)))

    def tick(self, now: float) -> None:
        """Repeat, fail over, give up, and see whether dead servers live again."""
        for request in [r for r in self._requests.values() if now >= r.until]:
            if request.tries < self._timing.tries and request.code is not Code.STATUS_SERVER:
                request.tries += 1
                request.until = now + self._timing.timeout
                self._out.put(Outgoing(request.place[0], request.place[1], request.data))
            else:
                self._silent(request, now)
        for index, state in enumerate(self._states):
            if state.status_at is not None and now >= state.status_at:
                self._probe(index, now)

    # --- servers ----------------------------------------------------------------------------------------------------------

    def _order(self, now: float) -> list[int]:
        """Those who live first; the dead ones behind them, for they may live after all."""
        dead = [state.dead_until is not None and now < state.dead_until for state in self._states]
        return sorted(range(len(self._states)), key=lambda index: dead[index])

    def _silent(self, request: _Request, now: float) -> None:
        server = request.place[0]
        self._free(request)
        if request.number < 0:
            self._states[server].probing = False
            del self._requests[request.number]
            return
        self._dead(server, now)
        request.asked.append(f"{self._states[server].server.name} ({request.tries} times)")
        request.order.pop(0)
        if request.order:
            self._place(request, now)
            return
        del self._requests[request.number]
        flaws = f"; {'; '.join(request.flaws)}" if request.flaws else ""
        self._events.put(Unanswered(request.number, f"no answer from {', '.join(request.asked)}{flaws}"))

    def _dead(self, index: int, now: float) -> None:
        state = self._states[index]
        if state.dead_until is None:
            self._events.put(ServerState(index, alive=False))
        if state.server.status_server:
            state.dead_until = float("inf")
            if state.status_at is None:
                state.status_at = now + self._timing.status_interval
        else:
            state.dead_until = now + self._timing.dead_time

    def _alive(self, index: int) -> None:
        state = self._states[index]
        if state.dead_until is not None:
            self._events.put(ServerState(index, alive=True))
        state.dead_until = state.status_at = None

    def _probe(self, index: int, now: float) -> None:
        state = self._states[index]
        state.status_at = now + self._timing.status_interval
        if state.probing:
            return
        self._next += 1
        state.probing = True
        request = _Request(-self._next, Code.STATUS_SERVER, (), only=True, order=[index])
        self._requests[request.number] = request
        self._place(request, now)

    # --- identifiers ------------------------------------------------------------------------------------------------------

    def _place(self, request: _Request, now: float) -> None:
        """Give a request an identifier with the server it is to be asked of, and send it."""
        index = request.order[0]
        state = self._states[index]
        found = self._free_place(state)
        if found is None:
            request.place, request.until = (index, -1, -1), now  # as if it had been silent
            request.tries = self._timing.tries
            return
        port, identifier = found
        request.place = (index, port, identifier)
        state.ports[port][identifier] = request
        # Whoever comes to another server has another secret to keep, and another authenticator.
        request.authenticator, request.data = self._sign(request, identifier, state.server.secret)
        request.tries, request.until = 1, now + self._timing.timeout
        self._out.put(Outgoing(index, port, request.data))

    def _free_place(self, state: _State) -> tuple[int, int] | None:
        for port, taken in enumerate(state.ports):
            if len(taken) < IDENTIFIERS:
                identifier = state.fresh[port]
                while identifier in taken:
                    identifier = (identifier + 1) % IDENTIFIERS
                state.fresh[port] = (identifier + 1) % IDENTIFIERS
                return port, identifier
        if len(state.ports) >= PORTS_MAX:
            return None
        first = self._rand(1)[0]
        state.ports.append({})
        state.fresh.append((first + 1) % IDENTIFIERS)
        return len(state.ports) - 1, first

    def _sign(self, request: _Request, identifier: int, secret: bytes) -> tuple[bytes, bytes]:
        if request.code is Code.ACCOUNTING_REQUEST:
            data = sign_computed(Packet(request.code, identifier, bytes(16), request.attributes), secret)
            return data[4:20], data
        authenticator = self._rand(16)
        return authenticator, sign_access(Packet(request.code, identifier, authenticator, request.attributes), secret)

    def _free(self, request: _Request) -> None:
        server, port, identifier = request.place
        if port >= 0:
            self._states[server].ports[port].pop(identifier, None)

    def _forget(self, request: _Request) -> None:
        self._free(request)
        self._requests.pop(request.number, None)
        if request.number < 0:
            self._states[request.place[0]].probing = False
