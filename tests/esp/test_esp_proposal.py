"""ESP proposals: swanctl's spelling, wire numbers, key sizes, tiers."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.esp.group import Group
from headrace.esp.proposal import AUTHS, CIPHERS, TIERS, EspProposal, auth_label, cipher_label, parse_list
from headrace.model import Auth, Cipher

EVERY = [
    EspProposal(cipher.cipher, cipher.bits, auth.auth, group)
    for cipher in CIPHERS
    if cipher.cipher is not Cipher.AES_GCM16
    for auth in AUTHS
    for group in (None, *Group)
] + [
    EspProposal(row.cipher, row.bits, Auth.NONE, group)
    for row in CIPHERS
    if row.cipher is Cipher.AES_GCM16
    for group in (None, *Group)
]


def test_what_is_printed_is_parsed() -> None:
    assert len({str(item) for item in EVERY}) == len(EVERY)
    for item in EVERY:
        assert EspProposal.parse(str(item)) == item


def test_what_goes_on_the_wire_comes_back() -> None:
    for item in EVERY:
        assert EspProposal.from_wire(item.transform, item.key_length or 0, item.auth_number or 0, item.group) == item
        assert item.without_group().group is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("aes-sha", "aes128-sha1"),
        ("AES256-SHA2_256-MODP2048", "aes256-sha256-modp2048"),
        ("aes256gcm128", "aes256gcm16"),
        (" aes256-sha1-noesn ", "aes256-sha1"),
        ("sha1-aes256", "aes256-sha1"),
        ("null-sha1", "null-sha1"),
    ],
)
def test_spellings(text: str, canonical: str) -> None:
    assert str(EspProposal.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aes256",
        "sha1",
        "aes256gcm16-sha1",
        "aes256-sha1-sha1",
        "aes256-aes128-sha1",
        "aes512-sha1",
        "aes256-sha1-esn",
        "aes256-sha1-modp768",
        "aes256-sha1-",
    ],
)
def test_mistakes_say_what_is_wrong(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        EspProposal.parse(text)
    assert len(str(error.value)) > 20


@pytest.mark.parametrize(
    ("text", "enc", "auth"),
    [
        ("aes256-sha1", 32, 20),
        ("aes192-sha384", 24, 48),
        ("aes128gcm16", 20, 0),
        ("aes256gcm16", 36, 0),
        ("3des-md5", 24, 16),
        ("des-sha1", 8, 20),
        ("null-sha256", 0, 32),
        ("aes128-sha512", 16, 64),
        ("aes128-sha256_96", 16, 32),
    ],
)
def test_key_sizes(text: str, enc: int, auth: int) -> None:
    item = EspProposal.parse(text)
    assert (item.enc_octets, item.auth_octets) == (enc, auth)


@pytest.mark.parametrize(
    "wire",
    [(12, 0, 2), (12, 127, 2), (13, 128, 2), (20, 0, 0), (20, 128, 2), (12, 128, 0), (3, 192, 2), (12, 128, 9), (23, 128, 0)],
)
def test_wire_numbers_that_are_not_served(wire: Any) -> None:
    assert EspProposal.from_wire(*wire) is None


def test_tiers_hold_one_another_and_never_null() -> None:
    modern, compatible, legacy = (set(TIERS[name]) for name in ("modern", "compatible", "legacy"))
    assert modern < compatible < legacy
    weak = {Cipher.DES_CBC, Cipher.TRIPLE_DES_CBC, Cipher.NULL}
    assert not any(item.cipher in weak or item.auth is Auth.HMAC_MD5_96 for item in compatible)
    assert not any(item.auth is Auth.HMAC_SHA1_96 for item in modern)
    assert not any(item.cipher is Cipher.NULL for item in legacy)


def test_lists() -> None:
    assert [str(item) for item in parse_list("aes256-sha1, aes128gcm16,aes256-sha1")] == ["aes256-sha1", "aes128gcm16"]
    assert parse_list(["3des-sha1"])[0].label == "3DES, SHA-1"


def test_labels() -> None:
    assert cipher_label(12, 256) == "AES-256"
    assert cipher_label(12, 0) == "AES-CBC"
    assert cipher_label(13, 128) == "AES-CTR with 128 bits"
    assert cipher_label(99, 0) == "ESP transform 99"
    assert (auth_label(0), auth_label(2), auth_label(77)) == ("no authentication", "SHA-1", "authentication 77")
    assert EspProposal.parse("aes128gcm16").label == "AES-128-GCM"
