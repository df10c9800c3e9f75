"""Published vectors: RFC 1320 (MD4), RFC 2433 (MS-CHAP), RFC 2759 (MS-CHAPv2), RFC 3079 (MPPE keys)."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ppp.chap import md5_response
from headrace.ppp.md4 import md4
from headrace.ppp.mppe import key_length, next_key, rc4, session_key, start_keys, start_keys_v1
from headrace.ppp.mschap_crypto import authenticator_response, challenge_hash, nt_password_hash, nt_response

H = bytes.fromhex

# RFC 2759 section 9.2
AUTH_CHALLENGE = H("5b5d7c7d7b3f2f3e3c2c602132262628")
PEER_CHALLENGE = H("21402324255e262a28295f2b3a337c7e")
CHALLENGE8 = H("d02e4386bce91226")
NT_HASH = H("44ebba8d5312b8d611474411f56989ae")
NT_RESPONSE = H("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
PROOF = "S=407A5589115FD0D6209F510FE9C04566932CDA56"


@pytest.mark.parametrize(
    ("text", "digest"),
    [  # RFC 1320 appendix A.5
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


def test_md4_at_every_length_of_the_last_block() -> None:
    assert len({md4(bytes(size)) for size in range(200)}) == 200
    if "md4" in hashlib.algorithms_available:
        try:
            assert all(md4(bytes(size)) == hashlib.new("md4", bytes(size)).digest() for size in range(200))
        except ValueError:
            pytest.skip("this OpenSSL names MD4 but has it switched off")


def test_rfc2759_sample() -> None:
    assert nt_password_hash("clientPass") == NT_HASH
    assert md4(NT_HASH) == H("41c00c584bd2d91c4017a2a12fa59f3f")
    assert challenge_hash(PEER_CHALLENGE, AUTH_CHALLENGE, b"User") == CHALLENGE8
    assert nt_response(NT_HASH, CHALLENGE8) == NT_RESPONSE
    assert authenticator_response(NT_HASH, NT_RESPONSE, CHALLENGE8) == PROOF


def test_domain_does_not_enter_the_hash_and_case_does() -> None:
    assert challenge_hash(PEER_CHALLENGE, AUTH_CHALLENGE, "BIG\\User") == CHALLENGE8
    assert challenge_hash(PEER_CHALLENGE, AUTH_CHALLENGE, b"a\\b\\User") == CHALLENGE8
    assert challenge_hash(PEER_CHALLENGE, AUTH_CHALLENGE, "user") != CHALLENGE8


def test_password_outside_of_ascii() -> None:
    assert nt_password_hash("p\u00e4ss\U0001f511") == md4(b"p\0\xe4\0s\0s\0\x3d\xd8\x11\xdd")


# RFC 3079 section 3.5: strength, server-send start, server-send session, RC4 of "test message", server-receive start and session.
# The 56-bit sample text is as computed; the RFC misprints its last octet. The first two stateless keys are from one implementation.
KEYS = [
    (40, "8b7cdc149b993a1b", "d1269ec49fa62e3e", "929137917e5803d668d75898", "d5f0e9521e3ea958", "d1269ed2ae999038", "d1269ece4d98d181", "d1269edeefbd8aff"),
    (56, "8b7cdc149b993a1b", "d15c00c49fa62e3e", "3f106833fa448da842bc57b8", "d5f0e9521e3ea958", "d16a9bd2ae999038", "d16182a2ab481407", "d178cc274f63faf1"),
    (
        128,
        "8b7cdc149b993a1ba118cb153f56dccb",
        "405cb2247a7956e6e211007ae27b22d4",
        "81848317df68846272fb5abe",
        "d5f0e9521e3ea9589645e86051c82226",
        "49d11d0f0cc6befba2a9b4b688f91eee",
        "726f10500e2b54135b1b74d7682f0471",
        "2805bc7869bec825573a7803e95a3acd",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("bits", "send", "send_session", "text", "receive", "receive_session", "first", "second"), KEYS)
def test_rfc3079_sample(
    bits: int, send: str, send_session: str, text: str, receive: str, receive_session: str, first: str, second: str
) -> None:
    server_send, server_receive = start_keys(NT_HASH, NT_RESPONSE, server=True)
    assert server_send[: key_length(bits)] == H(send)
    assert server_receive[: key_length(bits)] == H(receive)
    assert session_key(server_send, bits) == H(send_session)
    assert session_key(server_receive, bits) == H(receive_session)
    assert rc4(H(send_session), b"test message") == H(text)
    assert next_key(server_send, H(send_session), bits) == H(first)
    assert next_key(server_send, H(first), bits) == H(second)


def test_keys_of_the_client_are_those_of_the_server_crossed() -> None:
    assert start_keys(NT_HASH, NT_RESPONSE, server=False) == tuple(reversed(start_keys(NT_HASH, NT_RESPONSE, server=True)))
    with pytest.raises(KeyError):
        key_length(64)


def test_rfc1994_response() -> None:
    """Section 4.1: MD5 over the identifier, the secret and the challenge, in this order."""
    assert md5_response(7, b"secret", b"challenge") == hashlib.md5(b"\x07secretchallenge").digest()


@given(st.text(max_size=300), st.binary(min_size=8, max_size=8))
def test_any_password_has_a_response(password: str, challenge8: bytes) -> None:
    nt_hash = nt_password_hash(password)
    assert len(nt_hash) == 16
    assert len(nt_response(nt_hash, challenge8)) == 24


def test_rfc2433_sample() -> None:
    """RFC 2433 appendix B.2: the response of version 1."""
    assert nt_password_hash("MyPw") == H("fc156af7edcd6c0edde3337d427f4eac")
    response = nt_response(nt_password_hash("MyPw"), H("102db5df085d3041"))
    assert response == H("4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d61")


def test_rfc3079_version_1_sample() -> None:
    """RFC 3079 section 2.5.3: 128 bits from version 1."""
    send, receive = start_keys_v1(nt_password_hash("clientPass"), H("102db5df085d3041"))
    assert send == receive == H("a8947850cfc0acc1d1789fb62ddcddb0")
    assert session_key(send, 128) == H("59d159bc09f76f1da2a86a28ffec0b1e")
