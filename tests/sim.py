"""Two sans-IO cores back to back over a bad network, on a simulated clock.

A core joins through an ``Adapter`` of four callables, so any pair can be wired: what it wants to send, how it receives, when it wants
to be woken, and how. The network loses, duplicates, delays and reorders by a seeded generator; the same seed gives the same run.
Whatever fails inside ``with Simulation(...) as sim:`` carries the seed as a note, so that it can be replayed::

    with Simulation(left, right, Weather(loss=0.2), seed=7) as sim:
        sim.run_until(lambda: up(left_core) and up(right_core), limit=60)
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

MAX_STEPS = 200_000
"""A pair that is still busy after so many deliveries and wake-ups is caught in a loop."""


class SimulationError(AssertionError):
    """The pair did not do in time what was waited for, or never came to rest."""


@dataclass(frozen=True)
class Adapter(Generic[T]):
    """One end: how the simulator drives a core whose datagrams are of type ``T``."""

    send: Callable[[], list[T]]
    """Take what the core wants to send. A good place to drain its events as well."""
    receive: Callable[[T, float], None]
    """Hand over what the other end sent, at a time in seconds."""
    deadline: Callable[[], float | None]
    tick: Callable[[float], None]


@dataclass(frozen=True)
class Weather:
    """What happens to a datagram on its way. Probabilities from 0 to 1, times in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Probability of being held back by ``reorder_delay``, so that later ones overtake."""
    latency: float = 0.01
    jitter: float = 0.0
    """Up to so much more latency, evenly distributed."""
    reorder_delay: float = 0.05


CALM = Weather()
BAD = Weather(loss=0.2, duplicate=0.1, reorder=0.2, jitter=0.01)


@dataclass(order=True)
class _Flight(Generic[T]):
    arrival: float
    order: int
    to_right: bool = field(compare=False)
    datagram: T = field(compare=False)


class Simulation(Generic[T]):
    """Runs two ends. ``now`` is the simulated time; nothing ever looks at a real clock."""

    def __init__(
        self,
        left: Adapter[T],
        right: Adapter[T],
        weather: Weather = CALM,
        *,
        seed: int = 0,
        start: float = 1000.0,
        tap: Callable[[float, bool, T], T | None] | None = None,
    ) -> None:
        """``tap(now, to_right, datagram)`` sees each datagram that is sent and may replace it or swallow it with ``None``."""
        self.now = start
        self.weather = weather
        self.seed = seed
        self.sent = 0
        """Datagrams that left either core."""
        self._left = left
        self._right = right
        self._tap = tap
        self._random = random.Random(seed)
        self._flights: list[_Flight[T]] = []
        self._order = itertools.count()

    def __enter__(self) -> Simulation[T]:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"simulation: seed={self.seed} now={self.now:.3f} weather={self.weather}")

    def _launch(self, to_right: bool, datagram: T) -> None:
        """Put one datagram on its way, as the weather allows."""
        self.sent += 1
        if self._tap is not None:
            replaced = self._tap(self.now, to_right, datagram)
            if replaced is None:
                return
            datagram = replaced
        weather, dice = self.weather, self._random
        copies = 1 + (dice.random() < weather.duplicate)
        for _ in range(copies):
            if dice.random() < weather.loss:
                continue
            delay = weather.latency + dice.random() * weather.jitter
            if dice.random() < weather.reorder:
                delay += weather.reorder_delay
            heapq.heappush(self._flights, _Flight(self.now + delay, next(self._order), to_right, datagram))

    def pump(self) -> None:
        """Collect what both ends want to send now."""
        for datagram in self._left.send():
            self._launch(True, datagram)
        for datagram in self._right.send():
            self._launch(False, datagram)

    def _next(self) -> float | None:
        """When the next thing happens: an arrival or a deadline."""
        times = [end.deadline() for end in (self._left, self._right)]
        if self._flights:
            times.append(self._flights[0].arrival)
        return min((time for time in times if time is not None), default=None)

    def step(self, limit: float) -> bool:
        """Do the next thing that is due not after ``limit``. ``False`` if there is none; then ``now`` is ``limit``."""
        self.pump()
        due = self._next()
        if due is None or due > limit:
            self.now = max(self.now, limit)
            return False
        self.now = max(self.now, due)
        if self._flights and self._flights[0].arrival <= self.now:
            flight = heapq.heappop(self._flights)
            (self._right if flight.to_right else self._left).receive(flight.datagram, self.now)
        else:
            for end in (self._left, self._right):
                deadline = end.deadline()
                if deadline is not None and deadline <= self.now:
                    end.tick(self.now)
        self.pump()
        return True

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        limit = self.now + seconds
        for _ in range(MAX_STEPS):
            if not self.step(limit):
                return
        raise SimulationError(f"no rest after {MAX_STEPS} steps (seed {self.seed})")

    def run_until(self, done: Callable[[], bool], *, limit: float) -> float:
        """Run until ``done()``, at most ``limit`` seconds; returns the time it took. Raises ``SimulationError`` if it never is."""
        begin = self.now
        for _ in range(MAX_STEPS):
            if done():
                return self.now - begin
            if not self.step(begin + limit) and not done():
                raise SimulationError(f"not reached within {limit} s of simulated time (seed {self.seed}, {self.weather})")
        raise SimulationError(f"no end after {MAX_STEPS} steps (seed {self.seed})")
