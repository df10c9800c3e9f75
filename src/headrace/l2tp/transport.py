"""Reliable delivery of control messages (RFC 2661 section 5.8 and appendix A): Ns and Nr, windows, slow start, retransmission.

One per control connection. It orders what arrives, acknowledges it, and repeats what is sent until it is acknowledged. What the
messages say it does not know.

The queue of what was sent and not yet acknowledged, and what waits behind it::

    una               una + in_flight        high                     end
     | sent, counted against the window | sent before a timeout | never sent |

After a timeout only the oldest message counts as in flight, so that the window opens anew from one (slow start) and the others go
out again as it grows, unless an acknowledgement shows that they had arrived.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.errors import PeerError
from headrace.l2tp.header import ControlHeader, emit_control

if TYPE_CHECKING:
    from headrace.l2tp.config import L2tpConfig

SEQUENCE: Final = 1 << 16
HALF: Final = SEQUENCE // 2

DEFAULT_WINDOW: Final = 4
"""The peer's receive window as long as it has not said another (section 4.4.3)."""

MAX_QUEUE: Final = 256
"""Messages that may wait for a peer that does not acknowledge. A tunnel has a few per session; more is a flood of refusals."""


def distance(ahead: int, behind: int) -> int:
    """How far one sequence number is ahead of another, modulo 65536."""
    return (ahead - behind) % SEQUENCE


class Ignored(PeerError):
    """A message that must not be acted on. ``counter`` is the reason under which it is dropped."""

    def __init__(self, counter: str, detail: str) -> None:
        super().__init__(detail)
        self.counter = counter


@dataclass(frozen=True, slots=True)
class Letter:
    """A control message without the numbers of its delivery."""

    session: int
    """Session id for the header, as the receiver assigned it; 0 for a message about the tunnel."""
    body: bytes
    """Its AVPs; never empty."""


def full_cycle(config: L2tpConfig) -> float:
    """Seconds from the first transmission of a message until it is given up: 31 with the RFC's values (1, 2, 4, 8, 8, 8)."""
    return sum(retransmit_interval(config, tries) for tries in range(config.retransmit_tries + 1))


def retransmit_interval(config: L2tpConfig, tries: int) -> float:
    """Seconds to wait after the transmission number ``tries``, counted from 0."""
    return min(config.retransmit_base * 2.0 ** min(tries, 30), config.retransmit_cap)


class Transport:
    """The two sequence spaces of one control connection."""

    def __init__(self, config: L2tpConfig) -> None:
        self.remote_tunnel = 0
        """The peer's tunnel id; 0 until it is known."""
        self.peer_window = DEFAULT_WINDOW
        self.failed = False
        """A message was repeated as often as allowed without an acknowledgement: the peer is gone."""
        self._config = config
        self._window = max(1, config.receive_window)
        self._expected = 0
        self._held: dict[int, Letter] = {}
        self._owes_ack = False
        self._una = 0
        self._queue: deque[Letter] = deque()
        self._in_flight = 0
        self._ever_sent = 0
        """Of the queue, how many were sent at least once."""
        self._cwnd = 1
        self._growth = 0
        self._ssthresh = DEFAULT_WINDOW
        self._tries = 0
        self._timer: float | None = None

    # Receiving

    def receive(self, ns: int, nr: int, letter: Letter | None, now: float) -> list[Letter]:
        """Take one message; ``None`` is a zero-length body. Returns what may now be read, in order.

        Raises ``Ignored`` for one that is outside of every window.
        """
        if distance(nr, self._una) > self._ever_sent and distance(nr, self._una) < HALF:
            raise Ignored("l2tp_nr", f"Nr {nr} acknowledges what was never sent ({self._una} to {self._next_ns() - 1})")
        self._acknowledge(nr, now)
        if letter is None:
            return []
        ahead = distance(ns, self._expected)
        if ahead >= HALF:
            self._owes_ack = True
            return []
        if ahead >= self._window:
            raise Ignored("l2tp_ns", f"Ns {ns} is {ahead} ahead of {self._expected}, the window is {self._window}")
        self._held.setdefault(ns, letter)
        ready = []
        while self._expected in self._held:
            ready.append(self._held.pop(self._expected))
            self._expected = (self._expected + 1) % SEQUENCE
            self._owes_ack = True
        return ready

    def _acknowledge(self, nr: int, now: float) -> None:
        """Forget what the peer has. A number behind the last one says nothing new."""
        count = distance(nr, self._una)
        if not 0 < count <= self._ever_sent:
            return
        for _ in range(count):
            self._queue.popleft()
            self._grow()
        self._una = nr
        self._ever_sent -= count
        self._in_flight = max(0, self._in_flight - count)
        self._tries = 0
        self._timer = now + retransmit_interval(self._config, 0) if self._in_flight else None

    def _grow(self) -> None:
        """Open the congestion window: by one each message below the threshold, by one each window above it (appendix A)."""
        if self._cwnd < self._ssthresh:
            self._cwnd += 1
        else:
            self._growth += 1
            if self._growth >= self._cwnd:
                self._growth = 0
                self._cwnd += 1
        self._cwnd = min(self._cwnd, self.peer_window)

    # Sending

    def set_peer_window(self, size: int | None) -> None:
        """Note the peer's Receive Window Size AVP. 0 is not legal and is taken as 1, for a window of nothing would stand still."""
        if size is not None:
            self.peer_window = max(1, size)
            self._ssthresh = self.peer_window

    def send(self, letter: Letter) -> bool:
        """Queue a message. ``False`` if the queue is full, which means that the peer does not acknowledge."""
        if len(self._queue) >= MAX_QUEUE:
            return False
        self._queue.append(letter)
        return True

    def send_last(self, letter: Letter) -> None:
        """Queue the message after which there are no others (StopCCN). What was never sent is forgotten in its favour."""
        while len(self._queue) > self._ever_sent:
            self._queue.pop()
        self._queue.append(letter)

    def abandon(self) -> None:
        """Forget what has not been acknowledged: the peer does not want it any more."""
        self._una = self._next_ns()
        self._queue.clear()
        self._in_flight = self._ever_sent = self._tries = 0
        self._timer = None

    def poll(self, now: float) -> list[bytes]:
        """Messages to send now: what the windows allow, or else an acknowledgement alone if one is owed."""
        out = []
        while self._in_flight < min(self._cwnd, self.peer_window, len(self._queue)):
            out.append(self._emit(self._in_flight))
            self._in_flight += 1
            self._ever_sent = max(self._ever_sent, self._in_flight)
            if self._timer is None:
                self._timer = now + retransmit_interval(self._config, self._tries)
        if self._owes_ack:
            out.append(emit_control(ControlHeader(self.remote_tunnel, 0, self._next_ns(), self._expected), b""))
            self._owes_ack = False
        return out

    def _emit(self, index: int) -> bytes:
        """One message of the queue with its Ns; the Nr of now acknowledges as well as any."""
        letter = self._queue[index]
        self._owes_ack = False
        return emit_control(
            ControlHeader(self.remote_tunnel, letter.session, (self._una + index) % SEQUENCE, self._expected), letter.body
        )

    def _next_ns(self) -> int:
        return (self._una + self._ever_sent) % SEQUENCE

    # Time

    @property
    def idle(self) -> bool:
        """Whether everything sent has been acknowledged."""
        return not self._queue

    def deadline(self) -> float | None:
        """When the oldest message has to be sent again."""
        return None if self.failed else self._timer

    def tick(self, now: float) -> None:
        """Repeat the oldest message if its time has come, or give up; see ``failed``. ``poll`` has the repetition."""
        if self._timer is None or now < self._timer or self.failed:
            return
        if self._tries >= self._config.retransmit_tries:
            self.failed = True
            self._timer = None
            return
        self._tries += 1
        self._ssthresh = max(1, min(self._cwnd, self.peer_window) // 2)
        self._cwnd = 1
        self._growth = 0
        self._in_flight = 0
        self._timer = None
