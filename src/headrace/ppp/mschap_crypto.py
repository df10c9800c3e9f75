"""The computations of MS-CHAP (RFC 2433, RFC 2759), for the exchanges and for whoever keeps the passwords."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from headrace.model import Rand
from headrace.ppp.md4 import md4
from headrace.ppp.mppe import rc4, start_keys

CHALLENGE_SIZE: Final = 16
RESPONSE_SIZE: Final = 49

_SIGN: Final = b"Magic server to client signing constant"
_ITERATE: Final = b"Pad to make it do more than one iteration"

_BLOCK: Final = 512
"""Octets in which a new password is hidden; it stands at their end."""

CHANGE_SIZE: Final = _BLOCK + 4 + 16
"""Octets of what changes a password: the encrypted block with its length, the encrypted old hash."""


def nt_password_hash(password: str) -> bytes:
    """MD4 of the password in UTF-16, low octet first (RFC 2759 section 8.3): 16 octets."""
    return md4(password.encode("utf-16-le", "surrogatepass"))


def challenge_hash(peer_challenge: bytes, auth_challenge: bytes, username: bytes | str) -> bytes:
    r"""The 8 octets that both proofs stand on (section 8.2). Of ``DOMAIN\user`` only the part behind the backslash enters, as sent."""
    name = username.encode() if isinstance(username, str) else username
    return hashlib.sha1(peer_challenge + auth_challenge + name.rpartition(b"\\")[2]).digest()[:8]


def nt_response(nt_hash: bytes, challenge8: bytes) -> bytes:
    """The 24 octets that prove the password: the challenge under three DES keys made of the hash (section 8.5)."""
    padded = nt_hash + bytes(5)
    return b"".join(_des(padded[start : start + 7], challenge8) for start in (0, 7, 14))


def _des(key7: bytes, block: bytes) -> bytes:
    """One block under a DES key of 7 octets, spread over 8 with an unused parity bit each."""
    bits = int.from_bytes(key7, "big")
    key = bytes((bits >> shift & 0x7F) << 1 for shift in range(49, -1, -7))
    return Cipher(TripleDES(key * 3), modes.ECB()).encryptor().update(block)


def authenticator_response(nt_hash: bytes, response: bytes, challenge8: bytes) -> str:
    """``S=`` and 40 upper-case digits: the proof that the server knows the password too (section 8.7)."""
    digest = hashlib.sha1(md4(nt_hash) + response + _SIGN).digest()
    return "S=" + hashlib.sha1(digest + challenge8 + _ITERATE).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Proof:
    """A client's answer to a challenge of version 2."""

    value: bytes = field(repr=False)
    """Peer challenge 16, reserved 8, NT response 24, flags 1."""
    expected: str = field(repr=False)
    """What the server must prove itself with."""
    keys: tuple[bytes, bytes] = field(repr=False)
    """Start keys of MPPE: send, receive."""


def prove(username: str, password: str, challenge: bytes, rand: Rand) -> Proof:
    """Answer a challenge of 16 octets."""
    nt_hash = nt_password_hash(password)
    peer_challenge = rand(CHALLENGE_SIZE)
    challenge8 = challenge_hash(peer_challenge, challenge, username)
    response = nt_response(nt_hash, challenge8)
    value = peer_challenge + bytes(8) + response + b"\0"
    return Proof(value, authenticator_response(nt_hash, response, challenge8), start_keys(nt_hash, response, server=False))


def hide_new_password(old_hash: bytes, new_password: str, rand: Rand) -> bytes:
    """The new password under the old hash, and the old hash under the new one: ``CHANGE_SIZE`` octets (RFC 2759 sections 8.9, 8.12).

    Raises ``ValueError`` for a password of more than 256 characters.
    """
    text = new_password.encode("utf-16-le", "surrogatepass")
    if len(text) > _BLOCK:
        raise ValueError("the new password is too long")
    block = rand(_BLOCK - len(text)) + text + len(text).to_bytes(4, "little")
    return rc4(old_hash, block) + _hash_under(old_hash, nt_password_hash(new_password))


def find_new_password(old_hash: bytes, change: bytes) -> str | None:
    """The new password in what ``hide_new_password`` made; ``None`` if the two hashes do not prove one another."""
    if len(change) != CHANGE_SIZE:
        return None
    block = rc4(old_hash, change[: _BLOCK + 4])
    size = int.from_bytes(block[_BLOCK:], "little")
    if size > _BLOCK or size % 2:
        return None
    try:
        password = block[_BLOCK - size : _BLOCK].decode("utf-16-le")
    except UnicodeDecodeError:
        return None
    proof = _hash_under(old_hash, nt_password_hash(password))
    return password if hmac.compare_digest(proof, change[_BLOCK + 4 :]) else None


def _hash_under(one: bytes, other: bytes) -> bytes:
    """A hash encrypted with another as the key (section 8.13)."""
    return _des(other[:7], one[:8]) + _des(other[7:14], one[8:])
