"""IPv4 address pools: what may be given to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A run of addresses, both ends included."""

    first: IPv4Address
    last: IPv4Address


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One pool as the configuration names it."""

    name: str
    ranges: tuple[AddressRange, ...]
