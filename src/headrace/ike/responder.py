"""Main mode as the side that is asked. It sends nothing that was not asked for, and nothing twice unless asked twice."""

from __future__ import annotations

import hashlib
import hmac

from headrace.errors import Slug
from headrace.ike import natt, vendor
from headrace.ike.complaints import BEHIND_NAT, behind_nat, phase1_failure
from headrace.ike.constants import (
    NOTIFY_STATUS_FIRST,
    Exchange,
    NotifyType,
    PayloadType,
)
from headrace.ike.context import Context, Received
from headrace.ike.limits import LINGER, MAX_SA_OCTETS, REANSWER_INTERVAL
from headrace.ike.main_mode import RESPONDER, Event, KeyMaterial, MainMode, Proof, State
from headrace.ike.message import emit_message, parse_chain
from headrace.ike.payloads import Notify, SecurityAssociation
from headrace.ike.phase1_offer import choose
from headrace.ike.refusal import Drop, Refuse
from headrace.model import Endpoint, Failure
from headrace.wire import Malformed


class Responder(MainMode):
    """The side that is asked. It sends nothing that was not asked for, and nothing twice unless asked twice."""

    initiator = False
    table = RESPONDER

    def __init__(self, ctx: Context, local: Endpoint, remote: Endpoint, now: float) -> None:
        super().__init__(ctx, local, remote, now)
        self._expires = now + ctx.config.half_open_timeout
        self._answered = now
        self._garbage_digest = b""
        self._asked = 0
        """How often the last request was repeated."""
        self.hopeless = False
        """The same undecryptable message 5 came twice: nothing better will come."""
        self.reported = False
        """The owner has told of the failure already."""
        self.first_remote = remote
        """Where message 1 came from."""

    def begin(self, received: Received, now: float) -> None:
        """Take message 1 and answer it. Raises ``Drop``, ``Refuse`` or ``Malformed``; nothing is kept then."""
        chain = self._clear(received)
        self._sa_i = chain.body(PayloadType.SA)
        if len(self._sa_i) > MAX_SA_OCTETS:
            detail = f"an SA payload of {len(self._sa_i)} octets"
            raise Refuse(NotifyType.BAD_PROPOSAL_SYNTAX, Slug.IKE_MALFORMED, detail)
        methods = self._methods()
        self._choice = choose(chain.one(PayloadType.SA, SecurityAssociation), self.config.proposals, methods.keys())
        self._auth = methods[self._choice.method]
        self._take_vendors(chain)
        self.cookie_i = received.header.cookie_i
        self.cookie_r = self.ctx.cookie()
        self._machine.fire(Event.MESSAGE_1)
        self._taken(received)
        self._answered = now

    def send_message_2(self) -> None:
        """HDR, SA with the chosen transform, VIDs: of NAT-T only the one that is to be used."""
        vendors = [vendor.DPD]
        if self._variant is not None:
            vendors.append(self._variant.vendor_id)
        form = vendor.fragmentation(self._vendors)
        if self.config.fragmentation and form is not None:
            vendors.append(vendor.FRAGMENTATION if form == vendor.FRAGMENTATION else vendor.FRAGMENTATION_MAIN)
        payloads = [
            (int(PayloadType.SA), self._chosen.answer.emit()),
            *((int(PayloadType.VENDOR_ID), item) for item in vendors),
        ]
        self._send(emit_message(self._header(), payloads))

    def receive(self, received: Received, now: float) -> None:
        """Take a request.

        Raises ``Drop``; ``Malformed``, or ``Refuse`` with a reason, if the peer is to be told but nothing has changed; ``Refuse``
        without a reason if the negotiation is over.
        """
        if received.header.exchange == Exchange.INFORMATIONAL and not received.header.encrypted and self.phase1 is None:
            self._note_complaint(received)
        if received.header.exchange != Exchange.MAIN or received.header.message_id:
            raise Drop("ike_exchange")
        if self._repeated(received):
            self.repeat_answer(received, now)
            return
        if self.state is State.WAIT_3:
            theirs = self._read_key_material(received)
            # The answer goes to where the request came from; only message 5 proves where the peer is.
            self.local, self.remote = received.local, received.remote
            self._machine.fire(Event.MESSAGE_3, theirs)
        elif self.state is State.WAIT_5:
            try:
                proof = self._read_proof(received)
            except Drop as drop:
                self._note_garbage(received, drop)
                raise
            if self._variant is not None and received.local.port == self.ctx.natt_port != self.local.port:
                # Who floats has seen a NAT, even where we have not, and will want ESP in UDP.
                self._nat = self._nat or natt.NatVerdict(remote=True)
            self.local, self.remote = received.local, received.remote
            self._machine.fire(Event.MESSAGE_5, proof, received, now)
        else:
            raise Drop("ike_unexpected")
        self._taken(received)
        self._answered = now
        self._asked = 0

    def is_last_request(self, received: Received) -> bool:
        """Whether it is, octet by octet, the request that was answered last."""
        return self._repeated(received)

    def repeat_answer(self, received: Received, now: float) -> None:
        """The identical request again: the identical answer, but not more than one a second. Raises ``Drop``."""
        self._asked += 1
        if now < self._answered + REANSWER_INTERVAL or not self._sent:
            raise Drop("ike_duplicate")
        self._answered = now
        self._resend(received.local, received.remote)

    def send_message_4(self, theirs: KeyMaterial) -> None:
        """HDR, KE, Nr, NAT-D, and whom we trust."""
        self._nat = theirs.nat
        payloads = [*self._key_payloads(), *self._authenticator.requests()]
        self._make_keys(theirs)
        self._send(emit_message(self._header(), payloads))

    def send_message_6(self, proof: Proof, received: Received, now: float) -> None:
        """HDR*, IDir, proof."""
        del received, now
        self._send(self._seal(self._proof_payloads(), proof.next_iv), may_split=True)

    def deadline(self) -> float | None:
        """When to give up; once established, when to forget the last answer."""
        if self.phase1 is not None:
            return self.phase1.established + LINGER if self._sent else None
        return self._expires

    def tick(self, now: float) -> Failure | None:
        """Gives the failure when it is over."""
        if self.phase1 is not None:
            if now >= self.phase1.established + LINGER:
                self._sent = []
            return None
        return self.failure() if now >= self._expires else None

    def failure(self) -> Failure:
        """Why it is given up, as far as can be told."""
        if self.hint is not None:
            return self.hint
        again = f"; it repeated its last message {self._asked} times" if self._asked else ""
        if self.state is State.WAIT_5 and behind_nat(self._nat, vendor.describe(self._vendors)):
            return Failure(Slug.SERVER_BEHIND_NAT, f"the peer fell silent after message 4; {BEHIND_NAT}{again}")
        if self.state is State.WAIT_3:
            return Failure(Slug.IKE_TIMEOUT, f"the peer fell silent after message 2: our answers do not reach it{again}")
        if self.auth_name == "psk":
            detail = "the peer fell silent after message 4: UDP 4500 is blocked or it gave up"
            return Failure(Slug.IKE_TIMEOUT, f"{detail if self._nat else 'the peer fell silent after message 4'}{again}")
        detail = (
            "the peer never sent message 5: it has no certificate from an authority that we asked for (then it should use a"
        )
        detail += " pre-shared key), or the path loses large datagrams"
        return Failure(Slug.IKE_TIMEOUT, f"{detail}{' or blocks UDP 4500' if self._nat else ''}{again}")

    def _note_complaint(self, received: Received) -> None:
        """A notification in clear changes nothing, but it may be why the peer falls silent. Raises ``Drop``."""
        try:
            notes = parse_chain(received.header.next_payload, received.body, padded=False).all(PayloadType.NOTIFY, Notify)
        except Malformed as error:
            raise Drop("ike_malformed", str(error)) from error
        if notes and notes[0].type < NOTIFY_STATUS_FIRST:
            self.hint = phase1_failure(notes[0].type, self.auth_name, proven=False)
        raise Drop("ike_notify")

    def _note_garbage(self, received: Received, drop: Drop) -> None:
        if drop.reason != "ike_decrypt" or self.auth_name != "psk":
            return
        digest = hashlib.sha256(received.data).digest()
        if self.hint is not None and self.hint.slug is Slug.PSK_MISMATCH and hmac.compare_digest(digest, self._garbage_digest):
            self.hopeless = True
        self._garbage_digest = digest
        self.hint = Failure(Slug.PSK_MISMATCH, "message 5 decrypts to garbage: the pre-shared keys differ")
