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
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
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
    AuthMethod,
    Exchange,
    NotifyType,
    PayloadType,
    ProtocolId,
)
from headrace.ike.context import Context, Received
from headrace.ike.events import Keys
from headrace.ike.fragment import Reassembly, split
from headrace.ike.keymat import HashInput, Phase1Keys
from headrace.ike.message import Chain, Header, parse_chain
from headrace.ike.payloads import (
    Fragment,
    Identification,
    KeyExchange,
    NatDetection,
    Nonce,
    Notify,
    VendorId,
)
from headrace.ike.phase1 import Phase1
from headrace.ike.phase1_offer import Choice
from headrace.ike.refusal import Drop, Refuse
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
class KeyMaterial:
    """Message 3 or 4, read and found good."""

    public: bytes
    nonce: bytes
    shared: bytes
    nat: natt.NatVerdict


@dataclass(frozen=True, slots=True)
class Proof:
    """Message 5 or 6, read and proven."""

    identity: Identification
    remote_id: str
    next_iv: bytes
    initial_contact: bool


class MainMode(ABC):
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
        self.chosen_at = now
        """When a transform was agreed."""
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

    def _read_key_material(self, received: Received) -> KeyMaterial:
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
        return KeyMaterial(public, nonce, shared, nat)

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

    def _make_keys(self, theirs: KeyMaterial) -> None:
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

    def _read_proof(self, received: Received) -> Proof:
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
        return Proof(identity, remote_id, opened.next_iv, contact)

    def _initial_contact(self, opened: Opened) -> bool:
        notes = opened.chain.all(PayloadType.NOTIFY, Notify)
        return any(note.type == NotifyType.INITIAL_CONTACT for note in notes)

    def _seal(self, payloads: Sequence[tuple[int, bytes]], iv: bytes) -> bytes:
        assert self._channel is not None
        data = self._channel.seal(Exchange.MAIN, 0, iv, payloads)
        self._channel.last_block = data[-self._chosen.proposal.block :]
        return data

    def establish(self, proof: Proof, received: Received, now: float) -> None:
        """Both sides have proven themselves."""
        assert self._channel is not None
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
            chosen=self.chosen_at,
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

    @abstractmethod
    def deadline(self) -> float | None:
        """When ``tick`` has something."""

    @abstractmethod
    def tick(self, now: float) -> Failure | None:
        """Do what is due; gives the failure when it is over."""

    @abstractmethod
    def failure(self) -> Failure:
        """Why it is given up, as far as can be told."""

    def refusal_message(self, notify: NotifyType) -> bytes:
        """An encrypted notification for a peer that proved nothing. Only once there are keys."""
        assert self._channel is not None
        note = Notify(notify, ProtocolId.ISAKMP, self._channel.cookies)
        return self._channel.informational(self.ctx.message_id(), [(PayloadType.NOTIFY, note.emit())])
