"""Quick mode as the side that is asked."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import Slug
from headrace.esp.group import Group
from headrace.ike import groups
from headrace.ike.channel import Opened
from headrace.ike.constants import Encapsulation, Exchange, NotifyType, PayloadType
from headrace.ike.context import Received
from headrace.ike.keymat import ZERO_OCTET
from headrace.ike.payloads import Identification, KeyExchange, SecurityAssociation
from headrace.ike.phase2_offer import answer, choose
from headrace.ike.quick_mode import NONCE_OCTETS, RESPONDER, Event, QuickMode, Selectors, State
from headrace.ike.refusal import Drop, Refuse
from headrace.ike.retransmit import Retransmission
from headrace.ike.selectors import remote_port


class QuickResponder(QuickMode):
    """The side that is asked."""

    initiator = False
    table = RESPONDER

    def begin(self, received: Received, opened: Opened, now: float) -> None:
        """Take message 1, whose HASH was checked, and answer it. Raises ``Refuse`` or ``Malformed``; nothing is kept then."""
        chain, owner = opened.chain, self.owner
        sa = chain.one(PayloadType.SA, SecurityAssociation)
        self._nonce_i = self._nonce(chain)
        identities = chain.all(PayloadType.IDENTIFICATION, Identification)
        port = remote_port(identities, initiator=False)
        exchange = chain.maybe(PayloadType.KEY_EXCHANGE, KeyExchange)
        choice = choose(sa, self.config.esp_proposals, self._modes(), self._pfs_groups(), exchange=exchange is not None)
        if owner.outbound_in_use(int.from_bytes(choice.offer.spi, "big")):
            detail = f"SPI {choice.offer.spi.hex()} is in use by the peer already"
            raise Refuse(NotifyType.INVALID_SPI, Slug.ESP_NO_PROPOSAL, detail)
        shared, own_public = b"", b""
        if exchange is not None and choice.group is not None:
            pair = groups.begin(choice.group, owner.ctx.rand)
            shared, own_public = self._check_public(choice.group, exchange.data, pair), pair.public
        owner.make_room()
        self._nonce_r = owner.ctx.rand(NONCE_OCTETS)
        self.child = self._make_child(choice, owner.ctx.spi(), shared, choice.offer.life, port)
        if identities:
            self.selectors = Selectors(ours=identities[1], theirs=identities[0])
        self._taken(received, opened)
        payloads = [(int(PayloadType.SA), answer(choice, self.child.spi_in.to_bytes(4, "big")).emit())]
        payloads.append((PayloadType.NONCE, self._nonce_r))
        if own_public:
            payloads.append((PayloadType.KEY_EXCHANGE, own_public))
        payloads += [(PayloadType.IDENTIFICATION, item.emit()) for item in identities]
        payloads += self._nat_original_addresses()
        self._machine.fire(Event.MESSAGE_1, payloads, now)

    def send_message_2(self, payloads: Sequence[tuple[int, bytes]], now: float) -> None:
        """HDR*, HASH(2), SA, Nr, ...; inbound first."""
        assert self.child is not None
        self.owner.install_inbound(self.child)
        channel = self.phase1.channel
        self._transmit(channel.seal_hashed(Exchange.QUICK, self.message_id, self._iv, payloads, self._nonce_i), now)
        self._retransmission = Retransmission(self.config, now)

    def receive(self, received: Received, now: float) -> None:
        """Take message 3. Raises ``Drop``."""
        if self.state is not State.WAIT_3:
            raise Drop("ike_replay")
        channel = self.phase1.channel
        opened = channel.open(received, self._iv)
        message_id = self.message_id.to_bytes(4, "big")
        channel.check_hash(opened, channel.keys.hash_a(ZERO_OCTET, message_id, self._nonce_i, self._nonce_r))
        self._taken(received, opened)
        self._sent = b""
        self._machine.fire(Event.MESSAGE_3, now)

    def _modes(self) -> frozenset[int]:
        if self.phase1.floated:
            return frozenset({Encapsulation.UDP_TRANSPORT, Encapsulation.UDP_TRANSPORT_DRAFT})
        return frozenset({Encapsulation.TRANSPORT})

    def _pfs_groups(self) -> frozenset[Group]:
        """Groups that may serve for PFS: every one that the policy allows anywhere."""
        named = {item.group for item in self.config.esp_proposals if item.group is not None}
        return frozenset(named | {item.group for item in self.config.proposals})
