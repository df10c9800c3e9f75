"""Batches of plain octets on islands between guard pages, and RC4 and MPPE by `cryptography`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from headrace.dataplane._native import ffi

if TYPE_CHECKING:
    from tests.kernels.native import Islands

CANARY = 0xA5


class PlainBatch:
    """Packets of given octets at the front or the back of their islands, with a look at what lies around them."""

    def __init__(self, islands: Islands, packets: list[bytes], *, back: bool = False, room_tail: int = 0) -> None:
        self.islands = islands
        self.packets = packets
        self.desc = ffi.new("struct hr_desc[]", max(len(packets), 1))
        self.batch = ffi.new("struct hr_batch *")
        self.batch.arena = ffi.cast("uint8_t *", islands.address)
        self.batch.arena_len = islands.length
        self.batch.desc = self.desc
        self.batch.n = len(packets)
        self.starts = []
        for i, packet in enumerate(packets):
            islands.fill(i, CANARY)
            start = islands.start(i) + (islands.size - len(packet) - room_tail if back else 0)
            islands.view[start : start + len(packet)] = packet
            self.starts.append(start)
            self.desc[i].off, self.desc[i].len, self.desc[i].room_tail, self.desc[i].status = start, len(packet), room_tail, 255

    def octets(self, i: int) -> bytes:
        """Packet i as it is now."""
        d = self.desc[i]
        return bytes(self.islands.view[d.off : d.off + d.len])

    def check_surroundings(self) -> None:
        """Nothing outside the places that packets came in changed."""
        for i, packet in enumerate(self.packets):
            at = self.starts[i] - self.islands.start(i)
            island = self.islands.island(i)
            outside = island[:at] + island[at + len(packet) :]
            assert outside.count(CANARY) == len(outside), f"packet {i}: octets outside were written"


def rc4(key: bytes) -> Any:
    """A stream that works octets."""
    return Cipher(ARC4(key), None).encryptor()


def rc4_slow(key: bytes, data: bytes) -> bytes:
    """RC4 by its definition, for keys that OpenSSL's interface refuses."""
    s, j = list(range(256)), 0
    for i in range(256):
        j = (j + s[i] + key[i % len(key)]) & 255
        s[i], s[j] = s[j], s[i]
    out, i, j = bytearray(), 0, 0
    for octet in data:
        i = (i + 1) & 255
        j = (j + s[i]) & 255
        s[i], s[j] = s[j], s[i]
        out.append(octet ^ s[(s[i] + s[j]) & 255])
    return bytes(out)


SALTS = {40: b"\xd1\x26\x9e", 56: b"\xd1", 128: b""}


def key_len(bits: int) -> int:
    """Octets of a session key."""
    return 16 if bits == 128 else 8


def interim_key(start: bytes, current: bytes, bits: int) -> bytes:
    """RFC 3079 section 1.3's GetNewKeyFromSHA."""
    n = key_len(bits)
    return hashlib.sha1(start[:n] + bytes(40) + current[:n] + b"\xf2" * 40).digest()[:n]


def salted(key: bytes, bits: int) -> bytes:
    """The octets of weakness over the first ones."""
    return SALTS[bits] + key[len(SALTS[bits]) :]


def first_key(start: bytes, bits: int) -> bytes:
    """The session key before any change."""
    return salted(interim_key(start, start, bits), bits)


def next_key(start: bytes, current: bytes, bits: int) -> bytes:
    """One key change (RFC 3078 section 7.3)."""
    interim = interim_key(start, current, bits)
    return salted(rc4(interim).update(interim), bits)


class Mppe:
    """One direction, as the two RFCs tell it: gives header and ciphertext of one packet after the other."""

    def __init__(self, start: bytes, bits: int, *, stateless: bool, count: int = 0) -> None:
        self.start, self.bits, self.stateless, self.count = start, bits, stateless, count
        self.key = first_key(start, bits)
        self.stream = rc4(self.key)

    def encrypt(self, packet: bytes) -> tuple[int, bytes]:
        """The 16 bits of the header, and the octets behind it."""
        flag = self.count & 0xFF == 0xFF
        if self.stateless or flag:
            self.key = next_key(self.start, self.key, self.bits)
            self.stream = rc4(self.key)
        header = 0x1000 | (0x8000 if self.stateless or flag else 0) | self.count
        self.count = (self.count + 1) & 0xFFF
        return header, self.stream.update(packet)
