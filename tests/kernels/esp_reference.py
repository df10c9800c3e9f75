"""ESP cryptography by `cryptography` (OpenSSL): slow, obvious, what every kernel is held to."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # before it moved
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

NULL, DES_CBC, TRIPLE_DES_CBC, AES_CBC, AES_GCM = range(5)
NO_AUTH, MD5_96, SHA1_96, SHA256_128, SHA384_192, SHA512_256, SHA256_96 = range(7)

HASHES = {
    MD5_96: ("md5", 16, 12),
    SHA1_96: ("sha1", 20, 12),
    SHA256_128: ("sha256", 32, 16),
    SHA384_192: ("sha384", 48, 24),
    SHA512_256: ("sha512", 64, 32),
    SHA256_96: ("sha256", 32, 12),
}
BLOCK = {NULL: 4, DES_CBC: 8, TRIPLE_DES_CBC: 8, AES_CBC: 16, AES_GCM: 4}
IV_LEN = {NULL: 0, DES_CBC: 8, TRIPLE_DES_CBC: 8, AES_CBC: 16, AES_GCM: 8}


def icv_len(auth: int) -> int:
    """Octets of the ICV."""
    return HASHES[auth][2] if auth else 16


def auth_key_len(auth: int) -> int:
    """Octets of the authentication key."""
    return HASHES[auth][1] if auth else 0


@dataclass(frozen=True)
class Transform:
    """One combination of cipher, key length and authentication."""

    cipher: int
    key_len: int
    auth: int
    esn: bool = False

    @property
    def header(self) -> int:
        """Octets in front of the text."""
        return 8 + IV_LEN[self.cipher]


def _cbc(t: Transform, key: bytes, iv: bytes) -> Cipher[modes.CBC]:
    algorithm = algorithms.AES(key) if t.cipher == AES_CBC else TripleDES(key * 3 if len(key) == 8 else key)
    return Cipher(algorithm, modes.CBC(iv))


def _encrypt_block(t: Transform, key: bytes, block: bytes) -> bytes:
    encryptor = _cbc(t, key, bytes(len(block))).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def iv_of(t: Transform, key: bytes, secret: bytes, seq: int) -> bytes:
    """The IV that seal writes: GCM the sequence number, CBC the encryption of secret xor sequence number."""
    if t.cipher == NULL:
        return b""
    if t.cipher == AES_GCM:
        return seq.to_bytes(8, "big")
    size = IV_LEN[t.cipher]
    return _encrypt_block(t, key, (int.from_bytes(secret[:size], "little") ^ seq).to_bytes(size, "little"))


def icv(t: Transform, auth_key: bytes, packet: bytes, seq: int) -> bytes:
    """The truncated HMAC over a packet that ends with its text."""
    name, _, size = HASHES[t.auth]
    message = packet + ((seq >> 32).to_bytes(4, "big") if t.esn else b"")
    return hmac.new(auth_key, message, getattr(hashlib, name)).digest()[:size]


def seal(t: Transform, key: bytes, auth_key: bytes, spi: int, seq: int, iv: bytes, text: bytes) -> bytes:
    """The whole packet with ICV (RFC 4303, 4106)."""
    head = spi.to_bytes(4, "big") + (seq & 0xFFFFFFFF).to_bytes(4, "big")
    if t.cipher == AES_GCM:
        aad = spi.to_bytes(4, "big") + seq.to_bytes(8, "big") if t.esn else head
        return head + iv + AESGCM(key[:-4]).encrypt(key[-4:] + iv, text, aad)
    if t.cipher == NULL:
        packet = head + text
    else:
        encryptor = _cbc(t, key, iv).encryptor()
        packet = head + iv + encryptor.update(text) + encryptor.finalize()
    return packet + icv(t, auth_key, packet, seq)
