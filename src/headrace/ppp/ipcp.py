"""The IP Control Protocol (RFC 1332) with the name-server options of RFC 1877, both roles.

Van Jacobson's compression of TCP/IP headers is agreed here, where the configuration has it. The server has an address, gives another and names what was granted; the client asks with zeros and takes what it is told.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

from headrace.errors import Slug
from headrace.model import Failure, VjSlots
from headrace.ppp.automaton import Port, Verdict
from headrace.ppp.config import LinkConfig
from headrace.ppp.events import Ipv4Down, Ipv4Up
from headrace.ppp.frame import Proto
from headrace.ppp.network import Grant, NetworkProtocol
from headrace.ppp.option import Ipcp as Opt
from headrace.ppp.option import Option
from headrace.wire import Writer

ANY: Final = IPv4Address(0)
"""In a request: give me one. In ``Ipv4Up.remote``: the server did not say."""

_VJ_SLOTS: Final = range(1, 255)
"""Values of Max-Slot-Id that make sense: 0 would be one slot, with which the algorithm does not work."""

_DNS: Final = (Opt.DNS_1, Opt.DNS_2)
_WINS: Final = (Opt.WINS_1, Opt.WINS_2)
_SERVERS: Final = tuple(sorted(_DNS + _WINS))  # 129 to 132, the order in which Windows asks


def usable(address: IPv4Address) -> bool:
    """Whether a host may have this address: not zero, loopback, multicast, reserved or broadcast."""
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_reserved or address.packed[0] == 0
    )


class Ipcp(NetworkProtocol):
    """IPCP of one link."""

    protocol = Proto.IPCP
    layer = "ipcp"
    data_protocols = frozenset({Proto.IPV4})
    slug = Slug.IPCP_REFUSED

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config, grant)
        self._local = ANY
        self._asks: dict[int, IPv4Address] = {}
        self._refused: set[int] = set()
        self._announced = False
        self._slots = config.vj_slots
        self._omit = config.accm is not None
        self._servers = dict(zip(_DNS, grant.dns, strict=False)) | dict(zip(_WINS, grant.wins, strict=False))
        self.reset()

    @classmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:
        """A client always; a server if it has an address and one to give."""
        return not config.server or (
            config.local_address is not None and (grant.address is not None or grant.allow_any_address)
        )

    def reset(self) -> None:
        """Ask for everything again that was not rejected."""
        self._local = self.config.local_address or ANY
        self._slots = self.config.vj_slots
        self._omit = self.config.accm is not None
        if self.config.server:
            return
        wanted = (_DNS if self.config.want_dns else ()) + (_WINS if self.config.want_wins else ())
        self._asks = {number: ANY for number in _SERVERS if number in wanted and number not in self._refused}

    def request(self) -> tuple[Option, ...]:
        """Our address (or zeros), header compression, and as a client the name servers in the order of Windows."""
        options = [] if Opt.ADDRESS in self._refused else [Option(Opt.ADDRESS, self._local.packed)]
        if self._slots and Opt.COMPRESSION not in self._refused:
            options.append(self._vj_option())
        return (*options, *(Option(number, address.packed) for number, address in self._asks.items()))

    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """Server: Nak to what was granted, reject what was not. Client: take any sensible address of the server."""
        nak: list[Option] = []
        reject: list[Option] = []
        for option in options:
            if option.type == Opt.ADDRESS:
                asked = IPv4Address(option.data)
                if self._acceptable(asked):
                    continue
                if self.config.server and self.grant.address is not None:
                    nak.append(Option(Opt.ADDRESS, self.grant.address.packed))
                else:
                    reject.append(option)  # nothing better is known here
            elif option.type == Opt.COMPRESSION and self.config.vj_slots:
                self._judge_vj(option, nak, reject)
            elif option.type in self._servers and self.config.server:
                granted = self._servers[option.type].packed
                if option.data != granted:
                    nak.append(Option(option.type, granted))
            else:
                reject.append(option)  # header compression, the old addresses option, servers that are not known here
        if self.config.server and self.grant.address is not None and all(option.type != Opt.ADDRESS for option in options):
            nak.insert(0, Option(Opt.ADDRESS, self.grant.address.packed))
        return Verdict(tuple(nak), tuple(reject))

    def _vj_option(self) -> Option:
        """What we can receive (RFC 1332 section 3.2): so many slots; a slot may go unnamed where nothing is ever out of order."""
        return Option(Opt.COMPRESSION, Writer().u16(Proto.VJ_COMPRESSED).u8(self._slots - 1).u8(self._omit).bytes())

    def _judge_vj(self, option: Option, nak: list[Option], reject: list[Option]) -> None:
        """Another kind of compression gets a Nak with this one; slots that nobody can have, a Reject."""
        if len(option.data) != 4 or option.data[:2] != Proto.VJ_COMPRESSED.to_bytes(2, "big"):
            nak.append(self._vj_option())
        elif option.data[2] not in _VJ_SLOTS:
            reject.append(option)

    def _acceptable(self, asked: IPv4Address) -> bool:
        """Whether the peer may have the address that it asks for."""
        if self.config.server and not self.grant.allow_any_address:
            return asked == self.grant.address
        return asked == self.grant.address or (usable(asked) and asked != self.config.local_address)

    def insist(self, verdict: Verdict, options: tuple[Option, ...]) -> Verdict | None:
        """A peer that insists on an address that is not its own ends the link."""
        if any(option.type == Opt.ADDRESS for option in verdict.nak):
            asked = next((str(IPv4Address(option.data)) for option in options if option.type == Opt.ADDRESS), "no address")
            self.port.fail(
                Failure(Slug.ADDRESS_CONFLICT, f"the peer insists on {asked}, {self.grant.address or 'another'} is granted")
            )
            return None
        return super().insist(verdict, options)

    def naked(self, options: tuple[Option, ...]) -> None:
        """Client: take what is given."""
        for option in options:
            if len(option.data) != 4:
                continue
            if option.type == Opt.COMPRESSION:
                self._vj_naked(option)
                continue
            address = IPv4Address(option.data)
            if option.type in self._asks:
                if usable(address):
                    self._asks[option.type] = address
                else:
                    self._drop(option.type)  # a server that says "none" by naming zero
            elif option.type == Opt.ADDRESS and address != self._local:
                self._address_naked(address)

    def _vj_naked(self, option: Option) -> None:
        """Fewer slots, or nothing of the kind."""
        slots, omit = option.data[2] + 1, bool(option.data[3])
        known = option.data[:2] == Proto.VJ_COMPRESSED.to_bytes(2, "big") and option.data[2] in _VJ_SLOTS
        less = slots < self._slots or (slots == self._slots and self._omit and not omit)
        if known and less:
            self._slots, self._omit = slots, self._omit and omit
        else:
            self._drop(Opt.COMPRESSION)

    def _address_naked(self, address: IPv4Address) -> None:
        if self.config.server:
            return  # our own address is no matter for the peer; it may do without the option
        if self.config.local_address is None:
            if usable(address):
                self._local = address
        else:
            ours = self.config.local_address
            self.port.fail(
                Failure(Slug.ADDRESS_CONFLICT, f"the server wants us to be {address}, the configuration says {ours}")
            )

    def rejected(self, options: tuple[Option, ...]) -> None:
        """Do without name servers; a client cannot do without an address."""
        for option in options:
            if option.type != Opt.ADDRESS:
                self._drop(option.type)
            elif self.config.server:
                self._refused.add(Opt.ADDRESS)  # a peer that does not care who we are
            else:
                self.port.fail(Failure(Slug.IPCP_REFUSED, "the server gives no address"))

    def _drop(self, number: int) -> None:
        self._refused.add(number)
        self._asks.pop(number, None)

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Announce addresses and name servers."""
        remote = next((IPv4Address(option.data) for option in theirs if option.type == Opt.ADDRESS), ANY)
        if (remote if self.config.server else self._local) == ANY:
            self.port.fail(Failure(Slug.IPCP_REFUSED, "the client has no address"))
            return
        self._announced = True
        if self.config.server:
            dns, wins = self.grant.dns, self.grant.wins
        else:
            dns = tuple(address for number, address in self._asks.items() if number in _DNS and address != ANY)
            wins = tuple(address for number, address in self._asks.items() if number in _WINS and address != ANY)
        self.port.emit(Ipv4Up(local=self._local, remote=remote, dns=dns, wins=wins, vj=self._vj(ours, theirs)))

    def _vj(self, ours: tuple[Option, ...], theirs: tuple[Option, ...]) -> VjSlots:
        sent = next((option.data for option in theirs if option.type == Opt.COMPRESSION), b"")
        received = next((option.data for option in ours if option.type == Opt.COMPRESSION), b"")
        if not sent or not received:
            return VjSlots()  # RFC 1332 would have one direction alone; pppd asks for it and then expands nothing
        return VjSlots(
            send=min(self.config.vj_slots, sent[2] + 1),
            receive=received[2] + 1,
            omit_slot=sent[3] != 0 and self.config.accm is not None,
        )

    def ended(self) -> None:
        """Take the announcement back."""
        if self._announced:
            self._announced = False
            self.port.emit(Ipv4Down())
