"""The whole cryptographic job of ESP on a batch, beside OpenSSL through Python, on the same packets. `make bench` times it.

The bigger picture, with Intel's library, plots and cycles, is `headrace bench kernels`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.dataplane.native import ffi, lib, start

PACKETS = 256
SLOT = 2048
TRANSFORMS = {
    "aes128-sha1": (lib.HR_CIPHER_AES_CBC, lib.HR_AUTH_HMAC_SHA1_96, 16, 20, 16, 12),
    "aes256-sha256": (lib.HR_CIPHER_AES_CBC, lib.HR_AUTH_HMAC_SHA2_256_128, 32, 32, 16, 16),
    "aes128gcm16": (lib.HR_CIPHER_AES_GCM16, lib.HR_AUTH_NONE, 20, 0, 8, 16),
}


class Sealer:
    """A batch of packets of one size, one key, sealed in place again and again."""

    def __init__(self, transform: str, size: int) -> None:
        cipher, auth, enc_len, auth_len, iv, _ = TRANSFORMS[transform]
        self.enc, self.auth = os.urandom(enc_len), os.urandom(auth_len)
        error = ffi.new("int *")
        enc = ffi.from_buffer("uint8_t[]", self.enc)
        auth_key = ffi.from_buffer("uint8_t[]", self.auth) if self.auth else ffi.NULL
        self.key = ffi.gc(
            lib.hr_crypt_key_new(cipher, auth, 0, enc, enc_len, auth_key, auth_len, 1, error), lib.hr_crypt_key_free
        )
        assert self.key != ffi.NULL, error[0]
        self.keys = ffi.new("struct hr_crypt_key *[]", [self.key])
        self.arena = bytearray(os.urandom(PACKETS * SLOT))
        self.desc = ffi.new("struct hr_desc[]", PACKETS)
        self.batch: Any = ffi.new("struct hr_batch *")
        self.batch.arena = ffi.from_buffer("uint8_t[]", self.arena, require_writable=True)
        self.batch.arena_len = len(self.arena)
        self.batch.desc = self.desc
        self.batch.n = PACKETS
        self.len = 8 + iv + size // 16 * 16
        self.iv = iv

    def seal(self) -> None:
        for n in range(PACKETS):
            d = self.desc[n]
            d.off, d.len, d.room_tail, d.sa, d.seq, d.status = n * SLOT, self.len, 64, 0, n + 1, lib.HR_PENDING
        assert lib.hr_crypt_seal(self.keys, 1, self.batch) == 0


@pytest.fixture(autouse=True)
def native() -> None:
    start()


@pytest.mark.parametrize("size", [64, 1392])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_headrace_seals_a_batch(benchmark: Any, transform: str, size: int) -> None:
    sealer = Sealer(transform, size)
    benchmark.group = f"{transform}, {size} octets, {PACKETS} packets"
    benchmark(sealer.seal)
    assert opens(sealer, transform)


@pytest.mark.parametrize("size", [64, 1392])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_cryptography_seals_the_same(benchmark: Any, transform: str, size: int) -> None:
    _, auth, _, _, iv, icv = TRANSFORMS[transform]
    sealer = Sealer(transform, size)
    texts = [bytes(sealer.arena[n * SLOT : n * SLOT + sealer.len]) for n in range(PACKETS)]
    benchmark.group = f"{transform}, {size} octets, {PACKETS} packets"

    def one_by_one() -> int:
        total = 0
        for text in texts:
            if auth == lib.HR_AUTH_NONE:
                total += len(AESGCM(sealer.enc[:-4]).encrypt(sealer.enc[-4:] + text[8 : 8 + iv], text[8 + iv :], text[:8]))
                continue
            encryptor = Cipher(algorithms.AES(sealer.enc), modes.CBC(text[8 : 8 + iv])).encryptor()
            body = text[: 8 + iv] + encryptor.update(text[8 + iv :]) + encryptor.finalize()
            total += len(body) + len(hmac.digest(sealer.auth, body, digest(auth))[:icv])
        return total

    assert benchmark(one_by_one) > 0


def digest(auth: int) -> str:
    return hashlib.sha1(usedforsecurity=False).name if auth == lib.HR_AUTH_HMAC_SHA1_96 else "sha256"


def opens(sealer: Sealer, transform: str) -> bool:
    """The first packet, by the other implementation."""
    _, auth, _, _, iv, icv = TRANSFORMS[transform]
    packet = bytes(sealer.arena[: sealer.len + icv])
    if auth == lib.HR_AUTH_NONE:
        AESGCM(sealer.enc[:-4]).decrypt(sealer.enc[-4:] + packet[8 : 8 + iv], packet[8 + iv :], packet[:8])
        return True
    return hmac.digest(sealer.auth, packet[:-icv], digest(auth))[:icv] == packet[-icv:]
