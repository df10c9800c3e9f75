/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_key.c: see aes_key.h. Octets of a key never index a table: SubWord goes through the bitsliced S-box.
 */
#include "aes_key.h"

#include "../wipe.h"
#include "aes_bitslice.h"

/* SubBytes on the four octets of a word. */
static uint32_t sub_word(uint32_t word)
{
	hr_slice q[8];
	uint32_t out = 0;

	for (int k = 0; k < 8; k++) {
		const uint32_t bits =
		    (word >> k & 1) | (word >> (k + 8) & 1) << 1 | (word >> (k + 16) & 1) << 2 | (word >> (k + 24) & 1) << 3;
		q[k] = (hr_slice){bits, 0};
	}
	hr_slice_sub(q);
	for (int k = 0; k < 8; k++) {
		const uint32_t bits = (uint32_t)q[k][0];
		out |= ((bits & 1) | (bits >> 1 & 1) << 8 | (bits >> 2 & 1) << 16 | (bits >> 3 & 1) << 24) << k;
	}
	return out;
}

static uint32_t rotate_right(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

/* Times x in GF(2^8), on the four octets of a word. */
static uint32_t double_octets(uint32_t x)
{
	return ((x & 0x7f7f7f7fu) << 1) ^ ((x >> 7 & 0x01010101u) * 0x1bu);
}

static uint32_t unmix_column(uint32_t a)
{
	a ^= double_octets(double_octets(a ^ rotate_right(a, 16)));
	const uint32_t sum = a ^ rotate_right(a, 8);
	return double_octets(sum) ^ rotate_right(a, 8) ^ rotate_right(sum, 16);
}

uint8_t hr_aes_expand(uint8_t schedule[15][16], const uint8_t *key, size_t len)
{
	const uint32_t key_words = (uint32_t)(len / 4);
	const uint32_t rounds = key_words + 6;
	uint32_t word[60];
	uint32_t constant = 1; /* x^(i/key_words - 1) in GF(2^8) */

	for (uint32_t i = 0; i < key_words; i++)
		word[i] = hr_load32le(key + 4 * i);
	for (uint32_t i = key_words; i < 4 * (rounds + 1); i++) {
		uint32_t t = word[i - 1];
		if (i % key_words == 0) {
			t = sub_word(rotate_right(t, 8)) ^ constant;
			constant = double_octets(constant) & 0xff;
		} else if (key_words == 8 && i % 8 == 4) {
			t = sub_word(t);
		}
		word[i] = word[i - key_words] ^ t;
	}
	for (uint32_t i = 0; i < 4 * (rounds + 1); i++)
		hr_store32le(&schedule[i / 4][4 * (i % 4)], word[i]);
	hr_erase(word, sizeof word);
	return (uint8_t)rounds;
}

void hr_aes_invert(uint8_t inverse[15][16], const uint8_t schedule[15][16], uint8_t rounds)
{
	memcpy(inverse[0], schedule[rounds], 16);
	memcpy(inverse[rounds], schedule[0], 16);
	for (uint32_t r = 1; r < rounds; r++) {
		for (uint32_t c = 0; c < 16; c += 4)
			hr_store32le(&inverse[r][c], unmix_column(hr_load32le(&schedule[rounds - r][c])));
	}
}
