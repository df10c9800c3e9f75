"""Repeating a request with backoff until it is answered or given up."""

from __future__ import annotations

from headrace.ike.config import IkeConfig


class Retransmission:
    """The timer of one request that awaits an answer."""

    __slots__ = ("_base", "_factor", "_tries", "_wait", "due", "sent")

    def __init__(self, config: IkeConfig, now: float) -> None:
        self._base = config.retransmit_base
        self._factor = config.retransmit_factor
        self._tries = config.retransmit_tries
        self._wait = config.retransmit_base
        self.sent = 1
        """How often the request went out."""
        self.due = now + self._wait
        """When it is to be repeated, or given up."""

    @property
    def exhausted(self) -> bool:
        """Whether ``due`` is the end rather than another try."""
        return self.sent > self._tries

    @property
    def interval(self) -> float:
        """Seconds before the first repetition."""
        return self._base

    def repeat(self, now: float) -> None:
        """It went out again."""
        self.sent += 1
        self._wait *= self._factor
        self.due = now + self._wait
