"""The contract of every sans-IO core: bytes and time in; bytes, events and one deadline out.

A core owns no socket, clock, timer, thread or random source. Whoever drives it always does the same three things after each call:
deliver ``poll_events()``, send what is pending, and re-arm one timer from ``deadline()``. Time is a float in seconds from any fixed
origin that never goes back; randomness is a ``headrace.model.Rand`` passed to the constructor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

Event = TypeVar("Event")


class Timed(Protocol):
    """What has a clock passed in."""

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called, or ``None``. May be in the past: then at once."""

    def tick(self, now: float) -> None:
        """Do what is due at ``now``. Harmless when nothing is."""


class Core(Timed, Protocol[Event]):
    """What a driver of a core may rely on, whatever the protocol. ``receive`` differs by core and is not part of this."""

    def poll_events(self) -> list[Event]:
        """Events since the last call, oldest first."""


class Outbox(Generic[Event]):
    """A queue that a core fills and its driver empties."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: deque[Event] = deque()

    def put(self, item: Event) -> None:
        """Append one item."""
        self._items.append(item)

    def drain(self) -> list[Event]:
        """Take everything, oldest first."""
        items = list(self._items)
        self._items.clear()
        return items


class Budget:
    """A rate with a burst: what somebody may make us do."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        """A second."""
        self._burst = burst
        self._left = burst
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one, if there is one left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def earliest(deadlines: Iterable[float | None]) -> float | None:
    """The first of several deadlines, ``None`` if there is none."""
    return min((d for d in deadlines if d is not None), default=None)
