"""MPPE session keys at every level: the samples of RFC 3079, long chains, many chains beside each other."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.kernels.streams import first_key, key_len, next_key
from tests.kernels.test_rc4 import Sessions

from headrace.dataplane._native import ffi, lib

if TYPE_CHECKING:
    from tests.kernels.native import Islands

pytestmark = pytest.mark.usefixtures("level")

# RFC 3079 sections 2.5 and 3.5: bits, start key, session key; then (worked out with hashlib and OpenSSL) the keys of the first
# two stateless packets.
SAMPLES = [
    (40, "76a152936096d783", "d1269e538cec4a08", None, None),
    (56, "76a152936096d783", "d10801538cec4a08", None, None),
    (128, "a8947850cfc0acc1d1789fb62ddcddb0", "59d159bc09f76f1da2a86a28ffec0b1e", None, None),
    (40, "8b7cdc149b993a1b", "d1269ec49fa62e3e", "d1269ece4d98d181", "d1269edeefbd8aff"),
    (56, "8b7cdc149b993a1b", "d15c00c49fa62e3e", "d16182a2ab481407", "d178cc274f63faf1"),
    (
        128,
        "8b7cdc149b993a1ba118cb153f56dccb",
        "405cb2247a7956e6e211007ae27b22d4",
        "726f10500e2b54135b1b74d7682f0471",
        "2805bc7869bec825573a7803e95a3acd",
    ),
    (40, "d5f0e9521e3ea958", "d1269ed2ae999038", None, None),
    (56, "d5f0e9521e3ea958", "d16a9bd2ae999038", None, None),
    (128, "d5f0e9521e3ea9589645e86051c82226", "49d11d0f0cc6befba2a9b4b688f91eee", None, None),
]


def chain(start: bytes, bits: int, steps: int) -> list[bytes]:
    config = ffi.new("struct hr_mppe_config *", {"bits": bits, "start_key": start.ljust(16, b"\0")})
    keys = ffi.new("uint8_t[]", 16 * (steps + 1))
    assert lib.hr_crypt_mppe_keys(config, steps, keys) == 0
    octets = bytes(ffi.buffer(keys))
    return [octets[16 * i : 16 * i + key_len(bits)] for i in range(steps + 1)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s[0]}-{s[1][:6]}")
def test_rfc_3079(sample: tuple[int, str, str, str | None, str | None]) -> None:
    bits, start, session, first, second = sample
    keys = chain(bytes.fromhex(start), bits, 2)
    assert keys[0].hex() == session
    assert first is None or [k.hex() for k in keys[1:]] == [first, second]


@pytest.mark.parametrize("bits", [40, 56, 128])
def test_long_chains(bits: int) -> None:
    rng = random.Random(bits)
    start = rng.randbytes(16)
    expect = [first_key(start, bits)]
    for _ in range(300):
        expect.append(next_key(start, expect[-1], bits))
    assert chain(start, bits, 300) == expect
    assert chain(start, bits, 0) == expect[:1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 256, 512])
def test_chains_beside_each_other(count: int, islands: Islands) -> None:
    """The key of a packet shows in its ciphertext: every session sends one, two, five packets in a batch."""
    rng = random.Random(count)
    sessions = Sessions(islands, count, rng, stateless=True)
    for lengths in ([20], [20, 20], [1, 5, 9, 20, 0]):
        packets = [(s, rng.randbytes(length)) for s in range(count) for length in lengths][:512]
        rng.shuffle(packets)
        sessions.send(packets)


def test_chains_of_unlike_lengths(islands: Islands) -> None:
    rng = random.Random(3)
    sessions = Sessions(islands, 40, rng, stateless=True)
    for _ in range(4):
        sessions.send([(int(rng.triangular(0, 40, 0)), rng.randbytes(16)) for _ in range(512)])


def test_arguments() -> None:
    config = ffi.new("struct hr_mppe_config *", {"bits": 64})
    assert lib.hr_crypt_mppe_keys(config, 1, bytes(32)) == lib.HR_E_ARGUMENT
    assert lib.hr_crypt_mppe_keys(ffi.NULL, 1, bytes(32)) == lib.HR_E_ARGUMENT
    config.bits = 128
    assert lib.hr_crypt_mppe_keys(config, 1, ffi.NULL) == lib.HR_E_ARGUMENT
