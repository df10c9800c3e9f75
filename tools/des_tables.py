"""Print csrc/kernels/des_tables.h: the constants of DES in the forms that its kernels want.

``python tools/des_tables.py > csrc/kernels/des_tables.h``. Everything follows from the tables of FIPS 46-3, which stand below as
the standard numbers them: bits from 1, most significant first.
"""

from __future__ import annotations

import sys

IP = [58 - 8 * column + 2 * row - (9 if row > 3 else 0) for row in range(8) for column in range(8)]
P = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
]  # fmt: skip
PC1 = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
]  # fmt: skip
PC2 = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
]  # fmt: skip
SBOXES = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7,
        0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
        4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0,
        15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10,
        3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
        0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15,
        13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8,
        13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
        13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7,
        1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15,
        13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
        10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4,
        3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9,
        14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
        4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14,
        11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11,
        10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
        9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6,
        4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1,
        13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
        1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2,
        6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7,
        1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
        7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8,
        2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11,
    ],
]  # fmt: skip
SHIFTS = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1]


def subkey_bits() -> list[list[int]]:
    """For each round the key bit (1 to 64) behind each of the 48 subkey bits."""
    rounds = []
    turned = 0
    for shift in SHIFTS:
        turned += shift
        halves = [PC1[(i + turned) % 28] for i in range(28)] + [PC1[28 + (i + turned) % 28] for i in range(28)]
        rounds.append([halves[i - 1] for i in PC2])
    return rounds


def table(name: str, shape: str, rows: list[list[int]]) -> str:
    """One C array, a row a line."""
    lines = ",\n".join(
        "\t{" + ", ".join(str(v) for v in row[:24]) + ",\n\t " + ", ".join(str(v) for v in row[24:]) + "}" for row in rows
    )
    return f"static const uint8_t {name}{shape} = {{\n{lines},\n}};\n"


HEADER = """\
/* SPDX-License-Identifier: Apache-2.0
 *
 * des_tables.h: made by tools/des_tables.py from the tables of FIPS 46-3; not edited by hand.
 */
#ifndef HEADRACE_KERNELS_DES_TABLES_H
#define HEADRACE_KERNELS_DES_TABLES_H

#include <stdint.h>

/* clang-format off */

/* [round][i]: the key bit behind bit i of the subkey, counted from the least significant (octet 7, bit 0 is 0). */
%s
/* [C or D][i]: the key bit, counted likewise, behind bit i + 1 of that half before any round. */
%s
/* How far C and D have turned in each round. */
%s
/* [i]: the block bit, counted likewise, that the initial permutation puts at place i + 1. */
%s
/* clang-format on */

#endif
"""


def main() -> None:
    """Write the header to standard output."""
    subkey = table("des_subkey_bit", "[16][48]", [[64 - bit for bit in row] for row in subkey_bits()])
    initial = table("des_initial", "[2][32]", [[64 - bit for bit in IP[:32]], [64 - bit for bit in IP[32:]]])
    halves = table("des_key_half", "[2][28]", [[64 - bit for bit in PC1[:28]], [64 - bit for bit in PC1[28:]]])
    turned = ", ".join(str(sum(SHIFTS[: r + 1])) for r in range(16))
    sys.stdout.write(HEADER % (subkey, halves, f"static const uint8_t des_turned[16] = {{{turned}}};\n", initial))


if __name__ == "__main__":
    main()
