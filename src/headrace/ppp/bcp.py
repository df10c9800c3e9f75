"""The Bridging Control Protocol (RFC 3518), both roles: Ethernet alone, no tinygram compression, no spanning tree."""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug
from headrace.ppp.automaton import Port, Verdict
from headrace.ppp.config import LinkConfig
from headrace.ppp.events import BridgeDown, BridgeUp
from headrace.ppp.frame import Proto
from headrace.ppp.network import Grant, NetworkProtocol
from headrace.ppp.option import Bcp as Opt
from headrace.ppp.option import Option

ETHERNET: Final = b"\1"
"""MAC-Support: IEEE 802.3 and Ethernet, canonical addresses (section 6.3)."""
ENABLED: Final = b"\1"
DISABLED: Final = b"\2"
NO_SPANNING_TREE: Final = b"\0"

_OVERHEAD: Final = 2 + 4
"""Octets in front of a bridged frame (section 4.2), and those that MPPE may need."""
_REFUSED: Final = frozenset({Opt.BRIDGE_ID, Opt.LINE_ID, Opt.MANAGEMENT_INLINE, Opt.CONTROL_PACKETS})
"""Source routing and bridges' own packets: this one has no part in either."""


class Bcp(NetworkProtocol):
    """BCP of one link."""

    protocol = Proto.BCP
    layer = "bcp"
    data_protocols = frozenset({Proto.BRIDGED})
    slug = Slug.IPCP_REFUSED
    essential = False

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config, grant)
        self._dropped: set[int] = set()
        self._announced = False

    @classmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:  # noqa: ARG003 (whoever is let in may have it)
        """Where it is configured."""
        return config.bridge is not None

    def reset(self) -> None:
        """Say everything again."""
        self._dropped.clear()

    def request(self) -> tuple[Option, ...]:
        """That we take Ethernet, tagged too, and no spanning tree."""
        assert self.config.bridge is not None
        options = [Option(Opt.MAC_SUPPORT, ETHERNET), Option(Opt.TAGGED_FRAME, ENABLED)]
        options.append(Option(Opt.SPANNING_TREE, NO_SPANNING_TREE))
        if self.config.bridge.mac:
            options.append(Option(Opt.MAC_ADDRESS, self.config.bridge.mac))
        return tuple(option for option in options if option.type not in self._dropped)

    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """Take Ethernet; Nak tinygrams and a spanning tree with none; reject other media, source routing, a MAC address of zeros."""
        nak: list[Option] = []
        reject: list[Option] = []
        for option in options:
            if option.type in _REFUSED or (option.type == Opt.MAC_SUPPORT and option.data != ETHERNET):
                reject.append(option)
            elif option.type == Opt.TINYGRAM and option.data != DISABLED:
                nak.append(Option(Opt.TINYGRAM, DISABLED))
            elif option.type == Opt.SPANNING_TREE and option.data != NO_SPANNING_TREE:
                nak.append(Option(Opt.SPANNING_TREE, NO_SPANNING_TREE))
            elif option.type == Opt.TAGGED_FRAME and option.data not in {ENABLED, DISABLED}:
                nak.append(Option(Opt.TAGGED_FRAME, DISABLED))
            elif option.type == Opt.MAC_ADDRESS and (option.data == bytes(6) or option.data[0] & 1):
                reject.append(option)  # it asks for one, and none is given here
        return Verdict(tuple(nak), tuple(reject))

    def naked(self, options: tuple[Option, ...]) -> None:
        """What we say of ourselves is so: a peer that would have it otherwise is told nothing."""
        self.rejected(options)

    def rejected(self, options: tuple[Option, ...]) -> None:
        """Do without."""
        self._dropped |= {option.type for option in options}

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Announce what the peer takes."""
        by_type = {option.type: option.data for option in theirs}
        tagged = by_type.get(Opt.TAGGED_FRAME) == ENABLED
        self._announced = True
        room = self.port.send_limit() - _OVERHEAD
        self.port.emit(BridgeUp(by_type.get(Opt.MAC_ADDRESS, b""), room, tagged))

    def ended(self) -> None:
        """Take the announcement back."""
        if self._announced:
            self._announced = False
            self.port.emit(BridgeDown())
