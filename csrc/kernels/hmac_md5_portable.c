/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_md5_portable.c: MD5 (RFC 1321) and HMAC-MD5 over ESP packets (RFC 2403).
 */
#include "hmac.h"

#include "hash_constants.h"
#include "hmac_tail.h"
#include "../wipe.h"

static uint32_t rotate(uint32_t x, int n)
{
	return x << n | x >> (32 - n);
}

void hr_md5_block(uint32_t state[4], const uint8_t block[64])
{
	/* word order and shifts of the four rounds: round r takes word (step * multiply[r] + add[r]) mod 16 */
	static const uint8_t multiply[4] = {1, 5, 3, 7}, add[4] = {0, 1, 5, 0};
	static const uint8_t shift[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
	uint32_t word[16], a = state[0], b = state[1], c = state[2], d = state[3];

	for (int i = 0; i < 16; i++)
		word[i] = (uint32_t)block[4 * i] | (uint32_t)block[4 * i + 1] << 8 | (uint32_t)block[4 * i + 2] << 16 |
			  (uint32_t)block[4 * i + 3] << 24;
	for (int step = 0; step < 64; step++) {
		const int round = step / 16;
		uint32_t f;
		if (round == 0)
			f = d ^ (b & (c ^ d));
		else if (round == 1)
			f = c ^ (d & (b ^ c));
		else if (round == 2)
			f = b ^ c ^ d;
		else
			f = c ^ (b | ~d);
		f += a + hr_md5_constant[step] + word[(step * multiply[round] + add[round]) & 15];
		a = d;
		d = c;
		c = b;
		b += rotate(f, shift[round][step & 3]);
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

static void store(uint8_t *out, const uint32_t *state, int words)
{
	for (int i = 0; i < 4 * words; i++)
		out[i] = (uint8_t)(state[i / 4] >> (8 * (i % 4)));
}

void hr_hmac_md5_portable(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	uint8_t tail[128];
	uint32_t state[4];

	for (uint32_t i = 0; i < n; i++) {
		memcpy(state, job[i]->key->hmac.w32[0], sizeof state);
		for (uint32_t b = 0; b < hr_hmac_whole(job[i], 64); b++)
			hr_md5_block(state, job[i]->packet + 64 * b);
		const uint32_t blocks = hr_hmac_tail(tail, job[i], 64, 1);
		for (uint32_t b = 0; b < blocks; b++)
			hr_md5_block(state, tail + 64 * b);

		memset(tail, 0, 64); /* the outer hash: one block with the inner digest */
		store(tail, state, 4);
		tail[16] = 0x80;
		tail[56] = (uint8_t)((64 + 16) * 8 & 0xff);
		tail[57] = (64 + 16) * 8 >> 8;
		memcpy(state, job[i]->key->hmac.w32[1], sizeof state);
		hr_md5_block(state, tail);
		store(mac[i], state, 4);
	}
	hr_erase(tail, sizeof tail);
	hr_erase(state, sizeof state);
}
