"""Quick mode (RFC 2409 section 5.5): one run of three messages that makes one pair of ESP SAs, as initiator or responder.

::

    initiator                                              responder
    HDR*, HASH(1), SA, Ni [, KE] [, IDci, IDcr] [, NAT-OA x 2]    1 ->
                                                                  <- 2    HDR*, HASH(2), SA, Nr [, KE] [, IDci, IDcr] [, NAT-OA x 2]
    HDR*, HASH(3)                                                 3 ->

Inbound is installed before message 2, or 3, goes out; the responder uses outbound when message 3 is in, or when ESP proves that the
initiator has message 2. Beside the tables stand only: a repeated request gets the same answer; the responder repeats message 2, since
nobody else would notice that message 3 was lost.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from headrace.errors import Slug
from headrace.esp.group import Group
from headrace.esp.proposal import EspProposal
from headrace.esp.sa import LIFE_MARGIN, Child, plan
from headrace.fsm import Machine, Table
from headrace.ike import groups
from headrace.ike.attributes import Life, parse_attributes, read_life
from headrace.ike.channel import Opened
from headrace.ike.constants import (
    DEFAULT_LIFE,
    NONCE_MAX,
    NONCE_MIN,
    Encapsulation,
    Exchange,
    Flag,
    NotifyType,
    PayloadType,
    Phase2Attribute,
    notify_name,
)
from headrace.ike.context import Context, Received
from headrace.ike.keymat import ZERO_OCTET, child_keymat
from headrace.ike.limits import (
    COMMIT_WAIT,
    LINGER,
    MAX_LIFE,
    MIN_ESP_KILOBYTES,
    MIN_ESP_LIFE,
    OCTETS_PER_KILOBYTE,
    REANSWER_INTERVAL,
)
from headrace.ike.message import Chain
from headrace.ike.payloads import (
    Identification,
    KeyExchange,
    NatOriginalAddress,
    Nonce,
    Notify,
    SecurityAssociation,
)
from headrace.ike.phase1 import Phase1
from headrace.ike.phase2_offer import Choice, accept, answer, build, choose
from headrace.ike.refusal import Drop, Refuse
from headrace.ike.retransmit import Retransmission
from headrace.ike.selectors import L2TP_PORT, UDP, remote_port
from headrace.model import Endpoint, EspKeys, Failure
from headrace.wire import Malformed

_NONCE_OCTETS: Final = 32
_MAX_OFFERED: Final = 16


class State(Enum):
    """What is awaited."""

    START = auto()
    WAIT_2 = auto()
    WAIT_3 = auto()
    WAIT_CONNECTED = auto()
    DONE = auto()


class Event(Enum):
    """What happened."""

    BEGIN = auto()
    MESSAGE_1 = auto()
    MESSAGE_2 = auto()
    MESSAGE_2_COMMIT = auto()
    """With the commit bit: the responder will say when it is ready (RFC 2408 section 3.1)."""
    MESSAGE_3 = auto()
    CONNECTED = auto()
    ESP_SEEN = auto()
    GIVE_UP = auto()


INITIATOR: Final[Table[State, Event]] = {
    (State.START, Event.BEGIN): ("send_message_1", State.WAIT_2),
    (State.WAIT_2, Event.MESSAGE_2): (("send_message_3", "confirm"), State.DONE),
    (State.WAIT_2, Event.MESSAGE_2_COMMIT): ("send_message_3", State.WAIT_CONNECTED),
    (State.WAIT_2, Event.GIVE_UP): ("abandon", State.DONE),
    (State.WAIT_CONNECTED, Event.CONNECTED): ("confirm", State.DONE),
    (State.WAIT_CONNECTED, Event.ESP_SEEN): ("confirm", State.DONE),
    (State.WAIT_CONNECTED, Event.GIVE_UP): ("confirm", State.DONE),
}
RESPONDER: Final[Table[State, Event]] = {
    (State.START, Event.MESSAGE_1): ("send_message_2", State.WAIT_3),
    (State.WAIT_3, Event.MESSAGE_3): ("confirm", State.DONE),
    (State.WAIT_3, Event.ESP_SEEN): ("confirm", State.DONE),
    (State.WAIT_3, Event.GIVE_UP): ("abandon", State.DONE),
}


@dataclass(frozen=True, slots=True)
class Selectors:
    """Both sides of the traffic as the two ends name them, kept so that a rekey names the same."""

    ours: Identification
    theirs: Identification


class Owner(Protocol):
    """What a quick mode needs of its peer."""

    ctx: Context
    local: Endpoint
    remote: Endpoint

    def transmit(self, data: bytes, now: float) -> None:
        """Send to where the peer is now."""

    def outbound_in_use(self, spi: int) -> bool:
        """Whether the peer has an SA with this SPI already."""

    def make_room(self, now: float) -> None:
        """A child more is about to be made. Raises ``Refuse`` if there is no room."""

    def install_inbound(self, child: Child, phase1: Phase1) -> None:
        """From now on ESP may come in."""

    def confirm(self, mode: QuickMode, child: Child, now: float) -> None:
        """Both directions are agreed."""

    def abandon(self, mode: QuickMode, child: Child | None, failure: Failure, now: float) -> None:
        """It came to nothing."""


class QuickMode:
    """What both roles share."""

    initiator: bool
    table: Table[State, Event]

    def __init__(self, owner: Owner, phase1: Phase1, message_id: int, now: float) -> None:
        self.owner = owner
        self.phase1 = phase1
        self.message_id = message_id
        self.config = owner.ctx.config
        self.started = now
        self.child: Child | None = None
        self.failure: Failure | None = None
        """What a notification of the peer said."""
        self.selectors: Selectors | None = None
        self.done_at = 0.0
        self._machine: Machine[State, Event] = Machine(f"quick mode, {type(self).__name__}", self.table, State.START, self)
        self._iv = phase1.channel.iv(message_id)
        self._nonce_i = b""
        self._nonce_r = b""
        self._sent = b""
        self._sent_at = now
        self._last_digest = b""
        self._retransmission: Retransmission | None = None

    @property
    def state(self) -> State:
        """What is awaited."""
        return self._machine.state

    @property
    def finished(self) -> bool:
        """Whether only its last answer is kept."""
        return self.state is State.DONE

    def deadline(self) -> float | None:
        """When ``tick`` has something; the owner forgets it after ``LINGER``."""
        if self.finished:
            return self.done_at + LINGER
        return self._retransmission.due if self._retransmission else None

    def tick(self, now: float) -> None:
        """Repeat, or give up."""
        timer = self._retransmission
        if timer is None or now < timer.due:
            return
        if self.failure is not None or timer.exhausted or self.state is State.WAIT_CONNECTED:
            self.give_up(now)
            return
        timer.repeat(now)
        self._sent_at = now
        self.owner.transmit(self._sent, now)

    def give_up(self, now: float) -> None:
        """It is over, with or without a reason of the peer's."""
        if not self.finished:
            self._machine.fire(Event.GIVE_UP, now)

    @property
    def spis(self) -> set[bytes]:
        """The SPIs by which a notification may name it."""
        return {spi.to_bytes(4, "big") for spi in (self.child.spi_in, self.child.spi_out)} if self.child else set()

    def refused(self, notify: int, now: float) -> None:
        """The peer said no, authenticated."""
        if self._machine.accepts(Event.GIVE_UP):
            self.failure = phase2_failure(notify, initiator=self.initiator)
            self.give_up(now)

    def esp_seen(self, now: float) -> None:
        """ESP came in that can only be under the new SA: the other side is ready."""
        if self._machine.accepts(Event.ESP_SEEN):
            self._machine.fire(Event.ESP_SEEN, now)

    def confirm(self, now: float) -> None:
        """Both directions are agreed."""
        assert self.child is not None
        self._finish(now)
        self.owner.confirm(self, self.child, now)

    def abandon(self, now: float) -> None:
        """It came to nothing."""
        sent = self._retransmission.sent if self._retransmission else 0
        self._finish(now)
        failure = self.failure or Failure(
            Slug.ESP_TIMEOUT, f"quick mode: no answer to message {1 if self.initiator else 2}, sent {sent} times"
        )
        self.owner.abandon(self, self.child, failure, now)

    def _finish(self, now: float) -> None:
        self.done_at = now
        self._retransmission = None

    def is_last_message(self, received: Received) -> bool:
        """Whether it is, octet by octet, the message that was taken last."""
        return hmac.compare_digest(hashlib.sha256(received.data).digest(), self._last_digest)

    def repeat_answer(self, now: float) -> None:
        """The identical message again: the identical answer, but not more than one a second. Raises ``Drop``."""
        if now < self._sent_at + REANSWER_INTERVAL or not self._sent:
            raise Drop("ike_duplicate")
        self._sent_at = now
        self.owner.transmit(self._sent, now)

    def _taken(self, received: Received, opened: Opened) -> None:
        self._last_digest = hashlib.sha256(received.data).digest()
        self._iv = opened.next_iv

    def _transmit(self, data: bytes, now: float) -> None:
        self._sent = data
        self._sent_at = now
        self._iv = data[-self.phase1.proposal.block :]
        self.owner.transmit(data, now)

    def _nat_original_addresses(self) -> list[tuple[int, bytes]]:
        """NAT-OAi and NAT-OAr: each address as its owner has it and as the other sees it (RFC 3947 section 5.2)."""
        variant = self.phase1.variant
        if variant is None or not self.phase1.floated:
            return []
        local, remote = self.owner.local.address, self.owner.remote.address
        pair = (local, remote) if self.initiator else (remote, local)
        return [(variant.nat_oa, NatOriginalAddress(address).emit()) for address in pair]

    @staticmethod
    def _nonce(chain: Chain) -> bytes:
        data = chain.one(PayloadType.NONCE, Nonce).data
        if not NONCE_MIN <= len(data) <= NONCE_MAX:
            raise Refuse(NotifyType.PAYLOAD_MALFORMED, Slug.IKE_MALFORMED, f"quick mode: a nonce of {len(data)} octets")
        return data

    @staticmethod
    def _check_public(group: Group, public: bytes, exchange: groups.Exchange) -> bytes:
        """The shared secret of PFS. Raises ``Refuse``."""
        try:
            groups.check(group, public)
            return exchange.shared(public)
        except (groups.BadLength, groups.BadPublicValue) as error:
            raise Refuse(NotifyType.INVALID_KEY_INFORMATION, Slug.IKE_KEY_EXCHANGE, f"quick mode: {error}") from error

    def _make_child(self, choice: Choice, spi_in: int, shared: bytes, life: Life, port: int) -> Child:
        """Derive both directions."""
        proposal, ctx = choice.proposal, self.owner.ctx
        spi_out = int.from_bytes(choice.offer.spi, "big")
        seconds, octets = self._lives(life)
        agreed = plan(self.config.esp_rekey_time, seconds, octets, initiator=self.initiator, jitter=ctx.fraction())
        need = proposal.enc_octets + proposal.auth_octets

        def keys(spi: int, *, outbound: bool) -> EspKeys:
            material = child_keymat(
                self.phase1.channel.keys, spi.to_bytes(4, "big"), self._nonce_i + self._nonce_r, need, shared
            )
            return EspKeys(
                spi=spi,
                outbound=outbound,
                cipher=proposal.cipher,
                auth=proposal.auth,
                enc_key=material[: proposal.enc_octets],
                auth_key=material[proposal.enc_octets :],
                udp_encap=self.phase1.floated,
                soft_bytes=agreed.soft_bytes,
                hard_bytes=agreed.hard_bytes,
            )

        return Child(
            inbound=keys(spi_in, outbound=False),
            outbound=keys(spi_out, outbound=True),
            proposal=EspProposal(proposal.cipher, proposal.key_bits, proposal.auth, choice.group),
            initiator=self.initiator,
            plan=agreed,
            started=self.started,
            tag=min(self._nonce_i, self._nonce_r),
            local_port=L2TP_PORT,
            remote_port=port,
        )

    def _lives(self, life: Life) -> tuple[float, int]:
        """Seconds and octets: the shorter of both sides, within what is sane."""
        named = DEFAULT_LIFE if life.seconds is None else life.seconds
        seconds = min(self.config.esp_rekey_time * LIFE_MARGIN, max(named, MIN_ESP_LIFE), MAX_LIFE)
        octets = [self.config.esp_rekey_bytes] if self.config.esp_rekey_bytes else []
        if life.kilobytes:
            octets.append(min(max(life.kilobytes, MIN_ESP_KILOBYTES) * OCTETS_PER_KILOBYTE, 1 << 62))
        return seconds, min(octets, default=0)


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
        owner.make_room(now)
        self._nonce_r = owner.ctx.rand(_NONCE_OCTETS)
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
        self.owner.install_inbound(self.child, self.phase1)
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
        self._nonce_i = ctx.rand(_NONCE_OCTETS)
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
        self.owner.install_inbound(self.child, self.phase1)
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


def phase2_failure(notify: int, *, initiator: bool) -> Failure:
    """What a peer's notification during quick mode means for a person; ``initiator`` is our role in it."""
    said = f"the peer answered {notify_name(notify)} to quick mode"
    if not initiator:
        return Failure(Slug.ESP_NO_PROPOSAL, f"{said}: it cannot use the ESP SA that it had asked for itself")
    if notify in {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.BAD_PROPOSAL_SYNTAX,
        NotifyType.ATTRIBUTES_NOT_SUPPORTED,
        NotifyType.INVALID_TRANSFORM_ID,
        NotifyType.INVALID_SPI,
    }:
        return Failure(Slug.ESP_NO_PROPOSAL, f"{said}: none of our ESP proposals suits it")
    if notify == NotifyType.INVALID_ID_INFORMATION:
        return Failure(Slug.ESP_SELECTOR, f"{said}: it does not allow UDP 1701 between these addresses")
    return Failure(Slug.IKE_NOTIFY, said)
