"""The least that a case can cost on this processor: instructions that the algorithm needs, divided by what the ports take.

The counts are those of the best known way with 512-bit registers, sixteen packets (four blocks of AES, 64 blocks of DES) at once:
rounds, message schedule and chaining, and bringing the words of sixteen packets into lanes, but no loads and stores, no headers, no
descriptors, and no lane that has nothing to do. The ports are measured by ``ports.c`` on the machine itself. A kernel cannot be
faster; how near it comes is what docs/performance.md is about.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from headrace.bench.cases import IMIX, Case, Size
from headrace.bench.reference import block_octets, iv_octets
from headrace.esp.proposal import EspProposal
from headrace.model import Auth, Cipher

if TYPE_CHECKING:
    from collections.abc import Mapping

LANES: Final = 16

Count = dict[str, float]
"""Instructions by kind."""

# Vector instructions for one block of each of sixteen packets (64 octets). Words are brought into lanes by a transposition: four
# layers of sixteen shuffles, and one that turns the order of octets, which only the hash needs.
_TRANSPOSE: Final = {"shuffle": 64 + 16}
_SHA1: Final[Count] = {
    "add": 80 * 4 + 5,  # f, e, constant and word; the state at the end
    "ternary": 80 + 64 * 2,  # f; the schedule's exclusive-or of four
    "rotate": 80 * 2 + 64,
    **_TRANSPOSE,
}
_SHA256: Final[Count] = {
    "add": 64 * 7 + 48 * 3 + 8,
    "ternary": 64 * 4 + 48 * 2,  # two sums, choice, majority; two sums of the schedule
    "rotate": 64 * 6 + 48 * 6,  # shifts go where rotations go
    **_TRANSPOSE,
}
_MD5: Final[Count] = {"add": 64 * 4 + 4, "ternary": 64, "rotate": 64, **_TRANSPOSE}
# Eight lanes of 64-bit words, blocks of 128 octets, twice for sixteen packets.
_SHA512: Final[Count] = {
    "add": 2 * (80 * 7 + 64 * 3 + 8),
    "ternary": 2 * (80 * 4 + 64 * 2),
    "rotate": 2 * (80 * 6 + 64 * 6),
    "shuffle": 2 * (3 * 16 + 16),
}
_HASH: Final = {
    Auth.HMAC_MD5_96: (_MD5, 64, 8),
    Auth.HMAC_SHA1_96: (_SHA1, 64, 8),
    Auth.HMAC_SHA2_256_128: (_SHA256, 64, 8),
    Auth.HMAC_SHA2_256_96: (_SHA256, 64, 8),
    Auth.HMAC_SHA2_384_192: (_SHA512, 128, 16),
    Auth.HMAC_SHA2_512_256: (_SHA512, 128, 16),
}
_ROUNDS: Final = {128: 10, 192: 12, 256: 14}
# 64 blocks of DES in octets: eight lookups of 64 entries, 24 exchanges and eight exclusive-ors a round.
_DES_ROUND: Final[Count] = {"permute": 8, "ternary": 24 + 8}
_DES_ENDS: Final[Count] = {"affine": 16, "shuffle": 32, "ternary": 32}

_VECTOR: Final = ("add", "ternary", "rotate", "shuffle", "permute", "aes", "clmul", "affine")


def _sum(*parts: tuple[Count, float]) -> Count:
    """So many times each."""
    total: Count = {}
    for count, times in parts:
        for name, number in count.items():
            total[name] = total.get(name, 0.0) + number * times
    return total


def _aes(bits: int) -> Count:
    """Four blocks: rounds, and the exclusive-or of chain or stream."""
    return {"aes": _ROUNDS[bits], "ternary": 1}


def _esp(proposal: EspProposal, payload: int) -> Count:
    """Instructions for one packet."""
    block = block_octets(proposal.cipher)
    text = ceil((payload + 2) / block) * block
    if proposal.cipher is Cipher.AES_GCM16:
        blocks = ceil(text / 16)
        # Counter blocks, and the one that hides the tag; hashing text, header and lengths: a product of Karatsuba's three a block,
        # summed before one reduction.
        return _sum((_aes(proposal.key_bits), (blocks + 1) / 4), ({"clmul": 3, "ternary": 4, "shuffle": 2}, (blocks + 2) / 4))
    if proposal.cipher is Cipher.AES_CBC:
        cipher = _sum((_aes(proposal.key_bits), text / 64))
    else:
        passes = 3 if proposal.cipher is Cipher.TRIPLE_DES_CBC else 1
        cipher = _sum((_DES_ROUND, 16 * passes * text / 512), (_DES_ENDS, text / 512))
    what, size, length = _HASH[proposal.auth]
    hashed = ceil((8 + iv_octets(proposal.cipher) + text + 1 + length) / size) + 1
    return _sum((cipher, 1), (what, hashed / LANES))


def _cycles(count: Count, ports: Mapping[str, float]) -> float:
    """The fullest port, or two kinds that wait for the same ports, or all of them together, whichever is latest."""
    width = max(ports["add"], ports["ternary"])
    together = sum(number for name, number in count.items() if name in _VECTOR) / width
    found = [together, *(number / ports[name] for name, number in count.items())]
    for names, rate in ports.items():
        one, plus, other = names.partition("+")
        if plus:
            first, second = count.get(one, 0.0), count.get(other, 0.0)
            pairs = min(first, second)
            alone = (first - pairs) / ports[one] + (second - pairs) / ports[other]
            found.append(2 * pairs / rate + alone)
    return max(found)


def _mean(size: Size) -> list[tuple[int, float]]:
    """Payload lengths and their share of the packets."""
    if size != "imix":
        return [(size, 1.0)]
    total = sum(weight for _, weight in IMIX)
    return [(octets, weight / total) for octets, weight in IMIX]


def bound(case: Case, ports: Mapping[str, float]) -> float | None:
    """Cycles for an octet of payload, ``None`` where the ports of this processor do not say."""
    mixed = _mean(case.size)
    octets = sum(size * share for size, share in mixed)
    if case.mppe:
        if not {"load", "store"} <= ports.keys():
            return None
        # Two places of the table that only the data know are read, one is written, for each octet of text; and for each of the 256
        # steps of a key schedule (one of them reads only once). A stateless packet needs two schedules, and SHA-1 of two blocks.
        steps = octets + 16 if case.mppe.stateless else octets
        schedules = 2 if case.mppe.stateless else 2 / 256
        loads, stores = 2 * steps + 256 * schedules, steps + 256 * schedules
        return max(loads / ports["load"], stores / ports["store"]) / octets
    if not set(_VECTOR) <= ports.keys():
        return None
    proposal = EspProposal.parse(case.transform)
    return _cycles(_sum(*((_esp(proposal, size), share) for size, share in mixed)), ports) / octets
