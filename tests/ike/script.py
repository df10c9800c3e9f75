"""A client written by hand: raw first messages, and after a real main mode any phase-2 message, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.ike.harness import CLIENT, SERVER, Pair, Side, config, seeded

from headrace.errors import Slug
from headrace.ike import events
from headrace.ike.attributes import Attribute
from headrace.ike.channel import Opened
from headrace.ike.config import IkeConfig
from headrace.ike.constants import Exchange, NotifyType, PayloadType
from headrace.ike.context import Received
from headrace.ike.endpoint import IkeEndpoint
from headrace.ike.message import Chain, Header, emit_message, parse_chain
from headrace.ike.payloads import (
    Hash,
    Identification,
    NatOriginalAddress,
    Nonce,
    Notify,
    Proposal,
    SecurityAssociation,
    Transform,
)
from headrace.model import Datagram, Endpoint

HERE = Endpoint(CLIENT, 500)
THERE = Endpoint(SERVER, 500)
LONG = True

Payloads = Sequence[tuple[int, bytes]]


def attribute(kind: int, value: int, *, long: bool = False) -> Attribute:
    return Attribute(kind, value.to_bytes(4, "big"), short=False) if long else Attribute.of(kind, value)


def phase1_transform(
    number: int, cipher: int, bits: int, digest: int, group: int, method: int = 1, life: int = 28800, *, long: bool = True
) -> Transform:
    size = (attribute(14, bits),) if bits else ()
    return Transform.of(
        number,
        1,
        (
            attribute(1, cipher),
            *size,
            attribute(2, digest),
            attribute(4, group),
            attribute(3, method),
            attribute(11, 1),
            attribute(12, life, long=long),
        ),
    )


def phase1_sa(rows: Sequence[tuple[int, int, int, int]], method: int = 1) -> SecurityAssociation:
    """Rows are cipher, bits, hash, group."""
    return SecurityAssociation(
        (Proposal(1, 1, b"", tuple(phase1_transform(n, *row, method) for n, row in enumerate(rows, 1))),)
    )


def message_1(sa: bytes, vendors: Sequence[bytes] = (), *, cookie: bytes = b"initiate", extra: Payloads = ()) -> bytes:
    return emit_message(
        Header(cookie, bytes(8), 0, Exchange.MAIN),
        [(PayloadType.SA, sa), *((PayloadType.VENDOR_ID, item) for item in vendors), *extra],
    )


def clear(data: bytes) -> tuple[Header, Chain]:
    header = Header.parse(data)
    return header, parse_chain(header.next_payload, data[28:], padded=False)


def notify_of(data: bytes) -> NotifyType:
    header, chain = clear(data)
    assert header.exchange == Exchange.INFORMATIONAL and not header.encrypted
    (note,) = chain.all(PayloadType.NOTIFY, Notify)
    return NotifyType(note.type)


class Gateway(Side):
    """A responder alone, spoken to in raw octets."""

    def __init__(self, server: IkeConfig | None = None, seed: int = 7) -> None:
        super().__init__("server", IkeEndpoint(server or config(), seeded(seed)))

    def hear(self, data: bytes, *, now: float = 1.0, remote: Endpoint = HERE, local: Endpoint = THERE) -> list[bytes]:
        self.ike.receive(Datagram(local, remote, data), now)
        return [datagram.data for datagram in self.drain()]


def esp_transform(
    number: int = 1,
    kind: int = 12,
    *,
    bits: int | None = 256,
    auth: int | None = 2,
    mode: int | None = 2,
    group: int | None = None,
    seconds: int | None = 3600,
    kilobytes: int | None = None,
    more: Sequence[Attribute] = (),
) -> Transform:
    found = []
    if seconds is not None:
        found += [attribute(1, 1), attribute(2, seconds, long=True)]
    if kilobytes is not None:
        found += [attribute(1, 2), attribute(2, kilobytes, long=True)]
    for row, value in ((4, mode), (5, auth), (6, bits), (3, group)):
        if value is not None:
            found.append(attribute(row, value))
    return Transform.of(number, kind, (*found, *more))


def esp_sa(*transforms: Transform, spi: bytes = b"\x11\x22\x33\x44", protocol: int = 3) -> SecurityAssociation:
    """One proposal for each transform, as Windows does."""
    return SecurityAssociation(tuple(Proposal(n, protocol, spi, (t,)) for n, t in enumerate(transforms, 1)))


class Script:
    """Past main mode by our own initiator, then by hand."""

    def __init__(
        self, client: IkeConfig | None = None, server: IkeConfig | None = None, *, client_nat: bool = False, seed: int = 1
    ) -> None:
        quiet = config(dpd_delay=0.0)
        self.pair = Pair(client or quiet, server or quiet, client_nat=client_nat, seed=seed)
        self.handle = self.pair.dial()
        self.peer = self.pair.client.ike._peers[self.handle]
        self.peer._wanted.clear()
        self.pair.run(1.0)
        (self.phase1,) = self.peer.ikes
        self.channel = self.phase1.channel
        self.server = self.pair.server
        self.nonce = b"n" * 48
        self._mapped = self.server.last(events.PeerUp)

    @property
    def server_peer(self) -> Any:
        return self.server.ike._peers[self._mapped.peer]

    def say(self, data: bytes, *, remote: Endpoint | None = None) -> list[bytes]:
        self.server.ike.receive(Datagram(self._mapped.local, remote or self._mapped.remote, data), self.pair.now)
        return [datagram.data for datagram in self.server.drain()]

    def identities(self, client_port: int = 1701, server_port: int = 1701, protocol: int = 17) -> list[tuple[int, bytes]]:
        return [
            (PayloadType.IDENTIFICATION, Identification.of_address(self.pair.client_address, protocol, client_port).emit()),
            (PayloadType.IDENTIFICATION, Identification.of_address(SERVER, protocol, server_port).emit()),
        ]

    def payloads(
        self, sa: SecurityAssociation | bytes, *, ids: Payloads | None = None, extra: Payloads = ()
    ) -> list[tuple[int, bytes]]:
        body = sa if isinstance(sa, bytes) else sa.emit()
        return [
            (PayloadType.SA, body),
            (PayloadType.NONCE, self.nonce),
            *extra,
            *(self.identities() if ids is None else ids),
        ]

    def nat_addresses(self) -> list[tuple[int, bytes]]:
        return [
            (PayloadType.NAT_OA, NatOriginalAddress(self.pair.client_address).emit()),
            (PayloadType.NAT_OA, NatOriginalAddress(SERVER).emit()),
        ]

    def quick_1(self, payloads: Payloads, message_id: int = 1) -> bytes:
        return self.channel.seal_hashed(Exchange.QUICK, message_id, self.channel.iv(message_id), payloads)

    def ask(self, payloads: Payloads, message_id: int = 1) -> list[bytes]:
        self.first = self.quick_1(payloads, message_id)
        return self.say(self.first)

    def open(self, data: bytes, iv: bytes, prefix: bytes = b"") -> Opened:
        return self.channel.open_hashed(Received(Header.parse(data), data, THERE, HERE), iv, prefix)

    def answer_of(self, datagrams: Sequence[bytes]) -> Opened:
        """Message 2, its HASH checked."""
        (data,) = datagrams
        assert Header.parse(data).exchange == Exchange.QUICK
        return self.open(data, self.first[-self.phase1.proposal.block :], self.nonce)

    def finish(self, opened: Opened, message_id: int = 1) -> list[bytes]:
        nr = opened.chain.one(PayloadType.NONCE, Nonce).data
        value = self.channel.keys.hash_a(b"\0", message_id.to_bytes(4, "big"), self.nonce, nr)
        return self.say(self.channel.seal(Exchange.QUICK, message_id, opened.next_iv, [(PayloadType.HASH, Hash(value).emit())]))

    def inform(self, payloads: Payloads, message_id: int = 0x1000) -> list[bytes]:
        return self.say(self.channel.informational(message_id, payloads))

    def notes_of(self, datagrams: Sequence[bytes]) -> list[Notify]:
        """Notifications of encrypted informational messages, their HASH checked."""
        notes = []
        for data in datagrams:
            header = Header.parse(data)
            assert header.exchange == Exchange.INFORMATIONAL and header.encrypted
            notes += self.open(data, self.channel.iv(header.message_id)).chain.all(PayloadType.NOTIFY, Notify)
        return notes

    def refused(self, payloads: Payloads, notify: NotifyType, slug: Slug, message_id: int = 1) -> str:
        """Ask for something that must be refused; gives the detail."""
        (note,) = self.notes_of(self.ask(payloads, message_id))
        assert (note.type, note.protocol) == (notify, 3)
        failure = self.server.failures()[-1]
        assert failure.slug is slug
        assert not self.server.data.inbound
        assert not self.server.ike._ctx.spis
        return failure.detail


def GOOD_PAYLOADS(script: Script) -> list[tuple[int, bytes]]:
    """What a quick mode that is accepted consists of."""
    return script.payloads(esp_sa(esp_transform()))
