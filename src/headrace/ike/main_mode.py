"""Main mode (RFC 2409 section 5, 5.1, 5.4): one run of six messages as initiator or responder, until it is established or given up.

::

    initiator                                      responder
    HDR, SA, VID..                        1 ->
                                          <- 2     HDR, SA, VID..
    HDR, KE, Ni, NAT-D..                  3 ->
                                          <- 4     HDR, KE, Nr, NAT-D.., [CERTREQ]
    HDR*, IDii, HASH_I | CERT.. SIG_I     5 ->
                                          <- 6     HDR*, IDir, HASH_R | CERT.. SIG_R

The tables below are the whole of what moves a negotiation. Reading a message comes before its event: what cannot be read, is of the
wrong group or does not decrypt fires nothing, for until message 5 anybody could have sent it. Beside the tables stand only: a
repeated request gets the same answer; a notification in clear is a hint that ends an initiator's patience, not its negotiation.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from headrace.errors import Slug
from headrace.fsm import Machine, Table
from headrace.ike import groups, natt, vendor
from headrace.ike.auth import Authenticator
from headrace.ike.auth_cert import CertAuthenticator, method_of
from headrace.ike.auth_psk import PskAuthenticator
from headrace.ike.channel import Channel, Opened
from headrace.ike.constants import (
    COOKIE_OCTETS,
    NONCE_MAX,
    NONCE_MIN,
    NOTIFY_STATUS_FIRST,
    AuthMethod,
    Exchange,
    NotifyType,
    PayloadType,
    ProtocolId,
    notify_name,
)
from headrace.ike.context import Context, Received
from headrace.ike.events import Keys
from headrace.ike.fragment import Reassembly, split
from headrace.ike.keymat import HashInput, Phase1Keys
from headrace.ike.limits import HINT_GRACE, LINGER, MAX_SA_OCTETS, REANSWER_INTERVAL
from headrace.ike.message import Chain, Header, TooManyPayloads, emit_message, parse_chain
from headrace.ike.payloads import (
    Fragment,
    Identification,
    KeyExchange,
    NatDetection,
    Nonce,
    Notify,
    SecurityAssociation,
    VendorId,
)
from headrace.ike.phase1 import Phase1
from headrace.ike.phase1_offer import Choice, accept, build, choose
from headrace.ike.refusal import Drop, Refuse
from headrace.ike.retransmit import Retransmission
from headrace.model import Endpoint, Failure
from headrace.wire import Malformed

_NONCE_OCTETS: Final = 32
_NO_COOKIE: Final = bytes(COOKIE_OCTETS)
LIFE_MARGIN: Final = 1.1
"""The life that we propose, in terms of the time after which we rekey."""


class State(Enum):
    """Which message is awaited."""

    START = auto()
    WAIT_2 = auto()
    WAIT_3 = auto()
    WAIT_4 = auto()
    WAIT_5 = auto()
    WAIT_6 = auto()
    DONE = auto()


class Event(Enum):
    """What has been read."""

    BEGIN = auto()
    MESSAGE_1 = auto()
    MESSAGE_2 = auto()
    MESSAGE_3 = auto()
    MESSAGE_4 = auto()
    MESSAGE_5 = auto()
    MESSAGE_6 = auto()


INITIATOR: Final[Table[State, Event]] = {
    (State.START, Event.BEGIN): ("send_message_1", State.WAIT_2),
    (State.WAIT_2, Event.MESSAGE_2): ("send_message_3", State.WAIT_4),
    (State.WAIT_4, Event.MESSAGE_4): ("send_message_5", State.WAIT_6),
    (State.WAIT_6, Event.MESSAGE_6): ("establish", State.DONE),
}
RESPONDER: Final[Table[State, Event]] = {
    (State.START, Event.MESSAGE_1): ("send_message_2", State.WAIT_3),
    (State.WAIT_3, Event.MESSAGE_3): ("send_message_4", State.WAIT_5),
    (State.WAIT_5, Event.MESSAGE_5): (("send_message_6", "establish"), State.DONE),
}


@dataclass(frozen=True, slots=True)
class _KeyMaterial:
    """Message 3 or 4, read and found good."""

    public: bytes
    nonce: bytes
    shared: bytes
    nat: natt.NatVerdict


@dataclass(frozen=True, slots=True)
class _Proof:
    """Message 5 or 6, read and proven."""

    identity: Identification
    remote_id: str
    next_iv: bytes
    initial_contact: bool


class MainMode:
    """What both roles share. The owner asks ``deadline``, calls ``tick``, and takes ``phase1`` once it is there."""

    initiator: bool
    table: Table[State, Event]

    def __init__(self, ctx: Context, local: Endpoint, remote: Endpoint, now: float) -> None:
        self.ctx = ctx
        self.config = ctx.config
        """As it was when the negotiation began; a reload is for the next one."""
        self.local = local
        self.remote = remote
        self.started = now
        self.feign_local = False
        """Where encapsulation is forced: whether this side plays the one behind a NAT."""
        self.cookie_i = _NO_COOKIE
        self.cookie_r = _NO_COOKIE
        self.phase1: Phase1 | None = None
        self.hint: Failure | None = None
        """What probably is wrong, for the day it is given up."""
        self.reassembly = Reassembly(ctx.charge)
        self._machine: Machine[State, Event] = Machine(f"main mode, {type(self).__name__}", self.table, State.START, self)
        self._sa_i = b""
        self._choice: Choice | None = None
        self._auth: Authenticator | None = None
        self._vendors: tuple[bytes, ...] = ()
        self._variant: natt.Variant | None = None
        self._exchange: groups.Exchange | None = None
        self._nonce = b""
        self._nat = natt.NO_NAT
        self._hashes: HashInput | None = None
        self._channel: Channel | None = None
        self._last_digest = b""
        """Of the last message of the peer that was taken."""
        self._sent: list[bytes] = []
        """Datagrams of our last message."""

    # -- what owners see

    @property
    def state(self) -> State:
        """Which message is awaited."""
        return self._machine.state

    @property
    def cookies(self) -> tuple[bytes, bytes]:
        """Both cookies; the second is zero before message 2."""
        return self.cookie_i, self.cookie_r

    @property
    def channel(self) -> Channel | None:
        """There once messages 3 and 4 have passed."""
        return self._channel

    @property
    def auth_name(self) -> str:
        """``psk`` or ``cert``, empty while it is open."""
        return self._auth.name if self._auth else ""

    # -- what both roles do

    @property
    def _chosen(self) -> Choice:
        assert self._choice is not None
        return self._choice

    @property
    def _authenticator(self) -> Authenticator:
        assert self._auth is not None
        return self._auth

    def _methods(self) -> dict[AuthMethod, Authenticator]:
        """How we can authenticate with this peer, most wanted first."""
        found: dict[AuthMethod, Authenticator] = {}
        config = self.config
        if config.certificate is not None and config.verifier is not None:
            method = method_of(config.certificate.key)
            if method is not None:
                names = config.remote_names if self.initiator else ()
                found[method] = CertAuthenticator(method, config.certificate, config.verifier, names)
        psk = config.psk_for(self.remote)
        if psk:
            found[AuthMethod.PSK] = PskAuthenticator(psk, self.local.address)
        return found

    def _header(self) -> Header:
        return Header(self.cookie_i, self.cookie_r, PayloadType.NONE, Exchange.MAIN)

    def _send(self, data: bytes, *, may_split: bool = False) -> None:
        config = self.config
        if may_split and config.fragmentation and len(data) > config.fragment_size and vendor.fragmentation(self._vendors):
            # One message of a negotiation is ever split, so the id may be the same each time.
            self._sent = split(data, 1, config.fragment_size)
        else:
            self._sent = [data]
        self._resend(self.local, self.remote)

    def _resend(self, local: Endpoint, remote: Endpoint) -> None:
        for datagram in self._sent:
            self.ctx.send(local, remote, datagram)

    @staticmethod
    def _clear(received: Received) -> Chain:
        """The payloads of a message that must not be encrypted. Raises ``Drop`` or ``Malformed``."""
        if received.header.encrypted:
            raise Drop("ike_unexpected", "encrypted before there are keys")
        return parse_chain(received.header.next_payload, received.body, padded=False)

    def _repeated(self, received: Received) -> bool:
        return hmac.compare_digest(hashlib.sha256(received.data).digest(), self._last_digest)

    def _taken(self, received: Received) -> None:
        self._last_digest = hashlib.sha256(received.data).digest()

    def _take_vendors(self, chain: Chain) -> None:
        self._vendors = tuple(item.data for item in chain.all(PayloadType.VENDOR_ID, VendorId))
        self._variant = natt.best(self._vendors)

    def _read_key_material(self, received: Received) -> _KeyMaterial:
        """Message 3 or 4. Raises ``Drop``, ``Refuse`` or ``Malformed``; nothing has changed then."""
        chain = self._clear(received)
        public = chain.one(PayloadType.KEY_EXCHANGE, KeyExchange).data
        nonce = chain.one(PayloadType.NONCE, Nonce).data
        if not NONCE_MIN <= len(nonce) <= NONCE_MAX:
            detail = f"a nonce of {len(nonce)} octets"
            raise Refuse(NotifyType.PAYLOAD_MALFORMED, Slug.IKE_MALFORMED, detail, reason="ike_nonce")
        group = self._chosen.proposal.group
        try:
            groups.check(group, public)
            if self._exchange is None:
                self._exchange = groups.begin(group, self.ctx.rand)
            shared = self._exchange.shared(public)
        except groups.BadLength as error:
            raise Refuse(NotifyType.PAYLOAD_MALFORMED, Slug.IKE_KEY_EXCHANGE, str(error), reason="ike_key_exchange") from error
        except groups.BadPublicValue as error:
            raise Refuse(
                NotifyType.INVALID_KEY_INFORMATION, Slug.IKE_KEY_EXCHANGE, str(error), reason="ike_key_exchange"
            ) from error
        nat = natt.NO_NAT
        if self._variant is not None:
            bodies = [item.data for item in chain.all(self._variant.nat_d, NatDetection)]
            nat = natt.detect(
                bodies, self._chosen.proposal.hash, self.cookie_i + self.cookie_r, received.local, received.remote
            )
            if bodies and self.config.force_encapsulation:
                nat = natt.NatVerdict(nat.local or self.feign_local, nat.remote or not self.feign_local)
        return _KeyMaterial(public, nonce, shared, nat)

    def _key_payloads(self) -> list[tuple[int, bytes]]:
        """KE, nonce and NAT-D of our message 3 or 4."""
        if self._exchange is None:
            self._exchange = groups.begin(self._chosen.proposal.group, self.ctx.rand)
        self._nonce = self.ctx.rand(_NONCE_OCTETS)
        payloads = [(int(PayloadType.KEY_EXCHANGE), self._exchange.public), (int(PayloadType.NONCE), self._nonce)]
        if self._variant is not None:
            bodies = natt.own_nat_d(
                self._chosen.proposal.hash,
                self.cookie_i + self.cookie_r,
                self.local,
                self.remote,
                feign=self.config.force_encapsulation,
                feign_local=self.feign_local,
                rand=self.ctx.rand,
            )
            payloads += [(int(self._variant.nat_d), body) for body in bodies]
        return payloads

    def _make_keys(self, theirs: _KeyMaterial) -> None:
        assert self._exchange is not None
        own = self._exchange.public
        first, second = (
            ((own, theirs.public), (self._nonce, theirs.nonce))
            if self.initiator
            else (
                (theirs.public, own),
                (theirs.nonce, self._nonce),
            )
        )
        cookies = self.cookie_i + self.cookie_r
        proposal = self._chosen.proposal
        skeyid = self._authenticator.skeyid(proposal.hash, b"".join(second), theirs.shared)
        keys = Phase1Keys.derive(proposal, skeyid, theirs.shared, cookies, b"".join(first))
        self._channel = Channel(keys, self.cookie_i, self.cookie_r)
        self._hashes = HashInput(skeyid, *first, self.cookie_i, self.cookie_r, self._sa_i)
        self._exchange = None
        if self.config.keylog:
            self.ctx.events.put(Keys(self.cookie_i, keys.cipher_key))

    def _proof_payloads(self) -> list[tuple[int, bytes]]:
        """Identity and proof of our message 5 or 6."""
        auth, hashes = self._authenticator, self._hashes
        assert hashes is not None
        identity = auth.identity().emit()
        digest = auth.digest(self._chosen.proposal.hash)
        value = hashes.hash_i(digest, identity) if self.initiator else hashes.hash_r(digest, identity)
        return [(PayloadType.IDENTIFICATION, identity), *auth.prove(value)]

    def _read_proof(self, received: Received) -> _Proof:
        """Message 5 or 6. Raises ``Drop`` if it is garbage, ``Refuse`` if it is whole and proves nothing; nothing has changed then."""
        channel, hashes, auth = self._channel, self._hashes, self._authenticator
        assert channel is not None
        assert hashes is not None
        opened = channel.open(received, channel.last_block)
        try:
            body = opened.chain.body(PayloadType.IDENTIFICATION)
            identity = opened.chain.one(PayloadType.IDENTIFICATION, Identification)
            digest = auth.digest(self._chosen.proposal.hash)
            expected = hashes.hash_r(digest, body) if self.initiator else hashes.hash_i(digest, body)
            remote_id = auth.verify(opened.chain, identity, expected)
            contact = self._initial_contact(opened)
        except Malformed as error:
            raise Drop("ike_decrypt", str(error)) from error
        except Refuse:
            # It is over; what we still say about it goes on from the message that is refused.
            channel.last_block = opened.next_iv
            raise
        return _Proof(identity, remote_id, opened.next_iv, contact)

    def _initial_contact(self, opened: Opened) -> bool:
        notes = opened.chain.all(PayloadType.NOTIFY, Notify)
        return any(note.type == NotifyType.INITIAL_CONTACT for note in notes)

    def _seal(self, payloads: Sequence[tuple[int, bytes]], iv: bytes) -> bytes:
        assert self._channel is not None
        data = self._channel.seal(Exchange.MAIN, 0, iv, payloads)
        self._channel.last_block = data[-self._chosen.proposal.block :]
        return data

    def establish(self, proof: _Proof, received: Received, now: float) -> None:
        """Both sides have proven themselves."""
        assert self._channel is not None
        assert isinstance(self, (Initiator, Responder))
        own_life = self.config.rekey_time * LIFE_MARGIN
        self.hint = None
        self.phase1 = Phase1(
            channel=self._channel,
            initiator=self.initiator,
            proposal=self._chosen.proposal,
            method=self._chosen.method,
            auth=self._authenticator.name,
            identity=proof.identity,
            remote_id=proof.remote_id,
            variant=self._variant,
            nat=self._nat,
            local=received.local,
            remote=received.remote,
            dpd=vendor.has_dpd(self._vendors),
            fragments=vendor.fragmentation(self._vendors) is not None,
            vendor=vendor.describe(self._vendors),
            initial_contact=proof.initial_contact,
            started=self.started,
            established=now,
            life=min(own_life, self._chosen.offer.seconds),
            origin=self,
            reassembly=self.reassembly,
        )
        self._exchange = None
        self._hashes = None

    def reassemble(self, received: Received, fragment: Fragment, now: float) -> bytes | None:
        """Take a fragment; gives the whole message when it was the missing one. Raises ``Drop``."""
        if received.header.cookies != self.cookies:
            raise Drop("ike_fragment", "fragments before there are two cookies")
        return self.reassembly.add(fragment, now)

    def refusal_message(self, notify: NotifyType) -> bytes:
        """An encrypted notification for a peer that proved nothing. Only once there are keys."""
        assert self._channel is not None
        note = Notify(notify, ProtocolId.ISAKMP, self._channel.cookies)
        return self._channel.informational(self.ctx.message_id(), [(PayloadType.NOTIFY, note.emit())])


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
        self._take_vendors(chain)
        self.cookie_r = received.header.cookie_r
        self._machine.fire(Event.MESSAGE_2, now)

    def send_message_3(self, now: float) -> None:
        """HDR, KE, Ni, NAT-D."""
        self._ask(emit_message(self._header(), self._key_payloads()), now)

    def send_message_5(self, theirs: _KeyMaterial, received: Received, now: float) -> None:
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

    def establish(self, proof: _Proof, received: Received, now: float) -> None:
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
            return phase1_failure(errors[0], self.state, self.auth_name)
        if any(raw.type == PayloadType.DELETE for raw in chain.items) and self._channel is not None:
            slug = Slug.OUR_AUTH_REFUSED if self.auth_name == "psk" else Slug.OUR_CERT_REFUSED
            return Failure(slug, "the peer deleted the negotiation instead of answering message 5")
        return None


_PROPOSAL_NOTES: Final = frozenset(
    {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.BAD_PROPOSAL_SYNTAX,
        NotifyType.ATTRIBUTES_NOT_SUPPORTED,
        NotifyType.INVALID_TRANSFORM_ID,
        NotifyType.INVALID_PROTOCOL_ID,
    }
)
_CERTIFICATE_NOTES: Final = frozenset(
    {
        NotifyType.INVALID_CERTIFICATE,
        NotifyType.INVALID_CERT_ENCODING,
        NotifyType.INVALID_CERT_AUTHORITY,
        NotifyType.CERT_TYPE_UNSUPPORTED,
        NotifyType.CERTIFICATE_UNAVAILABLE,
    }
)
_GARBAGE_NOTES: Final = frozenset(
    {
        NotifyType.INVALID_HASH_INFORMATION,
        NotifyType.PAYLOAD_MALFORMED,
        NotifyType.INVALID_PAYLOAD_TYPE,
        NotifyType.UNEQUAL_PAYLOAD_LENGTHS,
    }
)


def phase1_failure(notify: int, state: State, auth: str) -> Failure:
    """What a peer's notification during main mode means for a person."""
    said = f"the peer answered {notify_name(notify)}"
    if notify in _PROPOSAL_NOTES:
        return Failure(Slug.IKE_NO_PROPOSAL, f"{said}: none of our phase-1 proposals suits it")
    if notify in _CERTIFICATE_NOTES:
        return Failure(Slug.OUR_CERT_REFUSED, f"{said}: it does not accept our certificate")
    if notify in _GARBAGE_NOTES and state is State.WAIT_6 and auth == "psk":
        return Failure(Slug.PSK_MISMATCH, f"{said} to message 5: it could not decrypt it, so the pre-shared keys differ")
    if notify in {NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SIGNATURE, NotifyType.INVALID_HASH_INFORMATION}:
        return Failure(
            Slug.OUR_AUTH_REFUSED, f"{said}: it does not accept our {'pre-shared key' if auth == 'psk' else 'signature'}"
        )
    if notify == NotifyType.INVALID_ID_INFORMATION:
        return Failure(Slug.IKE_ID, f"{said}: it does not accept our identity")
    if notify == NotifyType.INVALID_KEY_INFORMATION:
        return Failure(Slug.IKE_KEY_EXCHANGE, said)
    if notify in {NotifyType.INVALID_MAJOR_VERSION, NotifyType.INVALID_MINOR_VERSION}:
        return Failure(Slug.IKE_VERSION, f"{said}: it does not speak IKEv1")
    return Failure(Slug.IKE_NOTIFY, said)


BEHIND_NAT: Final = (
    "we stand behind a NAT, and Windows then makes no connection until AssumeUDPEncapsulationContextOnSendRule is 2 in its registry"
    " (Services\\PolicyAgent; Windows XP: Services\\IPSec) and it was restarted; feature updates of Windows take the value away"
)


def behind_nat(nat: natt.NatVerdict, vendor_name: str) -> bool:
    """Whether a peer that falls silent is Windows which by default refuses a gateway behind a NAT."""
    return nat.local and vendor_name.startswith("Windows")


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

    def send_message_4(self, theirs: _KeyMaterial) -> None:
        """HDR, KE, Nr, NAT-D, and whom we trust."""
        self._nat = theirs.nat
        payloads = [*self._key_payloads(), *self._authenticator.requests()]
        self._make_keys(theirs)
        self._send(emit_message(self._header(), payloads))

    def send_message_6(self, proof: _Proof, received: Received, now: float) -> None:
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
            self.hint = phase1_failure(notes[0].type, self.state, self.auth_name)
        raise Drop("ike_notify")

    def _note_garbage(self, received: Received, drop: Drop) -> None:
        if drop.reason != "ike_decrypt" or self.auth_name != "psk":
            return
        digest = hashlib.sha256(received.data).digest()
        if self.hint is not None and self.hint.slug is Slug.PSK_MISMATCH and hmac.compare_digest(digest, self._garbage_digest):
            self.hopeless = True
        self._garbage_digest = digest
        self.hint = Failure(Slug.PSK_MISMATCH, "message 5 decrypts to garbage: the pre-shared keys differ")
