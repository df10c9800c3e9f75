"""Phase-1 offers: reading what a peer proposes, choosing, and saying why nothing fits (RFC 2409 appendix A)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import Slug
from headrace.esp.group import Group
from headrace.ike.attributes import PHASE1, Attribute, Life, read_life, value_label
from headrace.ike.constants import DEFAULT_LIFE, KEY_IKE, AuthMethod, LifeType, NotifyType, Phase1Attribute, ProtocolId
from headrace.ike.limits import MAX_LIFE, MAX_OFFERED, MIN_LIFE
from headrace.ike.payloads import LAYER, Proposal, SecurityAssociation, Transform
from headrace.ike.proposal import TIERS, IkeCipher, IkeHash, IkeProposal, cipher_label, group_label, hash_label
from headrace.ike.refusal import Refuse, listed
from headrace.wire import Malformed

_A = Phase1Attribute
_REPEATABLE: Final = frozenset({_A.LIFE_TYPE, _A.LIFE_DURATION})
_KNOWN: Final = frozenset({_A.ENCRYPTION, _A.HASH, _A.AUTHENTICATION, _A.GROUP, _A.KEY_LENGTH, *_REPEATABLE})


@dataclass(frozen=True, slots=True)
class Offer:
    """One transform of a peer, read."""

    proposal_number: int
    transform: Transform
    cipher: int
    key_bits: int
    hash: int
    method: int
    group: int
    life: Life

    @property
    def proposal(self) -> IkeProposal | None:
        """The same as this package has it, ``None`` if it cannot do it."""
        try:
            cipher, digest, group = IkeCipher(self.cipher), IkeHash(self.hash), Group(self.group)
        except ValueError:
            return None
        sizes = (128, 192, 256) if cipher is IkeCipher.AES else (0,)
        return IkeProposal(cipher, self.key_bits, digest, group) if self.key_bits in sizes else None

    @property
    def label(self) -> str:
        """For a person: ``AES-256, SHA-1, MODP-2048``."""
        return ", ".join((cipher_label(self.cipher, self.key_bits), hash_label(self.hash), group_label(self.group)))

    @property
    def seconds(self) -> float:
        """The life in seconds, within what is sane."""
        return clamp_life(self.life.seconds)


def clamp_life(seconds: int | None) -> float:
    """A life that a peer names, within what is sane; the default of the RFC where it names none."""
    return float(min(max(DEFAULT_LIFE if seconds is None else seconds, MIN_LIFE), MAX_LIFE))


@dataclass(frozen=True, slots=True)
class Choice:
    """What was agreed."""

    offer: Offer
    proposal: IkeProposal
    method: AuthMethod

    @property
    def answer(self) -> SecurityAssociation:
        """The SA payload of the answer: the chosen transform exactly as it was offered."""
        chosen = Proposal(self.offer.proposal_number, ProtocolId.ISAKMP, b"", (self.offer.transform,))
        return SecurityAssociation((chosen,))


def read(number: int, transform: Transform) -> Offer:
    """Read one transform. Raises ``Malformed`` if it makes no sense or asks for what nobody uses."""
    found: dict[int, int] = {}
    attributes = transform.attributes()
    for item in attributes:
        if item.type not in _KNOWN or (item.type in found and item.type not in _REPEATABLE):
            raise Malformed(LAYER, "attribute", 0, f"class {item.type} is not supported or given twice")
        found[item.type] = item.value
    missing = [kind for kind in (_A.ENCRYPTION, _A.HASH, _A.AUTHENTICATION, _A.GROUP) if kind not in found]
    if missing or transform.id != KEY_IKE:
        raise Malformed(LAYER, "transform", 0, f"transform {transform.id} lacks {', '.join(kind.name for kind in missing)}")
    return Offer(
        number,
        transform,
        found[_A.ENCRYPTION],
        found.get(_A.KEY_LENGTH, 0),
        found[_A.HASH],
        found[_A.AUTHENTICATION],
        found[_A.GROUP],
        read_life(attributes, _A.LIFE_TYPE, _A.LIFE_DURATION),
    )


def read_all(sa: SecurityAssociation) -> list[Offer]:
    """Every transform that can be read; the others are skipped."""
    offers: list[Offer] = []
    for proposal in sa.proposals:
        if proposal.protocol != ProtocolId.ISAKMP:
            continue
        for transform in proposal.transforms:
            try:
                offers.append(read(proposal.number, transform))
            except Malformed:
                continue
    return offers


def choose(sa: SecurityAssociation, allowed: Collection[IkeProposal], methods: Collection[AuthMethod]) -> Choice:
    """The first of the initiator's transforms that is allowed. Raises ``Refuse`` with both lists and the nearest miss."""
    offers = read_all(sa)
    for offer in offers:
        proposal = offer.proposal
        if proposal in allowed and proposal is not None and offer.method in methods:
            return Choice(offer, proposal, AuthMethod(offer.method))
    if any(offer.proposal in allowed for offer in offers):
        raise _no_credentials(offers, methods)
    raise Refuse(NotifyType.NO_PROPOSAL_CHOSEN, Slug.IKE_NO_PROPOSAL, explain(offers, allowed))


def accept(sa: SecurityAssociation, offered: SecurityAssociation) -> Choice:
    """As the initiator: check that the answer is one transform that we offered. Raises ``Refuse`` without a notification."""
    if len(sa.proposals) != 1 or len(sa.proposals[0].transforms) != 1:
        raise Refuse(None, Slug.IKE_NO_PROPOSAL, "the answer names more than one transform")
    answers = read_all(sa)
    for offer in read_all(offered):
        for answer in answers:
            same = (answer.cipher, answer.key_bits, answer.hash, answer.group, answer.method)
            if same == (offer.cipher, offer.key_bits, offer.hash, offer.group, offer.method) and answer.proposal:
                return Choice(answer, answer.proposal, AuthMethod(answer.method))
    seen = answers[0].label if answers else "nothing that can be read"
    raise Refuse(None, Slug.IKE_NO_PROPOSAL, f"the answer names a transform that was not offered: {seen}")


def build(proposals: Sequence[IkeProposal], methods: Sequence[AuthMethod], life: float) -> SecurityAssociation:
    """Our offer: every proposal with every authentication method, most wanted first, as many as fit one datagram."""
    each = max(1, MAX_OFFERED // len(methods))
    wanted = [(method, proposal) for method in methods for proposal in proposals[:each]]
    transforms = tuple(
        Transform.of(number, KEY_IKE, _attributes(proposal, method, life))
        for number, (method, proposal) in enumerate(wanted, 1)
    )
    return SecurityAssociation((Proposal(1, ProtocolId.ISAKMP, b"", transforms),))


def _attributes(proposal: IkeProposal, method: AuthMethod, life: float) -> tuple[Attribute, ...]:
    size = (Attribute.of(_A.KEY_LENGTH, proposal.key_bits),) if proposal.key_bits else ()
    return (
        Attribute.of(_A.ENCRYPTION, proposal.cipher),
        *size,
        Attribute.of(_A.HASH, proposal.hash),
        Attribute.of(_A.GROUP, proposal.group),
        Attribute.of(_A.AUTHENTICATION, method),
        Attribute.of(_A.LIFE_TYPE, LifeType.SECONDS),
        Attribute.of(_A.LIFE_DURATION, max(1, round(life))),
    )


def explain(offers: Sequence[Offer], allowed: Collection[IkeProposal]) -> str:
    """Why nothing fits: what the peer offered, what is allowed, and the nearest miss with the policy that would take it."""
    if not offers:
        return "the peer offered nothing that can be read"
    text = (
        f"the peer offered {listed([offer.label for offer in offers])}; allowed are {listed([str(item) for item in allowed])}"
    )
    best = min(offers, key=lambda item: len(_miss(item, allowed)))
    text += f"; nearest: {best.label}: {_only(_miss(best, allowed))}"
    tier = next((name for name, proposals in TIERS.items() if best.proposal in proposals), None)
    return f'{text}; policy = "{tier}" would accept it' if tier else text


def _miss(offer: Offer, allowed: Collection[IkeProposal]) -> list[str]:
    """What keeps an offer from the allowed proposal that is nearest to it."""
    worst = ["the cipher", "the hash", "the group"]
    for item in allowed:
        parts = (
            ((item.cipher, item.key_bits) == (offer.cipher, offer.key_bits), "the cipher"),
            (item.hash == offer.hash, "the hash"),
            (item.group == offer.group, "the group"),
        )
        wrong = [name for right, name in parts if not right]
        if len(wrong) < len(worst):
            worst = wrong
    return worst


def _only(wrong: Sequence[str]) -> str:
    if len(wrong) == 1:
        return f"only {wrong[0]} is not allowed"
    return f"{', '.join(wrong[:-1])} and {wrong[-1]} are not allowed" if wrong else "each part is allowed, but not together"


def _no_credentials(offers: Sequence[Offer], methods: Collection[AuthMethod]) -> Refuse:
    wanted = listed([value_label(PHASE1, _A.AUTHENTICATION, offer.method) for offer in offers])
    have = listed([value_label(PHASE1, _A.AUTHENTICATION, method) for method in methods])
    slug = Slug.PSK_NONE if any(offer.method == AuthMethod.PSK for offer in offers) else Slug.CERT_NONE
    detail = f"the peer wants to authenticate by {wanted}; for its address we have {have}"
    return Refuse(NotifyType.NO_PROPOSAL_CHOSEN, slug, detail)
