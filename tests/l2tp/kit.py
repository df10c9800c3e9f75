"""What the tests of this room share: a peer with its driver, messages made by hand, and pairs of peers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeVar

from tests.sim import CALM, Adapter, Simulation, Weather

from headrace.l2tp.avp import Avp, AvpType, Value
from headrace.l2tp.avp import emit as emit_avp
from headrace.l2tp.config import IdAllocator, L2tpConfig
from headrace.l2tp.header import ControlHeader, emit_control, parse_control
from headrace.l2tp.message import Message, MessageType, emit, parse
from headrace.l2tp.peer import L2tpPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.l2tp.events import ControlDatagram, L2tpEvent

E = TypeVar("E")
T = AvpType
M = MessageType

REMOTE_TUNNEL = 0x1234
REMOTE_SESSION = 0x4321


def seeded(seed: int = 1) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


class Ids:
    """An allocator that counts up and remembers."""

    def __init__(self, first: int = 100, count: int = 60000) -> None:
        self.next, self.end = first, first + count
        self.taken: set[int] = set()
        self.allocator = IdAllocator(self.take, self.taken.remove)

    def take(self) -> int | None:
        if self.next >= self.end:
            return None
        self.next += 1
        self.taken.add(self.next - 1)
        return self.next - 1


class Driver:
    """One peer, everything it said, and a clock."""

    def __init__(self, config: L2tpConfig | None = None, seed: int = 1, first_id: int = 100, id_count: int = 60000) -> None:
        self.config = config or L2tpConfig()
        self.ids = Ids(first_id, id_count)
        self.core = L2tpPeer(self.config, self.ids.allocator, seeded(seed))
        self.events: list[L2tpEvent] = []
        self.now = 1000.0

    # driving

    def take(self) -> list[ControlDatagram]:
        self.events += self.core.poll_events()
        return self.core.poll_datagrams()

    def feed(self, data: bytes, local_port: int = 1701, remote_port: int = 1701) -> list[tuple[ControlHeader, Message | None]]:
        """Hand over one message; returns the answers, parsed."""
        self.core.receive(data, local_port, remote_port, self.now)
        return self.said()

    def said(self) -> list[tuple[ControlHeader, Message | None]]:
        return [read(datagram.data, self.config.secret) for datagram in self.take()]

    def wait(self, seconds: float) -> list[tuple[float, ControlHeader, Message | None]]:
        """Let time pass, waking the core as it asks; returns what it said and when."""
        end = self.now + seconds
        out = [(self.now, *item) for item in self.said()]
        for _ in range(1000):
            due = self.core.deadline()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.core.tick(self.now)
            out += [(self.now, *item) for item in self.said()]
        else:
            raise AssertionError("the core never rests")
        self.now = end
        self.core.tick(self.now)
        return out + [(self.now, *item) for item in self.said()]

    def got(self, kind: type[E]) -> list[E]:
        """Events of one kind so far."""
        self.events += self.core.poll_events()
        return [event for event in self.events if isinstance(event, kind)]

    def adapter(self) -> Adapter[ControlDatagram]:
        return Adapter(
            self.take,
            lambda d, now: self.core.receive(d.data, d.remote_port, d.local_port, now),
            self.core.deadline,
            self.core.tick,
        )


def read(data: bytes, secret: bytes | None = None) -> tuple[ControlHeader, Message | None]:
    header, body = parse_control(data)
    return header, parse(body, secret) if body else None


class Hand:
    """The other end, by hand: builds messages with the numbers that come next."""

    def __init__(self, driver: Driver, tunnel: int = 0) -> None:
        self.driver = driver
        self.tunnel = tunnel
        self.ns = 0
        self.nr = 0

    def raw(
        self, body: bytes, session: int = 0, *, ns: int | None = None, nr: int | None = None, tunnel: int | None = None
    ) -> bytes:
        number = self.ns if ns is None else ns
        if body and ns is None:
            self.ns += 1
        header = ControlHeader(self.tunnel if tunnel is None else tunnel, session, number, self.nr if nr is None else nr)
        return emit_control(header, body)

    def send(self, body: bytes, session: int = 0, **numbers: int) -> list[tuple[ControlHeader, Message | None]]:
        answers = self.driver.feed(self.raw(body, session, **numbers))
        for header, message in answers:
            if message is not None:
                self.nr = max(self.nr, header.ns + 1)
        return answers

    def ack(self) -> None:
        self.driver.feed(self.raw(b""))


def body(kind: int, *avps: Avp) -> bytes:
    """A message of any AVPs."""
    return b"".join(emit_avp(avp) for avp in (Avp(0, kind.to_bytes(2, "big")), *avps))


def sccrq(tunnel: int = REMOTE_TUNNEL, **extra: Value) -> bytes:
    values: dict[AvpType, Value] = {
        T.PROTOCOL_VERSION: 0x0100,
        T.HOST_NAME: b"peer",
        T.FRAMING_CAPABILITIES: 3,
        T.ASSIGNED_TUNNEL_ID: tunnel,
        T.RECEIVE_WINDOW_SIZE: 4,
    }
    values |= {AvpType[name]: value for name, value in extra.items()}
    return emit(M.SCCRQ, values)


def sccrp(tunnel: int = REMOTE_TUNNEL, **extra: Value) -> bytes:
    values: dict[AvpType, Value] = {
        T.PROTOCOL_VERSION: 0x0100,
        T.HOST_NAME: b"peer",
        T.FRAMING_CAPABILITIES: 3,
        T.ASSIGNED_TUNNEL_ID: tunnel,
    }
    values |= {AvpType[name]: value for name, value in extra.items()}
    return emit(M.SCCRP, values)


def without(message: bytes, number: int) -> bytes:
    """A message body less one of its AVPs."""
    from headrace.l2tp.avp import parse as parse_avps

    return b"".join(emit_avp(avp) for avp in parse_avps(message) if avp.number != number)


def plus(message: bytes, *avps: Avp) -> bytes:
    return message + b"".join(emit_avp(avp) for avp in avps)


SCCCN = emit(M.SCCCN, {})
HELLO = emit(M.HELLO, {})
ICCN = emit(M.ICCN, {T.TX_CONNECT_SPEED: 1000, T.FRAMING_TYPE: 1})


def icrq(session: int = REMOTE_SESSION, serial: int = 1, **extra: Value) -> bytes:
    values: dict[AvpType, Value] = {T.ASSIGNED_SESSION_ID: session, T.CALL_SERIAL_NUMBER: serial}
    return emit(M.ICRQ, values | {AvpType[name]: value for name, value in extra.items()})


def established(config: L2tpConfig | None = None, **extra: Any) -> tuple[Driver, Hand]:
    """A driver as LNS with a tunnel that a hand has set up."""
    driver = Driver(config)
    hand = Hand(driver)
    (answer,) = hand.send(sccrq(**extra))
    assert answer[1] is not None
    assert answer[1].type is M.SCCRP
    hand.tunnel = answer[1].number(T.ASSIGNED_TUNNEL_ID) or 0
    hand.send(SCCCN)
    return driver, hand


def with_call(config: L2tpConfig | None = None) -> tuple[Driver, Hand, int]:
    """The same with one call up; also the driver's session id."""
    driver, hand = established(config)
    (answer,) = hand.send(icrq())
    assert answer[1] is not None
    session = answer[1].number(T.ASSIGNED_SESSION_ID) or 0
    hand.send(ICCN, session)
    return driver, hand, session


def pair(
    weather: Weather = CALM, seed: int = 0, *, lac: L2tpConfig | None = None, lns: L2tpConfig | None = None
) -> tuple[Driver, Driver, Simulation[ControlDatagram]]:
    """A LAC and an LNS over a network."""
    left = Driver(lac or L2tpConfig(host_name="lac", accept_incoming=False), seed=seed * 2 + 1, first_id=100)
    right = Driver(lns or L2tpConfig(host_name="lns"), seed=seed * 2 + 2, first_id=40000)
    return left, right, Simulation(left.adapter(), right.adapter(), weather, seed=seed)


def kinds(answers: list[tuple[ControlHeader, Message | None]]) -> list[str]:
    return ["ZLB" if message is None else message.type.name for _, message in answers]


def only(answers: list[tuple[ControlHeader, Message | None]], kind: MessageType) -> tuple[ControlHeader, Message]:
    """The one answer of a type."""
    (found,) = [(header, message) for header, message in answers if message is not None and message.type is kind]
    return found


def codes(answers: list[tuple[ControlHeader, Message | None]], kind: MessageType) -> tuple[int, int]:
    """Result and error code of the one StopCCN or CDN among the answers."""
    result = only(answers, kind)[1].result
    assert result is not None
    return result.result, result.error
