/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_sha1_portable.c: SHA-1 (FIPS 180-4 section 6.1) and HMAC-SHA-1 over ESP packets (RFC 2404).
 */
#include "hmac.h"

#include "hmac_tail.h"
#include "../wipe.h"

static uint32_t rotate(uint32_t x, int n)
{
	return x << n | x >> (32 - n);
}

void hr_sha1_block(uint32_t state[5], const uint8_t block[64])
{
	uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
		       (uint32_t)block[4 * i + 3];
	for (int i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (int i = 0; i < 80; i++) {
		uint32_t f;
		if (i < 20)
			f = (d ^ (b & (c ^ d))) + 0x5a827999u; /* 2^30 times the square root of 2 */
		else if (i < 40)
			f = (b ^ c ^ d) + 0x6ed9eba1u; /* of 3 */
		else if (i < 60)
			f = ((b & c) | (d & (b | c))) + 0x8f1bbcdcu; /* of 5 */
		else
			f = (b ^ c ^ d) + 0xca62c1d6u; /* of 10 */
		f += rotate(a, 5) + e + w[i];
		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = f;
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
	state[4] += e;
}

static void store(uint8_t *out, const uint32_t *state, int words)
{
	for (int i = 0; i < 4 * words; i++)
		out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

void hr_hmac_sha1_portable(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	uint8_t tail[128];
	uint32_t state[5];

	for (uint32_t i = 0; i < n; i++) {
		memcpy(state, job[i]->key->hmac.w32[0], sizeof state);
		for (uint32_t b = 0; b < hr_hmac_whole(job[i], 64); b++)
			hr_sha1_block(state, job[i]->packet + 64 * b);
		const uint32_t blocks = hr_hmac_tail(tail, job[i], 64, 0);
		for (uint32_t b = 0; b < blocks; b++)
			hr_sha1_block(state, tail + 64 * b);

		memset(tail, 0, 64); /* the outer hash: one block with the inner digest */
		store(tail, state, 5);
		tail[20] = 0x80;
		tail[62] = (64 + 20) * 8 >> 8;
		tail[63] = (uint8_t)((64 + 20) * 8 & 0xff);
		memcpy(state, job[i]->key->hmac.w32[1], sizeof state);
		hr_sha1_block(state, tail);
		store(mac[i], state, 5);
	}
	hr_erase(tail, sizeof tail);
	hr_erase(state, sizeof state);
}
