"""Phase-1 proposals: spelling, tiers, what is offered, why nothing fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.ike.script import esp_sa, esp_transform, phase1_sa

from headrace.errors import ConfigError, Slug
from headrace.esp.group import Group
from headrace.esp.proposal import TIERS as ESP_TIERS
from headrace.ike import phase1_offer, phase2_offer
from headrace.ike.constants import AuthMethod, Encapsulation, NotifyType
from headrace.ike.limits import MAX_OFFERED
from headrace.ike.message import Header, emit_message
from headrace.ike.payloads import SecurityAssociation
from headrace.ike.phase1_offer import build, choose, clamp_life, explain, read_all
from headrace.ike.proposal import TIERS, IkeCipher, IkeHash, IkeProposal, cipher_label, group_label, hash_label, parse_list
from headrace.ike.refusal import DROPS, Refuse, listed

BOTH = (AuthMethod.RSA_SIGNATURE, AuthMethod.PSK)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("aes256-sha1-modp2048", "aes256-sha1-modp2048"),
        ("3DES-SHA-MODP1024", "3des-sha1-modp1024"),
        ("aes-sha2_256-prfsha256-ecp256", "aes128-sha256-ecp256"),
        ("modp2048-sha512-aes192", "aes192-sha512-modp2048"),
    ],
)
def test_spellings(text: str, canonical: str) -> None:
    assert str(IkeProposal.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aes256",
        "aes256-sha1",
        "aes256-modp2048",
        "aes256-sha1-modp768",
        "aes256-sha1-prfsha256-modp2048",
        "aes256gcm16-sha1-modp2048",
        "aes256-sha1-sha1-modp2048",
    ],
)
def test_mistakes_say_what_is_wrong(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        IkeProposal.parse(text)
    assert len(str(error.value)) > 20


def test_impossible_values() -> None:
    with pytest.raises(ConfigError):
        IkeProposal(IkeCipher.AES, 0, IkeHash.SHA1, Group.MODP2048)
    with pytest.raises(ConfigError):
        IkeProposal(IkeCipher.DES, 64, IkeHash.SHA1, Group.MODP2048)


def test_tiers() -> None:
    modern, compatible, legacy = (set(TIERS[name]) for name in ("modern", "compatible", "legacy"))
    assert modern < compatible < legacy
    assert all(len(TIERS[name]) == len(set(TIERS[name])) for name in TIERS)
    weak = {Group.MODP1024, Group.MODP1536}
    assert not any(item.group in weak or item.cipher is not IkeCipher.AES or item.hash is IkeHash.MD5 for item in compatible)
    assert not any(item.hash is IkeHash.SHA1 for item in modern)


@pytest.mark.parametrize("tier", list(TIERS))
@pytest.mark.parametrize("methods", [BOTH[:1], BOTH])
def test_an_offer_fits_one_datagram_and_holds_the_usual(tier: str, methods: Any) -> None:
    sa = build(TIERS[tier], methods, 15840)
    offers = read_all(sa)
    assert len(offers) <= MAX_OFFERED
    message = emit_message(Header(b"i" * 8, bytes(8), 0, 2), [(1, sa.emit()), *[(13, bytes(20))] * 7])
    assert len(message) < 1400
    groups = {offer.group for offer in offers}
    assert {14, 19, 20} <= groups
    assert {offer.method for offer in offers} == set(methods)
    assert SecurityAssociation.parse(sa.emit()) == sa


def test_legacy_reaches_windows_xp_and_android() -> None:
    labels = {offer.label for offer in read_all(build(TIERS["legacy"], BOTH[:1], 3600))}
    assert {"3DES, SHA-1, MODP-2048", "3DES, SHA-1, MODP-1024", "AES-256, SHA-1, MODP-1024"} <= labels


def test_explanations() -> None:
    allowed = parse_list("aes256-sha1-modp2048,aes128-sha256-ecp256")
    text = explain(read_all(phase1_sa([(7, 256, 2, 2), (5, 0, 1, 1)])), allowed)
    assert text == (
        "the peer offered AES-256, SHA-1, MODP-1024; 3DES, MD5, MODP-768; allowed are aes256-sha1-modp2048; aes128-sha256-ecp256; "
        'nearest: AES-256, SHA-1, MODP-1024: only the group is not allowed; policy = "legacy" would accept it'
    )
    assert "the cipher and the group are not allowed" in explain(read_all(phase1_sa([(3, 128, 2, 31)])), allowed)
    assert "each part" not in explain(read_all(phase1_sa([(7, 128, 2, 14)])), allowed)
    assert explain([], allowed) == "the peer offered nothing that can be read"
    many = explain(read_all(phase1_sa([(7, 256, 2, group) for group in range(40, 60)])), allowed)
    assert "; and 12 more;" in many
    assert listed([]) == "none"


def test_missing_credentials_are_told_from_missing_proposals() -> None:
    allowed = parse_list("aes256-sha1-modp2048")
    for method, slug in ((1, Slug.PSK_NONE), (3, Slug.CERT_NONE), (65001, Slug.CERT_NONE)):
        with pytest.raises(Refuse) as refused:
            choose(phase1_sa([(7, 256, 2, 14)], method), allowed, [])
        assert refused.value.failure.slug is slug
    assert "XAUTH" in str(refused.value)


@pytest.mark.parametrize(("given", "used"), [(None, 28800), (0, 120), (1, 120), (3600, 3600), (2**64, 7 * 86400)])
def test_lives_are_clamped(given: Any, used: float) -> None:
    assert clamp_life(given) == used


def test_answers_that_were_not_offered() -> None:
    offered = phase1_sa([(7, 256, 2, 14), (7, 128, 2, 14)])
    assert phase1_offer.accept(phase1_sa([(7, 128, 2, 14)]), offered).proposal == IkeProposal.parse("aes128-sha1-modp2048")
    for wrong in (phase1_sa([(7, 192, 2, 14)]), phase1_sa([(7, 256, 2, 14)], 3), offered, SecurityAssociation(())):
        with pytest.raises(Refuse) as refused:
            phase1_offer.accept(wrong, offered)
        assert refused.value.notify is None


def test_esp_offer_and_answer() -> None:
    proposals = ESP_TIERS["legacy"]
    sa = phase2_offer.build(proposals, b"\1\2\3\4", Encapsulation.TRANSPORT, 3960, 250_000)
    offers = phase2_offer.read_all(SecurityAssociation.parse(sa.emit()))
    assert [offer.proposal for offer in offers] == list(proposals)
    assert {(offer.life.seconds, offer.life.kilobytes) for offer in offers} == {(3960, 250_000)}
    choice = phase2_offer.choose(sa, proposals[3:4], [2], [], exchange=False)
    answer = phase2_offer.answer(choice, b"\5\6\7\x08")
    assert phase2_offer.accept(answer, proposals, 2).proposal == proposals[3]
    for wrong in (sa, SecurityAssociation(()), esp_sa(esp_transform(mode=1)), esp_sa(esp_transform(1, 12, bits=192, auth=1))):
        with pytest.raises(Refuse):
            phase2_offer.accept(wrong, proposals, 2)
    reserved = replace(answer.proposals[0], spi=b"\0\0\0\1")
    with pytest.raises(Refuse) as refused:
        phase2_offer.accept(SecurityAssociation((reserved,)), proposals, 2)
    assert refused.value.notify is NotifyType.INVALID_SPI


def test_esp_explanations() -> None:
    with pytest.raises(Refuse) as refused:
        phase2_offer.choose(esp_sa(esp_transform(1, 3, bits=None, mode=4)), ESP_TIERS["compatible"], [2], [], exchange=False)
    assert "the transform and UDP-encapsulated transport mode are not allowed" in str(refused.value)
    with pytest.raises(Refuse) as refused:
        phase2_offer.choose(esp_sa(esp_transform(1, 12, more=())), ESP_TIERS["modern"], [2], [], exchange=False)
    assert (
        'nearest: AES-256, SHA-1, transport mode: the transform is not allowed; policy = "compatible" would accept it'
        in str(refused.value)
    )


def test_labels_of_what_is_not_served() -> None:
    assert cipher_label(8, 256) == "Camellia with 256 bits"
    assert cipher_label(7, 0) == "AES without a key length"
    assert cipher_label(99, 0) == "cipher 99"
    assert hash_label(3) == "Tiger" and hash_label(99) == "hash 99"
    assert group_label(31) == "Curve25519" and group_label(99) == "group 99"
    assert all(reason.startswith("ike_") and text for reason, text in DROPS.items())
