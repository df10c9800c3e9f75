"""The server's side of dynamic authorisation (RFC 5176): Disconnect and CoA from those who may, each answered once. A sans-IO core.

Whoever is not configured, or does not know the secret, gets no answer at all. A request that comes again gets the same answer again; one
that is old by its Event-Timestamp is a replay.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headrace.core import Outbox
from headrace.model import Endpoint, IPAddress
from headrace.radius.names import Attr, Code, ErrorCause
from headrace.radius.packet import Attribute, Forged, Packet, number, sign_computed, verify
from headrace.wire import Malformed

REMEMBERED: Final = 4096
"""Answers that are kept for requests that come again."""
REMEMBER_TIME: Final = 60.0
CLOCK_SKEW: Final = 300.0
"""Seconds that an Event-Timestamp may be off (RFC 5176 section 6.3)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who may wants a session changed or ended; ``DynAuth.answer`` replies."""

    request: int
    packet: Packet
    source: Endpoint

    @property
    def disconnect(self) -> bool:
        """Whether it is a Disconnect-Request."""
        return self.packet.code == Code.DISCONNECT_REQUEST


@dataclass(slots=True)
class _Known:
    """A request, and what was answered."""

    packet: Packet
    source: Endpoint
    secret: bytes = field(repr=False)
    until: float = 0.0
    answer: bytes = b""


class DynAuth:
    """Takes requests from ``clients``, secrets by address."""

    def __init__(self, clients: Mapping[IPAddress, bytes], *, need_message_authenticator: bool = True) -> None:
        self._clients = dict(clients)
        self._need = need_message_authenticator
        self._known: OrderedDict[tuple[Endpoint, int, bytes], _Known] = OrderedDict()
        self._open: dict[int, _Known] = {}
        self._next = 0
        self._out: Outbox[tuple[Endpoint, bytes]] = Outbox()
        self._events: Outbox[Asked] = Outbox()
        self.drops: Counter[str] = Counter()

    def receive(self, data: bytes, source: Endpoint, now: float, wall: float) -> None:
        """Take a datagram; ``wall`` is the time of day, seconds since 1970. Never raises for its content."""
        secret = self._clients.get(source.address)
        if secret is None:
            self.drops["source"] += 1
            return
        try:
            packet = Packet.parse(data)
            verify(data, bytes(16), secret, need_message_authenticator=self._need)
        except Malformed as error:
            self.drops[error.field] += 1
            return
        except Forged as error:
            self.drops[error.reason] += 1
            return
        if packet.code in {Code.DISCONNECT_REQUEST, Code.COA_REQUEST}:
            self._take(packet, source, secret, now, wall)
        else:
            self.drops["code"] += 1

    def _take(self, packet: Packet, source: Endpoint, secret: bytes, now: float, wall: float) -> None:
        key = (source, packet.identifier, packet.authenticator)
        known = self._known.get(key)
        if known is not None and now < known.until:
            self.drops["repeated"] += 1
            if known.answer:
                self._out.put((source, known.answer))
            return
        stamp = packet.get(Attr.EVENT_TIMESTAMP)
        if stamp is not None and (len(stamp) != 4 or abs(int.from_bytes(stamp, "big") - wall) > CLOCK_SKEW):
            self.drops["old"] += 1
            return
        self._next += 1
        known = _Known(packet, source, secret, now + REMEMBER_TIME)
        self._known[key] = self._open[self._next] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._events.put(Asked(self._next, packet, source))

    def answer(self, request: int, cause: ErrorCause | None = None, attributes: tuple[Attribute, ...] = ()) -> None:
        """Say yes, or no and why."""
        known = self._open.pop(request)
        code = known.packet.code + (1 if cause is None else 2)
        told = () if cause is None else (number(Attr.ERROR_CAUSE, cause),)
        proxied = tuple(a for a in known.packet.attributes if a.key == (0, Attr.PROXY_STATE))
        packet = Packet(code, known.packet.identifier, bytes(16), (*told, *attributes, *proxied))
        known.answer = sign_computed(packet, known.secret, known.packet.authenticator)
        self._out.put((known.source, known.answer))

    def poll_datagrams(self) -> list[tuple[Endpoint, bytes]]:
        """Answers to send, each with where to."""
        return self._out.drain()

    def poll_events(self) -> list[Asked]:
        """Requests that wait for an answer."""
        return self._events.drain()
