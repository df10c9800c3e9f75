"""Print csrc/kernels/des_byteslice_tables.h: the constants of DES kept in octets (des_byteslice.h explains the method).

``python tools/des_network.py > csrc/kernels/des_byteslice_tables.h`` prints the header for the network below;
``python tools/des_network.py --search SECONDS [SEED]`` looks for another.

What is searched: the four output bits of an S-box reach six S-boxes of the next round, a bit each, and every S-box is reached
by six. Give each of the 48 ways a place 0 to 5 such that the ways out of one S-box, and the ways into one, all differ: then one
octet out of a lookup carries all six bits, and the bits at place c go to the eight S-boxes by a permutation. The six permutations
must moreover all run through one butterfly of three layers of four exchanges, for some order of the S-boxes at its two sides.
"""

from __future__ import annotations

import random
import sys
import time
from typing import NamedTuple

from des_tables import SBOXES, P


class Network(NamedTuple):
    """A placement of the ways, and the order of the S-boxes on both sides of the butterfly."""

    into: list[int]
    """Port of each S-box's lookup."""
    out: list[int]
    """Port of each S-box's next input."""
    reach: list[list[int]]
    """[place][S-box]: the S-box that the bit at that place goes to."""


CHOSEN = Network(
    into=[7, 2, 3, 0, 1, 5, 4, 6],
    out=[1, 2, 3, 7, 5, 4, 6, 0],
    reach=[
        [7, 2, 5, 4, 1, 6, 0, 3],
        [3, 7, 4, 2, 6, 0, 1, 5],
        [5, 4, 7, 6, 2, 1, 3, 0],
        [4, 0, 1, 7, 3, 2, 5, 6],
        [1, 6, 3, 5, 0, 7, 2, 4],
        [2, 3, 6, 0, 5, 4, 7, 1],
    ],
)


def find_ways() -> dict[tuple[int, int], tuple[int, int]]:
    """(from S-box, to S-box) -> (output bit, input bit), all counted from 0."""
    place_of = {n - 1: place for place, n in enumerate(P)}
    ways = {}
    for box in range(8):
        for bit in range(4):
            place = place_of[4 * box + bit]
            ways[box, place // 4] = (bit, place % 4 + 1)
            if place % 4 == 0:  # E repeats the outer bits in the neighbours
                ways[box, (place // 4 - 1) % 8] = (bit, 5)
            if place % 4 == 3:
                ways[box, (place // 4 + 1) % 8] = (bit, 0)
    assert len(ways) == 48
    return ways


WAYS = find_ways()


def find_matchings(into: list[int], out: list[int]) -> list[tuple[int, ...]]:
    """Every permutation of the S-boxes that follows ways only and runs through the butterfly without two meeting."""
    box_at = {port: box for box, port in enumerate(into)}
    found: list[tuple[int, ...]] = []

    def extend(port: int, target: dict[int, int], taken: tuple[frozenset[int], ...]) -> None:
        if port == 8:
            found.append(tuple(target[box] for box in range(8)))
            return
        box = box_at[port]
        for to in range(8):
            if (box, to) not in WAYS:
                continue
            steps = ((port & 6) | (out[to] & 1), (port & 4) | (out[to] & 3), out[to])
            if any(step in layer for step, layer in zip(steps, taken, strict=True)):
                continue
            extend(port + 1, {**target, box: to}, tuple(layer | {step} for step, layer in zip(steps, taken, strict=True)))

    extend(0, {}, (frozenset(), frozenset(), frozenset()))
    return found


def find_covers(matchings: list[tuple[int, ...]], limit: int) -> list[list[tuple[int, ...]]]:
    """Sets of six matchings that use each way once."""
    ways_of = [frozenset(enumerate(m)) for m in matchings]
    covers: list[list[tuple[int, ...]]] = []

    def extend(left: frozenset[tuple[int, int]], chosen: list[int]) -> None:
        if not left:
            covers.append([matchings[k] for k in chosen])
            return
        candidates = {way: [k for k, ways in enumerate(ways_of) if way in ways and ways <= left] for way in left}
        for k in min(candidates.values(), key=len):
            if len(covers) < limit:
                extend(left - ways_of[k], [*chosen, k])

    extend(frozenset(WAYS), [])
    return covers


def cross_masks(network: Network) -> list[list[int]]:
    """[layer][port]: the places whose bits come to this port from the partner's side."""
    masks = [[0] * 8 for _ in range(3)]
    for place, reach in enumerate(network.reach):
        for box in range(8):
            port, target = network.into[box], network.out[reach[box]]
            for layer in range(3):
                bit = 1 << layer
                if (port ^ target) & bit:
                    port ^= bit
                    masks[layer][port] |= 1 << place
    return masks


def search(seconds: float, seed: int) -> None:
    """Print networks as they are found, those with fewer different masks (registers) only."""
    chance = random.Random(seed)  # noqa: S311
    best = 99
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        into, out = chance.sample(range(8), 8), chance.sample(range(8), 8)
        for cover in find_covers(find_matchings(into, out), 200):
            network = Network(into, out, [list(m) for m in cover])
            used = {min(mask, 63 ^ mask) for layer in cross_masks(network) for mask in layer} - {0}
            if len(used) < best:
                best = len(used)
                sys.stdout.write(f"{best} masks: {network}\n")


def places(network: Network) -> list[list[int]]:
    """[S-box][input bit]: its place in the octet."""
    rows = [[0] * 6 for _ in range(8)]
    for place, reach in enumerate(network.reach):
        for box in range(8):
            rows[reach[box]][WAYS[box, reach[box]][1]] = place
    return rows


def lookup(network: Network, box: int) -> list[int]:
    """The octet that this S-box gives for each octet that comes in."""
    where = places(network)[box]
    row = []
    for octet in range(64):
        bits = [octet >> where[i] & 1 for i in range(6)]
        column = bits[1] * 8 + bits[2] * 4 + bits[3] * 2 + bits[4]
        value = SBOXES[box][(bits[0] * 2 + bits[5]) * 16 + column]
        row.append(sum((value >> (3 - WAYS[box, reach[box]][0]) & 1) << place for place, reach in enumerate(network.reach)))
    return row


def matrix(moves: list[tuple[int, int]]) -> int:
    """The operand of GF2P8AFFINEQB that moves bit a of an octet to bit b, for each (a, b), and drops the others."""
    value = 0
    for a, b in moves:
        value |= 1 << a << 8 * (7 - b)
    return value


def spread(network: Network) -> list[list[tuple[int, int]]]:
    """[S-box]: (octet of the half, matrix) twice. Bit i of octet r of a half is its bit 8r + i, counted from the first."""
    rows = []
    for box in range(8):
        moves: dict[int, list[tuple[int, int]]] = {}
        for i in range(6):
            bit = (4 * box - 1 + i) % 32
            moves.setdefault(bit // 8, []).append((bit % 8, places(network)[box][i]))
        rows.append([(octet, matrix(pairs)) for octet, pairs in sorted(moves.items())])
    return rows


def gather(network: Network) -> list[int]:
    """[S-box]: matrix from its octet to its own four bits of octet (S-box / 2) of the half."""
    return [matrix([(places(network)[box][i], (4 * box - 1 + i) % 8) for i in range(1, 5)]) for box in range(8)]


HEADER = """\
/* SPDX-License-Identifier: Apache-2.0
 *
 * des_byteslice_tables.h: made by tools/des_network.py; not edited by hand. What it all means: des_byteslice.h.
 */
#ifndef HEADRACE_KERNELS_DES_BYTESLICE_TABLES_H
#define HEADRACE_KERNELS_DES_BYTESLICE_TABLES_H

#include <stdint.h>

/* clang-format off */

/* [S-box][input bit, first to last]: its place in the S-box's octet. */
static const uint8_t des_place[8][6] = {
%(place)s
};

#ifdef DES_BYTESLICE

/* [S-box][octet in]: octet out, its six bits at the places of the S-boxes they go to. */
static const uint8_t des_lookup[8][64] __attribute__((aligned(64))) = {
%(lookup)s
};

/* The butterfly: EXCHANGE(mask, x, y) exchanges the bits of x and y where the mask is 1. It leaves what goes to S-box i in
 * b[des_end[i]]. */
#define DES_NETWORK(b) \\
%(network)s
#define DES_END {%(end)s}

/* From a half of the block, h[4], to the octets of the S-boxes: GF2P8AFFINEQB of two octets each. */
#define DES_SPREAD(h, out) \\
%(spread)s

/* The way back: h[r] from the octets of S-boxes 2r and 2r + 1. */
#define DES_GATHER(in, h) \\
%(gather)s

#endif

/* clang-format on */

#endif
"""


def print_header(network: Network) -> None:
    """Write the header to standard output."""
    masks = cross_masks(network)
    lines = []
    at_port = [network.into.index(port) for port in range(8)]  # element of b that holds the port's value
    for layer in range(3):
        for port in range(8):
            partner = port ^ 1 << layer
            assert masks[layer][port] == masks[layer][partner]
            if partner < port:
                continue
            mask = masks[layer][port]
            if 63 ^ mask < mask:  # the other bits instead, and the two change places
                mask ^= 63
                at_port[port], at_port[partner] = at_port[partner], at_port[port]
            lines.append(f"\tEXCHANGE(0x{mask:02x}, (b)[{at_port[port]}], (b)[{at_port[partner]}])")
    ends = [at_port[port] for port in network.out]
    sys.stdout.write(
        HEADER
        % {
            "place": "\n".join("\t{" + ", ".join(map(str, row)) + "}," for row in places(network)),
            "lookup": "\n".join(
                "\t{" + ",\n\t ".join(", ".join(map(str, row[i : i + 16])) for i in range(0, 64, 16)) + "},"
                for row in (lookup(network, box) for box in range(8))
            ),
            "network": " \\\n".join(lines),
            "end": ", ".join(map(str, ends)),
            "spread": " \\\n".join(
                f"\t(out)[{box}] = XOR(AFFINE((h)[{a}], 0x{m:016x}), AFFINE((h)[{b}], 0x{n:016x}));"
                for box, ((a, m), (b, n)) in enumerate(spread(network))
            ),
            "gather": " \\\n".join(
                f"\t(h)[{r}] = XOR(AFFINE((in)[{2 * r}], 0x{gather(network)[2 * r]:016x}),"
                f" AFFINE((in)[{2 * r + 1}], 0x{gather(network)[2 * r + 1]:016x}));"
                for r in range(4)
            ),
        }
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--search"]:
        search(float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    else:
        print_header(CHOSEN)
