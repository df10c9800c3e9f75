/* SPDX-License-Identifier: Apache-2.0
 *
 * ghash.h: the arithmetic of GHASH (NIST SP 800-38D section 6.4), once, for every level.
 *
 * GHASH is Y_i = (Y_(i-1) + X_i) H in GF(2^128), but with bits numbered backwards: the first bit of the first octet is x^0.
 * Read a block with its octets reversed, as a little-endian number, and bit i of the number stands for x^(127 - i). A product
 * of two such numbers comes out one place too low (127 + 127 against 255). RFC 8452 (appendix A) puts this right by constants:
 * with H' = H x   (one multiplication at key setup), and   a . b = a b x^-128, GHASH(H, X) = reversed(POLYVAL(H', reversed X)),
 * in the field of x^128 + x^127 + x^126 + x^121 + 1. The factor x^-128 is what a reduction from below gives for nothing: add
 * multiples of the polynomial until the low half of the 256-bit product is zero, and keep the high half.
 *
 * Kept per key: the powers H'^1 to H'^32 under that product, highest first: the hash of m blocks is the sum of X_i H'^(m - i +
 * 1), so m products may run side by side and be reduced once.
 */
#ifndef HEADRACE_KERNELS_GHASH_H
#define HEADRACE_KERNELS_GHASH_H

#include <stdint.h>

struct hr_ghash_element {
	uint64_t low, high;
};

/* a . b, in constant time on machines whose multiplication is. */
struct hr_ghash_element hr_ghash_multiply(struct hr_ghash_element a, struct hr_ghash_element b);

/* power[32 - i] = H'^i, each as sixteen octets of a little-endian number; h is the zero block encrypted. */
void hr_ghash_powers(uint8_t power[32][16], const uint8_t h[16]);

#endif
