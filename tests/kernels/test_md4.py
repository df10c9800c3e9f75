"""MD4: the test suite of RFC 1320, and every length against a plain implementation."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from headrace.dataplane._native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def md4(data: bytes) -> bytes:
    out = ffi.new("uint8_t[16]")
    lib.hr_md4(data, len(data), out)
    return bytes(out)


def slow(data: bytes) -> bytes:
    """RFC 1320 section 3, word by word."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + struct.pack("<Q", 8 * len(data))
    rounds: list[tuple[Callable[[int, int, int], int], int, Sequence[int], tuple[int, ...]]] = [
        (lambda x, y, z: (x & y) | (~x & z), 0, range(16), (3, 7, 11, 19)),
        (lambda x, y, z: (x & y) | (x & z) | (y & z), 0x5A827999, [i % 4 * 4 + i // 4 for i in range(16)], (3, 5, 9, 13)),
        (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1, [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15], (3, 9, 11, 15)),
    ]
    for at in range(0, len(padded), 64):
        x = struct.unpack("<16I", padded[at : at + 64])
        a, b, c, d = state
        for f, constant, order, turns in rounds:
            for i, k in enumerate(order):
                value = (a + (f(b, c, d) & 0xFFFFFFFF) + x[k] + constant) & 0xFFFFFFFF
                turn = turns[i % 4]
                a, b, c, d = d, ((value << turn) | (value >> (32 - turn))) & 0xFFFFFFFF, b, c
        state = [(s + v) & 0xFFFFFFFF for s, v in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
        ("1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_rfc_1320(text: str, digest: str) -> None:
    assert md4(text.encode()).hex() == digest
    assert slow(text.encode()).hex() == digest


def test_the_password_hash_of_rfc_2759() -> None:
    hashed = md4("clientPass".encode("utf-16-le"))
    assert hashed.hex() == "44ebba8d5312b8d611474411f56989ae"
    assert md4(hashed).hex() == "41c00c584bd2d91c4017a2a12fa59f3f"


def test_every_length() -> None:
    data = random.Random(1).randbytes(300)
    for length in range(300):
        assert md4(data[:length]) == slow(data[:length])
