"""IPv6 prefixes: which block each session has.

All blocks have one length. A user gets the block it had last if that is free; otherwise one that was never used, then the one that has
been free longest. The first block is the gateway's own.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from headrace.access.pools import STICKY_MAX, AddressTaken, PoolEmpty

if TYPE_CHECKING:
    from collections.abc import Iterable

LINK_LENGTH: Final = 64
"""Every link has a /64: its hosts make their own addresses (RFC 4862)."""


class Prefixes:
    """The blocks of a gateway, and who has which. ``delegated_length`` is that of what a session may have delegated; 0: nothing.

    A session that delegates has twice that: the link's /64 in its lower half, the delegated prefix as its upper half.
    """

    def __init__(self, networks: Iterable[IPv6Network], *, delegated_length: int = 0) -> None:
        self.length = delegated_length - 1 if delegated_length else LINK_LENGTH
        """Of a block."""
        self._networks = tuple(networks)
        self._sizes = tuple(1 << self.length - network.prefixlen for network in self._networks)
        self.size = sum(self._sizes)
        """Blocks in all."""
        self._fresh = 1  # 0 is ours
        self._returned: OrderedDict[int, None] = OrderedDict()
        self._by_owner: dict[str, int] = {}
        self._last: OrderedDict[str, int] = OrderedDict()
        self._static: set[int] = set()
        """Given to accounts that have them for themselves: nobody else's from then on."""

    @property
    def own(self) -> IPv6Address | None:
        """The gateway's own address: the first of the first block. ``None`` without any network."""
        return self._networks[0].network_address + 1 if self._networks else None

    @property
    def networks(self) -> tuple[IPv6Network, ...]:
        """What to route to the clients."""
        return self._networks

    @property
    def used(self) -> int:
        """How many blocks somebody has, the gateway's own not counted."""
        return len(self._by_owner)

    def lease(self, owner: str, *, user: str, wanted: IPv6Network | None = None) -> IPv6Network:
        """Give a block: ``wanted``, the account's static one, or any. ``owner`` keeps what it has if it asks again. Raises ``PoolEmpty``."""
        number = self._by_owner.get(owner)
        if number is not None and wanted is not None and self._block(number) != wanted:
            self.release(owner)
            number = None
        if number is None:
            number = self._take(user) if wanted is None else self._take_static(wanted)
            self._by_owner[owner] = number
            self._last[user] = number
            self._last.move_to_end(user)
            if len(self._last) > STICKY_MAX:
                self._last.popitem(last=False)
        return self._block(number)

    def _take_static(self, wanted: IPv6Network) -> int:
        """The number of a block that an account has for itself."""
        number = 0
        for network, size in zip(self._networks, self._sizes, strict=True):
            if wanted.prefixlen == self.length and wanted.subnet_of(network):
                number += int(wanted.network_address) - int(network.network_address) >> 128 - self.length
                break
            number += size
        else:
            raise PoolEmpty(f"{wanted} is not a block of /{self.length} of network.ipv6_prefixes")
        if number == 0 or number in self._by_owner.values():
            raise AddressTaken(f"{wanted} is {'in use' if number else 'the one of the gateway itself'}")
        self._returned.pop(number, None)
        self._static.add(number)
        return number

    def _take(self, user: str) -> int:
        before = self._last.get(user)
        if before is not None and before in self._returned:
            del self._returned[before]
            return before
        while self._fresh < self.size:
            self._fresh += 1
            if self._fresh - 1 not in self._static:
                return self._fresh - 1
        if not self._returned:
            raise PoolEmpty(f"no IPv6 prefix is left ({max(self.size - 1, 0)} of {max(self.size - 1, 0)})")
        return self._returned.popitem(last=False)[0]

    def _block(self, number: int) -> IPv6Network:
        for network, size in zip(self._networks, self._sizes, strict=True):
            if number < size:
                return IPv6Network((int(network.network_address) + (number << 128 - self.length), self.length))
            number -= size
        raise AssertionError(number)

    def release(self, owner: str) -> None:
        """Take back what an owner has. Harmless if it has nothing."""
        number = self._by_owner.pop(owner, None)
        if number is not None and number not in self._static:
            self._returned[number] = None
