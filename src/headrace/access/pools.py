"""IPv4 address pools: what may be given to whom, and who has what.

A user gets the address it had last if that is free; otherwise one that was never used, then the one that has been free longest. Addresses
kept for accounts with a static address are never given to anyone else.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    NetmaskValueError,
    collapse_addresses,
    summarize_address_range,
)
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

POOL_MAX: Final = 1 << 24
"""Addresses in one pool."""
STICKY_MAX: Final = 1 << 17
"""Users whose last address is remembered."""


class RangeError(ValueError):
    """A text is not a range of addresses that can be given out."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class PoolEmpty(Exception):
    """A pool has no address left; the text says how many it has."""


class AddressTaken(PoolEmpty):
    """A static address is in use."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A run of addresses, both ends included."""

    first: IPv4Address
    last: IPv4Address

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def overlaps(self, other: AddressRange) -> bool:
        """Say whether an address is in both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One pool as the configuration names it."""

    name: str
    ranges: tuple[AddressRange, ...]


def parse_range(text: str) -> AddressRange:
    """Read ``10.99.0.0/24`` (without its network and broadcast address) or ``10.99.0.2-10.99.0.254``. Raises ``RangeError``."""
    if "/" in text:
        found = _parse_network(text)
    elif "-" in text:
        found = _parse_span(text)
    else:
        raise RangeError(f"{text!r} is neither a network nor a range", 'write "10.99.0.0/24" or "10.99.0.2-10.99.0.254"')
    for special, name in _SPECIAL:
        if found.overlaps(special):
            raise RangeError(
                f"{text} holds {name} addresses, which no host can have", "take a private network such as 10.99.0.0/24"
            )
    if len(found) > POOL_MAX:
        raise RangeError(f"{text} has more than {POOL_MAX} addresses", "take a smaller network")
    return found


def _parse_network(text: str) -> AddressRange:
    try:
        network = IPv4Network(text, strict=False)
        given = IPv4Address(text.split("/", 1)[0].strip())
    except (AddressValueError, NetmaskValueError, ValueError):
        raise RangeError(f"{text!r} is not an IPv4 network", 'write it like "10.99.0.0/24"') from None
    if network.prefixlen >= 31:
        raise RangeError(f"{text} has no room for clients", "take a network of /30 or larger, or a range FIRST-LAST")
    if given != network.network_address:
        raise RangeError(
            f"{text} has host bits set", f'write "{network}", or a range "{given}-{network.broadcast_address - 1}"'
        )
    return AddressRange(network.network_address + 1, network.broadcast_address - 1)


def _parse_span(text: str) -> AddressRange:
    first_text, _, last_text = text.partition("-")
    try:
        first, last = IPv4Address(first_text.strip()), IPv4Address(last_text.strip())
    except AddressValueError:
        raise RangeError(f"{text!r} is not a range of IPv4 addresses", 'write it like "10.99.0.2-10.99.0.254"') from None
    if last < first:
        raise RangeError(f"{text} is reversed", f'write "{last}-{first}"')
    return AddressRange(first, last)


_SPECIAL: Final = tuple(
    (AddressRange(network.network_address, network.broadcast_address), name)
    for network, name in (
        (IPv4Network("0.0.0.0/8"), "unspecified"),
        (IPv4Network("127.0.0.0/8"), "loopback"),
        (IPv4Network("224.0.0.0/4"), "multicast"),
        (IPv4Network("240.0.0.0/4"), "reserved"),
    )
)


class Pool:
    """The free addresses of one pool. Who has the others is ``Pools``' business."""

    __slots__ = ("_fresh", "_kept", "_range", "_returned", "_taken", "name", "ranges", "size")

    def __init__(self, spec: PoolSpec) -> None:
        self.name = spec.name
        self.ranges = spec.ranges
        self.size = sum(len(r) for r in spec.ranges)
        self._range = 0
        self._fresh = int(spec.ranges[0].first) if spec.ranges else 0
        self._returned: OrderedDict[int, None] = OrderedDict()
        """Free again, longest free first."""
        self._kept: set[int] = set()
        """Passed over because an account has it as its static address."""
        self._taken: set[int] = set()
        """Given out, or found in use when its turn came."""

    def __contains__(self, address: IPv4Address) -> bool:
        return any(address in r for r in self.ranges)

    def claim(self, number: int) -> bool:
        """Take this very address, if it is free."""
        if number in self._taken:
            return False
        self._returned.pop(number, None)
        self._kept.discard(number)
        self._taken.add(number)
        return True

    def take(self, static: AbstractSet[int]) -> int:
        """Take any address that is not in ``static``. Raises ``PoolEmpty``."""
        number = self._take_fresh(static)
        if number is None:
            number = self._take_returned(static)
        if number is None:
            kept = f", {len(self._kept)} kept for static addresses" if self._kept else ""
            raise PoolEmpty(f"pool {self.name} is empty ({self.size} of {self.size}{kept})")
        self._taken.add(number)
        return number

    def _take_fresh(self, static: AbstractSet[int]) -> int | None:
        while self._range < len(self.ranges):
            number, last = self._fresh, int(self.ranges[self._range].last)
            if number == last:
                self._range += 1
                if self._range < len(self.ranges):
                    self._fresh = int(self.ranges[self._range].first)
            else:
                self._fresh += 1
            if number in self._taken or number in self._returned or number in self._kept:
                continue
            if number in static:
                self._kept.add(number)
                continue
            return number
        return None

    def _take_returned(self, static: AbstractSet[int]) -> int | None:
        while self._returned:
            number, _ = self._returned.popitem(last=False)
            if number not in static:
                return number
            self._kept.add(number)
        for number in self._kept - static:  # an account gave its static address up
            self._kept.discard(number)
            return number
        return None

    def give_back(self, number: int) -> None:
        """Make an address free again."""
        if number in self._taken:
            self._taken.discard(number)
            self._returned[number] = None

    @property
    def used(self) -> int:
        """How many of its addresses somebody has."""
        return len(self._taken)


class Pools:
    """All pools of a gateway, and the leases.

    ``reserved`` is never given to anyone. ``static`` gives the addresses that accounts have for themselves, as numbers; it is asked at
    every lease, so that a changed account counts at once.
    """

    def __init__(
        self,
        specs: Iterable[PoolSpec],
        *,
        reserved: Iterable[IPv4Address] = (),
        static: Callable[[], AbstractSet[int]] = frozenset,
    ) -> None:
        self._pools = {spec.name: Pool(spec) for spec in specs}
        self._reserved = frozenset(int(address) for address in reserved)
        for number in self._reserved:
            self._claim(number)
        self._static = static
        self._by_owner: dict[str, int] = {}
        self._users: dict[int, str] = {}
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()
        self.default = next(iter(self._pools), "")
        """Name of the first pool."""

    def lease(self, owner: str, *, user: str, pool: str = "", wanted: IPv4Address | None = None) -> IPv4Address:
        """Give an address: ``wanted``, the account's static one, in a pool or not; else one out of ``pool`` (the first, if none is named).

        ``owner`` is whoever gives it back, a session; it keeps what it has if it asks again. Raises ``PoolEmpty``.
        """
        held = self._by_owner.get(owner)
        if held is not None:
            if wanted is None or int(wanted) == held:
                return IPv4Address(held)
            self.release(owner)
        number = self._take_static(int(wanted)) if wanted is not None else self._take(user, pool or self.default)
        self._by_owner[owner] = number
        self._users[number] = user
        return IPv4Address(number)

    def _take_static(self, number: int) -> int:
        if number in self._reserved:
            raise AddressTaken(f"{IPv4Address(number)} is the gateway's own")
        if number in self._users:
            raise AddressTaken(f"{IPv4Address(number)} is in use by {self._users[number]}")
        self._claim(number)
        return number

    def _take(self, user: str, name: str) -> int:
        source = self._pools.get(name)
        if source is None:
            raise PoolEmpty(f"pool {name} does not exist" if name else "there is no pool")
        static = self._static()
        before = self._last.get((user, name))
        again = before is not None and before not in static and source.claim(before)
        number = before if again and before is not None else source.take(static)
        self._last[user, name] = number
        self._last.move_to_end((user, name))
        if len(self._last) > STICKY_MAX:
            self._last.popitem(last=False)
        return number

    def release(self, owner: str) -> None:
        """Take back what an owner has. Harmless if it has nothing."""
        number = self._by_owner.pop(owner, None)
        if number is None:
            return
        del self._users[number]
        address = IPv4Address(number)
        for pool in self._pools.values():
            if address in pool:
                pool.give_back(number)

    def _claim(self, number: int) -> None:
        address = IPv4Address(number)
        for pool in self._pools.values():
            if address in pool:
                pool.claim(number)

    def usage(self) -> dict[str, tuple[int, int]]:
        """Tell for each pool how many addresses are in use, and how many it has."""
        return {name: (pool.used, pool.size) for name, pool in self._pools.items()}

    def networks(self) -> tuple[IPv4Network, ...]:
        """The networks that make up all pools: what to route to the clients."""
        return networks_of(self._pools.values())

    def change(self, specs: Iterable[PoolSpec]) -> None:
        """Go on with other pools. Whoever has an address keeps it, also one that is in no pool any more."""
        self._pools = {spec.name: Pool(spec) for spec in specs}
        self.default = next(iter(self._pools), "")
        for number in (*self._reserved, *self._users):
            self._claim(number)


def networks_of(pools: Iterable[PoolSpec | Pool]) -> tuple[IPv4Network, ...]:
    """The networks, as few as possible, that make up pools."""
    ranges = (r for pool in pools for r in pool.ranges)
    return tuple(collapse_addresses(net for r in ranges for net in summarize_address_range(r.first, r.last)))
