"""MPPE keys (RFC 3079) from what MS-CHAP proved, and the key schedule of RFC 3078 section 7.

The control plane needs ``start_keys`` only: the data plane derives session keys from the start keys itself. ``session_key`` and
``next_key`` say in Python what it does, for tests and for reading captures.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from headrace.ppp.md4 import md4

_MASTER: Final = b"This is the MPPE Master Key"
_CLIENT_SENDS: Final = b"On the client side, this is the send key; on the server side, it is the receive key."
_SERVER_SENDS: Final = b"On the client side, this is the receive key; on the server side, it is the send key."
_PAD1: Final = bytes(40)
_PAD2: Final = b"\xf2" * 40

# RFC 3079 section 3.1 and 3.2: a 40-bit key keeps 40 secret bits of its 64, a 56-bit key 56; what goes over them is public.
_SALT: Final = {40: b"\xd1\x26\x9e", 56: b"\xd1", 128: b""}


def key_length(bits: int) -> int:
    """Octets of start and session keys for a strength: 8 for 40 and 56 bits, 16 for 128. Raises ``KeyError`` for another."""
    return {40: 8, 56: 8, 128: 16}[bits]


def start_keys(nt_hash: bytes, nt_response: bytes, server: bool) -> tuple[bytes, bytes]:
    """The start keys of an MS-CHAPv2 authentication, send and receive, 16 octets each (RFC 3079 section 3.3).

    ``nt_hash`` is MD4 of the password (16 octets), ``nt_response`` the 24 octets that proved it, ``server`` the side which asked
    for the proof. For 40 and 56 bits the first 8 octets are the start key.
    """
    master = hashlib.sha1(md4(nt_hash) + nt_response + _MASTER).digest()[:16]
    client_sends = _start(master, _CLIENT_SENDS)
    server_sends = _start(master, _SERVER_SENDS)
    return (server_sends, client_sends) if server else (client_sends, server_sends)


def start_keys_v1(nt_hash: bytes, challenge: bytes) -> tuple[bytes, bytes]:
    """The start keys of an MS-CHAP version 1 authentication for 128 bits, 16 octets, the same in both directions (section 2.4).

    ``challenge`` is the server's, 8 octets. The shorter strengths stand on the LM hash, which nobody should keep.
    """
    return start_keys_of_v1(md4(nt_hash), challenge)


def start_keys_of_v1(hash_hash: bytes, challenge: bytes) -> tuple[bytes, bytes]:
    """The same from MD4 of the NT hash, which is all that a RADIUS server tells (RFC 2548 section 2.4.1)."""
    key = hashlib.sha1(hash_hash * 2 + challenge).digest()[:16]
    return key, key


def _start(master: bytes, magic: bytes) -> bytes:
    return hashlib.sha1(master + _PAD1 + magic + _PAD2).digest()[:16]


def session_key(start_key: bytes, bits: int) -> bytes:
    """The first session key of a direction (RFC 3079 section 3.4). It encrypts no stateless packet."""
    start = start_key[: key_length(bits)]
    return _reduce(_interim(start, start), bits)


def next_key(start_key: bytes, current: bytes, bits: int) -> bytes:
    """The session key after ``current`` (RFC 3078 section 7.3)."""
    interim = _interim(start_key[: key_length(bits)], current)
    return _reduce(rc4(interim, interim), bits)


def rc4(key: bytes, data: bytes) -> bytes:
    """RC4 from the start of its stream."""
    return Cipher(ARC4(key), mode=None).encryptor().update(data)


def _interim(start: bytes, current: bytes) -> bytes:
    return hashlib.sha1(start + _PAD1 + current + _PAD2).digest()[: len(start)]


def _reduce(key: bytes, bits: int) -> bytes:
    salt = _SALT[bits]
    return salt + key[len(salt) :]
