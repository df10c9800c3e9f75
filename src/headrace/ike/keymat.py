"""Keys of both phases, the hashes that prove them, the chain of IVs (RFC 2409 section 5, 5.5, appendix B)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from headrace.errors import PeerError
from headrace.ike.constants import ProtocolId
from headrace.ike.proposal import IkeCipher, IkeHash, IkeProposal


class Undecryptable(PeerError):
    """Ciphertext that is empty or no multiple of the block."""


def prf(digest: IkeHash, key: bytes, data: bytes) -> bytes:
    """The pseudo-random function: HMAC with the negotiated hash."""
    return hmac.digest(key, data, digest.keyword)


def digest_of(digest: IkeHash, data: bytes) -> bytes:
    """The negotiated hash itself."""
    return hashlib.new(digest.keyword, data).digest()


def skeyid_psk(digest: IkeHash, psk: bytes, nonces: bytes) -> bytes:
    """SKEYID with a pre-shared key: prf(psk, Ni_b | Nr_b)."""
    return prf(digest, psk, nonces)


def skeyid_signature(digest: IkeHash, nonces: bytes, shared: bytes) -> bytes:
    """SKEYID with signatures: prf(Ni_b | Nr_b, g^xy)."""
    return prf(digest, nonces, shared)


@dataclass(frozen=True, slots=True)
class Phase1Keys:
    """What phase 1 leaves behind."""

    proposal: IkeProposal
    skeyid: bytes = field(repr=False)
    d: bytes = field(repr=False)
    """SKEYID_d: makes the keys of phase 2."""
    a: bytes = field(repr=False)
    """SKEYID_a: authenticates messages of phase 2."""
    e: bytes = field(repr=False)
    """SKEYID_e: makes the cipher's key."""
    cipher_key: bytes = field(repr=False)
    """Ka, as long as the cipher takes."""
    first_iv: bytes = field(repr=False)
    """IV of the first encrypted message of phase 1."""

    @classmethod
    def derive(cls, proposal: IkeProposal, skeyid: bytes, shared: bytes, cookies: bytes, publics: bytes) -> Phase1Keys:
        """Everything that follows from SKEYID.

        ``shared`` is g^xy, ``cookies`` CKY-I | CKY-R, ``publics`` g^xi | g^xr as sent.
        """
        digest = proposal.hash
        d = prf(digest, skeyid, shared + cookies + b"\0")
        a = prf(digest, skeyid, d + shared + cookies + b"\1")
        e = prf(digest, skeyid, a + shared + cookies + b"\2")
        iv = digest_of(digest, publics)[: proposal.block]
        return cls(proposal, skeyid, d, a, e, expand_cipher_key(digest, e, proposal.key_octets), iv)

    def message_iv(self, last_block: bytes, message_id: int) -> bytes:
        """IV of the first message of a phase-2 exchange: of hash(last phase-1 ciphertext block | message id)."""
        return digest_of(self.proposal.hash, last_block + message_id.to_bytes(4, "big"))[: self.proposal.block]

    def hash_a(self, *parts: bytes) -> bytes:
        """prf(SKEYID_a, parts)."""
        return prf(self.proposal.hash, self.a, b"".join(parts))

    def encrypt(self, iv: bytes, text: bytes) -> bytes:
        """Pad with zeros to the block and encrypt. The next IV of the exchange is the last block of the answer."""
        block = self.proposal.block
        encryptor = self._cipher(iv).encryptor()
        return encryptor.update(text + bytes(-len(text) % block)) + encryptor.finalize()

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        """Decrypt; padding stays. Raises ``Undecryptable``."""
        if not ciphertext or len(ciphertext) % self.proposal.block:
            raise Undecryptable(f"{len(ciphertext)} octets of ciphertext are no multiple of {self.proposal.block}")
        decryptor = self._cipher(iv).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()

    def _cipher(self, iv: bytes) -> Cipher[modes.CBC]:
        key = self.cipher_key
        if self.proposal.cipher is IkeCipher.AES:
            return Cipher(algorithms.AES(key), modes.CBC(iv))
        # DES is 3DES with one key three times.
        return Cipher(TripleDES(key * 3 if self.proposal.cipher is IkeCipher.DES else key), modes.CBC(iv))


def expand_cipher_key(digest: IkeHash, e: bytes, octets: int) -> bytes:
    """Ka from SKEYID_e (RFC 2409 appendix B): cut if it is long enough, else K1 | K2 | ... with K1 = prf(SKEYID_e, 0)."""
    if len(e) >= octets:
        return e[:octets]
    key = block = prf(digest, e, b"\0")
    while len(key) < octets:
        block = prf(digest, e, block)
        key += block
    return key[:octets]


@dataclass(frozen=True, slots=True)
class HashInput:
    """What HASH_I and HASH_R cover besides the identity (RFC 2409 section 5)."""

    skeyid: bytes = field(repr=False)
    public_i: bytes
    """g^xi as sent."""
    public_r: bytes
    cookie_i: bytes
    cookie_r: bytes
    sa_i: bytes
    """Body of the initiator's whole SA payload as it was received."""

    def hash_i(self, digest: IkeHash, identity: bytes) -> bytes:
        """prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b)."""
        return prf(digest, self.skeyid, self.public_i + self.public_r + self.cookie_i + self.cookie_r + self.sa_i + identity)

    def hash_r(self, digest: IkeHash, identity: bytes) -> bytes:
        """prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b)."""
        return prf(digest, self.skeyid, self.public_r + self.public_i + self.cookie_r + self.cookie_i + self.sa_i + identity)


def child_keymat(keys: Phase1Keys, spi: bytes, nonces: bytes, octets: int, shared: bytes = b"") -> bytes:
    """KEYMAT of one direction (RFC 2409 section 5.5).

    ``spi`` is the one that the receiver of the traffic chose, ``nonces`` Ni_b | Nr_b, ``shared`` g(qm)^xy with PFS.
    """
    seed = shared + bytes([ProtocolId.ESP]) + spi + nonces
    key = block = prf(keys.proposal.hash, keys.d, seed)
    while len(key) < octets:
        block = prf(keys.proposal.hash, keys.d, block + seed)
        key += block
    return key[:octets]


ZERO_OCTET: Final = b"\0"
"""Leads HASH(3)."""
