"""Phase-2 offers: reading what a peer proposes for ESP, choosing, and saying why nothing fits (RFC 2407 section 4.4, 4.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import Slug
from headrace.esp.group import Group
from headrace.esp.proposal import TIERS, EspProposal, auth_label, cipher_label
from headrace.ike.attributes import PHASE2, Attribute, Life, read_life, value_label
from headrace.ike.constants import LifeType, NotifyType, Phase2Attribute, ProtocolId
from headrace.ike.payloads import LAYER, Proposal, SecurityAssociation, Transform
from headrace.ike.proposal import group_label
from headrace.ike.refusal import Refuse, listed
from headrace.wire import Malformed

_A = Phase2Attribute
_REPEATABLE: Final = frozenset({_A.LIFE_TYPE, _A.LIFE_DURATION})
_KNOWN: Final = frozenset({_A.GROUP, _A.ENCAPSULATION, _A.AUTHENTICATION, _A.KEY_LENGTH, *_REPEATABLE})
SPI_OCTETS: Final = 4
SPI_FIRST: Final = 256
"""Smaller ones are reserved (RFC 4303 section 2.1)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One ESP transform of a peer, read."""

    number: int
    """Of the proposal."""
    spi: bytes
    transform: Transform
    key_bits: int
    auth: int
    mode: int
    group: int
    """0 without a key exchange."""
    life: Life

    @property
    def proposal(self) -> EspProposal | None:
        """The same as this package has it, without the group; ``None`` if it cannot do it."""
        return EspProposal.from_wire(self.transform.id, self.key_bits, self.auth)

    @property
    def label(self) -> str:
        """For a person: ``AES-256, SHA-1, transport mode``."""
        parts = [cipher_label(self.transform.id, self.key_bits)]
        if not (self.proposal and self.auth == 0):
            parts.append(auth_label(self.auth))
        parts.append(value_label(PHASE2, _A.ENCAPSULATION, self.mode) if self.mode else "no mode")
        return ", ".join((*parts, group_label(self.group)) if self.group else parts)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was agreed."""

    offer: Offer
    proposal: EspProposal
    group: Group | None


def read(number: int, spi: bytes, transform: Transform) -> Offer:
    """Read one transform. Raises ``Malformed`` if it makes no sense or asks for what is not served here."""
    found: dict[int, int] = {}
    attributes = transform.attributes()
    for item in attributes:
        if item.type not in _KNOWN or (item.type in found and item.type not in _REPEATABLE):
            raise Malformed(LAYER, "attribute", 0, f"class {item.type} is not supported or given twice")
        found[item.type] = item.value
    return Offer(
        number,
        spi,
        transform,
        found.get(_A.KEY_LENGTH, 0),
        found.get(_A.AUTHENTICATION, 0),
        found.get(_A.ENCAPSULATION, 0),
        found.get(_A.GROUP, 0),
        read_life(attributes, _A.LIFE_TYPE, _A.LIFE_DURATION),
    )


def read_all(sa: SecurityAssociation) -> list[Offer]:
    """Every ESP transform that can be read and stands alone; bundles with AH or IPCOMP are skipped."""
    together = Counter(proposal.number for proposal in sa.proposals)
    offers: list[Offer] = []
    for proposal in sa.proposals:
        if proposal.protocol != ProtocolId.ESP or together[proposal.number] > 1:
            continue
        for transform in proposal.transforms:
            try:
                offers.append(read(proposal.number, proposal.spi, transform))
            except Malformed:
                continue
    return offers


def choose(
    sa: SecurityAssociation,
    allowed: Collection[EspProposal],
    modes: Collection[int],
    groups: Collection[Group],
    *,
    exchange: bool,
) -> Choice:
    """The first of the initiator's transforms that is allowed. Raises ``Refuse``.

    ``modes`` are the encapsulation modes that fit what is known of NATs, ``groups`` those of PFS, ``exchange`` whether the message
    holds a key exchange.
    """
    offers = read_all(sa)
    plain = {item.without_group() for item in allowed}
    for offer in offers:
        proposal = offer.proposal
        if proposal not in plain or proposal is None or offer.mode not in modes:
            continue
        if exchange != bool(offer.group):
            raise Refuse(
                NotifyType.INVALID_KEY_INFORMATION,
                Slug.ESP_NO_PROPOSAL,
                "a key exchange without a group" if exchange else "a group without a key exchange",
                spi=offer.spi,
            )
        if offer.group and offer.group not in groups:
            continue
        check_spi(offer.spi)
        return Choice(offer, proposal, Group(offer.group) if offer.group else None)
    spi = sa.proposals[0].spi if sa.proposals else b""
    raise Refuse(
        NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, explain(sa, offers, plain, modes, groups), spi=spi[:SPI_OCTETS]
    )


def check_spi(spi: bytes) -> None:
    """Raises ``Refuse`` for an SPI that cannot be one of ESP."""
    if len(spi) != SPI_OCTETS or int.from_bytes(spi, "big") < SPI_FIRST:
        raise Refuse(
            NotifyType.INVALID_SPI, Slug.ESP_NO_PROPOSAL, f"SPI {spi.hex() or 'of no octets'} is reserved or no ESP SPI"
        )


def accept(sa: SecurityAssociation, offered: Sequence[EspProposal], mode: int) -> Choice:
    """As the initiator: check that the answer is one transform that we offered. Raises ``Refuse``."""
    if len(sa.proposals) != 1 or len(sa.proposals[0].transforms) != 1:
        raise Refuse(NotifyType.BAD_PROPOSAL_SYNTAX, Slug.ESP_NO_PROPOSAL, "the answer names more than one transform")
    answers = read_all(sa)
    for answer in answers:
        for ours in offered:
            if answer.proposal == ours.without_group() and answer.mode == mode and (answer.group or None) == ours.group:
                check_spi(answer.spi)
                return Choice(answer, ours.without_group(), ours.group)
    seen = answers[0].label if answers else "nothing that can be read"
    raise Refuse(
        NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, f"the answer names a transform that was not offered: {seen}"
    )


def build(proposals: Sequence[EspProposal], spi: bytes, mode: int, seconds: float, kilobytes: int) -> SecurityAssociation:
    """Our offer: one proposal, a transform for each way, most wanted first."""
    transforms = tuple(
        Transform.of(number, proposal.transform, _attributes(proposal, mode, seconds, kilobytes))
        for number, proposal in enumerate(proposals, 1)
    )
    return SecurityAssociation((Proposal(1, ProtocolId.ESP, spi, transforms),))


def answer(choice: Choice, spi: bytes) -> SecurityAssociation:
    """The SA payload of the answer: the chosen transform exactly as it was offered, with our SPI."""
    return SecurityAssociation((Proposal(choice.offer.number, ProtocolId.ESP, spi, (choice.offer.transform,)),))


def _attributes(proposal: EspProposal, mode: int, seconds: float, kilobytes: int) -> tuple[Attribute, ...]:
    found = []
    if proposal.key_length is not None:
        found.append(Attribute.of(_A.KEY_LENGTH, proposal.key_length))
    if proposal.auth_number is not None:
        found.append(Attribute.of(_A.AUTHENTICATION, proposal.auth_number))
    found.append(Attribute.of(_A.ENCAPSULATION, mode))
    found += [Attribute.of(_A.LIFE_TYPE, LifeType.SECONDS), Attribute.of(_A.LIFE_DURATION, max(1, round(seconds)))]
    if kilobytes:
        found += [Attribute.of(_A.LIFE_TYPE, LifeType.KILOBYTES), Attribute.of(_A.LIFE_DURATION, kilobytes)]
    if proposal.group is not None:
        found.append(Attribute.of(_A.GROUP, proposal.group))
    return tuple(found)


def explain(
    sa: SecurityAssociation,
    offers: Sequence[Offer],
    allowed: Collection[EspProposal],
    modes: Collection[int],
    groups: Collection[Group],
) -> str:
    """Why nothing fits: what the peer offered, what is allowed, and the nearest miss with the policy that would take it."""
    have = f"allowed are {listed([str(item) for item in allowed])}"
    if not offers:
        others = {ProtocolId.AH: "AH", ProtocolId.IPCOMP: "IPCOMP", ProtocolId.ESP: "ESP that cannot be read"}
        named = listed(
            [others.get(ProtocolId(p.protocol), "") if p.protocol in others else f"protocol {p.protocol}" for p in sa.proposals]
        )
        return f"the peer offered only {named}; {have}"
    text = f"the peer offered {listed([offer.label for offer in offers])}; {have}"
    best = min(offers, key=lambda item: len(_miss(item, allowed, modes, groups)))
    wrong = _miss(best, allowed, modes, groups)
    text += f"; nearest: {best.label}: {' and '.join(wrong) or 'no part'} {'is' if len(wrong) == 1 else 'are'} not allowed"
    tier = next((name for name, proposals in TIERS.items() if best.proposal in proposals), None)
    return f'{text}; policy = "{tier}" would accept it' if tier and wrong == ["the transform"] else text


def _miss(offer: Offer, allowed: Collection[EspProposal], modes: Collection[int], groups: Collection[Group]) -> list[str]:
    wrong = []
    if offer.proposal not in allowed:
        wrong.append("the transform")
    if offer.mode not in modes:
        wrong.append(value_label(PHASE2, _A.ENCAPSULATION, offer.mode) if offer.mode else "an absent encapsulation mode")
    if offer.group and offer.group not in groups:
        wrong.append(f"the group {group_label(offer.group)}")
    return wrong
