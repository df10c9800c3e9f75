/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_cbc_portable.c: AES-CBC on the bitsliced cipher. Encryption fills its eight lanes with eight packets, decryption with
 * eight blocks of one packet.
 */
#include "aes_cbc.h"

#include "../crypt.h"
#include "../wipe.h"
#include "aes_bitslice.h"

enum { LANES = HR_BITSLICE_BLOCKS };

static void xor_block(uint8_t *out, const uint8_t *a, const uint8_t *b)
{
	for (int i = 0; i < 16; i++)
		out[i] = a[i] ^ b[i];
}

/* Up to eight packets whose keys have the same number of rounds, the longest first. */
static void encrypt_lanes(struct hr_esp_job *const job[], uint32_t n, struct hr_slice_key *key)
{
	uint8_t previous[LANES][16] = {{0}};
	const uint8_t(*schedule[LANES])[16];

	for (uint32_t i = 0; i < LANES; i++)
		schedule[i] = job[i < n ? i : 0]->key->aes.encrypt;
	hr_slice_key_load(key, schedule, job[0]->key->rounds);
	for (uint32_t at = 8; n > 0; at += 16) {
		while (n > 0 && at + 16 > job[n - 1]->len)
			n--;
		uint8_t *block[LANES];
		const uint8_t *in[LANES];
		for (uint32_t i = 0; i < LANES; i++) {
			in[i] = block[i] = previous[i]; /* a lane without a packet turns in place */
			if (i < n)
				xor_block(previous[i], previous[i], job[i]->packet + at);
		}
		hr_slice q[8];
		hr_slice_load(q, in);
		hr_slice_encrypt(key, q);
		hr_slice_store(block, q);
		for (uint32_t i = 0; i < n; i++)
			memcpy(job[i]->packet + at, previous[i], 16);
	}
}

void hr_aes_cbc_encrypt_portable(struct hr_esp_job *const job[], uint32_t n)
{
	struct hr_slice_key key;

	while (n > 0) {
		uint32_t take = 1;
		while (take < n && take < LANES && job[take]->key->rounds == job[0]->key->rounds)
			take++;
		encrypt_lanes(job, take, &key);
		job += take;
		n -= take;
	}
	hr_erase(&key, sizeof key);
}

static void decrypt_packet(const struct hr_esp_job *job, struct hr_slice_key *key)
{
	uint8_t previous[16], text[LANES][16];
	uint8_t *in = job->packet + 8;
	uint32_t left = job->len < 24 ? 0 : (job->len - 24) / 16;

	hr_slice_key_spread(key, job->key->aes.encrypt, job->key->rounds);
	memcpy(previous, in, 16);
	in += 16;
	while (left > 0) {
		const uint32_t take = left < LANES ? left : LANES;
		const uint8_t *block[LANES];
		uint8_t *out[LANES];
		for (uint32_t i = 0; i < LANES; i++) {
			block[i] = in + 16 * (i < take ? i : 0);
			out[i] = text[i];
		}
		hr_slice q[8];
		hr_slice_load(q, block);
		hr_slice_decrypt(key, q);
		hr_slice_store(out, q);
		for (uint32_t i = 0; i < take; i++) {
			uint8_t cipher[16];
			memcpy(cipher, in, 16);
			xor_block(in, text[i], previous);
			memcpy(previous, cipher, 16);
			in += 16;
		}
		left -= take;
	}
	hr_erase(text, sizeof text);
}

void hr_aes_cbc_decrypt_portable(struct hr_esp_job *const job[], uint32_t n)
{
	struct hr_slice_key key;

	for (uint32_t i = 0; i < n; i++)
		decrypt_packet(job[i], &key);
	hr_erase(&key, sizeof key);
}
