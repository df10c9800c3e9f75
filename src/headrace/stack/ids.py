"""Tunnel ids, unique in the whole gateway: the data plane finds a session by them before it asks whose SA it came through."""

from __future__ import annotations

from typing import Final

from headrace.l2tp.config import IdAllocator
from headrace.model import Rand

_MAX: Final = 65535
_TRIES: Final = 16


class TunnelIds:
    """Hands out free ids from 1 to 65535 in no order that a stranger could guess."""

    def __init__(self, rand: Rand) -> None:
        self._rand = rand
        self._used: set[int] = set()

    def take(self) -> int | None:
        """A free id, ``None`` when all are taken."""
        if len(self._used) == _MAX:
            return None
        for _ in range(_TRIES):
            candidate = int.from_bytes(self._rand(2), "big")
            if candidate and candidate not in self._used:
                break
        else:  # nearly full: the next free one behind a random place
            start = int.from_bytes(self._rand(2), "big")
            candidate = next(c for i in range(_MAX + 1) if (c := (start + i) & _MAX) and c not in self._used)
        self._used.add(candidate)
        return candidate

    def free(self, number: int) -> None:
        """Give an id back."""
        self._used.discard(number)

    def allocator(self) -> IdAllocator:
        """What the L2TP core takes."""
        return IdAllocator(self.take, self.free)
