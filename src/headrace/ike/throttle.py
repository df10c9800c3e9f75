"""Bounds what we say in clear to strangers: little to one address, little to all together."""

from __future__ import annotations

from collections import OrderedDict

from headrace.ike.limits import NOTIFY_ADDRESSES, NOTIFY_INTERVAL, NOTIFY_PER_SECOND
from headrace.model import IPAddress


class Throttle:
    """Whether one more notification in clear may be sent."""

    __slots__ = ("_count", "_last", "_second")

    def __init__(self) -> None:
        self._last: OrderedDict[IPAddress, float] = OrderedDict()
        self._second = 0
        self._count = 0

    def allow(self, address: IPAddress, now: float) -> bool:
        """Whether it may be sent now; counts it if so."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        last = self._last.get(address)
        if self._count >= NOTIFY_PER_SECOND or (last is not None and now < last + NOTIFY_INTERVAL):
            return False
        self._count += 1
        self._last[address] = now
        self._last.move_to_end(address)
        if len(self._last) > NOTIFY_ADDRESSES:
            self._last.popitem(last=False)
        return True
