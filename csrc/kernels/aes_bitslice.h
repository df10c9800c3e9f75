/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_bitslice.h: AES on eight blocks at once without tables, the portable level's core and the specification of the others.
 *
 * A word holds one bit of every octet of eight blocks: word q[k] has bit k. So SubBytes becomes a circuit of ANDs and XORs that
 * no secret can make slower or faster, where a table would tell its index through the cache. A word is two 64-bit halves of
 * four blocks each; vector types of the compiler make them one register where the machine has one.
 *
 * Within a half, the bit of the octet in row r, column c of block b stands at position 16 r + 4 c + b. Then
 *  - ShiftRows rotates 16-bit fields by multiples of four, one field a row;
 *  - the rotation of rows that MixColumns needs is a rotation of the half by 16.
 */
#ifndef HEADRACE_KERNELS_AES_BITSLICE_H
#define HEADRACE_KERNELS_AES_BITSLICE_H

#include <stdint.h>
#include <string.h>

enum { HR_BITSLICE_BLOCKS = 8 };

typedef uint64_t hr_slice __attribute__((vector_size(16)));

static inline uint32_t hr_load32le(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void hr_store32le(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

/* --- in and out of the sliced form ------------------------------------------------------------------------------- */

/* Octets of `even` to the even places, of `odd` to the odd places. */
static inline uint64_t hr_octets_interleave(uint32_t even, uint32_t odd)
{
	uint64_t x = even, y = odd;
	x = (x | x << 16) & 0x0000ffff0000ffffULL;
	y = (y | y << 16) & 0x0000ffff0000ffffULL;
	x = (x | x << 8) & 0x00ff00ff00ff00ffULL;
	y = (y | y << 8) & 0x00ff00ff00ff00ffULL;
	return x | y << 8;
}

static inline uint32_t hr_octets_even(uint64_t v)
{
	v &= 0x00ff00ff00ff00ffULL;
	v = (v | v >> 8) & 0x0000ffff0000ffffULL;
	return (uint32_t)(v | v >> 16);
}

/* Exchange the bits of b under the mask with those of a that stand `shift` places higher. */
static inline void hr_swap_bits(hr_slice *a, hr_slice *b, uint64_t mask, int shift)
{
	const hr_slice m = {mask, mask};
	const hr_slice t = ((*a >> shift) ^ *b) & m;
	*b ^= t;
	*a ^= t << shift;
}

/* Transpose the 8 x 8 bits that octet number i of each of the eight words form, for every i. Its own inverse. */
static inline void hr_bits_transpose(hr_slice q[8])
{
	for (int i = 0; i < 8; i += 2)
		hr_swap_bits(&q[i], &q[i + 1], 0x5555555555555555ULL, 1);
	for (int i = 0; i < 8; i += (i & 1) ? 3 : 1)
		hr_swap_bits(&q[i], &q[i + 2], 0x3333333333333333ULL, 2);
	for (int i = 0; i < 4; i++)
		hr_swap_bits(&q[i], &q[i + 4], 0x0f0f0f0f0f0f0f0fULL, 4);
}

static inline void hr_slice_load(hr_slice q[8], const uint8_t *const block[HR_BITSLICE_BLOCKS])
{
	for (int b = 0; b < 4; b++) {
		for (int half = 0; half < 2; half++) {
			const uint8_t *p = block[b + 4 * half];
			q[b][half] = hr_octets_interleave(hr_load32le(p), hr_load32le(p + 8));
			q[b + 4][half] = hr_octets_interleave(hr_load32le(p + 4), hr_load32le(p + 12));
		}
	}
	hr_bits_transpose(q);
}

/* Changes q. */
static inline void hr_slice_store(uint8_t *const block[HR_BITSLICE_BLOCKS], hr_slice q[8])
{
	hr_bits_transpose(q);
	for (int b = 0; b < 4; b++) {
		for (int half = 0; half < 2; half++) {
			uint8_t *p = block[b + 4 * half];
			hr_store32le(p, hr_octets_even(q[b][half]));
			hr_store32le(p + 8, hr_octets_even(q[b][half] >> 8));
			hr_store32le(p + 4, hr_octets_even(q[b + 4][half]));
			hr_store32le(p + 12, hr_octets_even(q[b + 4][half] >> 8));
		}
	}
}

/* --- the steps of a round ---------------------------------------------------------------------------------------- */

/* The S-box as a circuit: inversion in GF(2^8) through GF(2^4) and GF(2^2), with 32 ANDs (Boyar and Peralta, "A small depth-16
 * circuit for the AES S-box", 2012). The names are the paper's: x in, y the linear layer on top, t and z the inversion, s out.
 */
static inline void hr_slice_sub(hr_slice q[8])
{
	const hr_slice x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];

	const hr_slice y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5;
	const hr_slice t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3, y12 = y13 ^ y14;
	const hr_slice y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12;
	const hr_slice y15 = t1 ^ x5, y20 = t1 ^ x1, y6 = y15 ^ x7, y10 = y15 ^ t0;
	const hr_slice y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
	const hr_slice y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

	const hr_slice t2 = y12 & y15, t3 = y3 & y6, t4 = t3 ^ t2, t5 = y4 & x7, t6 = t5 ^ t2;
	const hr_slice t7 = y13 & y16, t8 = y5 & y1, t9 = t8 ^ t7, t10 = y2 & y7, t11 = t10 ^ t7;
	const hr_slice t12 = y9 & y11, t13 = y14 & y17, t14 = t13 ^ t12, t15 = y8 & y10, t16 = t15 ^ t12;
	const hr_slice t17 = t4 ^ t14, t18 = t6 ^ t16, t19 = t9 ^ t14, t20 = t11 ^ t16;
	const hr_slice t21 = t17 ^ y20, t22 = t18 ^ y19, t23 = t19 ^ y21, t24 = t20 ^ y18;

	const hr_slice t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t28 = t25 & t27, t29 = t28 ^ t22;
	const hr_slice t30 = t23 ^ t24, t31 = t22 ^ t26, t32 = t31 & t30, t33 = t32 ^ t24, t34 = t23 ^ t33;
	const hr_slice t35 = t27 ^ t33, t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36, t39 = t29 & t38;
	const hr_slice t40 = t25 ^ t39, t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
	const hr_slice t45 = t42 ^ t41;

	const hr_slice z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7;
	const hr_slice z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4;
	const hr_slice z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

	const hr_slice t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
	const hr_slice t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
	const hr_slice t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58;
	const hr_slice t63 = t49 ^ t58, t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, t67 = t64 ^ t65;
	const hr_slice s3 = t53 ^ t66;

	q[7] = t59 ^ t63;
	q[6] = t64 ^ ~s3;
	q[5] = t55 ^ ~t67;
	q[4] = s3;
	q[3] = t51 ^ t66;
	q[2] = t47 ^ t65;
	q[1] = t56 ^ ~t62;
	q[0] = t48 ^ ~t60;
}

/* The inverse of the affine map that ends SubBytes: bit k of the result is the sum of bits k+2, k+5, k+7, plus 0x05. */
static inline void hr_slice_unaffine(hr_slice q[8])
{
	hr_slice p[8];
	for (int k = 0; k < 8; k++)
		p[k] = q[(k + 2) & 7] ^ q[(k + 5) & 7] ^ q[(k + 7) & 7];
	for (int k = 0; k < 8; k++)
		q[k] = (k == 0 || k == 2) ? ~p[k] : p[k];
}

/* SubBytes is inversion, then the affine map A; inversion is its own inverse, so InvSubBytes = A^-1 SubBytes A^-1. */
static inline void hr_slice_unsub(hr_slice q[8])
{
	hr_slice_unaffine(q);
	hr_slice_sub(q);
	hr_slice_unaffine(q);
}

static inline void hr_slice_shift(hr_slice q[8])
{
	for (int k = 0; k < 8; k++) {
		const hr_slice x = q[k];
		q[k] = (x & 0x000000000000ffffULL) | ((x >> 4) & 0x000000000fff0000ULL) | ((x << 12) & 0x00000000f0000000ULL) |
		       ((x >> 8) & 0x000000ff00000000ULL) | ((x << 8) & 0x0000ff0000000000ULL) |
		       ((x >> 12) & 0x000f000000000000ULL) | ((x << 4) & 0xfff0000000000000ULL);
	}
}

static inline void hr_slice_unshift(hr_slice q[8])
{
	for (int k = 0; k < 8; k++) {
		const hr_slice x = q[k];
		q[k] = (x & 0x000000000000ffffULL) | ((x << 4) & 0x00000000fff00000ULL) | ((x >> 12) & 0x00000000000f0000ULL) |
		       ((x >> 8) & 0x000000ff00000000ULL) | ((x << 8) & 0x0000ff0000000000ULL) |
		       ((x << 12) & 0xf000000000000000ULL) | ((x >> 4) & 0x0fff000000000000ULL);
	}
}

/* Row r takes what stood in row r + 1, or r + 2. */
static inline hr_slice hr_rows_up(hr_slice x)
{
	return x >> 16 | x << 48;
}

static inline hr_slice hr_rows_up2(hr_slice x)
{
	return x >> 32 | x << 32;
}

/* Times x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
static inline void hr_slice_double(hr_slice out[8], const hr_slice in[8])
{
	const hr_slice top = in[7];
	for (int k = 7; k > 0; k--)
		out[k] = in[k - 1];
	out[0] = top;
	out[1] ^= top;
	out[3] ^= top;
	out[4] ^= top;
}

/* A column (a, b, c, d) becomes 2a + 3b + c + d and so on round: 2 (a + b) + b + (c + d). */
static inline void hr_slice_mix(hr_slice q[8])
{
	hr_slice sum[8], twice[8];
	for (int k = 0; k < 8; k++)
		sum[k] = q[k] ^ hr_rows_up(q[k]);
	hr_slice_double(twice, sum);
	for (int k = 0; k < 8; k++)
		q[k] = twice[k] ^ hr_rows_up(q[k]) ^ hr_rows_up2(sum[k]);
}

/* The inverse's matrix (e b d 9) is MixColumns' (2 3 1 1) times (5 0 4 0): first a + 4 (a + c), then MixColumns. */
static inline void hr_slice_unmix(hr_slice q[8])
{
	hr_slice sum[8], twice[8];
	for (int k = 0; k < 8; k++)
		sum[k] = q[k] ^ hr_rows_up2(q[k]);
	hr_slice_double(twice, sum);
	hr_slice_double(sum, twice);
	for (int k = 0; k < 8; k++)
		q[k] ^= sum[k];
	hr_slice_mix(q);
}

static inline void hr_slice_add(hr_slice q[8], const hr_slice key[8])
{
	for (int k = 0; k < 8; k++)
		q[k] ^= key[k];
}

/* --- the cipher -------------------------------------------------------------------------------------------------- */

/* Round keys of eight lanes, which may belong to different keys with the same number of rounds. */
struct hr_slice_key {
	hr_slice round[15][8];
	uint32_t rounds;
};

static inline void hr_slice_key_load(struct hr_slice_key *key, const uint8_t (*const schedule[HR_BITSLICE_BLOCKS])[16],
				     uint32_t rounds)
{
	key->rounds = rounds;
	for (uint32_t r = 0; r <= rounds; r++) {
		const uint8_t *block[HR_BITSLICE_BLOCKS];
		for (int b = 0; b < HR_BITSLICE_BLOCKS; b++)
			block[b] = schedule[b][r];
		hr_slice_load(key->round[r], block);
	}
}

/* All lanes with one key. */
static inline void hr_slice_key_spread(struct hr_slice_key *key, const uint8_t (*schedule)[16], uint32_t rounds)
{
	const uint8_t(*all[HR_BITSLICE_BLOCKS])[16];
	for (int b = 0; b < HR_BITSLICE_BLOCKS; b++)
		all[b] = schedule;
	hr_slice_key_load(key, all, rounds);
}

static inline void hr_slice_encrypt(const struct hr_slice_key *key, hr_slice q[8])
{
	hr_slice_add(q, key->round[0]);
	for (uint32_t r = 1; r < key->rounds; r++) {
		hr_slice_sub(q);
		hr_slice_shift(q);
		hr_slice_mix(q);
		hr_slice_add(q, key->round[r]);
	}
	hr_slice_sub(q);
	hr_slice_shift(q);
	hr_slice_add(q, key->round[key->rounds]);
}

static inline void hr_slice_decrypt(const struct hr_slice_key *key, hr_slice q[8])
{
	hr_slice_add(q, key->round[key->rounds]);
	for (uint32_t r = key->rounds - 1; r > 0; r--) {
		hr_slice_unshift(q);
		hr_slice_unsub(q);
		hr_slice_add(q, key->round[r]);
		hr_slice_unmix(q);
	}
	hr_slice_unshift(q);
	hr_slice_unsub(q);
	hr_slice_add(q, key->round[0]);
}

#endif
