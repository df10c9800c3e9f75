/* SPDX-License-Identifier: Apache-2.0
 *
 * crypt_face.c: hr_crypt_*, the public face of crypt.c: every descriptor is checked here before a kernel sees it.
 */
#include <stdlib.h>

#include "crypt.h"

struct hr_crypt_key {
	struct hr_esp_key esp;
};

struct hr_crypt_key *hr_crypt_key_new(uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
				      const uint8_t *auth_key, size_t auth_len, uint8_t outbound, int *error)
{
	struct hr_crypt_key *key = (struct hr_crypt_key *)aligned_alloc(_Alignof(struct hr_crypt_key), sizeof *key);
	int result = HR_E_MEMORY;

	if (key != NULL)
		result = hr_esp_key_init(&key->esp, cipher, auth, esn, enc_key, enc_len, auth_key, auth_len, outbound);
	if (result != 0) {
		free(key);
		key = NULL;
	}
	if (error != NULL)
		*error = result;
	return key;
}

void hr_crypt_key_free(struct hr_crypt_key *key)
{
	if (key == NULL)
		return;
	hr_esp_key_wipe(&key->esp);
	free(key);
}

uint32_t hr_crypt_iv_len(const struct hr_crypt_key *key)
{
	return key->esp.iv_len;
}

uint32_t hr_crypt_icv_len(const struct hr_crypt_key *key)
{
	return key->esp.icv_len;
}

uint32_t hr_crypt_block(const struct hr_crypt_key *key)
{
	return key->esp.block;
}

static int check_arguments(struct hr_crypt_key *const *keys, struct hr_batch *batch)
{
	if (batch == NULL || keys == NULL || batch->n > HR_BATCH_MAX || (batch->n > 0 && (!batch->arena || !batch->desc)))
		return HR_E_ARGUMENT;
	batch->bad_index = 0;
	return 0;
}

/* The extent lies in the arena, the index names a key of the right direction. */
static inline int check_descriptor(struct hr_crypt_key *const *keys, uint32_t n_keys, const struct hr_batch *batch,
				   const struct hr_desc *d, int outbound)
{
	if (d->sa >= n_keys || keys[d->sa] == NULL || (outbound && !keys[d->sa]->esp.outbound))
		return HR_E_ARGUMENT;
	return (uint64_t)d->off + d->len + d->room_tail > batch->arena_len ? HR_E_DESCRIPTOR : 0;
}

/* HR_PENDING if the packet can be handed to a kernel; len ends with the text. */
static uint8_t check_text(const struct hr_esp_key *key, uint32_t len)
{
	const uint32_t header = 8u + key->iv_len;
	if (len < header + key->block)
		return HR_DROP_ESP_SHORT;
	return ((len - header) & (key->block - 1u)) == 0 ? HR_PENDING : HR_DROP_ESP_LENGTH; /* a power of two */
}

static inline void fill_job(struct hr_esp_job *job, const struct hr_crypt_key *key, uint8_t *arena, const struct hr_desc *d,
			    uint32_t len)
{
	job->key = &key->esp;
	job->packet = arena + d->off;
	job->len = len;
	job->seq_hi = (uint32_t)(d->seq >> 32);
	job->seq = d->seq;
	job->ok = 0;
}

int hr_crypt_seal(struct hr_crypt_key *const *keys, uint32_t n_keys, struct hr_batch *batch)
{
	struct hr_esp_job job[HR_BATCH_MAX];
	uint32_t n = 0;

	uint8_t status[HR_BATCH_MAX];
	int error = check_arguments(keys, batch);
	if (error != 0)
		return error;
	struct hr_desc *const desc = batch->desc;
	uint8_t *const arena = batch->arena;
	const uint32_t packets = batch->n;
	for (uint32_t i = 0; i < packets; i++) {
		const struct hr_desc *d = &desc[i];
		error = check_descriptor(keys, n_keys, batch, d, 1);
		if (error != 0) {
			batch->bad_index = i;
			return error;
		}
		const struct hr_crypt_key *key = keys[d->sa];
		status[i] = check_text(&key->esp, d->len);
		if (status[i] == HR_DROP_ESP_SHORT)
			status[i] = HR_DROP_ESP_LENGTH;
		if (status[i] == HR_PENDING && d->room_tail < key->esp.icv_len)
			status[i] = HR_DROP_ROOM;
		if (status[i] == HR_PENDING)
			fill_job(&job[n++], key, arena, d, d->len);
	}
	hr_esp_seal(job, n);
	for (uint32_t i = 0; i < packets; i++) {
		struct hr_desc *d = &desc[i];
		d->status = status[i];
		if (status[i] != HR_PENDING)
			continue;
		const uint8_t icv_len = keys[d->sa]->esp.icv_len;
		d->len += icv_len;
		d->room_tail = (uint16_t)(d->room_tail - icv_len);
		d->status = HR_OK;
	}
	return 0;
}

int hr_crypt_open(struct hr_crypt_key *const *keys, uint32_t n_keys, struct hr_batch *batch)
{
	struct hr_esp_job job[HR_BATCH_MAX];
	uint32_t n = 0;

	uint8_t status[HR_BATCH_MAX];
	int error = check_arguments(keys, batch);
	if (error != 0)
		return error;
	struct hr_desc *const desc = batch->desc;
	uint8_t *const arena = batch->arena;
	const uint32_t packets = batch->n;
	for (uint32_t i = 0; i < packets; i++) {
		const struct hr_desc *d = &desc[i];
		error = check_descriptor(keys, n_keys, batch, d, 0);
		if (error != 0) {
			batch->bad_index = i;
			return error;
		}
		const struct hr_crypt_key *key = keys[d->sa];
		const uint32_t icv_len = key->esp.icv_len;
		status[i] = d->len < icv_len ? HR_DROP_ESP_SHORT : check_text(&key->esp, d->len - icv_len);
		if (status[i] == HR_PENDING)
			fill_job(&job[n++], key, arena, d, d->len - icv_len);
	}
	hr_esp_open(job, n);
	for (uint32_t i = 0, k = 0; i < packets; i++) {
		struct hr_desc *d = &desc[i];
		d->status = status[i];
		if (status[i] != HR_PENDING)
			continue;
		if (!job[k++].ok) {
			d->status = HR_DROP_ESP_AUTH;
			continue;
		}
		const uint32_t icv_len = keys[d->sa]->esp.icv_len;
		d->len -= icv_len;
		/* room beyond what the field can say is not lost to anyone: packets never grow by more than HR_TAILROOM */
		d->room_tail = (uint16_t)(d->room_tail + icv_len > UINT16_MAX ? UINT16_MAX : d->room_tail + icv_len);
		d->status = HR_OK;
	}
	return 0;
}
