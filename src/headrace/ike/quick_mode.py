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
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from headrace.errors import Slug
from headrace.esp.group import Group
from headrace.esp.proposal import EspProposal
from headrace.esp.sa import LIFE_MARGIN, Child, plan
from headrace.fsm import Machine, Table
from headrace.ike import groups
from headrace.ike.attributes import Life
from headrace.ike.channel import Opened
from headrace.ike.complaints import phase2_failure
from headrace.ike.constants import (
    DEFAULT_LIFE,
    NONCE_MAX,
    NONCE_MIN,
    NotifyType,
    PayloadType,
)
from headrace.ike.context import Context, Received
from headrace.ike.keymat import child_keymat
from headrace.ike.limits import (
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
    NatOriginalAddress,
    Nonce,
)
from headrace.ike.phase1 import Phase1
from headrace.ike.phase2_offer import Choice
from headrace.ike.refusal import Drop, Refuse
from headrace.ike.retransmit import Retransmission
from headrace.ike.selectors import L2TP_PORT
from headrace.model import Endpoint, EspKeys, Failure

NONCE_OCTETS: Final = 32


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

    def make_room(self) -> None:
        """A child more is about to be made. Raises ``Refuse`` if there is no room."""

    def install_inbound(self, child: Child) -> None:
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
