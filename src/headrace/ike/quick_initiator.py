"""Quick mode as the side that begins."""

from __future__ import annotations

from headrace.errors import Slug
from headrace.esp.proposal import EspProposal
from headrace.esp.sa import LIFE_MARGIN, Child
from headrace.ike import groups
from headrace.ike.attributes import Life, parse_attributes, read_life
from headrace.ike.channel import Opened
from headrace.ike.constants import Encapsulation, Exchange, Flag, NotifyType, PayloadType, Phase2Attribute
from headrace.ike.context import Received
from headrace.ike.keymat import ZERO_OCTET
from headrace.ike.limits import COMMIT_WAIT, OCTETS_PER_KILOBYTE
from headrace.ike.message import Chain
from headrace.ike.payloads import Identification, KeyExchange, Notify, SecurityAssociation
from headrace.ike.phase1 import Phase1
from headrace.ike.phase2_offer import accept, build
from headrace.ike.quick_mode import INITIATOR, NONCE_OCTETS, Event, Owner, QuickMode, Selectors, State
from headrace.ike.refusal import Drop, Refuse
from headrace.ike.retransmit import Retransmission
from headrace.ike.selectors import L2TP_PORT, UDP, remote_port
from headrace.wire import Malformed

_MAX_OFFERED = 16
"""Transforms of message 1."""


class QuickInitiator(QuickMode):
    """The side that begins."""

    initiator = True
    table = INITIATOR

    def __init__(
        self, owner: Owner, phase1: Phase1, message_id: int, now: float, *, selectors: Selectors | None, replaces: Child | None
    ) -> None:
        super().__init__(owner, phase1, message_id, now)
        self.replaces = replaces
        """The pair that this one is to renew."""
        self.selectors = selectors or Selectors(
            Identification.of_address(owner.local.address, UDP, L2TP_PORT),
            Identification.of_address(owner.remote.address, UDP, L2TP_PORT),
        )
        self.spi_in = owner.ctx.spi()
        self._offered = self._proposals()
        self._exchange: groups.Exchange | None = None
        variant = phase1.variant
        self._mode = variant.transport if variant is not None and phase1.floated else Encapsulation.TRANSPORT

    @property
    def spis(self) -> set[bytes]:
        """The SPIs by which a notification may name it."""
        return super().spis | {self.spi_in.to_bytes(4, "big")}

    def begin(self, now: float) -> None:
        """Send message 1."""
        self._machine.fire(Event.BEGIN, now)

    def _proposals(self) -> list[EspProposal]:
        """With PFS all of one group, since message 1 has room for one key exchange; else without group."""
        if self.config.pfs:
            group = next((item.group for item in self.config.esp_proposals if item.group is not None), None)
            if group is not None:
                return [item for item in self.config.esp_proposals if item.group is group][:_MAX_OFFERED]
        return list(dict.fromkeys(item.without_group() for item in self.config.esp_proposals))[:_MAX_OFFERED]

    def send_message_1(self, now: float) -> None:
        """HDR*, HASH(1), SA, Ni, ..."""
        config, ctx = self.config, self.owner.ctx
        self._nonce_i = ctx.rand(NONCE_OCTETS)
        kilobytes = -(-config.esp_rekey_bytes // OCTETS_PER_KILOBYTE)
        sa = build(self._offered, self.spi_in.to_bytes(4, "big"), self._mode, config.esp_rekey_time * LIFE_MARGIN, kilobytes)
        payloads = [(int(PayloadType.SA), sa.emit()), (int(PayloadType.NONCE), self._nonce_i)]
        group = self._offered[0].group
        if group is not None:
            self._exchange = groups.begin(group, ctx.rand)
            payloads.append((PayloadType.KEY_EXCHANGE, self._exchange.public))
        assert self.selectors is not None
        payloads += [(PayloadType.IDENTIFICATION, item.emit()) for item in (self.selectors.ours, self.selectors.theirs)]
        payloads += self._nat_original_addresses()
        self._transmit(self.phase1.channel.seal_hashed(Exchange.QUICK, self.message_id, self._iv, payloads), now)
        self._retransmission = Retransmission(config, now)

    def receive(self, received: Received, now: float) -> None:
        """Take message 2, or CONNECTED. Raises ``Drop``, or ``Refuse`` or ``Malformed`` if it is over."""
        if self.state is State.WAIT_CONNECTED:
            self.connected(received, now)
            return
        if self.state is not State.WAIT_2:
            raise Drop("ike_replay")
        opened = self.phase1.channel.open_hashed(received, self._iv, self._nonce_i)
        self._read_message_2(opened)
        self._taken(received, opened)
        commit = bool(received.header.flags & Flag.COMMIT)
        self._machine.fire(Event.MESSAGE_2_COMMIT if commit else Event.MESSAGE_2, now)

    def _read_message_2(self, opened: Opened) -> None:
        chain, owner = opened.chain, self.owner
        choice = accept(chain.one(PayloadType.SA, SecurityAssociation), self._offered, self._mode)
        self._nonce_r = self._nonce(chain)
        assert self.selectors is not None
        identities = chain.all(PayloadType.IDENTIFICATION, Identification)
        port = remote_port(identities or [self.selectors.ours, self.selectors.theirs], initiator=True)
        if port != self.selectors.theirs.port:
            detail = f"the answer names port {port} where {self.selectors.theirs.port} was proposed"
            raise Refuse(NotifyType.INVALID_ID_INFORMATION, Slug.ESP_SELECTOR, detail)
        if owner.outbound_in_use(int.from_bytes(choice.offer.spi, "big")):
            raise Refuse(
                NotifyType.INVALID_SPI, Slug.ESP_NO_PROPOSAL, f"SPI {choice.offer.spi.hex()} is in use by the peer already"
            )
        public = chain.maybe(PayloadType.KEY_EXCHANGE, KeyExchange)
        if (public is None) != (self._exchange is None):
            raise Refuse(NotifyType.INVALID_KEY_INFORMATION, Slug.ESP_NO_PROPOSAL, "a key exchange on one side only")
        shared = b""
        if public is not None and self._exchange is not None and choice.group is not None:
            shared = self._check_public(choice.group, public.data, self._exchange)
        life = _shorter(choice.offer.life, _responder_lifetime(chain))
        self.child = self._make_child(choice, self.spi_in, shared, life, port)
        self._exchange = None

    def send_message_3(self, now: float) -> None:
        """HDR*, HASH(3); inbound first."""
        assert self.child is not None
        self.owner.install_inbound(self.child)
        channel = self.phase1.channel
        value = channel.keys.hash_a(ZERO_OCTET, self.message_id.to_bytes(4, "big"), self._nonce_i, self._nonce_r)
        self._transmit(channel.seal(Exchange.QUICK, self.message_id, self._iv, [(PayloadType.HASH, value)]), now)
        self._retransmission = Retransmission(self.config, now)
        self._retransmission.due = now + COMMIT_WAIT

    def connected(self, received: Received, now: float) -> None:
        """A fourth message under our message id, of either exchange type: CONNECTED (RFC 2408 section 3.1). Raises ``Drop``."""
        channel = self.phase1.channel
        try:
            opened = channel.open_hashed(received, self._iv)
        except Drop:
            opened = channel.open_hashed(received, channel.iv(self.message_id))
        try:
            notes = opened.chain.all(PayloadType.NOTIFY, Notify)
        except Malformed as error:
            raise Drop("ike_malformed", str(error)) from error
        if any(note.type == NotifyType.CONNECTED for note in notes) and self._machine.accepts(Event.CONNECTED):
            self._machine.fire(Event.CONNECTED, now)

    def abandon(self, now: float) -> None:
        """It came to nothing: the SPI is free again."""
        if self.child is None:
            self.owner.ctx.release(self.spi_in)
        super().abandon(now)


def _responder_lifetime(chain: Chain) -> Life:
    """What RESPONDER-LIFETIME says (RFC 2407 section 4.6.3.1)."""
    for note in chain.all(PayloadType.NOTIFY, Notify):
        if note.type == NotifyType.RESPONDER_LIFETIME:
            return read_life(parse_attributes(note.data), Phase2Attribute.LIFE_TYPE, Phase2Attribute.LIFE_DURATION)
    return Life()


def _shorter(one: Life, other: Life) -> Life:
    def least(a: int | None, b: int | None) -> int | None:
        return min((x for x in (a, b) if x is not None), default=None)

    return Life(least(one.seconds, other.seconds), least(one.kilobytes, other.kilobytes))
