"""The IPv6 Control Protocol (RFC 5072), both roles: each end names its interface identifier, and they must differ.

Nothing else is negotiated here. Addresses beyond the link's own are for router advertisements and DHCPv6 to give.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

from headrace.errors import Slug
from headrace.model import Rand
from headrace.ppp.automaton import Port, Verdict
from headrace.ppp.config import LinkConfig
from headrace.ppp.events import Ipv6Down, Ipv6Up
from headrace.ppp.frame import Proto
from headrace.ppp.network import Grant, NetworkProtocol
from headrace.ppp.option import Ipv6cp as Opt
from headrace.ppp.option import Option

SIZE: Final = 8
"""Octets of an interface identifier."""

NONE: Final = bytes(SIZE)
"""In a request: suggest one."""

_LINK_LOCAL: Final = b"\xfe\x80" + bytes(6)
_UNIVERSAL: Final = 0x02
"""The bit that says an identifier was assigned worldwide (RFC 5072 section 4.1): not one that was drawn."""


def link_local(identifier: bytes) -> IPv6Address:
    """The link-local address of an interface identifier."""
    return IPv6Address(_LINK_LOCAL + identifier)


def draw(rand: Rand, other: bytes = NONE) -> bytes:
    """An identifier at random: not zero, not ``other``, not claimed to be worldwide."""
    while True:
        octets = bytearray(rand(SIZE))
        octets[0] &= ~_UNIVERSAL
        if bytes(octets) not in {NONE, other}:
            return bytes(octets)


class Ipv6cp(NetworkProtocol):
    """IPV6CP of one link."""

    protocol = Proto.IPV6CP
    layer = "ipv6cp"
    data_protocols = frozenset({Proto.IPV6})
    slug = Slug.IPCP_REFUSED
    essential = False

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config, grant)
        self._local = NONE
        self._remote = NONE
        self._silent = False
        self._nameless = False
        self._announced = False
        self.reset()

    @classmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:
        """A client where it is configured; a server for those who have a prefix."""
        return config.ipv6 and (not config.server or grant.prefix6 is not None)

    def reset(self) -> None:
        """Our identifier as configured, or a new one."""
        self._local = self.config.interface_id or draw(self.port.rand)
        self._remote = NONE
        self._silent = False

    def request(self) -> tuple[Option, ...]:
        """Our identifier, unless the peer will not hear of it."""
        return () if self._silent else (Option(Opt.INTERFACE_ID, self._local),)

    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """Take an identifier that is not ours; Nak zero, ours and none at all with one that would do; reject compression."""
        nak: list[Option] = []
        reject = [option for option in options if option.type != Opt.INTERFACE_ID]
        wanted = next((option.data for option in options if option.type == Opt.INTERFACE_ID), NONE)
        if not options and self._nameless:
            return Verdict()
        if wanted in {NONE, self._local}:
            nak.append(Option(Opt.INTERFACE_ID, draw(self.port.rand, self._local)))
        else:
            self._remote = wanted
        return Verdict(tuple(nak), tuple(reject))

    def insist(self, verdict: Verdict, options: tuple[Option, ...]) -> Verdict | None:
        """A peer that will not name itself need not."""
        self._nameless = True
        return super().insist(verdict, options)

    def naked(self, options: tuple[Option, ...]) -> None:
        """Take what the peer suggests, or draw again where that is no use."""
        for option in options:
            if option.type == Opt.INTERFACE_ID and len(option.data) == SIZE:
                fits = option.data not in {NONE, self._remote}
                self._local = option.data if fits else draw(self.port.rand, self._remote)

    def rejected(self, options: tuple[Option, ...]) -> None:
        """Do without: the peer does not want to know our identifier."""
        self._silent = self._silent or any(option.type == Opt.INTERFACE_ID for option in options)

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Announce both ends."""
        named = next((option.data for option in theirs if option.type == Opt.INTERFACE_ID), NONE)
        self._announced = True
        remote = link_local(named) if named != NONE else None
        self.port.emit(Ipv6Up(link_local(self._local), remote, self.grant.prefix6))

    def ended(self) -> None:
        """Take the announcement back."""
        if self._announced:
            self._announced = False
            self.port.emit(Ipv6Down())
