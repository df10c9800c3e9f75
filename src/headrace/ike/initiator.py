"""Main mode as the side that begins: asks, repeats itself, and finds out why nobody answers."""

from __future__ import annotations

from dataclasses import replace

from headrace.errors import Slug
from headrace.ike import natt, vendor
from headrace.ike.complaints import phase1_failure
from headrace.ike.constants import (
    NOTIFY_STATUS_FIRST,
    AuthMethod,
    Exchange,
    NotifyType,
    PayloadType,
    ProtocolId,
)
from headrace.ike.context import Context, Received
from headrace.ike.limits import HINT_GRACE
from headrace.ike.main_mode import INITIATOR, LIFE_MARGIN, Event, KeyMaterial, MainMode, Proof, State
from headrace.ike.message import Chain, TooManyPayloads, emit_message, parse_chain
from headrace.ike.payloads import Notify, SecurityAssociation
from headrace.ike.phase1_offer import accept, build
from headrace.ike.refusal import Drop, Refuse
from headrace.ike.retransmit import Retransmission
from headrace.model import Endpoint, Failure
from headrace.wire import Malformed


class Initiator(MainMode):
    """The side that begins."""

    initiator = True
    table = INITIATOR

    def __init__(
        self, ctx: Context, local: Endpoint, remote: Endpoint, now: float, *, first_contact: bool, feign_local: bool
    ) -> None:
        super().__init__(ctx, local, remote, now)
        self.feign_local = feign_local
        self._first_contact = first_contact
        self._offered: SecurityAssociation | None = None
        self._retransmission: Retransmission | None = None
        self._give_up: float | None = None

    def begin(self, now: float) -> None:
        """Send message 1. Raises ``Refuse`` if there is nothing to authenticate with."""
        methods = self._methods()
        if not methods:
            raise Refuse(None, Slug.PSK_NONE, "neither a certificate nor a pre-shared key is configured for this peer")
        if not self.config.proposals or not self.config.esp_proposals:
            raise Refuse(None, Slug.IKE_NO_PROPOSAL, "no proposal for phase 1, or none for ESP, is configured")
        self.cookie_i = self.ctx.cookie()
        self._machine.fire(Event.BEGIN, list(methods), now)

    def send_message_1(self, methods: list[AuthMethod], now: float) -> None:
        """HDR, SA, VIDs."""
        self._offered = build(self.config.proposals, methods, self.config.rekey_time * LIFE_MARGIN)
        self._sa_i = self._offered.emit()
        vendors = [variant.vendor_id for variant in natt.VARIANTS] + [vendor.DPD]
        if self.config.fragmentation:
            vendors.append(vendor.FRAGMENTATION_MAIN)
        payloads = [(int(PayloadType.SA), self._sa_i), *((int(PayloadType.VENDOR_ID), item) for item in vendors)]
        self._ask(emit_message(self._header(), payloads), now)

    def receive(self, received: Received, now: float) -> None:
        """Take an answer. Raises ``Drop``, or ``Refuse`` if the negotiation is over."""
        header = received.header
        if header.exchange == Exchange.INFORMATIONAL:
            self._informational(received, now)
            return
        if header.exchange != Exchange.MAIN or header.message_id:
            raise Drop("ike_exchange")
        if self._repeated(received):
            raise Drop("ike_duplicate")
        try:
            if self.state is State.WAIT_2:
                self._message_2(received, now)
            elif self.state is State.WAIT_4:
                self._machine.fire(Event.MESSAGE_4, self._read_key_material(received), received, now)
            elif self.state is State.WAIT_6:
                self._machine.fire(Event.MESSAGE_6, self._read_proof(received), received, now)
                self._retransmission = None
            else:
                raise Drop("ike_unexpected")
        except TooManyPayloads as error:
            raise Drop("ike_too_many_payloads", str(error)) from error
        except Malformed as error:
            raise Drop("ike_malformed", str(error)) from error
        except Refuse as refusal:
            if refusal.reason:  # in clear: a forger's work, or the peer is broken; the true answer may still come
                self.hint = refusal.failure
                raise Drop(refusal.reason, str(refusal)) from refusal
            raise
        self._taken(received)
        self.hint = self._give_up = None

    def _message_2(self, received: Received, now: float) -> None:
        chain = self._clear(received)
        if not any(received.header.cookie_r):
            raise Drop("ike_cookie")
        assert self._offered is not None
        choice = accept(chain.one(PayloadType.SA, SecurityAssociation), self._offered)
        auth = self._methods().get(choice.method)
        if auth is None:
            raise Refuse(None, Slug.PSK_NONE, "the credentials for this peer have gone while it answered")
        self._choice, self._auth = choice, auth
        self.chosen_at = now
        self._take_vendors(chain)
        self.cookie_r = received.header.cookie_r
        self._machine.fire(Event.MESSAGE_2, now)

    def send_message_3(self, now: float) -> None:
        """HDR, KE, Ni, NAT-D."""
        self._ask(emit_message(self._header(), self._key_payloads()), now)

    def send_message_5(self, theirs: KeyMaterial, received: Received, now: float) -> None:
        """HDR*, IDii, proof; from the NAT-T port if there is a NAT (RFC 3947 section 4)."""
        del received
        self._make_keys(theirs)
        self._nat = theirs.nat
        if theirs.nat and self.local.port != self.ctx.natt_port:
            self.local = Endpoint(self.local.address, self.ctx.natt_port)
            self.remote = Endpoint(self.remote.address, self.ctx.remote_natt_port)
        assert self._channel is not None
        payloads = [*self._proof_payloads(), *self._authenticator.requests()]
        if self._first_contact:
            note = Notify(NotifyType.INITIAL_CONTACT, ProtocolId.ISAKMP, self._channel.cookies)
            payloads.append((PayloadType.NOTIFY, note.emit()))
        self._ask(self._seal(payloads, self._channel.last_block), now, may_split=True)

    def establish(self, proof: Proof, received: Received, now: float) -> None:
        """Message 6 is good: its last block ends the chain of phase 1."""
        assert self._channel is not None
        self._channel.last_block = proof.next_iv
        # Behind a NAT we do not follow where answers come from (RFC 3947 section 4).
        where = replace(received, local=self.local, remote=self.remote) if self._nat.local else received
        super().establish(proof, where, now)
        self._sent = []

    def _ask(self, data: bytes, now: float, *, may_split: bool = False) -> None:
        self._send(data, may_split=may_split)
        self._retransmission = Retransmission(self.config, now)

    def deadline(self) -> float | None:
        """When to repeat, or to give up."""
        if self._retransmission is None:
            return None
        return self._retransmission.due if self._give_up is None else min(self._retransmission.due, self._give_up)

    def tick(self, now: float) -> Failure | None:
        """Repeat the request; gives the failure when it is over."""
        timer = self._retransmission
        if timer is None:
            return None
        if self._give_up is not None and now >= self._give_up:
            return self.failure()
        if now < timer.due:
            return None
        if timer.exhausted:
            return self.failure()
        timer.repeat(now)
        self._resend(self.local, self.remote)
        return None

    def failure(self) -> Failure:
        """Why it is given up, as far as can be told."""
        if self.hint is not None:
            return self.hint
        sent = self._retransmission.sent if self._retransmission else 0
        times = f"{sent} times" if sent > 1 else "once"
        match self.state:
            case State.WAIT_2:
                detail = f"{self.remote} did not answer the first message, sent {times}: wrong address, UDP 500 blocked, or no gateway"
                return Failure(Slug.IKE_NO_ANSWER, detail)
            case State.WAIT_4:
                return Failure(
                    Slug.IKE_TIMEOUT, f"{self.remote} agreed on a proposal, then did not answer the key exchange, sent {times}"
                )
            case _ if self.auth_name == "psk":
                detail = f"{self.remote} did not answer message 5, sent {times}: most likely the pre-shared keys differ"
                detail += ", or UDP 4500 is blocked" if self._nat else ""
                return Failure(Slug.PSK_MISMATCH, detail)
            case _:
                detail = f"{self.remote} did not answer message 5 with our certificate, sent {times}: it refuses the certificate in silence"
                return Failure(
                    Slug.IKE_TIMEOUT, f"{detail}, or the path loses large datagrams{' or blocks UDP 4500' if self._nat else ''}"
                )

    def _informational(self, received: Received, now: float) -> None:
        """A notification while we wait: final if it is encrypted under our keys, a hint if it is in clear."""
        if received.header.encrypted:
            if self._channel is None:
                raise Drop("ike_unexpected")
            try:
                opened = self._channel.open_hashed(received, self._channel.iv(received.header.message_id))
            except Drop:
                if self.state is State.WAIT_6 and self.auth_name == "psk":
                    detail = "the peer answered message 5 with something under other keys: the pre-shared keys differ"
                    self._take_hint(Failure(Slug.PSK_MISMATCH, detail), now)
                raise
            failure = self._understood(opened.chain)
            if failure is not None:
                raise Refuse(None, failure.slug, failure.detail)
            return
        try:
            chain = parse_chain(received.header.next_payload, received.body, padded=False)
            failure = self._understood(chain)
        except Malformed as error:
            raise Drop("ike_malformed", str(error)) from error
        if failure is None:
            raise Drop("ike_notify")
        self._take_hint(failure, now)

    def _take_hint(self, failure: Failure, now: float) -> None:
        """Something unauthenticated says that it is over: wait a little for what is authenticated."""
        self.hint = failure
        if self._give_up is None and self._retransmission is not None:
            self._give_up = now + HINT_GRACE * self._retransmission.interval

    def _understood(self, chain: Chain) -> Failure | None:
        try:
            notes = chain.all(PayloadType.NOTIFY, Notify)
        except Malformed as error:
            raise Drop("ike_malformed", str(error)) from error
        errors = [note.type for note in notes if note.type < NOTIFY_STATUS_FIRST]
        if errors:
            return phase1_failure(errors[0], self.auth_name, proven=self.state is State.WAIT_6)
        if any(raw.type == PayloadType.DELETE for raw in chain.items) and self._channel is not None:
            slug = Slug.OUR_AUTH_REFUSED if self.auth_name == "psk" else Slug.OUR_CERT_REFUSED
            return Failure(slug, "the peer deleted the negotiation instead of answering message 5")
        return None
