"""Who wants to be woken when: one heap for everything an endpoint holds, so that 65,536 peers cost nothing while they are idle."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Schedule(Generic[K]):
    """One deadline a key. A deadline may come early; whoever is woken says again when it wants to be."""

    __slots__ = ("_heap", "_order", "_when")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()
        self._when: dict[K, float] = {}

    def set(self, key: K, when: float | None) -> None:
        """Replace the deadline of a key; ``None`` takes it away."""
        if when is None:
            self._when.pop(key, None)
        elif self._when.get(key) != when:
            self._when[key] = when
            heapq.heappush(self._heap, (when, next(self._order), key))
            if len(self._heap) > 2 * len(self._when) + 64:
                self._heap = [(at, next(self._order), item) for item, at in self._when.items()]
                heapq.heapify(self._heap)

    def deadline(self) -> float | None:
        """The earliest deadline."""
        while self._heap and self._when.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[K]:
        """Take the keys whose deadline has come, earliest first."""
        found: list[K] = []
        while (when := self.deadline()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._when[key]
            found.append(key)
        return found
