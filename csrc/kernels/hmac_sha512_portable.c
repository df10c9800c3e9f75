/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_sha512_portable.c: SHA-512 and SHA-384 (FIPS 180-4 section 6.4) and their HMACs over ESP packets (RFC 4868).
 */
#include "hmac.h"

#include "hash_constants.h"
#include "hmac_tail.h"
#include "../wipe.h"

enum { BLOCK = 128, WORD = 8, ROUNDS = 80 };

static uint64_t rotate(uint64_t x, int n)
{
	return x >> n | x << (8 * WORD - n);
}

void hr_sha512_block(uint64_t state[8], const uint8_t block[BLOCK])
{
	uint64_t w[ROUNDS], v[8];

	for (int i = 0; i < 16; i++) {
		w[i] = 0;
		for (int k = 0; k < WORD; k++)
			w[i] = w[i] << 8 | block[WORD * i + k];
	}
	for (int i = 16; i < ROUNDS; i++) {
		const uint64_t s0 = rotate(w[i - 15], 1) ^ rotate(w[i - 15], 8) ^ w[i - 15] >> 7;
		const uint64_t s1 = rotate(w[i - 2], 19) ^ rotate(w[i - 2], 61) ^ w[i - 2] >> 6;
		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	memcpy(v, state, sizeof v);
	for (int i = 0; i < ROUNDS; i++) {
		const uint64_t s1 = rotate(v[4], 14) ^ rotate(v[4], 18) ^ rotate(v[4], 41);
		const uint64_t choose = v[6] ^ (v[4] & (v[5] ^ v[6]));
		const uint64_t t1 = v[7] + s1 + choose + hr_sha512_constant[i] + w[i];
		const uint64_t s0 = rotate(v[0], 28) ^ rotate(v[0], 34) ^ rotate(v[0], 39);
		const uint64_t majority = (v[0] & v[1]) | (v[2] & (v[0] | v[1]));
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

static void store(uint8_t *out, const uint64_t *state, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		out[i] = (uint8_t)(state[i / WORD] >> (8 * (WORD - 1) - 8 * (i % WORD)));
}

void hr_hmac_sha512_portable(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	uint8_t tail[2 * BLOCK];
	uint64_t state[8];

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t digest_len = job[i]->key->digest_len;
		memcpy(state, job[i]->key->hmac.w64[0], sizeof state);
		for (uint32_t b = 0; b < hr_hmac_whole(job[i], BLOCK); b++)
			hr_sha512_block(state, job[i]->packet + BLOCK * b);
		const uint32_t blocks = hr_hmac_tail(tail, job[i], BLOCK, 0);
		for (uint32_t b = 0; b < blocks; b++)
			hr_sha512_block(state, tail + BLOCK * b);

		memset(tail, 0, BLOCK); /* the outer hash: one block with the inner digest */
		store(tail, state, digest_len);
		tail[digest_len] = 0x80;
		tail[BLOCK - 2] = (uint8_t)((BLOCK + digest_len) * 8 >> 8);
		tail[BLOCK - 1] = (uint8_t)((BLOCK + digest_len) * 8);
		memcpy(state, job[i]->key->hmac.w64[1], sizeof state);
		hr_sha512_block(state, tail);
		store(mac[i], state, HR_MAC_STRIDE);
	}
	hr_erase(tail, sizeof tail);
	hr_erase(state, sizeof state);
}
