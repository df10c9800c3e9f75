/* SPDX-License-Identifier: Apache-2.0
 *
 * peer_headrace.c: headrace's public functions behind the harness's face. Filling the descriptors is part of what is timed.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

typedef struct hr_crypt_key *key_new_fn(uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
					const uint8_t *auth_key, size_t auth_len, uint8_t outbound, int *error);
typedef void key_free_fn(struct hr_crypt_key *key);
typedef int crypt_fn(struct hr_crypt_key *const *keys, uint32_t n_keys, struct hr_batch *batch);
typedef struct hr_crypt_mppe *stream_new_fn(const struct hr_mppe_config *config, int *error);
typedef void stream_free_fn(struct hr_crypt_mppe *stream);
typedef int mppe_fn(struct hr_crypt_mppe *const *streams, uint32_t n_streams, struct hr_batch *batch);

struct esp {
	struct hr_desc desc[HB_PACKETS];
	struct hr_batch batch;
	const struct hb_set *set;
	struct hr_crypt_key **key;
	key_free_fn *key_free;
	crypt_fn *crypt;
};

void hb_headrace_free(void *state)
{
	struct esp *const esp = (struct esp *)state;

	if (esp == NULL)
		return;
	for (uint32_t s = 0; esp->key != NULL && s < esp->set->n_sas; s++)
		esp->key_free(esp->key[s]);
	free(esp->key);
	free(esp);
}

void *hb_headrace_new(struct hb_set *set, void *key_new, void *key_free, void *seal, void *open)
{
	struct esp *const esp = (struct esp *)aligned_alloc(64, (sizeof *esp + 63) & ~(size_t)63);
	int error = 0;

	if (esp == NULL)
		return NULL;
	memset(esp, 0, sizeof *esp);
	esp->set = set;
	esp->key_free = (key_free_fn *)key_free;
	esp->crypt = (crypt_fn *)(set->kind == HB_SEAL ? seal : open);
	esp->batch = (struct hr_batch){.arena = set->arena, .arena_len = set->arena_len, .desc = esp->desc};
	esp->key = (struct hr_crypt_key **)calloc(set->n_sas, sizeof *esp->key);
	for (uint32_t s = 0; esp->key != NULL && s < set->n_sas; s++) {
		const struct hb_sa *const sa = &set->sa[s];
		esp->key[s] = ((key_new_fn *)key_new)(sa->cipher, sa->auth, 0, sa->enc_key, sa->enc_len, sa->auth_key,
						      sa->auth_len, set->kind == HB_SEAL, &error);
		if (esp->key[s] == NULL)
			error = 1;
	}
	if (esp->key == NULL || error != 0) {
		hb_headrace_free(esp);
		return NULL;
	}
	return esp;
}

static int work(void *state, struct hb_packet *packet, uint32_t n)
{
	struct esp *const esp = (struct esp *)state;
	struct hr_desc *const desc = esp->desc;

	for (uint32_t i = 0; i < n; i++) {
		desc[i].off = packet[i].off;
		desc[i].len = packet[i].len;
		desc[i].room_tail = HR_TAILROOM;
		desc[i].sa = packet[i].sa;
		desc[i].seq = packet[i].seq;
	}
	esp->batch.n = n;
	const int error = esp->crypt(esp->key, esp->set->n_sas, &esp->batch);
	for (uint32_t i = 0; i < n; i++)
		packet[i].ok = desc[i].status == HR_OK;
	return error;
}

void *hb_headrace_work(void)
{
	return (void *)work;
}

/* --- MPPE --- */

struct mppe {
	struct hr_desc desc[HB_PACKETS];
	struct hr_batch batch;
	const struct hb_set *set;
	struct hr_crypt_mppe **stream;
	stream_free_fn *stream_free;
	mppe_fn *run;
};

void hb_headrace_mppe_free(void *state)
{
	struct mppe *const mppe = (struct mppe *)state;

	if (mppe == NULL)
		return;
	for (uint32_t s = 0; mppe->stream != NULL && s < mppe->set->n_sas; s++)
		mppe->stream_free(mppe->stream[s]);
	free(mppe->stream);
	free(mppe);
}

void *hb_headrace_mppe_new(struct hb_set *set, void *stream_new, void *stream_free, void *run)
{
	struct mppe *const mppe = (struct mppe *)aligned_alloc(64, (sizeof *mppe + 63) & ~(size_t)63);
	int error = 0;

	if (mppe == NULL)
		return NULL;
	memset(mppe, 0, sizeof *mppe);
	mppe->set = set;
	mppe->stream_free = (stream_free_fn *)stream_free;
	mppe->run = (mppe_fn *)run;
	mppe->batch = (struct hr_batch){.arena = set->arena, .arena_len = set->arena_len, .desc = mppe->desc};
	mppe->stream = (struct hr_crypt_mppe **)calloc(set->n_sas, sizeof *mppe->stream);
	for (uint32_t s = 0; mppe->stream != NULL && s < set->n_sas; s++) {
		mppe->stream[s] = ((stream_new_fn *)stream_new)(&set->sa[s].mppe, &error);
		if (mppe->stream[s] == NULL)
			error = 1;
	}
	if (mppe->stream == NULL || error != 0) {
		hb_headrace_mppe_free(mppe);
		return NULL;
	}
	return mppe;
}

static int mppe_work(void *state, struct hb_packet *packet, uint32_t n)
{
	struct mppe *const mppe = (struct mppe *)state;
	struct hr_desc *const desc = mppe->desc;

	for (uint32_t i = 0; i < n; i++) {
		desc[i].off = packet[i].off;
		desc[i].len = packet[i].len;
		desc[i].session = packet[i].sa;
	}
	mppe->batch.n = n;
	const int error = mppe->run(mppe->stream, mppe->set->n_sas, &mppe->batch);
	for (uint32_t i = 0; i < n; i++) {
		packet[i].seq = desc[i].seq;
		packet[i].ok = desc[i].status == HR_OK;
	}
	return error;
}

void *hb_headrace_mppe_work(void)
{
	return (void *)mppe_work;
}

/* --- the harness by itself --- */

static int nothing(void *state, struct hb_packet *packet, uint32_t n)
{
	(void)state;
	for (uint32_t i = 0; i < n; i++)
		packet[i].ok = 1;
	return 0;
}

void *hb_nothing_work(void)
{
	return (void *)nothing;
}
