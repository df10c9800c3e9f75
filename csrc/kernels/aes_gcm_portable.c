/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_gcm_portable.c: AES-GCM for ESP on the bitsliced cipher and the multiplication of ghash_portable.c, a packet at a time.
 */
#include "aes_gcm.h"

#include "../crypt.h"
#include "../ct.h"
#include "../wipe.h"
#include "aes_bitslice.h"
#include "ghash.h"

enum { LANES = HR_BITSLICE_BLOCKS };

/* A block as the number that ghash.h describes: octets reversed. */
static struct hr_ghash_element element(const uint8_t block[16])
{
	struct hr_ghash_element e = {0, 0};
	for (int i = 0; i < 8; i++) {
		e.high = e.high << 8 | block[i];
		e.low = e.low << 8 | block[8 + i];
	}
	return e;
}

static struct hr_ghash_element power_one(const struct hr_esp_key *key)
{
	struct hr_ghash_element e = {0, 0};
	for (int i = 7; i >= 0; i--) {
		e.low = e.low << 8 | key->aes.power[HR_GHASH_POWERS - 1][i];
		e.high = e.high << 8 | key->aes.power[HR_GHASH_POWERS - 1][8 + i];
	}
	return e;
}

static struct hr_ghash_element absorb(struct hr_ghash_element y, const uint8_t block[16], struct hr_ghash_element h)
{
	const struct hr_ghash_element x = element(block);
	return hr_ghash_multiply((struct hr_ghash_element){y.low ^ x.low, y.high ^ x.high}, h);
}

static void put_be32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* GHASH over AAD, ciphertext and lengths. */
static void hash_packet(const struct hr_esp_job *job, uint8_t out[16])
{
	const struct hr_ghash_element h = power_one(job->key);
	const uint32_t text_len = job->len - 16;
	const uint8_t *text = job->packet + 16;
	struct hr_ghash_element y = {0, 0};
	uint8_t block[16] = {0};

	memcpy(block, job->packet, 4);
	if (job->key->esn) {
		put_be32(block + 4, job->seq_hi);
		memcpy(block + 8, job->packet + 4, 4);
	} else {
		memcpy(block + 4, job->packet + 4, 4);
	}
	y = absorb(y, block, h);
	for (uint32_t at = 0; at < text_len; at += 16) {
		const uint32_t take = text_len - at < 16 ? text_len - at : 16;
		memset(block, 0, sizeof block);
		memcpy(block, text + at, take);
		y = absorb(y, block, h);
	}
	memset(block, 0, sizeof block);
	put_be32(block + 4, job->key->esn ? 96 : 64);
	put_be32(block + 8, text_len >> 29);
	put_be32(block + 12, text_len << 3);
	y = absorb(y, block, h);
	for (int i = 0; i < 8; i++) {
		out[i] = (uint8_t)(y.high >> (56 - 8 * i));
		out[8 + i] = (uint8_t)(y.low >> (56 - 8 * i));
	}
}

/* Counter mode over the text from counter 2 on; the pad of counter 1, which covers the hash, goes to tag_pad (or NULL: skip the
 * text and make the pad only). */
static void counter_mode(const struct hr_esp_job *job, const struct hr_slice_key *key, uint8_t tag_pad[16], int with_text)
{
	uint8_t stream[LANES][16], nonce[16];
	const uint8_t *in[LANES];
	uint8_t *out[LANES], *text = job->packet + 16;
	uint32_t left = with_text ? job->len - 16 : 0, counter = 1;

	memcpy(nonce, job->key->salt, 4);
	memcpy(nonce + 4, job->packet + 8, 8);
	do {
		for (uint32_t i = 0; i < LANES; i++) {
			memcpy(stream[i], nonce, 12);
			put_be32(stream[i] + 12, counter + i);
			in[i] = out[i] = stream[i];
		}
		hr_slice q[8];
		hr_slice_load(q, in);
		hr_slice_encrypt(key, q);
		hr_slice_store(out, q);
		uint32_t i = 0;
		if (counter == 1) {
			memcpy(tag_pad, stream[0], 16);
			i = 1;
		}
		for (; i < LANES && left > 0; i++) {
			const uint32_t take = left < 16 ? left : 16;
			for (uint32_t k = 0; k < take; k++)
				text[k] ^= stream[i][k];
			text += take;
			left -= take;
		}
		counter += LANES;
	} while (left > 0);
	hr_erase(stream, sizeof stream);
}

static void make_icv(const struct hr_esp_job *job, const uint8_t tag_pad[16], uint8_t icv[16])
{
	hash_packet(job, icv);
	for (int i = 0; i < 16; i++)
		icv[i] ^= tag_pad[i];
}

void hr_aes_gcm_seal_portable(struct hr_esp_job *const job[], uint32_t n)
{
	struct hr_slice_key key;
	uint8_t tag_pad[16], icv[16];

	for (uint32_t i = 0; i < n; i++) {
		hr_slice_key_spread(&key, job[i]->key->aes.encrypt, job[i]->key->rounds);
		counter_mode(job[i], &key, tag_pad, 1);
		make_icv(job[i], tag_pad, icv);
		memcpy(job[i]->packet + job[i]->len, icv, 16);
	}
	hr_erase(&key, sizeof key);
	hr_erase(tag_pad, sizeof tag_pad);
}

void hr_aes_gcm_open_portable(struct hr_esp_job *const job[], uint32_t n)
{
	struct hr_slice_key key;
	uint8_t tag_pad[16], icv[16];

	for (uint32_t i = 0; i < n; i++) {
		hr_slice_key_spread(&key, job[i]->key->aes.encrypt, job[i]->key->rounds);
		counter_mode(job[i], &key, tag_pad, 0);
		make_icv(job[i], tag_pad, icv);
		job[i]->ok = hr_ct_equal(icv, job[i]->packet + job[i]->len, 16);
		if (job[i]->ok)
			counter_mode(job[i], &key, tag_pad, 1);
	}
	hr_erase(&key, sizeof key);
	hr_erase(tag_pad, sizeof tag_pad);
	hr_erase(icv, sizeof icv);
}
