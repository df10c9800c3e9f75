"""Dead peer detection (RFC 3706): when to ask, which sequence numbers to believe, when a peer is gone."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from headrace.model import Rand

_MODULUS: Final = 1 << 32
_MAX_JUMP: Final = 1 << 16
"""How far a peer's number may run ahead: that many questions of which none arrived."""


class Verdict(Enum):
    """What is due."""

    NOTHING = auto()
    ASK = auto()
    """Send R-U-THERE with ``sequence``."""
    GONE = auto()


class DeadPeerDetection:
    """The asking side, one for each peer. Anything authenticated from the peer, ESP too, counts as an answer."""

    __slots__ = ("_asked_first", "_asked_last", "_seen", "sequence")

    def __init__(self, rand: Rand, now: float) -> None:
        # The top bit is clear, so that numbers do not wrap soon (RFC 3706 section 6.2).
        self.sequence: int = int.from_bytes(rand(4), "big") >> 1
        self._seen = now
        self._asked_first: float | None = None
        self._asked_last = now

    def alive(self, now: float) -> None:
        """Something authenticated came."""
        self._seen = now
        self._asked_first = None

    def deadline(self, delay: float, timeout: float) -> float | None:
        """When ``tick`` may have something; ``None`` if it is switched off."""
        if delay <= 0:
            return None
        if self._asked_first is None:
            return self._seen + delay
        return min(self._asked_last + _interval(delay, timeout), self._asked_first + timeout)

    def tick(self, now: float, delay: float, timeout: float) -> Verdict:
        """What is due at ``now``: ask after ``delay`` of silence, give up ``timeout`` after the first unanswered question."""
        due = self.deadline(delay, timeout)
        if due is None or now < due:
            return Verdict.NOTHING
        if self._asked_first is not None and now >= self._asked_first + timeout:
            return Verdict.GONE
        if self._asked_first is None:
            self._asked_first = now
        self._asked_last = now
        self.sequence = (self.sequence + 1) % _MODULUS
        return Verdict.ASK


def _interval(delay: float, timeout: float) -> float:
    # At least three questions before the peer is given up.
    return min(delay, timeout / 4)


class Questions:
    """The answering side, one for each ISAKMP SA: which numbers of the peer's questions are believed."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def accept(self, sequence: int) -> bool:
        """Whether R-U-THERE is to be answered: the first, a repeated one, or one a little ahead."""
        if self._last is not None and (sequence - self._last) % _MODULUS > _MAX_JUMP:
            return False
        self._last = sequence
        return True
