"""MPPE in the order of RFC 3078 and RFC 3079, one packet at a time; and once more as Linux reads it, where the two differ."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

FLUSHED, ENCRYPTED = 0x8000, 0x1000
REDUCE = {40: bytes.fromhex("d1269e"), 56: bytes.fromhex("d1"), 128: b""}


def rc4(key: bytes) -> Any:
    """Start a stream: `.update(data)`."""
    return Cipher(ARC4(key), mode=None).encryptor()


def next_key(start: bytes, current: bytes, bits: int, *, initial: bool = False) -> bytes:
    """RFC 3079 section 3.2 (initial), RFC 3078 section 7.3 (each later one)."""
    interim = hashlib.sha1(start + bytes(40) + current + b"\xf2" * 40).digest()[: len(start)]
    key: bytes = interim if initial else rc4(interim).update(interim)
    return REDUCE[bits] + key[len(REDUCE[bits]) :]


class Lost(Exception):
    """The packet cannot be decrypted; a Reset-Request is due."""


@dataclass
class Key:
    """The chain of keys of one direction."""

    start: bytes
    bits: int
    current: bytes = b""

    def __post_init__(self) -> None:
        self.start = self.start[: 16 if self.bits == 128 else 8]
        self.current = next_key(self.start, self.start, self.bits, initial=True)

    def change(self, times: int = 1) -> bytes:
        """Go on, and return the key."""
        for _ in range(times):
            self.current = next_key(self.start, self.current, self.bits)
        return self.current


@dataclass
class Sender:
    """One that sends: `habit` is "rfc" (A: RC4 anew with the same key; none on flag packets) or "linux" (A: a new key; on all flag packets)."""

    key: Key
    stateless: bool
    habit: str = "rfc"
    count: int = 0
    reset: bool = False
    """The peer asked for a reset."""
    first_flushed: bool = False
    """RFC 3078 section 3.1: A on the first packet."""
    stream: Any = field(default=None)

    def seal(self, frame: bytes) -> bytes:
        """The MPPE header and ciphertext of a frame from its protocol field on."""
        count, self.count = self.count, (self.count + 1) % 4096
        if self.stateless:
            return (FLUSHED | ENCRYPTED | count).to_bytes(2) + bytes(rc4(self.key.change()).update(frame))
        flag = count & 0xFF == 0xFF
        flushed, self.reset = self.reset or self.first_flushed, False
        self.first_flushed = False
        if self.habit == "linux":
            flushed |= flag
            if flushed:
                self.key.change()
        elif flag:
            self.key.change()
        if self.stream is None or flag or flushed:
            self.stream = rc4(self.key.current)
        return ((FLUSHED if flushed else 0) | ENCRYPTED | count).to_bytes(2) + bytes(self.stream.update(frame))


@dataclass
class Receiver:
    """One that receives, by the RFC (as FreeBSD does it) or as Linux does it."""

    key: Key
    stateless: bool
    habit: str = "rfc"
    count: int = 0
    """Expected next."""
    waiting: bool = False
    stream: Any = field(default=None)

    def open(self, packet: bytes) -> bytes:
        """Decrypt. Raises Lost."""
        header = int.from_bytes(packet[:2])
        count, flushed = header & 0xFFF, bool(header & FLUSHED)
        assert header & ENCRYPTED
        if self.stateless:
            assert flushed
            self.key.change((count - self.count) % 4096 + 1)
            self.count = (count + 1) % 4096
            return bytes(rc4(self.key.current).update(packet[2:]))
        return self._linux(packet, count, flushed) if self.habit == "linux" else self._rfc(packet, count, flushed)

    def _rfc(self, packet: bytes, count: int, flushed: bool) -> bytes:
        if (self.waiting or count != self.count) and not flushed:
            self.waiting = True
            raise Lost
        while self.count != count:  # flag packets that were missed
            if self.count & 0xFF == 0xFF:
                self.key.change()
            self.count = (self.count + 1) % 4096
        flag = count & 0xFF == 0xFF
        if flag:
            self.key.change()
        if flag or flushed or self.stream is None:
            self.stream = rc4(self.key.current)
        self.waiting = False
        self.count = (count + 1) % 4096
        return bytes(self.stream.update(packet[2:]))

    def _linux(self, packet: bytes, count: int, flushed: bool) -> bytes:
        if self.stream is None:
            self.stream = rc4(self.key.current)
        assert flushed or count & 0xFF != 0xFF, "Linux counts a flag packet without A as a broken peer"
        if not self.waiting:
            expected, self.count = self.count, (self.count + 1) % 4096
            if count != expected:
                self.waiting = True
                self.count = expected
                raise Lost
        else:
            if not flushed:
                raise Lost
            here = self.count
            while count & ~0xFF != here & ~0xFF:
                self.key.change()
                here = (here + 256) % 4096
            self.waiting = False
            self.count = (count + 1) % 4096
        if flushed:
            self.stream = rc4(self.key.change())
        return bytes(self.stream.update(packet[2:]))
