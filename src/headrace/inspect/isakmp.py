"""ISAKMP messages of a capture: told apart by exchange and number, decrypted with a key log, put into words.

A key log has the cipher's key alone. Everything else that decryption needs is in the capture: the transform that message 2 chose, both
public values (their hash is the first IV), and every ciphertext block that is the IV of the next message. So main mode must be in it.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from headrace.ike import natt, phase1_offer, phase2_offer, vendor
from headrace.ike.attributes import PHASE1, value_label
from headrace.ike.constants import HEADER_OCTETS, AuthMethod, Exchange, IdType, PayloadType, Phase1Attribute, ProtocolId
from headrace.ike.fragment import Reassembly
from headrace.ike.keymat import HashInput, Phase1Keys, Undecryptable, digest_of, skeyid_psk
from headrace.ike.limits import MAX_MESSAGE_OCTETS
from headrace.ike.message import Chain, Header, parse_chain
from headrace.ike.payloads import (
    Certificate,
    CertificateRequest,
    Delete,
    Fragment,
    Hash,
    Identification,
    KeyExchange,
    NatDetection,
    Nonce,
    Notify,
    SecurityAssociation,
    Signature,
    VendorId,
)
from headrace.ike.proposal import IkeProposal
from headrace.ike.refusal import Drop, listed
from headrace.inspect.keys import Keys, fingerprint
from headrace.model import Endpoint, printable
from headrace.wire import Malformed

NEGOTIATIONS_MAX: Final = 4096
"""Cookies that are remembered at once; the one unused for longest goes."""
EXCHANGES_MAX: Final = 64
SEEN_MAX: Final = 64
"""Messages of one negotiation that are known again when they are repeated."""

End = tuple[bytes, int]
"""Packed address and port."""


@dataclass(slots=True)
class Isakmp:
    """One message."""

    header: Header
    name: str
    """``main mode 3``, ``quick mode 1``, ``informational`` ..."""
    initiator: bool
    """Whether the initiator of phase 1 sent it."""
    negotiation: Negotiation
    chain: Chain | None = None
    """Payloads, ``None`` if they cannot be read."""
    encrypted: bool = False
    repeated: bool = False
    problem: str = ""
    details: list[str] = field(default_factory=list)
    notify: list[Notify] = field(default_factory=list)
    delete: list[Delete] = field(default_factory=list)
    phase2: SecurityAssociation | None = None
    """SA payload of quick mode."""

    @property
    def summary(self) -> str:
        """One line."""
        parts = [self.name]
        if self.repeated:
            parts.append("(repeated)")
        if self.details:
            parts.append(": " + "; ".join(self.details[:3]))
        elif self.encrypted and self.chain is None:
            parts.append(f": {self.header.length} octets, encrypted")
        return " ".join(parts).replace(" : ", ": ")


@dataclass(slots=True)
class Negotiation:
    """One phase 1 and what hangs on it, as far as a capture shows it."""

    cookie_i: bytes
    initiator: End
    responder: End
    senders: dict[tuple[End, End], bool] = field(default_factory=dict)
    """Direction to whether it is the initiator's."""
    cookie_r: bytes = bytes(8)
    sa_i: bytes = b""
    offered: list[phase1_offer.Offer] = field(default_factory=list)
    chosen: phase1_offer.Offer | None = None
    public: dict[bool, bytes] = field(default_factory=dict)
    """By whether it is the initiator's."""
    nonce: dict[bool, bytes] = field(default_factory=dict)
    vendors: dict[bool, list[bytes]] = field(default_factory=dict)
    nat: dict[bool, bool] = field(default_factory=dict)
    """By side: whether a NAT stands before it. Absent: not known."""
    cipher_key: bytes | None = field(default=None, repr=False)
    keys: Phase1Keys | None = field(default=None, repr=False)
    last_block: bytes = b""
    floated: bool = False
    psk_verdict: dict[bool, bool] = field(default_factory=dict)
    """By side: whether the pre-shared key that was given proves its hash."""
    identity: dict[bool, str] = field(default_factory=dict)
    subject: dict[bool, str] = field(default_factory=dict)
    """Of the certificates."""
    garbage: bool = False
    """Message 5 did not decrypt to payloads although there is a key."""
    exchanges: OrderedDict[int, tuple[bytes, int]] = field(default_factory=OrderedDict)
    """Message id to next IV and messages so far."""
    seen: OrderedDict[bytes, Isakmp] = field(default_factory=OrderedDict)
    pieces: dict[bool, Reassembly] = field(default_factory=dict)
    phase1_done: bool = False
    kept: int = 0

    @property
    def proposal(self) -> IkeProposal | None:
        """The agreed transform, if this package can do it."""
        return self.chosen.proposal if self.chosen else None

    def charge(self, octets: int) -> bool:
        """Keep count of octets of fragments."""
        self.kept += octets
        return self.kept <= MAX_MESSAGE_OCTETS


class IkeDecoder:
    """Reads ISAKMP messages in the order of a capture."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._negotiations: OrderedDict[bytes, Negotiation] = OrderedDict()

    def decode(self, source: End, destination: End, data: bytes, now: float) -> Isakmp:
        """Read one message (no non-ESP marker). Raises ``Malformed`` if not even its header can be read."""
        header = Header.parse(data)
        if header.length < HEADER_OCTETS or header.length > len(data):
            raise Malformed("isakmp", "length", 24, f"{header.length} with {len(data)} octets")
        data = data[: header.length]
        if header.version >> 4 != 1:
            raise Malformed("isakmp", "version", 17, f"IKEv{header.version >> 4}: only version 1 is L2TP/IPsec's")
        negotiation = self._negotiation(header, source, destination)
        digest = fingerprint(data)
        known = negotiation.seen.get(digest)
        if known is not None:
            return _again(known)
        initiator = self._direction(negotiation, source, destination)
        message = Isakmp(header, "", initiator, negotiation, encrypted=header.encrypted)
        body = data[HEADER_OCTETS:]
        if header.next_payload == PayloadType.FRAGMENT:
            whole = self._fragment(negotiation, message, body, now)
            if whole is None:
                return _remember(negotiation, digest, message)
            inner = self.decode(source, destination, whole, now)
            inner.details.insert(0, message.details[0])
            return _remember(negotiation, digest, inner)
        if header.encrypted:
            self._open(negotiation, message, body)
        else:
            message.name = _clear_name(header, initiator)
            try:
                message.chain = parse_chain(header.next_payload, body, padded=False)
            except Malformed as error:
                message.problem = str(error)
        if message.chain is not None:
            self._read(negotiation, message, source, destination)
        return _remember(negotiation, digest, message)

    # --- who speaks ------------------------------------------------------------------------------------------------------------------

    def _negotiation(self, header: Header, source: End, destination: End) -> Negotiation:
        found = self._negotiations.get(header.cookie_i)
        if found is None:
            while len(self._negotiations) >= NEGOTIATIONS_MAX:
                self._negotiations.popitem(last=False)
            # Whoever begins sends without the other's cookie. A capture that begins later is told by the well-known port.
            answer = header.exchange == Exchange.MAIN and header.next_payload == PayloadType.SA
            known = source[1] in {500, 4500} and destination[1] not in {500, 4500}
            turned = header.cookie_r != bytes(8) and (answer or known)
            ends = (destination, source) if turned else (source, destination)
            found = self._negotiations[header.cookie_i] = Negotiation(header.cookie_i, *ends)
            found.cipher_key = self._keys.ike.get(header.cookie_i)
        self._negotiations.move_to_end(header.cookie_i)
        if header.cookie_r != bytes(8) and not any(found.cookie_r):
            found.cookie_r = header.cookie_r
        return found

    @staticmethod
    def _direction(negotiation: Negotiation, source: End, destination: End) -> bool:
        known = negotiation.senders.get((source, destination))
        if known is None:
            reverse = negotiation.senders.get((destination, source))
            if reverse is not None:
                known = not reverse
            elif source[0] != destination[0]:
                known = source[0] == negotiation.initiator[0]
            else:  # two ports of one machine: it is the initiator that moves to port 4500 first
                known = True
            if len(negotiation.senders) < 16:
                negotiation.senders[source, destination] = known
        if known and source != negotiation.initiator:
            negotiation.floated = negotiation.floated or source[1] != negotiation.initiator[1]
            negotiation.initiator, negotiation.responder = source, destination
        return known

    def _fragment(self, negotiation: Negotiation, message: Isakmp, body: bytes, now: float) -> bytes | None:
        message.name = "fragment"
        try:
            piece = parse_chain(PayloadType.FRAGMENT, body, padded=False).one(PayloadType.FRAGMENT, Fragment)
            message.details.append(f"{piece}, {len(piece.data)} octets")
            pieces = negotiation.pieces.setdefault(message.initiator, Reassembly(negotiation.charge))
            return pieces.add(piece, now)
        except Drop as error:
            message.problem = str(error)
        except Malformed as error:
            message.problem = str(error)
        return None

    # --- decryption ------------------------------------------------------------------------------------------------------------------

    def _open(self, negotiation: Negotiation, message: Isakmp, body: bytes) -> None:
        header = message.header
        phase1 = header.exchange == Exchange.MAIN
        known = negotiation.exchanges.get(header.message_id)
        count = (known[1] if known else 0) + 1
        message.name = _encrypted_name(header, message.initiator, count)
        keys = self._phase1_keys(negotiation)
        if keys is None:
            if negotiation.cipher_key is not None:
                message.problem = "the key log has its key, but the capture lacks the main mode that the IVs come from"
            self._advance(negotiation, header, body, count, 16)
            return
        if phase1:
            iv = negotiation.last_block or keys.first_iv
        else:
            iv = known[0] if known else keys.message_iv(negotiation.last_block or keys.first_iv, header.message_id)
        try:
            text = keys.decrypt(iv, body)
            message.chain = parse_chain(header.next_payload, text, padded=True)
        except (Undecryptable, Malformed) as error:
            message.problem = f"does not decrypt to payloads with the key of the log ({error})"
            if phase1 and message.initiator:
                negotiation.garbage = True
                message.problem += ": the two pre-shared keys differ, or the key log is of another run"
            return
        self._advance(negotiation, header, body, count, keys.proposal.block)

    def _phase1_keys(self, negotiation: Negotiation) -> Phase1Keys | None:
        if negotiation.keys is None and negotiation.cipher_key is not None:
            proposal = negotiation.proposal
            if proposal is None or len(negotiation.public) < 2:
                return None
            key = negotiation.cipher_key
            if len(key) != proposal.key_octets:
                return None
            iv = digest_of(proposal.hash, negotiation.public[True] + negotiation.public[False])[: proposal.block]
            # The log has the cipher's key alone, which is all that reading takes.
            negotiation.keys = Phase1Keys(proposal, b"", b"", b"", b"", key, iv)
        return negotiation.keys

    @staticmethod
    def _advance(negotiation: Negotiation, header: Header, body: bytes, count: int, block: int) -> None:
        last = body[-block:]
        if header.exchange == Exchange.MAIN:
            negotiation.last_block = last
        negotiation.exchanges[header.message_id] = (last, count)
        while len(negotiation.exchanges) > EXCHANGES_MAX:
            negotiation.exchanges.popitem(last=False)

    # --- payloads --------------------------------------------------------------------------------------------------------------------

    def _read(self, negotiation: Negotiation, message: Isakmp, source: End, destination: End) -> None:
        assert message.chain is not None
        vendors: list[str] = []
        requests = 0
        for raw in message.chain.items:
            try:
                value = raw.decode()
            except Malformed as error:
                message.problem = message.problem or str(error)
                continue
            match value:
                case SecurityAssociation():
                    self._sa(negotiation, message, value, raw.body)
                case KeyExchange():
                    if message.header.exchange == Exchange.MAIN:
                        negotiation.public.setdefault(message.initiator, value.data)
                    message.details.append(f"KE of {len(value.data)} octets")
                case Nonce():
                    if message.header.exchange == Exchange.MAIN:
                        negotiation.nonce.setdefault(message.initiator, value.data)
                    message.details.append(f"nonce of {len(value.data)} octets")
                case CertificateRequest():
                    requests += 1
                case Certificate():
                    message.details.append(_certificate(negotiation, message, value))
                case Identification():
                    if message.header.exchange == Exchange.MAIN:
                        negotiation.identity[message.initiator] = _identity(value)
                    message.details.append(f"ID {_identity(value)}")
                case Notify():
                    message.notify.append(value)
                    message.details.append(f"notify {value}")
                case Delete():
                    message.delete.append(value)
                    what = (
                        {ProtocolId.ISAKMP: "ISAKMP SA", ProtocolId.ESP: "ESP SA"}.get(ProtocolId(value.protocol))
                        if value.protocol in {1, 3}
                        else None
                    )
                    spis = "" if value.protocol == ProtocolId.ISAKMP else " " + ", ".join(spi.hex() for spi in value.spis[:4])
                    message.details.append(f"delete {what or f'protocol {value.protocol}'}{spis}")
                case VendorId():
                    negotiation.vendors.setdefault(message.initiator, [])
                    if len(negotiation.vendors[message.initiator]) < 64:
                        negotiation.vendors[message.initiator].append(value.data)
                    vendors.append(vendor.name_of(value.data))
                case Hash():
                    message.details.append(self._hash(negotiation, message, value))
                case Signature():
                    message.details.append(f"signature of {len(value.data)} octets")
                case NatDetection():
                    pass  # all together below
                case None:
                    message.details.append(f"payload {raw.type} of {len(raw.body)} octets")
                case _:
                    message.details.append(str(value))
        if vendors:
            message.details.append(f"vendor ids {listed(vendors)}")
        if requests:
            message.details.append(f"{requests} certificate request{'' if requests == 1 else 's'}")
        self._nat(negotiation, message, source, destination)
        if message.header.exchange == Exchange.MAIN and message.encrypted and not message.initiator:
            negotiation.phase1_done = True

    def _sa(self, negotiation: Negotiation, message: Isakmp, value: SecurityAssociation, body: bytes) -> None:
        if message.header.exchange == Exchange.QUICK:
            message.phase2 = value
            offers = phase2_offer.read_all(value)
            message.details.append(f"ESP {listed([offer.label for offer in offers])}")
            for proposal in value.proposals[:2]:
                if proposal.protocol == ProtocolId.ESP:
                    message.details.append(f"SPI {proposal.spi.hex()}")
            return
        found = phase1_offer.read_all(value)
        methods = listed([value_label(PHASE1, Phase1Attribute.AUTHENTICATION, offer.method) for offer in found])
        message.details.append(f"{listed([offer.label for offer in found])} by {methods}")
        if message.initiator:
            negotiation.sa_i = negotiation.sa_i or body
            negotiation.offered = negotiation.offered or found
        elif found:
            negotiation.chosen = negotiation.chosen or found[0]

    def _hash(self, negotiation: Negotiation, message: Isakmp, value: Hash) -> str:
        if message.header.exchange != Exchange.MAIN or message.chain is None:
            return "HASH"
        verdict = self._psk(negotiation, message, value)
        if verdict is None:
            return f"HASH of {len(value.data)} octets"
        negotiation.psk_verdict[message.initiator] = verdict
        return f"HASH {'proves' if verdict else 'does not come from'} the pre-shared key that was given"

    def _psk(self, negotiation: Negotiation, message: Isakmp, value: Hash) -> bool | None:
        proposal, chosen = negotiation.proposal, negotiation.chosen
        if not self._keys.psk or proposal is None or chosen is None or chosen.method != AuthMethod.PSK:
            return None
        if len(negotiation.public) < 2 or len(negotiation.nonce) < 2 or message.chain is None:
            return None
        identity = next((raw.body for raw in message.chain.items if raw.type == PayloadType.IDENTIFICATION), b"")
        skeyid = skeyid_psk(proposal.hash, self._keys.psk, negotiation.nonce[True] + negotiation.nonce[False])
        inputs = HashInput(
            skeyid,
            negotiation.public[True],
            negotiation.public[False],
            negotiation.cookie_i,
            negotiation.cookie_r,
            negotiation.sa_i,
        )
        made = inputs.hash_i(proposal.hash, identity) if message.initiator else inputs.hash_r(proposal.hash, identity)
        return hmac.compare_digest(made, value.data)

    def _nat(self, negotiation: Negotiation, message: Isakmp, source: End, destination: End) -> None:
        assert message.chain is not None
        bodies = [raw.body for raw in message.chain.items if raw.type in {PayloadType.NAT_D, PayloadType.NAT_D_DRAFT}]
        proposal = negotiation.proposal
        if len(bodies) < 2 or proposal is None:
            return
        cookies = negotiation.cookie_i + negotiation.cookie_r
        ours = natt.nat_d(proposal.hash, cookies, _endpoint(destination))
        theirs = natt.nat_d(proposal.hash, cookies, _endpoint(source))
        side = message.initiator
        # Told by what the sender says of itself if the capture was taken beyond its NAT, by what its peer says if before it.
        if bodies[0] != ours:
            negotiation.nat[not side] = True
        if theirs not in bodies[1:]:
            negotiation.nat[side] = True
        for one in (side, not side):
            negotiation.nat.setdefault(one, False)
        where = [name for one, name in ((True, "client"), (False, "server")) if negotiation.nat[one]]
        message.details.append(f"NAT-D: {'NAT before the ' + ' and the '.join(where) if where else 'no NAT'}")


def _endpoint(end: End) -> Endpoint:
    import ipaddress

    return Endpoint(ipaddress.ip_address(end[0]), end[1])


def _again(known: Isakmp) -> Isakmp:
    """The same message once more: nothing of it counts twice."""
    return Isakmp(
        known.header,
        known.name,
        known.initiator,
        known.negotiation,
        known.chain,
        known.encrypted,
        repeated=True,
        problem=known.problem,
        details=known.details,
    )


def _remember(negotiation: Negotiation, digest: bytes, message: Isakmp) -> Isakmp:
    negotiation.seen[digest] = message
    while len(negotiation.seen) > SEEN_MAX:
        negotiation.seen.popitem(last=False)
    return message


def _certificate(negotiation: Negotiation, message: Isakmp, value: Certificate) -> str:
    try:
        certificate = x509.load_der_x509_certificate(value.data)
        subject = printable(certificate.subject.rfc4514_string().encode())
        until = certificate.not_valid_after_utc.date().isoformat()
    except ValueError:
        return f"certificate of {len(value.data)} octets that is no X.509"
    negotiation.subject.setdefault(message.initiator, subject)
    return f"certificate {subject}, until {until}, {len(value.data)} octets"


def _delete(value: Delete) -> str:
    if value.protocol == ProtocolId.ISAKMP:
        return "delete ISAKMP SA"
    what = "ESP SA" if value.protocol == ProtocolId.ESP else f"protocol {value.protocol}"
    return f"delete {what} {', '.join(spi.hex() for spi in value.spis[:4])}"


def _identity(value: Identification) -> str:
    """A name of a certificate in words too."""
    if value.type != IdType.DER_ASN1_DN:
        return str(value)
    try:
        return printable(x509.Name.from_bytes(value.data).rfc4514_string().encode())
    except ValueError:
        return str(value)


_NAMES: Final = {
    Exchange.BASE: "base mode",
    Exchange.AGGRESSIVE: "aggressive mode",
    Exchange.INFORMATIONAL: "informational",
    Exchange.TRANSACTION: "transaction",
    Exchange.NEW_GROUP: "new group mode",
}


def _exchange(number: int) -> str:
    try:
        return _NAMES.get(Exchange(number), Exchange(number).name.lower())
    except ValueError:
        return f"exchange {number}"


def _clear_name(header: Header, initiator: bool) -> str:
    if header.exchange == Exchange.MAIN:
        if header.next_payload == PayloadType.SA:
            return "main mode 1" if initiator else "main mode 2"
        return "main mode 3" if initiator else "main mode 4"
    return _exchange(header.exchange)


def _encrypted_name(header: Header, initiator: bool, count: int) -> str:
    if header.exchange == Exchange.MAIN:
        return "main mode 5" if initiator else "main mode 6"
    if header.exchange == Exchange.QUICK:
        return f"quick mode {count}"
    return _exchange(header.exchange)
