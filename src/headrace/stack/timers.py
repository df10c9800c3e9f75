"""One deadline for thousands of cores: a heap in which stale entries are skipped when they surface."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """Deadlines by key. Setting one again replaces it; the cost is logarithmic, whatever the number of keys."""

    __slots__ = ("_current", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._current: dict[K, tuple[float, int]] = {}
        self._serial = 0

    def set(self, key: K, deadline: float | None) -> None:
        """Arm ``key`` for ``deadline``, or disarm it with ``None``."""
        if deadline is None:
            self._current.pop(key, None)
            return
        known = self._current.get(key)
        if known is not None and known[0] == deadline:
            return
        self._serial += 1
        self._current[key] = (deadline, self._serial)
        heapq.heappush(self._heap, (deadline, self._serial, key))
        if len(self._heap) > 64 + 4 * len(self._current):
            self._heap = [(when, serial, k) for k, (when, serial) in self._current.items()]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The earliest deadline."""
        while self._heap:
            when, serial, key = self._heap[0]
            if self._current.get(key) == (when, serial):
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[K]:
        """Disarm and return every key whose deadline is not after ``now``."""
        keys: list[K] = []
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._current[key]
            keys.append(key)
        return keys
