"""Print csrc/kernels/hdlc_tables.h: the tables of FCS-16. ``python tools/hdlc_tables.py > csrc/kernels/hdlc_tables.h``.

Polynomials over GF(2) are integers, bit i for x^i, unless called reflected: then the highest power is bit 0.
"""

from __future__ import annotations

import sys

POLYNOMIAL = 0x11021  # x^16 + x^12 + x^5 + 1
REFLECTED = 0x8408  # the same without x^16, bit 15 for x^0


def step(fcs: int) -> int:
    """One bit of zero more."""
    return (fcs >> 1) ^ (REFLECTED if fcs & 1 else 0)


def table(count: int) -> list[list[int]]:
    """[k][octet]: what an octet with k octets of zero behind it does to the remainder."""
    rows = [list(range(256))]
    for octet in range(256):
        for _ in range(8):
            rows[0][octet] = step(rows[0][octet])
    for _ in range(count - 1):
        rows.append([rows[0][value & 255] ^ value >> 8 for value in rows[-1]])
    return rows


def power(n: int) -> int:
    """x^n modulo the polynomial."""
    value = 1
    for _ in range(n):
        value <<= 1
        if value >> 16:
            value ^= POLYNOMIAL
    return value


def reflect(value: int, width: int) -> int:
    """Turn the order of the bits."""
    return int(f"{value:0{width}b}"[::-1], 2)


def fold(n: int) -> int:
    """The operand that moves a reflected 64-bit half on by n bits.

    A carry-less product of two reflected numbers of 64 bits is the reflected product, but one place short: 127 bits in 128. So the
    constant is x^(n - 1), reflected in 64 bits.
    """
    return reflect(power(n - 1), 64)


HEADER = """\
/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc_tables.h: made by tools/hdlc_tables.py from the polynomial of FCS-16; not edited by hand.
 */
#ifndef HEADRACE_KERNELS_HDLC_TABLES_H
#define HEADRACE_KERNELS_HDLC_TABLES_H

#include <stdint.h>

/* clang-format off */

/* [k][octet]: what an octet with k octets of zero behind it does to the remainder. */
static const uint16_t fcs16_table[8][256] = {
%s
};

/* Operands of PCLMULQDQ that move the lower (earlier) and the upper half of 16 octets on by 16 and by 64 octets. */
#define FCS16_FOLD_16_LOW 0x%016xULL
#define FCS16_FOLD_16_HIGH 0x%016xULL
#define FCS16_FOLD_64_LOW 0x%016xULL
#define FCS16_FOLD_64_HIGH 0x%016xULL

/* clang-format on */

#endif
"""


def main() -> None:
    """Write the header to standard output."""
    rows = []
    for row in table(8):
        lines = [", ".join(f"0x{value:04x}" for value in row[i : i + 16]) for i in range(0, 256, 16)]
        rows.append("\t{" + ",\n\t ".join(lines) + "},")
    # the lower half is the earlier one: 64 bits further from the end than the upper
    folds = (fold(128 + 64), fold(128), fold(512 + 64), fold(512))
    sys.stdout.write(HEADER % ("\n".join(rows), *folds))


if __name__ == "__main__":
    main()
