"""MD4 (RFC 1320), which ``hashlib`` often lacks and the NT password hash stands on. Not for anything else: it is broken."""

from __future__ import annotations

from typing import Final

_MASK: Final = 0xFFFFFFFF
_START: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)

# RFC 1320 section 3.4: for each round its constant, its rotations, and the order in which it visits the 16 words.
_ROUNDS: Final = (
    (0x00000000, (3, 7, 11, 19), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
    (0x5A827999, (3, 5, 9, 13), (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)),
    (0x6ED9EBA1, (3, 9, 11, 15), (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)),
)


def _mix(number: int, x: int, y: int, z: int) -> int:
    """The functions F, G and H of section 3.4."""
    if number == 0:
        return x & y | ~x & z
    if number == 1:
        return x & y | x & z | y & z
    return x ^ y ^ z


def _block(state: tuple[int, int, int, int], block: bytes) -> tuple[int, int, int, int]:
    words = [int.from_bytes(block[i : i + 4], "little") for i in range(0, 64, 4)]
    a, b, c, d = state
    for number, (constant, rotations, order) in enumerate(_ROUNDS):
        for step, index in enumerate(order):
            total = (a + _mix(number, b, c, d) + words[index] + constant) & _MASK
            turn = rotations[step % 4]
            a, b, c, d = d, (total << turn | total >> (32 - turn)) & _MASK, b, c
    return ((state[0] + a) & _MASK, (state[1] + b) & _MASK, (state[2] + c) & _MASK, (state[3] + d) & _MASK)


def md4(data: bytes) -> bytes:
    """The 16-octet digest of ``data``."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + (8 * len(data) & (1 << 64) - 1).to_bytes(8, "little")
    state = _START
    for start in range(0, len(padded), 64):
        state = _block(state, padded[start : start + 64])
    return b"".join(word.to_bytes(4, "little") for word in state)
