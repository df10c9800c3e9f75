"""ESP in the order of RFC 4303, one packet at a time, by `cryptography`: slow and obvious."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.model import Auth, Cipher, EspKeys

HASHES = {  # key octets, ICV octets (RFC 2403, 2404, 4868)
    Auth.HMAC_MD5_96: ("md5", 16, 12),
    Auth.HMAC_SHA1_96: ("sha1", 20, 12),
    Auth.HMAC_SHA2_256_128: ("sha256", 32, 16),
    Auth.HMAC_SHA2_384_192: ("sha384", 48, 24),
    Auth.HMAC_SHA2_512_256: ("sha512", 64, 32),
    Auth.HMAC_SHA2_256_96: ("sha256", 32, 12),
}
BLOCK = {Cipher.NULL: 4, Cipher.DES_CBC: 8, Cipher.TRIPLE_DES_CBC: 8, Cipher.AES_CBC: 16, Cipher.AES_GCM16: 4}
IV = {Cipher.NULL: 0, Cipher.DES_CBC: 8, Cipher.TRIPLE_DES_CBC: 8, Cipher.AES_CBC: 16, Cipher.AES_GCM16: 8}
KEYS = {
    Cipher.NULL: (0,),
    Cipher.DES_CBC: (8,),
    Cipher.TRIPLE_DES_CBC: (24,),
    Cipher.AES_CBC: (16, 24, 32),
    Cipher.AES_GCM16: (20, 28, 36),
}


@dataclass(frozen=True)
class Transform:
    """A combination that may be negotiated."""

    cipher: Cipher
    key_len: int
    auth: Auth
    esn: bool = False

    def __str__(self) -> str:
        return f"{self.cipher.name}-{self.key_len * 8}-{self.auth.name}{'-ESN' if self.esn else ''}"

    def keys(self, spi: int, *, outbound: bool, fill: bytes = b"") -> EspKeys:
        """Make keys for one direction, the same for the same `fill`."""
        size = HASHES[self.auth][1] if self.auth else 0
        pool = hashlib.shake_256(b"headrace test keys" + fill + spi.to_bytes(4)).digest(self.key_len + size)
        return EspKeys(spi, outbound, self.cipher, self.auth, pool[: self.key_len], pool[self.key_len :], esn=self.esn)


TRANSFORMS = tuple(
    Transform(cipher, key_len, auth, esn)
    for cipher, lengths in KEYS.items()
    for key_len in lengths
    for auth in ([Auth.NONE] if cipher is Cipher.AES_GCM16 else HASHES)
    for esn in (False, True)
)


class BadPacket(Exception):
    """The ICV does not verify, or the padding is wrong."""


class Sa:
    """One direction of an SA."""

    def __init__(self, keys: EspKeys, seq: int = 0) -> None:
        self.keys = keys
        self.seq = seq
        self.icv_len = HASHES[keys.auth][2] if keys.auth else 16

    def seal(
        self,
        payload: bytes,
        *,
        next_header: int = 17,
        seq: int | None = None,
        iv: bytes | None = None,
        padding: bytes | None = None,
        pad_length: int | None = None,
    ) -> bytes:
        """Make a packet; everything that a hostile peer might do differently can be said."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        block = BLOCK[self.keys.cipher]
        if padding is None:
            padding = bytes(range(1, 1 + -(len(payload) + 2) % block))
        text = payload + padding + bytes([len(padding) if pad_length is None else pad_length, next_header])
        iv = os.urandom(IV[self.keys.cipher]) if iv is None else iv
        head = self.keys.spi.to_bytes(4) + (seq & 0xFFFFFFFF).to_bytes(4)
        high = (seq >> 32).to_bytes(4) if self.keys.esn else b""
        if self.keys.cipher is Cipher.AES_GCM16:
            key, salt = self.keys.enc_key[:-4], self.keys.enc_key[-4:]
            return head + iv + AESGCM(key).encrypt(salt + iv, text, head[:4] + high + head[4:])
        body = head + iv + self._cbc(iv, text, encrypt=True)
        return body + self._icv(body + high)

    def open(self, packet: bytes, high: int = 0) -> tuple[bytes, int]:
        """Return payload and next header; `high` is the upper half of the sequence number. Raises BadPacket."""
        iv_len = IV[self.keys.cipher]
        head, iv, rest = packet[:8], packet[8 : 8 + iv_len], packet[8 + iv_len :]
        upper = high.to_bytes(4) if self.keys.esn else b""
        if self.keys.cipher is Cipher.AES_GCM16:
            text = AESGCM(self.keys.enc_key[:-4]).decrypt(self.keys.enc_key[-4:] + iv, rest, head[:4] + upper + head[4:])
        else:
            body, icv = packet[: -self.icv_len], packet[-self.icv_len :]
            if not hmac.compare_digest(self._icv(body + upper), icv):
                raise BadPacket("ICV")
            text = self._cbc(iv, rest[: -self.icv_len], encrypt=False)
        pad = text[-2]
        if text[-2 - pad : -2] != bytes(range(1, pad + 1)):
            raise BadPacket("padding")
        return text[: -2 - pad], text[-1]

    def _icv(self, data: bytes) -> bytes:
        name, _, size = HASHES[self.keys.auth]
        return hmac.digest(self.keys.auth_key, data, name)[:size]

    def _cbc(self, iv: bytes, text: bytes, *, encrypt: bool) -> bytes:
        key = self.keys.enc_key
        if self.keys.cipher is Cipher.NULL:
            return text
        algorithm = algorithms.AES(key) if self.keys.cipher is Cipher.AES_CBC else TripleDES(key * 3 if len(key) == 8 else key)
        cipher = BlockCipher(algorithm, modes.CBC(iv))
        run = cipher.encryptor() if encrypt else cipher.decryptor()
        return run.update(text) + run.finalize()
