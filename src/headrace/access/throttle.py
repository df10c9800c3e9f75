"""What wrong passwords lead to: answers that come later and later, then a lock.

Counted for a name from one address, and for a name from everywhere. The first lock leaves the same name alone elsewhere; the second
spares an address from which the name came in before, so that a stranger who guesses cannot lock the owner out of his home. All of it is
bounded: whoever floods with names only pushes out the oldest counts.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from headrace.model import IPAddress

CAPACITY: Final = 1 << 16
"""Counts of each kind; some 10 MB at most."""
FREE_FAILURES: Final = 2
"""Typing errors that cost nothing."""
DELAY_FIRST: Final = 0.5
DELAY_MAX: Final = 4.0
"""Seconds; the client's own timer for an answer is 3 to 10 of them."""


class LockoutPolicy(Protocol):
    """The configured bounds; seconds where a time is meant."""

    @property
    def max_failures(self) -> int:
        """For a name from one address; 0 is never."""

    @property
    def max_failures_total(self) -> int:
        """For a name from all addresses; 0 is never."""

    @property
    def failure_window(self) -> float:
        """Within which failures count."""

    @property
    def lockout_time(self) -> float:
        """How long a lock lasts."""


@dataclass(slots=True)
class _Count:
    begin: float
    failures: int = 0
    locked_until: float = 0.0


class _Counts:
    """A bounded table of counts; the one longest untouched goes first."""

    def __init__(self, limit: int, policy: LockoutPolicy, capacity: int) -> None:
        self.limit = limit
        self.policy = policy
        self.capacity = capacity
        self.rows: OrderedDict[tuple[str, ...], _Count] = OrderedDict()

    def change(self, limit: int, policy: LockoutPolicy) -> None:
        self.limit, self.policy = limit, policy

    def current(self, key: tuple[str, ...], now: float) -> _Count | None:
        row = self.rows.get(key)
        if row is not None and now >= row.locked_until and now - row.begin >= self.policy.failure_window:
            del self.rows[key]
            return None
        return row

    def failed(self, key: tuple[str, ...], now: float) -> None:
        row = self.current(key, now)
        if row is None:
            row = self.rows[key] = _Count(now)
            if len(self.rows) > self.capacity:
                self.rows.popitem(last=False)
        self.rows.move_to_end(key)
        row.failures += 1
        if self.limit and row.failures >= self.limit and now >= row.locked_until:
            row.locked_until = now + self.policy.lockout_time
            row.begin, row.failures = row.locked_until, 0

    def locked(self, key: tuple[str, ...], now: float) -> float:
        row = self.current(key, now)
        return max(0.0, row.locked_until - now) if row is not None else 0.0


class Throttle:
    """Counts wrong passwords. ``now`` is monotonic, in seconds."""

    def __init__(self, policy: LockoutPolicy, *, capacity: int = CAPACITY) -> None:
        self._pairs = _Counts(policy.max_failures, policy, capacity)
        self._names = _Counts(policy.max_failures_total, policy, capacity)
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._capacity = capacity

    def change(self, policy: LockoutPolicy) -> None:
        """Go on by another policy, with what was counted."""
        self._pairs.change(policy.max_failures, policy)
        self._names.change(policy.max_failures_total, policy)

    def locked(self, name: str, address: IPAddress, now: float) -> float:
        """Seconds for which this name from this address is not looked at; 0 if it is."""
        place = _place(address)
        pair = self._pairs.locked((name, place), now)
        total = 0.0 if (name, place) in self._good else self._names.locked((name,), now)
        return max(pair, total)

    def failed(self, name: str, address: IPAddress, now: float) -> float:
        """Note a wrong password; returns the seconds to hold the answer back."""
        place = _place(address)
        self._pairs.failed((name, place), now)
        self._names.failed((name,), now)
        counts = (self._pairs.current((name, place), now), self._names.current((name,), now))
        failures = max((row.failures for row in counts if row is not None), default=0)
        over = failures - FREE_FAILURES
        return min(DELAY_MAX, DELAY_FIRST * 2.0 ** min(over - 1, 8)) if over > 0 else 0.0

    def succeeded(self, name: str, address: IPAddress) -> None:
        """Note a right password: the pair begins anew, and the place is known as good. The count from everywhere stays."""
        key = (name, _place(address))
        self._pairs.rows.pop(key, None)
        self._good[key] = None
        self._good.move_to_end(key)
        if len(self._good) > self._capacity:
            self._good.popitem(last=False)


def _place(address: IPAddress) -> str:
    """An IPv4 address, or the /64 that an IPv6 host can pick any address of."""
    if address.version == 4:
        return str(address)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))
