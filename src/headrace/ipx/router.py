"""A small IPX router: all sessions are hosts of one internal network, an Ethernet may be another, RIP and SAP are answered for both.

The way of a packet: who sent it (a session speaks for its own node alone) -> is it for us (RIP, SAP) -> to whom (one session, the Ethernet,
a router that RIP has told of; broadcasts to everybody on the network, NetBIOS' to every network) -> one hop more.

What ends a packet that goes round: fifteen hops, the list of networks that a NetBIOS broadcast carries, and a rate for broadcasts of each
port. Networks are learned from the Ethernet alone; services also from sessions, but only those at the session's own node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from headrace.core import Budget, Outbox
from headrace.ipx import rip, sap
from headrace.ipx.packet import (
    BROADCAST,
    HOPS_MAX,
    NO_CHECKSUM,
    PROPAGATED,
    RIP,
    RIP_SOCKET,
    SAP,
    SAP_SOCKET,
    Address,
    Packet,
)
from headrace.wire import Malformed

ETHERNET: Final = 0
"""The port of the Ethernet; sessions have their handles, which begin at 1."""

INTERVAL: Final = 60.0
"""Seconds between what is told on the Ethernet unasked; three of them without word, and a network or service is gone."""
ROUTES_MAX: Final = 1024
SERVICES_MAX: Final = 1024
SESSION_SERVICES_MAX: Final = 16
"""Services of one session: a file server has three."""
BROADCAST_RATE: Final = 50.0
"""Broadcasts a second from one port, and as many at once: each is copied to every session."""
PROPAGATED_HOPS_MAX: Final = 8
"""Networks that a NetBIOS broadcast has room to list."""
_TICKS: Final = 2
"""What a hop costs here in 1/18 seconds."""


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """One router."""

    network: int
    """Of the sessions; not 0."""
    node: bytes
    """Ours on every network, and our MAC address on the Ethernet."""
    ethernet: int = 0
    """Network of the Ethernet; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A packet on its way out."""

    port: int
    node: bytes
    """The next station on the Ethernet."""
    data: bytes


@dataclass(slots=True)
class _Port:
    node: bytes
    budget: Budget


@dataclass(frozen=True, slots=True)
class _Route:
    router: bytes
    hops: int
    ticks: int
    until: float


@dataclass(frozen=True, slots=True)
class _Offer:
    service: sap.Service
    port: int
    until: float


class IpxRouter:
    """See the module's text, and ``headrace.core`` for how it is driven. ``receive`` never raises for a packet's content."""

    def __init__(self, config: RouterConfig, now: float) -> None:
        self.config = config
        self._ports: dict[int, _Port] = {}
        self._by_node: dict[bytes, int] = {}
        if config.ethernet:
            self._ports[ETHERNET] = _Port(config.node, Budget(BROADCAST_RATE, BROADCAST_RATE, now))
        self._routes: dict[int, _Route] = {}
        self._offers: dict[tuple[int, bytes], _Offer] = {}
        self._sendings: Outbox[Sending] = Outbox()
        self._drops: Outbox[str] = Outbox()
        self._tell_at = now if config.ethernet else None
        if config.ethernet:
            self._ask(rip.Message(rip.REQUEST, (rip.Entry(rip.ALL),)).emit(), RIP, RIP_SOCKET)
            self._ask(sap.Message(sap.ALL_REQUEST).emit(), SAP, SAP_SOCKET)

    # --- sessions come and go -------------------------------------------------------------------------------------------------

    def attach(self, port: int, node: bytes, now: float) -> bool:
        """A session with this node number came up. False if another has that number."""
        if node == self.config.node or self._by_node.get(node, port) != port:
            return False
        self.detach(port)
        self._ports[port] = _Port(node, Budget(BROADCAST_RATE, BROADCAST_RATE, now))
        self._by_node[node] = port
        return True

    def detach(self, port: int) -> None:
        """A session went. Harmless if it never came."""
        known = self._ports.pop(port, None) if port != ETHERNET else None
        if known is not None:
            del self._by_node[known.node]
            self._offers = {key: offer for key, offer in self._offers.items() if offer.port != port}

    # --- packets -----------------------------------------------------------------------------------------------------------------

    def receive(self, port: int, data: bytes, now: float, station: bytes = b"") -> None:
        """Take one IPX packet from a port; ``station`` is who sent it on the Ethernet."""
        known = self._ports.get(port)
        if known is None:
            self._drops.put("ipx_port")
            return
        try:
            packet = self._localised(port, known, Packet.parse(data))
            if packet is not None:
                self._take(port, known, packet, now, station)
        except Malformed as error:
            self._drops.put(f"{error.layer}_{error.field}")

    def poll_packets(self) -> list[Sending]:
        """Packets to send, oldest first."""
        return self._sendings.drain()

    def poll_drops(self) -> list[str]:
        """Reasons for which packets were ignored."""
        return self._drops.drain()

    def deadline(self) -> float | None:
        """When the Ethernet is to be told what is here."""
        return self._tell_at

    def tick(self, now: float) -> None:
        """Tell the Ethernet; forget what was not heard of again."""
        if self._tell_at is None or now < self._tell_at:
            return
        self._tell_at = now + INTERVAL
        self._routes = {network: route for network, route in self._routes.items() if now < route.until}
        self._offers = {key: offer for key, offer in self._offers.items() if now < offer.until}
        for body in rip.responses(self._networks(ETHERNET)):
            self._send(ETHERNET, BROADCAST, RIP, RIP_SOCKET, body)
        for body in sap.responses(self._services(ETHERNET, sap.ANY)):
            self._send(ETHERNET, BROADCAST, SAP, SAP_SOCKET, body)

    def _network_of(self, port: int) -> int:
        return self.config.ethernet if port == ETHERNET else self.config.network

    def _localised(self, port: int, known: _Port, packet: Packet) -> Packet | None:
        """The packet with the numbers of its network in place of zeros; ``None`` for one that claims to be somebody else's."""
        here = self._network_of(port)
        source, destination = packet.source, packet.destination
        if port != ETHERNET and (source.node != known.node or source.network not in {0, here}):
            self._drops.put("ipx_source")
            return None
        if source.node in {self.config.node, BROADCAST}:
            self._drops.put("ipx_loop")  # our own, come back
            return None
        if packet.checksum == NO_CHECKSUM:
            source = replace(source, network=source.network or here)
            destination = replace(destination, network=destination.network or here)
        elif not source.network or not destination.network:
            self._drops.put("ipx_checksum")  # it cannot be completed without making its checksum wrong
            return None
        return replace(packet, source=source, destination=destination)

    def _take(self, port: int, known: _Port, packet: Packet, now: float, station: bytes) -> None:
        here = self._network_of(port)
        to = packet.destination
        ours = to.network in {self.config.network, self.config.ethernet} and to.node == self.config.node
        broadcast = to.node == BROADCAST
        if (ours or (broadcast and to.network == here)) and to.socket == RIP_SOCKET:
            self._take_rip(port, packet, now, station)
        elif (ours or (broadcast and to.network == here)) and to.socket == SAP_SOCKET:
            self._take_sap(port, packet, now)
        elif ours:
            self._drops.put("ipx_socket")
        elif broadcast and not known.budget.spend(now):
            self._drops.put("ipx_rate")
        elif packet.type == PROPAGATED and broadcast:
            self._propagate(port, packet)
        elif packet.hops >= HOPS_MAX:
            self._drops.put("ipx_hops")
        elif broadcast and to.network == here == self.config.ethernet:
            self._drops.put("ipx_broadcast")  # everyone there has it already
        else:
            self._forward(port, packet.onward())

    def _forward(self, port: int, packet: Packet) -> None:
        to, data = packet.destination, packet.emit()
        if to.network == self.config.network:
            if to.node == BROADCAST:
                self._flood(data, besides=port)
            elif (session := self._by_node.get(to.node)) is None:
                self._drops.put("ipx_node")
            elif session == port:
                self._drops.put("ipx_loop")
            else:
                self._sendings.put(Sending(session, to.node, data))
        elif to.network == self.config.ethernet:
            if port == ETHERNET:
                self._drops.put("ipx_loop")
            else:
                self._sendings.put(Sending(ETHERNET, to.node, data))
        elif (route := self._routes.get(to.network)) is None:
            self._drops.put("ipx_no_route")
        elif port == ETHERNET:
            self._drops.put("ipx_loop")  # that router is its own neighbour
        else:
            self._sendings.put(Sending(ETHERNET, route.router, data))

    def _flood(self, data: bytes, besides: int) -> None:
        for port, known in self._ports.items():
            if port not in {besides, ETHERNET}:
                self._sendings.put(Sending(port, known.node, data))

    def _propagate(self, port: int, packet: Packet) -> None:
        """NetBIOS: the hops count the networks that stand at the front of its data (as NetWare's routers have it)."""
        here, body = self._network_of(port), packet.payload
        if packet.hops >= PROPAGATED_HOPS_MAX or len(body) < 4 * PROPAGATED_HOPS_MAX:
            self._drops.put("ipx_hops" if packet.hops >= PROPAGATED_HOPS_MAX else "ipx_length")
            return
        seen = [int.from_bytes(body[4 * n : 4 * n + 4], "big") for n in range(packet.hops)]
        other = self.config.network if port == ETHERNET else self.config.ethernet
        if here in seen:
            self._drops.put("ipx_loop")
            return
        if port != ETHERNET:  # the other hosts of the same network: no router in between, so nothing is counted
            self._flood(replace(packet, destination=Address(here, BROADCAST, packet.destination.socket)).emit(), besides=port)
        if not other or other in seen:
            return
        listed = body[: 4 * packet.hops] + here.to_bytes(4, "big") + body[4 * packet.hops + 4 :]
        onward = replace(
            packet.onward(), destination=Address(other, BROADCAST, packet.destination.socket), payload=listed
        ).emit()
        if port == ETHERNET:
            self._flood(onward, besides=port)
        else:
            self._sendings.put(Sending(ETHERNET, BROADCAST, onward))

    # --- RIP and SAP -------------------------------------------------------------------------------------------------------------

    def _networks(self, port: int) -> list[rip.Entry]:
        """What is beyond us, seen from a port: never what was learned from there."""
        entries = []
        if port == ETHERNET:
            entries.append(rip.Entry(self.config.network, 1, _TICKS))
        elif self.config.ethernet:
            entries.append(rip.Entry(self.config.ethernet, 1, _TICKS))
            entries += [
                rip.Entry(network, route.hops + 1, min(route.ticks + _TICKS, 0xFFFF))
                for network, route in sorted(self._routes.items())
                if route.hops < HOPS_MAX
            ]
        return entries

    def _take_rip(self, port: int, packet: Packet, now: float, station: bytes) -> None:
        message = rip.Message.parse(packet.payload)
        if message.operation == rip.REQUEST:
            wanted = {entry.network for entry in message.entries}
            known = [entry for entry in self._networks(port) if rip.ALL in wanted or entry.network in wanted]
            for body in rip.responses(known):
                self._send(port, packet.source.node, RIP, packet.source.socket, body)
        elif message.operation != rip.RESPONSE:
            self._drops.put("ipx_rip_operation")
        elif port != ETHERNET or not station:
            self._drops.put("ipx_rip_port")  # a session is a host
        else:
            for entry in message.entries:
                self._learn(entry, station, now)

    def _learn(self, entry: rip.Entry, router: bytes, now: float) -> None:
        if entry.network in {0, rip.ALL, self.config.network, self.config.ethernet}:
            return
        known = self._routes.get(entry.network)
        if known is not None and known.router == router and entry.hops >= rip.UNREACHABLE:
            del self._routes[entry.network]
        elif entry.hops >= rip.UNREACHABLE or (known is None and len(self._routes) >= ROUTES_MAX):
            return
        elif known is None or known.router == router or (entry.ticks, entry.hops) < (known.ticks, known.hops):
            self._routes[entry.network] = _Route(router, entry.hops, entry.ticks, now + 3 * INTERVAL)

    def _services(self, port: int, wanted: int) -> list[sap.Service]:
        offers = sorted(self._offers.items())
        return [
            replace(offer.service, hops=offer.service.hops + 1)
            for (kind, _), offer in offers
            if offer.port != port and wanted in {kind, sap.ANY} and offer.service.hops < HOPS_MAX
        ]

    def _take_sap(self, port: int, packet: Packet, now: float) -> None:
        message = sap.Message.parse(packet.payload)
        if message.operation == sap.ALL_REQUEST:
            self._answer_sap(port, packet, sap.responses(self._services(port, message.wanted)))
        elif message.operation == sap.NEAREST_REQUEST:
            near = sorted(self._services(port, message.wanted), key=lambda service: service.hops)[:1]
            self._answer_sap(port, packet, [sap.Message(sap.NEAREST_RESPONSE, services=(service,)).emit() for service in near])
        elif message.operation == sap.ALL_RESPONSE:
            self._offer(port, message.services, now)
        else:
            self._drops.put("ipx_sap_operation")

    def _answer_sap(self, port: int, packet: Packet, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            self._send(port, packet.source.node, SAP, packet.source.socket, body)

    def _offer(self, port: int, services: Iterable[sap.Service], now: float) -> None:
        until = now + 3 * INTERVAL if port == ETHERNET else float("inf")
        for service in services:
            key = (service.type, service.name)
            known = self._offers.get(key)
            if port != ETHERNET and (
                service.address.network not in {0, self.config.network} or service.address.node != self._ports[port].node
            ):
                self._drops.put("ipx_sap_foreign")  # a session offers what is at its own node
            elif known is not None and known.port != port:
                continue  # that name is somebody else's until it goes
            elif service.hops >= sap.DOWN:
                self._offers.pop(key, None)
            elif not service.name or (known is None and self._full(port)):
                self._drops.put("ipx_sap_full" if service.name else "ipx_sap_name")
            else:
                address = replace(service.address, network=service.address.network or self._network_of(port))
                self._offers[key] = _Offer(replace(service, address=address), port, until)

    def _full(self, port: int) -> bool:
        mine = sum(offer.port == port for offer in self._offers.values())
        return len(self._offers) >= SERVICES_MAX or (port != ETHERNET and mine >= SESSION_SERVICES_MAX)

    # --- what we say ourselves --------------------------------------------------------------------------------------------------

    def _ask(self, body: bytes, kind: int, socket: int) -> None:
        self._send(ETHERNET, BROADCAST, kind, socket, body)

    def _send(self, port: int, node: bytes, kind: int, socket: int, body: bytes) -> None:
        network = self._network_of(port)
        own = RIP_SOCKET if kind == RIP else SAP_SOCKET
        packet = Packet(Address(network, node, socket), Address(network, self.config.node, own), body, kind)
        self._sendings.put(Sending(port, node, packet.emit()))
