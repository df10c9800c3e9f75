"""The gateway's end of one session's IPv6 link: advertises the session's prefix, delegates another, answers for its own address.

Packets in and out are those that stay on the link; what is routed never comes here. The client is one, and known: there is no neighbour
cache, and whatever it asks is answered at once, within a rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from headrace.core import Budget, Outbox
from headrace.ip6 import dhcp
from headrace.ip6.discovery import (
    Advertisement,
    Prefix,
    Type,
    neighbour_advertisement,
    neighbour_target,
    options,
)
from headrace.ip6.packet import ALL_NODES, ALL_ROUTERS, DHCP_AGENTS, ICMP, UDP, UNSPECIFIED, Packet, Udp, icmp, udp
from headrace.model import Rand
from headrace.wire import Malformed, Reader

LIFETIME: Final = 1800
"""AdvDefaultLifetime: seconds that a client believes in this router without hearing of it."""
INTERVAL: Final = (200.0, 600.0)
"""MinRtrAdvInterval and MaxRtrAdvInterval, seconds (RFC 4861 section 6.2.1)."""
FIRST_INTERVAL: Final = 16.0
FIRST: Final = 3
"""Advertisements after which the interval is the long one (section 10)."""
RATE: Final = 10.0
"""Answers a second to one client, and how many may come at once: a client needs a handful when it comes up."""
BURST: Final = 20.0


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """One session's link."""

    local: IPv6Address
    """Our link-local address."""
    prefix: IPv6Network
    """The link's own, a /64."""
    duid: bytes
    """Who we are in DHCPv6."""
    delegated: IPv6Network | None = None
    dns: tuple[IPv6Address, ...] = ()
    mtu: int = 0
    """Octets of the largest packet; 0 says nothing."""
    preferred: int = 14400
    """Seconds that addresses of the prefixes are used for something new."""
    valid: int = 86400


def split(granted: IPv6Network, delegated_length: int) -> tuple[IPv6Network, IPv6Network | None]:
    """What a session was granted as the link's own /64 and the prefix that is delegated: the lower and the upper half of it.

    A grant that is no longer than ``delegated_length``, or a ``delegated_length`` of 0, has nothing to delegate.
    """
    link = next(granted.subnets(new_prefix=64)) if granted.prefixlen < 64 else granted
    if not delegated_length or granted.prefixlen >= delegated_length:
        return link, None
    return link, list(granted.subnets(prefixlen_diff=1))[1] if granted.prefixlen + 1 == delegated_length else None


class IpRouter:
    """See the module's text, and ``headrace.core`` for how it is driven. ``receive`` never raises for a packet's content."""

    def __init__(self, config: RouterConfig, rand: Rand, now: float) -> None:
        self.config = config
        self._rand = rand
        self._packets: Outbox[bytes] = Outbox()
        self._drops: Outbox[str] = Outbox()
        self._dhcp = dhcp.DelegationServer(
            config.duid, config.delegated, config.dns, preferred=config.preferred, valid=config.valid
        )
        self._sent = 0
        self._budget = Budget(RATE, BURST, now)
        self._advertise_at = now

    def receive(self, data: bytes, now: float) -> None:
        """Take one packet from the client."""
        try:
            packet = Packet.parse(data)
            if packet.next_header == ICMP:
                self._receive_icmp(packet, now)
            elif packet.next_header == UDP and packet.destination in {DHCP_AGENTS, self.config.local}:
                self._receive_udp(packet, now)
        except Malformed as error:
            self._drops.put(f"{error.layer}_{error.field}")

    def poll_packets(self) -> list[bytes]:
        """IPv6 packets to the client."""
        return self._packets.drain()

    def poll_drops(self) -> list[str]:
        """Reasons for which packets were ignored."""
        return self._drops.drain()

    def deadline(self) -> float | None:
        """When the next advertisement is due."""
        return self._advertise_at

    def tick(self, now: float) -> None:
        """Advertise, if it is time."""
        if now >= self._advertise_at:
            self._packets.put(icmp(self.config.local, ALL_NODES, Type.ROUTER_ADVERTISEMENT, self._advertisement()))
            self._sent += 1
            self._advertise_at = now + (FIRST_INTERVAL if self._sent < FIRST else self._interval())

    def _interval(self) -> float:
        low, high = INTERVAL
        return low + (high - low) * int.from_bytes(self._rand(2), "big") / 0xFFFF

    def _advertisement(self) -> bytes:
        config = self.config
        return Advertisement(
            other=bool(config.dns) or config.delegated is not None,
            lifetime=LIFETIME,
            prefixes=(Prefix(config.prefix, config.valid, config.preferred),),
            mtu=config.mtu,
            dns=config.dns,
            dns_lifetime=LIFETIME if config.dns else 0,
        ).emit()

    def _receive_icmp(self, packet: Packet, now: float) -> None:
        reader = Reader(packet.payload, "icmp6")
        kind, code, _ = reader.u8("short"), reader.u8("short"), reader.u16("short")
        body = reader.rest()
        if kind == Type.ECHO_REQUEST and code == 0:
            if packet.destination in {self.config.local, ALL_NODES, ALL_ROUTERS} and self._is_host(packet.source):
                self._answer(packet.source, Type.ECHO_REPLY, body, now)
        elif kind in {Type.ROUTER_SOLICITATION, Type.NEIGHBOUR_SOLICITATION}:
            if packet.hop_limit != 255 or code != 0:  # it came from another link (RFC 4861 section 6.1.1 and 7.1.1)
                raise Malformed("nd", "hop_limit", 7, f"hop limit {packet.hop_limit}, code {code}")
            if kind == Type.ROUTER_SOLICITATION:
                reader = Reader(body, "nd")
                reader.take(4, "short")
                for _ in options(reader):
                    pass
                self._answer(packet.source, Type.ROUTER_ADVERTISEMENT, self._advertisement(), now)
            elif neighbour_target(body) == self.config.local:
                solicited = packet.source != UNSPECIFIED
                advertisement = neighbour_advertisement(self.config.local, solicited=solicited)
                self._answer(packet.source, Type.NEIGHBOUR_ADVERTISEMENT, advertisement, now)

    @staticmethod
    def _is_host(source: IPv6Address) -> bool:
        return not source.is_unspecified and not source.is_multicast

    def _answer(self, to: IPv6Address, kind: Type, body: bytes, now: float) -> None:
        """One that has no address yet is answered by multicast; nobody else can be meant on this link."""
        if self._may_answer(now):
            self._packets.put(icmp(self.config.local, to if self._is_host(to) else ALL_NODES, kind, body))

    def _may_answer(self, now: float) -> bool:
        if self._budget.spend(now):
            return True
        self._drops.put("ip6_rate")
        return False

    def _receive_udp(self, packet: Packet, now: float) -> None:
        datagram = Udp.parse(packet.payload)
        if datagram.destination != dhcp.SERVER_PORT or not packet.source.is_link_local or not self._may_answer(now):
            return
        reply = self._dhcp.answer(datagram.body)
        if reply is None:
            self._drops.put("dhcp6_not_ours")
        else:
            self._packets.put(udp(self.config.local, packet.source, (dhcp.SERVER_PORT, datagram.source), reply))
