/* SPDX-License-Identifier: Apache-2.0
 *
 * ghash_portable.c: carry-less multiplication by ordinary multiplication, with holes to catch the carries.
 */
#include "ghash.h"

#include "../wipe.h"

/* The carry-less product of two 32-bit numbers. Keep every fourth bit of each factor: a column of the ordinary product then
 * sums at most eight ones, which fits the hole of four bits before the next column, and its lowest bit is the sum without
 * carries. Sixteen such products, sorted by the residue of their columns, make the whole. */
static uint64_t multiply32(uint32_t a, uint32_t b)
{
	uint64_t x[4], y[4], z[4];

	for (int i = 0; i < 4; i++) {
		x[i] = a & (0x11111111u << i);
		y[i] = b & (0x11111111u << i);
	}
	for (int i = 0; i < 4; i++) {
		z[i] = x[0] * y[i] ^ x[1] * y[(i + 3) & 3] ^ x[2] * y[(i + 2) & 3] ^ x[3] * y[(i + 1) & 3];
		z[i] &= 0x1111111111111111ULL << i;
	}
	return z[0] | z[1] | z[2] | z[3];
}

/* Karatsuba: (a1 X + a0)(b1 X + b0) from three products instead of four. */
static struct hr_ghash_element multiply64(uint64_t a, uint64_t b)
{
	const uint32_t a0 = (uint32_t)a, a1 = (uint32_t)(a >> 32), b0 = (uint32_t)b, b1 = (uint32_t)(b >> 32);
	const uint64_t low = multiply32(a0, b0), high = multiply32(a1, b1);
	const uint64_t middle = multiply32(a0 ^ a1, b0 ^ b1) ^ low ^ high;
	return (struct hr_ghash_element){low ^ middle << 32, high ^ middle >> 32};
}

struct hr_ghash_element hr_ghash_multiply(struct hr_ghash_element a, struct hr_ghash_element b)
{
	const struct hr_ghash_element low = multiply64(a.low, b.low), high = multiply64(a.high, b.high);
	struct hr_ghash_element middle = multiply64(a.low ^ a.high, b.low ^ b.high);
	middle.low ^= low.low ^ high.low;
	middle.high ^= low.high ^ high.high;

	/* the product, from x^0 up; then twice: a multiple of the polynomial that cancels the lowest word */
	uint64_t d0 = low.low, d1 = low.high ^ middle.low, d2 = high.low ^ middle.high, d3 = high.high;
	d1 ^= d0 << 63 ^ d0 << 62 ^ d0 << 57;
	d2 ^= d0 ^ d0 >> 1 ^ d0 >> 2 ^ d0 >> 7;
	d2 ^= d1 << 63 ^ d1 << 62 ^ d1 << 57;
	d3 ^= d1 ^ d1 >> 1 ^ d1 >> 2 ^ d1 >> 7;
	return (struct hr_ghash_element){d2, d3};
}

void hr_ghash_powers(uint8_t power[32][16], const uint8_t h[16])
{
	struct hr_ghash_element first = {0, 0}, p;

	for (int i = 0; i < 8; i++) {
		first.high = first.high << 8 | h[i];
		first.low = first.low << 8 | h[8 + i];
	}
	const uint64_t carry = 0 - (first.high >> 63); /* times x: what leaves at the top comes back as the polynomial */
	first.high = (first.high << 1 | first.low >> 63) ^ (carry & 0xc200000000000000ULL);
	first.low = first.low << 1 ^ (carry & 1);
	p = first;
	for (int i = 31; i >= 0; i--) {
		for (int k = 0; k < 8; k++) {
			power[i][k] = (uint8_t)(p.low >> (8 * k));
			power[i][8 + k] = (uint8_t)(p.high >> (8 * k));
		}
		p = hr_ghash_multiply(p, first);
	}
	hr_erase(&first, sizeof first);
	hr_erase(&p, sizeof p);
}
