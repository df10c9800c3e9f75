/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_sha256_portable.c: SHA-256 (FIPS 180-4 section 6.2) and HMAC-SHA-256 over ESP packets (RFC 4868).
 */
#include "hmac.h"

#include "hash_constants.h"
#include "hmac_tail.h"
#include "../wipe.h"

enum { BLOCK = 64, WORD = 4, ROUNDS = 64 };

static uint32_t rotate(uint32_t x, int n)
{
	return x >> n | x << (8 * WORD - n);
}

void hr_sha256_block(uint32_t state[8], const uint8_t block[BLOCK])
{
	uint32_t w[ROUNDS], v[8];

	for (int i = 0; i < 16; i++) {
		w[i] = 0;
		for (int k = 0; k < WORD; k++)
			w[i] = w[i] << 8 | block[WORD * i + k];
	}
	for (int i = 16; i < ROUNDS; i++) {
		const uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
		const uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	memcpy(v, state, sizeof v);
	for (int i = 0; i < ROUNDS; i++) {
		const uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
		const uint32_t choose = v[6] ^ (v[4] & (v[5] ^ v[6]));
		const uint32_t t1 = v[7] + s1 + choose + hr_sha256_constant[i] + w[i];
		const uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
		const uint32_t majority = (v[0] & v[1]) | (v[2] & (v[0] | v[1]));
		v[7] = v[6];
		v[6] = v[5];
		v[5] = v[4];
		v[4] = v[3] + t1;
		v[3] = v[2];
		v[2] = v[1];
		v[1] = v[0];
		v[0] = t1 + s0 + majority;
	}
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

static void store(uint8_t *out, const uint32_t *state, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		out[i] = (uint8_t)(state[i / WORD] >> (8 * (WORD - 1) - 8 * (i % WORD)));
}

void hr_hmac_sha256_portable(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	uint8_t tail[2 * BLOCK];
	uint32_t state[8];

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t digest_len = job[i]->key->digest_len;
		memcpy(state, job[i]->key->hmac.w32[0], sizeof state);
		for (uint32_t b = 0; b < hr_hmac_whole(job[i], BLOCK); b++)
			hr_sha256_block(state, job[i]->packet + BLOCK * b);
		const uint32_t blocks = hr_hmac_tail(tail, job[i], BLOCK, 0);
		for (uint32_t b = 0; b < blocks; b++)
			hr_sha256_block(state, tail + BLOCK * b);

		memset(tail, 0, BLOCK); /* the outer hash: one block with the inner digest */
		store(tail, state, digest_len);
		tail[digest_len] = 0x80;
		tail[BLOCK - 2] = (uint8_t)((BLOCK + digest_len) * 8 >> 8);
		tail[BLOCK - 1] = (uint8_t)((BLOCK + digest_len) * 8);
		memcpy(state, job[i]->key->hmac.w32[1], sizeof state);
		hr_sha256_block(state, tail);
		store(mac[i], state, HR_MAC_STRIDE);
	}
	hr_erase(tail, sizeof tail);
	hr_erase(state, sizeof state);
}
