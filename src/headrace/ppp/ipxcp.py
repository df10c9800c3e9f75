"""The IPX Control Protocol (RFC 1552), both roles: one network number for the link, a node number for each end.

The server has the network number and gives node numbers to those who ask with zero; a client takes what it is told. Where both ends name
a network, the higher number counts (section 3.1), so a server's is never given away to a lower one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.errors import Slug
from headrace.model import printable
from headrace.ppp.automaton import Port, Verdict
from headrace.ppp.config import LinkConfig
from headrace.ppp.events import IpxDown, IpxUp
from headrace.ppp.frame import Proto
from headrace.ppp.network import Grant, NetworkProtocol
from headrace.ppp.option import Ipxcp as Opt
from headrace.ppp.option import Option

NODE_SIZE: Final = 6
NO_NODE: Final = bytes(NODE_SIZE)
NO_ROUTING: Final = 0
RIP_SAP: Final = 2
"""Routing protocols (section 3.4): we answer RIP and SAP, and send none of it unasked over a link."""
NAME_MAX: Final = 47


@dataclass(frozen=True, slots=True)
class _Terms:
    """What one side's request says."""

    network: int = 0
    node: bytes = NO_NODE
    name: str = ""


def is_host(node: bytes) -> bool:
    """Whether a node number can be one machine's: not zero, not a group's."""
    return node != NO_NODE and not node[0] & 1


class Ipxcp(NetworkProtocol):
    """IPXCP of one link."""

    protocol = Proto.IPXCP
    layer = "ipxcp"
    data_protocols = frozenset({Proto.IPX})
    slug = Slug.IPCP_REFUSED
    essential = False

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config, grant)
        assert config.ipx is not None
        self._ipx = config.ipx
        self._network = 0
        self._node = NO_NODE
        self._dropped: set[int] = set()
        self._announced = False
        self.reset()

    @classmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:  # noqa: ARG003 (whoever is let in may have it)
        """Where it is configured."""
        return config.ipx is not None

    def reset(self) -> None:
        """The numbers as configured."""
        self._network, self._node = self._ipx.network, self._ipx.node
        self._dropped.clear()

    def request(self) -> tuple[Option, ...]:
        """Network, node, the router's name (server), and that this is all there is to say."""
        options = [
            Option(Opt.NETWORK, self._network.to_bytes(4, "big")),
            Option(Opt.NODE, self._node),
        ]
        if self._ipx.name:
            options.append(Option(Opt.ROUTER_NAME, self._ipx.name.encode()[:NAME_MAX]))
        options.append(Option(Opt.COMPLETE))
        return tuple(option for option in options if option.type not in self._dropped)

    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """Nak a network that is lower than ours and a node that no machine can have; reject compression."""
        nak: list[Option] = []
        reject: list[Option] = []
        for option in options:
            if option.type == Opt.NETWORK:
                if option.value < self._network or (self.config.server and option.value != self._network):
                    nak.append(Option(Opt.NETWORK, self._network.to_bytes(4, "big")))
                elif option.value > self._network:
                    self._network = option.value
            elif option.type == Opt.NODE:
                if not is_host(option.data) or option.data == self._node:
                    suggestion = self._suggest()
                    (nak if suggestion else reject).append(Option(Opt.NODE, suggestion) if suggestion else option)
            elif option.type == Opt.ROUTING:
                if int.from_bytes(option.data[:2], "big") not in {NO_ROUTING, RIP_SAP} or len(option.data) != 2:
                    nak.append(Option(Opt.ROUTING, RIP_SAP.to_bytes(2, "big")))
            elif option.type == Opt.COMPRESSION:
                reject.append(option)
        return Verdict(tuple(nak), tuple(reject))

    def _suggest(self) -> bytes:
        """A node number for the peer: the server's to give, and a client's only where its own was met."""
        if self.config.server:
            return self._ipx.assign
        return b"\2" + self.port.rand(NODE_SIZE - 1)

    def naked(self, options: tuple[Option, ...]) -> None:
        """A client takes what it is told; a server only a network number that beats its own, which it then cannot serve."""
        for option in options:
            if option.type == Opt.NETWORK and len(option.data) == 4 and not self.config.server:
                self._network = max(self._network, option.value)
            elif option.type == Opt.NODE and len(option.data) == NODE_SIZE and is_host(option.data) and not self.config.server:
                self._node = option.data

    def rejected(self, options: tuple[Option, ...]) -> None:
        """Do without."""
        self._dropped |= {option.type for option in options}

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Announce both ends. One that was told no node number has the one that it was given."""
        mine, other = _terms(ours), _terms(theirs)
        node = other.node if is_host(other.node) else self._ipx.assign
        self._announced = True
        self.port.emit(IpxUp(self._network or other.network, mine.node, node, other.name))

    def ended(self) -> None:
        """Take the announcement back."""
        if self._announced:
            self._announced = False
            self.port.emit(IpxDown())


def _terms(options: tuple[Option, ...]) -> _Terms:
    by_type = {option.type: option for option in options}
    network, node, name = by_type.get(Opt.NETWORK), by_type.get(Opt.NODE), by_type.get(Opt.ROUTER_NAME)
    return _Terms(
        network.value if network else 0,
        node.data if node else NO_NODE,
        printable(name.data, NAME_MAX) if name else "",
    )
