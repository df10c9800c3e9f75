/* SPDX-License-Identifier: Apache-2.0
 *
 * md4.c: MD4 (RFC 1320). MS-CHAP hashes passwords with it, and the system's libraries often lack it. Broken as a hash; that is
 * the protocol's burden. No branch or lookup depends on the data.
 */
#include "headrace.h"

#include <string.h>

#include "wipe.h"

static uint32_t rotate(uint32_t x, int n)
{
	return x << n | x >> (32 - n);
}

/* One block of 64 octets: three rounds of 16 steps, which differ in function, word order and turns (section 3.4). */
static void block(uint32_t state[4], const uint8_t *data)
{
	static const uint8_t order[3][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
					     {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
					     {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15}};
	static const uint8_t turn[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
	uint32_t x[16], a = state[0], b = state[1], c = state[2], d = state[3];

	for (int i = 0; i < 16; i++)
		x[i] = (uint32_t)data[4 * i] | (uint32_t)data[4 * i + 1] << 8 | (uint32_t)data[4 * i + 2] << 16 |
		       (uint32_t)data[4 * i + 3] << 24;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 16; i++) {
			uint32_t f;
			if (round == 0)
				f = (b & c) | (~b & d);
			else if (round == 1)
				f = ((b & c) | (b & d) | (c & d)) + 0x5a827999u; /* 2^30 times the square root of 2 */
			else
				f = (b ^ c ^ d) + 0x6ed9eba1u; /* of 3 */
			f = rotate(a + f + x[order[round][i]], turn[round][i % 4]);
			a = d;
			d = c;
			c = b;
			b = f;
		}
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
	hr_erase(x, sizeof x);
}

void hr_md4(const uint8_t *data, size_t len, uint8_t digest[16])
{
	uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
	uint8_t tail[128] = {0};
	const size_t rest = len % 64;
	const size_t tail_len = rest < 56 ? 64 : 128;
	const uint64_t bits = (uint64_t)len * 8;

	for (size_t at = 0; at + 64 <= len; at += 64)
		block(state, data + at);
	if (rest != 0)
		memcpy(tail, data + len - rest, rest);
	tail[rest] = 0x80;
	for (int i = 0; i < 8; i++)
		tail[tail_len - 8 + i] = (uint8_t)(bits >> 8 * i);
	for (size_t at = 0; at < tail_len; at += 64)
		block(state, tail + at);
	for (int i = 0; i < 16; i++)
		digest[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
	hr_erase(tail, sizeof tail);
	hr_erase(state, sizeof state);
}
