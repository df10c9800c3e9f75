"""ESP and MPPE packet by packet with ``cryptography``: what every implementation is checked against, and a peer of its own."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher as CipherOf
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.model import Auth, Cipher

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, TripleDES
except ImportError:  # pragma: no cover (cryptography before 43)
    from cryptography.hazmat.primitives.ciphers.algorithms import ARC4, TripleDES

if TYPE_CHECKING:
    from headrace.esp.proposal import EspProposal

NEXT_UDP: Final = 17
_HASHES: Final = {
    Auth.HMAC_MD5_96: ("md5", 12),
    Auth.HMAC_SHA1_96: ("sha1", 12),
    Auth.HMAC_SHA2_256_128: ("sha256", 16),
    Auth.HMAC_SHA2_384_192: ("sha384", 24),
    Auth.HMAC_SHA2_512_256: ("sha512", 32),
    Auth.HMAC_SHA2_256_96: ("sha256", 12),
}


class WrongPacketError(ValueError):
    """A packet does not verify, or is not what it should be."""


def icv_octets(auth: Auth) -> int:
    """Octets of integrity check value; GCM's for ``NONE``."""
    return _HASHES[auth][1] if auth in _HASHES else 16


def block_octets(cipher: Cipher) -> int:
    """What the text is a multiple of."""
    return {Cipher.AES_CBC: 16, Cipher.DES_CBC: 8, Cipher.TRIPLE_DES_CBC: 8}.get(cipher, 4)


def iv_octets(cipher: Cipher) -> int:
    """Octets of initialisation vector in the packet."""
    return {Cipher.AES_CBC: 16, Cipher.NULL: 0}.get(cipher, 8)


@lru_cache(maxsize=256)
def _algorithm(cipher: Cipher, key: bytes) -> Any:
    return algorithms.AES(key) if cipher is Cipher.AES_CBC else TripleDES(key if len(key) == 24 else key * 3)


@lru_cache(maxsize=256)
def _gcm(key: bytes) -> AESGCM:
    return AESGCM(key)


def _icv(auth: Auth, key: bytes, data: bytes) -> bytes:
    name, length = _HASHES[auth]
    return hmac.digest(key, data, name)[:length]


def seal(proposal: EspProposal, enc: bytes, auth: bytes, spi: int, seq: int, iv: bytes, payload: bytes) -> bytes:
    """One ESP packet that carries UDP (RFC 4303)."""
    head = spi.to_bytes(4, "big") + seq.to_bytes(4, "big")
    padding = -(len(payload) + 2) % block_octets(proposal.cipher)
    text = payload + bytes(range(1, padding + 1)) + bytes((padding, NEXT_UDP))
    if proposal.cipher is Cipher.AES_GCM16:
        return head + iv + _gcm(enc[:-4]).encrypt(enc[-4:] + iv, text, head)
    encryptor = CipherOf(_algorithm(proposal.cipher, enc), modes.CBC(iv)).encryptor()
    packet = head + iv + encryptor.update(text)
    return packet + _icv(proposal.auth, auth, packet)


def open_(proposal: EspProposal, enc: bytes, auth: bytes, packet: bytes) -> bytes:
    """The payload of an ESP packet. Raises ``WrongPacketError``, or ``InvalidTag`` of ``cryptography``."""
    iv_len = iv_octets(proposal.cipher)
    iv = packet[8 : 8 + iv_len]
    if proposal.cipher is Cipher.AES_GCM16:
        text = _gcm(enc[:-4]).decrypt(enc[-4:] + iv, packet[8 + iv_len :], packet[:8])
    else:
        length = icv_octets(proposal.auth)
        if not hmac.compare_digest(_icv(proposal.auth, auth, packet[:-length]), packet[-length:]):
            raise WrongPacketError("the ICV is wrong")
        decryptor = CipherOf(_algorithm(proposal.cipher, enc), modes.CBC(iv)).decryptor()
        text = decryptor.update(packet[8 + iv_len : -length])
    padding = text[-2]
    if text[-1] != NEXT_UDP or text[len(text) - 2 - padding : -2] != bytes(range(1, padding + 1)):
        raise WrongPacketError("the trailer is wrong")
    return text[: len(text) - 2 - padding]


class MppeStream:
    """One direction of MPPE-128 (RFC 3078, keys by RFC 3079)."""

    def __init__(self, start: bytes, *, stateless: bool) -> None:
        self._start = start
        self._stateless = stateless
        self._key = self._hash(start)
        self._rc4: Any = CipherOf(ARC4(self._key), None).encryptor()
        self._count = 0

    def _hash(self, current: bytes) -> bytes:
        return hashlib.sha1(self._start + bytes(40) + current + b"\xf2" * 40, usedforsecurity=False).digest()[:16]

    def apply(self, text: bytes) -> tuple[int, bytes]:
        """The header of the next packet, and its ciphertext."""
        flag = self._stateless or self._count & 0xFF == 0xFF
        if flag:
            interim = self._hash(self._key)
            self._key = CipherOf(ARC4(interim), None).encryptor().update(interim)
            self._rc4 = CipherOf(ARC4(self._key), None).encryptor()
        header = (0x9000 if flag else 0x1000) | self._count
        self._count = (self._count + 1) & 0xFFF
        return header, self._rc4.update(text)
