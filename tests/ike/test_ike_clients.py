"""The proposals of real clients, octet for octet where their sizes are known, and what each is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.ike.harness import PSK, Pair, config
from tests.ike.script import Gateway, Script, clear, esp_sa, esp_transform, message_1, notify_of, phase1_sa

from headrace.errors import Slug
from headrace.esp.proposal import TIERS as ESP_TIERS
from headrace.ike import events, informational, vendor
from headrace.ike.attributes import Life
from headrace.ike.config import IkeConfig
from headrace.ike.constants import Exchange, NotifyType, PayloadType
from headrace.ike.payloads import Identification, NatOriginalAddress, SecurityAssociation, Transform, VendorId
from headrace.ike.phase1_offer import Offer, read_all
from headrace.ike.phase2_offer import read_all as read_all_esp
from headrace.ike.proposal import TIERS as IKE_TIERS
from headrace.model import Auth, Cipher

AES, TRIPLE, DES = 7, 5, 1
MD5, SHA1, SHA256, SHA384, SHA512 = 1, 2, 4, 5, 6
NT5 = vendor.MS_NT5
WINDOWS_VENDORS = [
    NT5 + bytes.fromhex("00000009"),
    vendor.RFC_3947,
    vendor.NAT_T_02N,
    vendor.FRAGMENTATION,
    bytes.fromhex("fb1de3cdf341b7ea16b7e5be0855f120"),
    vendor.MS_INITIAL_CONTACT,
    bytes.fromhex("e3a5966a76379fe707228231e5ce8652"),
]
WINDOWS = [(AES, 256, SHA1, 20), (AES, 128, SHA1, 19), (AES, 256, SHA1, 14), (TRIPLE, 0, SHA1, 14), (TRIPLE, 0, SHA1, 2)]
APPLE = [
    *((AES, 256, h, 14) for h in (SHA256, SHA1, MD5, SHA512)),
    *((AES, 256, h, 5) for h in (SHA256, SHA1, MD5)),
    *((AES, 256, h, 2) for h in (SHA256, SHA1, MD5)),
    *((AES, 128, h, 2) for h in (SHA1, MD5)),
    *((TRIPLE, 0, h, 2) for h in (SHA1, MD5)),
]
APPLE_VENDORS = [
    vendor.RFC_3947,
    bytes.fromhex("4df37928e9fc4fd1b3262170d515c662"),
    vendor.NAT_T_03,
    vendor.NAT_T_02,
    vendor.NAT_T_02N,
    vendor.FRAGMENTATION_MAIN,
    vendor.DPD,
]
ANDROID = [
    *((AES, 256, h, 2) for h in (SHA384, SHA512, SHA256, SHA1, MD5)),
    *((AES, 128, h, 2) for h in (SHA256, SHA1, MD5)),
    *((TRIPLE, 0, h, 2) for h in (SHA256, SHA1, MD5)),
    *((DES, 0, h, 2) for h in (SHA256, SHA1, MD5)),
]
NETWORK_MANAGER = [
    *((AES, 256, SHA256, g) for g in (14, 5, 2)),
    *((AES, 256, SHA1, g) for g in (14, 5, 2)),
    (AES, 256, SHA1, 20),
    (AES, 128, SHA1, 2),
    (AES, 128, SHA1, 19),
    (TRIPLE, 0, SHA1, 14),
    (TRIPLE, 0, SHA1, 2),
]
XP = [(TRIPLE, 0, SHA1, 14), (TRIPLE, 0, SHA1, 2), (TRIPLE, 0, MD5, 2), (DES, 0, SHA1, 1), (DES, 0, MD5, 1)]
XP_VENDORS = [NT5 + bytes.fromhex("00000004"), vendor.FRAGMENTATION, vendor.NAT_T_02N, vendor.MS_INITIAL_CONTACT]
CLIENTS = {"windows": WINDOWS, "apple": APPLE, "android": ANDROID, "nm": NETWORK_MANAGER, "xp": XP}


def tier(name: str, **changes: Any) -> IkeConfig:
    return replace(config(**changes), proposals=IKE_TIERS[name], esp_proposals=ESP_TIERS[name])


def test_windows_message_1_is_as_long_as_recorded_ones() -> None:
    assert len(message_1(phase1_sa(WINDOWS).emit(), WINDOWS_VENDORS)) == 384


@pytest.mark.parametrize(
    ("client", "policy", "agreed"),
    [
        ("windows", "compatible", "AES-256, SHA-1, ECP-384"),
        ("windows", "legacy", "AES-256, SHA-1, ECP-384"),
        ("apple", "modern", "AES-256, SHA-256, MODP-2048"),
        ("apple", "compatible", "AES-256, SHA-256, MODP-2048"),
        ("nm", "modern", "AES-256, SHA-256, MODP-2048"),
        ("nm", "compatible", "AES-256, SHA-256, MODP-2048"),
        ("android", "legacy", "AES-256, SHA-384, MODP-1024"),
        ("xp", "legacy", "3DES, SHA-1, MODP-2048"),
    ],
)
def test_first_choice_of_each_client(client: str, policy: str, agreed: str) -> None:
    gateway = Gateway(tier(policy))
    offered = phase1_sa(CLIENTS[client])
    (answer,) = gateway.hear(message_1(offered.emit()))
    header, chain = clear(answer)
    assert header.exchange == Exchange.MAIN and any(header.cookie_r)
    sa = chain.one(PayloadType.SA, SecurityAssociation)
    (offer,) = read_all(sa)
    assert offer.label == agreed
    assert offer.transform in offered.proposals[0].transforms, "the transform comes back octet for octet"
    assert gateway.ike.stats().half_open == 1


@pytest.mark.parametrize(
    ("client", "policy", "hint"),
    [("windows", "modern", "compatible"), ("android", "compatible", "legacy"), ("xp", "compatible", "legacy")],
)
def test_refusal_names_the_policy_that_would_do(client: str, policy: str, hint: str) -> None:
    gateway = Gateway(tier(policy))
    (answer,) = gateway.hear(message_1(phase1_sa(CLIENTS[client]).emit()))
    assert notify_of(answer) is NotifyType.NO_PROPOSAL_CHOSEN
    (failure,) = gateway.failures()
    assert failure.slug is Slug.IKE_NO_PROPOSAL
    assert f'policy = "{hint}" would accept it' in failure.detail


@pytest.mark.parametrize(
    ("vendors", "answered"),
    [
        (WINDOWS_VENDORS, [vendor.DPD, vendor.RFC_3947, vendor.FRAGMENTATION]),
        (APPLE_VENDORS, [vendor.DPD, vendor.RFC_3947, vendor.FRAGMENTATION_MAIN]),
        (XP_VENDORS, [vendor.DPD, vendor.NAT_T_02N, vendor.FRAGMENTATION]),
        ([], [vendor.DPD]),
    ],
)
def test_vendor_ids_of_the_answer(vendors: Any, answered: Any) -> None:
    (answer,) = Gateway().hear(message_1(phase1_sa([(AES, 256, SHA1, 14)]).emit(), vendors))
    assert [item.data for item in clear(answer)[1].all(PayloadType.VENDOR_ID, VendorId)] == answered


@pytest.mark.parametrize(
    ("vendors", "name"),
    [
        (WINDOWS_VENDORS, "Windows (MS NT5 9)"),
        (APPLE_VENDORS, "Apple"),
        (XP_VENDORS, "Windows (MS NT5 4)"),
        ([b"?"], ""),
        ([NT5], "Windows (MS NT5 0)"),
    ],
)
def test_who_it_may_be(vendors: Any, name: str) -> None:
    assert vendor.describe(vendors) == name


@pytest.mark.parametrize("nat", [False, True])
def test_windows_quick_mode(nat: bool) -> None:
    script = Script(client_nat=nat)
    script.nonce = b"w" * 48
    rows = [(12, 256), (12, 128), (3, None)]
    mode = 4 if nat else 2
    sa = esp_sa(*(esp_transform(1, kind, bits=bits, mode=mode, kilobytes=250_000) for kind, bits in rows))
    assert len(sa.emit()) == 172
    answer = script.answer_of(script.ask(script.payloads(sa, extra=[]) + (script.nat_addresses() if nat else [])))
    assert len(script.first) == (332 if nat else 316), "as recorded"
    chain = answer.chain
    (chosen,) = read_all_esp(chain.one(PayloadType.SA, SecurityAssociation))
    assert (chosen.label, chosen.number) == (f"AES-256, SHA-1, {'UDP-encapsulated ' if nat else ''}transport mode", 1)
    assert chosen.transform == sa.proposals[0].transforms[0]
    assert [raw.body for raw in chain.items if raw.type == PayloadType.IDENTIFICATION] == [
        body for _, body in script.identities()
    ]
    seen = [item.address for item in chain.all(PayloadType.NAT_OA, NatOriginalAddress)]
    assert [str(address) for address in seen] == (["198.51.100.7", "192.0.2.1"] if nat else [])
    assert script.finish(answer) == []
    keys = script.server.last(events.InstallSa).keys
    assert (keys.cipher, keys.auth, keys.hard_bytes, keys.udp_encap) == (Cipher.AES_CBC, Auth.HMAC_SHA1_96, 250_000_000, nat)
    up = script.server.last(events.ChildUp)
    assert (up.spi_out, up.lifetime) == (0x11223344, 3600.0)
    assert script.server.last(events.InstallSa).remote_selector_port == 1701


def test_windows_with_optional_encryption_sends_five_and_gets_none_of_the_weak() -> None:
    script = Script()
    rows = [(12, 256), (12, 128), (3, None), (2, None), (11, None)]
    sa = esp_sa(*(esp_transform(1, kind, bits=bits, kilobytes=250_000) for kind, bits in rows))
    script.answer_of(script.ask(script.payloads(sa)))
    assert len(script.first) == 412, "444 as recorded, where two NAT-OA were in it"
    weak = Script(server=tier("legacy", dpd_delay=0.0))
    only_null = esp_sa(esp_transform(1, 11, bits=None))
    weak.refused(weak.payloads(only_null), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL)


def test_windows_hangs_up() -> None:
    script = Script()
    answer = script.answer_of(script.ask(script.payloads(esp_sa(esp_transform()))))
    script.finish(answer)
    assert script.inform(informational.delete_children([0x11223344]), 5) == []
    assert script.server.ike.stats().peers == 1 and not script.server.data.inbound
    assert script.inform(informational.delete_phase1(script.channel), 6) == []
    assert script.server.last(events.PeerDown).failure.slug is Slug.PEER_DELETED
    assert script.server.ike.stats().peers == 0


def test_apple_from_an_ephemeral_port() -> None:
    script = Script(client_nat=True)
    sa = esp_sa(esp_transform(mode=4))
    answer = script.answer_of(script.ask(script.payloads(sa, ids=script.identities(client_port=54321))))
    script.finish(answer)
    assert script.server.last(events.InstallSa).remote_selector_port == 54321


def test_any_port_of_the_client() -> None:
    script = Script()
    script.finish(script.answer_of(script.ask(script.payloads(esp_sa(esp_transform()), ids=script.identities(client_port=0)))))
    assert script.server.last(events.InstallSa).remote_selector_port == 0


def test_no_identities_mean_the_addresses() -> None:
    script = Script()
    answer = script.answer_of(script.ask(script.payloads(esp_sa(esp_transform()), ids=[])))
    assert not answer.chain.all(PayloadType.IDENTIFICATION, Identification)
    script.finish(answer)
    assert script.server.last(events.InstallSa).remote_selector_port == 0


def test_gateway_behind_a_nat_is_named_by_its_public_address() -> None:
    script = Script(client_nat=True)
    ids = [
        (PayloadType.IDENTIFICATION, Identification.of_address(script.pair.client_address, 17, 1701).emit()),
        (PayloadType.IDENTIFICATION, Identification(1, 17, 1701, bytes([203, 0, 113, 200])).emit()),
    ]
    script.answer_of(script.ask(script.payloads(esp_sa(esp_transform(mode=4)), ids=ids)))


def test_xp_quick_mode() -> None:
    script = Script(config(dpd_delay=0.0, esp="3des-sha1"), tier("legacy", dpd_delay=0.0), client_nat=True)
    sa = esp_sa(*(esp_transform(1, 3, bits=None, auth=auth, mode=61444, kilobytes=250_000) for auth in (1, 2)))
    answer = script.answer_of(script.ask(script.payloads(sa)))
    (chosen,) = read_all_esp(answer.chain.one(PayloadType.SA, SecurityAssociation))
    assert (chosen.label, chosen.mode) == ("3DES, MD5, UDP-encapsulated transport mode (draft)", 61444)


@pytest.mark.parametrize("client", list(CLIENTS))
@pytest.mark.parametrize("esp", ["aes256-sha1", "aes128-sha1", "3des-sha1", "aes256-sha256"])
def test_each_client_connects_under_legacy(client: str, esp: str) -> None:

    proposals = [Offer(1, Transform(1, 1, b""), c, b, h, 1, g, Life()).proposal for c, b, h, g in CLIENTS[client]]
    mine = replace(config(esp=esp), proposals=tuple(p for p in proposals if p), psk_for=lambda _r: PSK)
    assert Pair(mine, tier("legacy")).connect().server.last(events.ChildUp).proposal == esp
