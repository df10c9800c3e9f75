"""The client's end of an IPv6 link: asks for a router, and makes addresses of what it advertises (RFC 4861 section 6.3, RFC 4862)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from headrace.core import Outbox, earliest
from headrace.ip6.discovery import FOREVER, Advertisement, Type
from headrace.ip6.packet import ALL_ROUTERS, ICMP, Packet, icmp
from headrace.wire import Malformed, Reader

SOLICITATIONS: Final = 3
"""MAX_RTR_SOLICITATIONS."""
INTERVAL: Final = 4.0
"""RTR_SOLICITATION_INTERVAL, seconds."""
PREFIXES_MAX: Final = 4
"""Prefixes that are believed at a time; a gateway advertises one."""
DNS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Learned:
    """What the router has told, as it stands now; empty when it has taken everything back."""

    router: IPv6Address | None
    """Link-local; ``None``: no default router."""
    addresses: tuple[IPv6Address, ...] = ()
    """Ours, one of each prefix, each on a /64."""
    dns: tuple[IPv6Address, ...] = ()
    mtu: int = 0
    """Octets; 0: not told."""


class IpHost:
    """See ``headrace.core`` for how it is driven. ``receive`` never raises for a packet's content."""

    def __init__(self, local: IPv6Address, now: float) -> None:
        self.local = local
        self._packets: Outbox[bytes] = Outbox()
        self._drops: Outbox[str] = Outbox()
        self._events: Outbox[Learned] = Outbox()
        self._told = Learned(None)
        self._solicited = 0
        self._solicit_at: float | None = now
        self._prefixes: dict[IPv6Network, float] = {}
        """Prefix to the time when it ends."""
        self._router: IPv6Address | None = None
        self._router_until = 0.0
        self._dns: tuple[IPv6Address, ...] = ()
        self._mtu = 0

    def receive(self, data: bytes, now: float) -> bool:
        """Take one packet that stays on the link. False if it is none of ours to judge: it is for the system then."""
        try:
            packet = Packet.parse(data)
            if packet.next_header != ICMP or packet.payload[:1] != bytes([Type.ROUTER_ADVERTISEMENT]):
                return False
            reader = Reader(packet.payload, "nd")
            _, code, _ = reader.u8("short"), reader.u8("short"), reader.u16("short")
            if packet.hop_limit == 255 and code == 0 and packet.source.is_link_local:
                self._learn(packet.source, Advertisement.parse(reader.rest()), now)
            else:
                self._drops.put("nd_hop_limit")
        except Malformed as error:
            self._drops.put(f"{error.layer}_{error.field}")
        return True

    def _learn(self, router: IPv6Address, told: Advertisement, now: float) -> None:
        self._solicit_at = None
        self._router = router if told.lifetime else None
        self._router_until = now + told.lifetime
        for prefix in told.prefixes:
            network = prefix.network
            usable = prefix.autonomous and network.prefixlen == 64 and not (network.is_link_local or network.is_multicast)
            if not usable or prefix.preferred > prefix.valid:
                self._drops.put("nd_prefix")
            elif prefix.valid == 0:
                self._prefixes.pop(network, None)
            elif network in self._prefixes or len(self._prefixes) < PREFIXES_MAX:
                self._prefixes[network] = float("inf") if prefix.valid == FOREVER else now + prefix.valid
        if told.mtu == 0 or told.mtu >= 1280:
            self._mtu = told.mtu
        if told.dns:
            self._dns = told.dns[:DNS_MAX] if told.dns_lifetime else ()
        self._tell()

    def _tell(self) -> None:
        identifier = int(self.local) & (1 << 64) - 1
        addresses = tuple(IPv6Address(int(network.network_address) | identifier) for network in self._prefixes)
        learned = Learned(self._router, addresses, self._dns, self._mtu)
        if learned != self._told:
            self._told = learned
            self._events.put(learned)

    def poll_packets(self) -> list[bytes]:
        """IPv6 packets to the gateway."""
        return self._packets.drain()

    def poll_drops(self) -> list[str]:
        """Reasons for which packets were ignored."""
        return self._drops.drain()

    def poll_events(self) -> list[Learned]:
        """What was learned since the last call."""
        return self._events.drain()

    def deadline(self) -> float | None:
        """When to ask again, or when what was told ends."""
        ends = [*self._prefixes.values(), *([self._router_until] if self._router is not None else [])]
        return earliest((self._solicit_at, *(end for end in ends if end != float("inf"))))

    def tick(self, now: float) -> None:
        """Ask for a router; forget what has ended."""
        if self._solicit_at is not None and now >= self._solicit_at:
            self._packets.put(icmp(self.local, ALL_ROUTERS, Type.ROUTER_SOLICITATION, bytes(4)))
            self._solicited += 1
            self._solicit_at = now + INTERVAL if self._solicited < SOLICITATIONS else None
        if self._router is not None and now >= self._router_until:
            self._router = None
        self._prefixes = {network: end for network, end in self._prefixes.items() if now < end}
        self._tell()
