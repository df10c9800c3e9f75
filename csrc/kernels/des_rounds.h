/* SPDX-License-Identifier: Apache-2.0
 *
 * des_rounds.h: the rounds of bitsliced DES, a template over `word` and the S-boxes: include one of des_sbox*.h before.
 */
#include <stdint.h>

#include "des_tables.h"

/* A key in bits: C and D, each twice in a row. A turn of C is then nothing but another place to begin at, and every subkey bit
 * (PC-2) lies at a constant distance from there. */
enum { DES_KEY_WORDS = 4 * 28 };

/* to ^= P(S(E(from) ^ subkey)). The numbers are the places of P, counted from 0, and those of PC-2. */
static inline __attribute__((always_inline)) void half_round(word *restrict to, const word *restrict from,
							     const word *restrict c, const word *restrict d)
{
	sbox1(from[31] ^ c[13], from[0] ^ c[16], from[1] ^ c[10], from[2] ^ c[23], from[3] ^ c[0], from[4] ^ c[4], &to[8],
	      &to[16], &to[22], &to[30]);
	sbox2(from[3] ^ c[2], from[4] ^ c[27], from[5] ^ c[14], from[6] ^ c[5], from[7] ^ c[20], from[8] ^ c[9], &to[12],
	      &to[27], &to[1], &to[17]);
	sbox3(from[7] ^ c[22], from[8] ^ c[18], from[9] ^ c[11], from[10] ^ c[3], from[11] ^ c[25], from[12] ^ c[7], &to[23],
	      &to[15], &to[29], &to[5]);
	sbox4(from[11] ^ c[15], from[12] ^ c[6], from[13] ^ c[26], from[14] ^ c[19], from[15] ^ c[12], from[16] ^ c[1], &to[25],
	      &to[19], &to[9], &to[0]);
	sbox5(from[15] ^ d[12], from[16] ^ d[23], from[17] ^ d[2], from[18] ^ d[8], from[19] ^ d[18], from[20] ^ d[26], &to[7],
	      &to[13], &to[24], &to[2]);
	sbox6(from[19] ^ d[1], from[20] ^ d[11], from[21] ^ d[22], from[22] ^ d[16], from[23] ^ d[4], from[24] ^ d[19], &to[3],
	      &to[28], &to[10], &to[18]);
	sbox7(from[23] ^ d[15], from[24] ^ d[20], from[25] ^ d[10], from[26] ^ d[27], from[27] ^ d[5], from[28] ^ d[24],
	      &to[31], &to[11], &to[21], &to[6]);
	sbox8(from[27] ^ d[17], from[28] ^ d[13], from[29] ^ d[21], from[30] ^ d[7], from[31] ^ d[0], from[0] ^ d[3], &to[4],
	      &to[26], &to[14], &to[20]);
}

/* One pass of 16 rounds. Leaves what would be the left half in right and the reverse, as the next pass wants it. */
static void pass(word *restrict left, word *restrict right, const word *restrict key, int decrypt)
{
	for (int r = 0; r < 16; r += 2) {
		const int first = des_turned[decrypt ? 15 - r : r], second = des_turned[decrypt ? 14 - r : r + 1];
		half_round(left, right, key + first, key + 56 + first);
		half_round(right, left, key + second, key + 56 + second);
	}
}

/* One or three passes; E, D, E, or from the end D, E, D. half[0] and half[1] come in as left and right; returns which of them
 * is the left half of what comes out. */
static int passes(word half[2][32], word key[][DES_KEY_WORDS], uint32_t count, int decrypt)
{
	int left = 0;

	for (uint32_t p = 0; p < count; p++, left ^= 1)
		pass(half[left], half[left ^ 1], key[decrypt ? count - 1 - p : p], (p & 1) ? !decrypt : decrypt);
	return left;
}
