/* SPDX-License-Identifier: Apache-2.0
 *
 * crypt_mppe_face.c: hr_crypt_mppe*, the public face of crypt_mppe.c: MPPE's cryptography without tables or pipeline.
 */
#include <stdlib.h>
#include <string.h>

#include "crypt.h"
#include "mppe.h"
#include "wipe.h"

struct hr_crypt_mppe {
	struct hr_mppe mppe;
	/* of the call that runs */
	uint32_t packets; /* in this batch */
	uint32_t given;	  /* of them, those that have their key */
	uint32_t keys;	  /* index of the first key */
	uint16_t first, last;
};

enum { END = UINT16_MAX };

struct hr_crypt_mppe *hr_crypt_mppe_new(const struct hr_mppe_config *config, int *error)
{
	struct hr_crypt_mppe *stream = NULL;
	int result = hr_init();

	if (result == 0 && (config == NULL || config->bits == 0))
		result = HR_E_ARGUMENT;
	if (result == 0) {
		stream = (struct hr_crypt_mppe *)calloc(1, sizeof *stream);
		result = stream == NULL ? HR_E_MEMORY : hr_mppe_open(&stream->mppe, config);
	}
	if (result != 0) {
		free(stream);
		stream = NULL;
	}
	if (error != NULL)
		*error = result;
	return stream;
}

void hr_crypt_mppe_free(struct hr_crypt_mppe *stream)
{
	if (stream == NULL)
		return;
	hr_erase(stream, sizeof *stream);
	free(stream);
}

static int check_batch(struct hr_crypt_mppe *const *streams, uint32_t n_streams, struct hr_batch *batch)
{
	if (batch == NULL || streams == NULL || batch->n > HR_BATCH_MAX || (batch->n > 0 && (!batch->arena || !batch->desc)))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		batch->bad_index = i;
		if (d->session >= n_streams || streams[d->session] == NULL)
			return HR_E_ARGUMENT;
		if ((uint64_t)d->off + d->len > batch->arena_len)
			return HR_E_DESCRIPTOR;
	}
	batch->bad_index = 0;
	return 0;
}

static struct hr_rc4_job rc4_job(const struct hr_batch *batch, const struct hr_desc *d)
{
	return (struct hr_rc4_job){.len = d->len, .buf = batch->arena + d->off};
}

/* Number a packet; 1 if its count is that of a flag packet (RFC 3078 section 7.2). */
static int number(struct hr_mppe *mppe, struct hr_desc *d, int stateless)
{
	const uint32_t count = mppe->count;
	const int flag = (count & 0xff) == 0xff;

	d->seq = HR_MPPE_ENCRYPTED | (stateless || flag ? HR_MPPE_FLUSHED : 0u) | count;
	mppe->count = (uint16_t)((count + 1) & HR_MPPE_COUNT);
	return flag;
}

/* All keys of all streams side by side, then all packets. */
static void run_stateless(struct hr_crypt_mppe *const *streams, struct hr_crypt_mppe *const *used, uint32_t n_used,
			  struct hr_batch *batch)
{
	struct hr_mppe_chain_job chain[HR_BATCH_MAX];
	struct hr_rc4_job job[HR_BATCH_MAX];
	uint8_t keys[HR_BATCH_MAX][16];
	uint32_t at = 0, jobs = 0, chains = 0;

	for (uint32_t u = 0; u < n_used; u++) {
		struct hr_crypt_mppe *const s = used[u];
		if (atomic_load_explicit(&s->mppe.mode, memory_order_relaxed) != HR_MPPE_STATELESS)
			continue;
		chain[chains++] = (struct hr_mppe_chain_job){.start = s->mppe.start,
							     .current = s->mppe.current,
							     .key_len = s->mppe.key_len,
							     .bits = s->mppe.bits,
							     .steps = s->packets,
							     .keys = &keys[at]};
		s->keys = at;
		s->given = 0;
		at += s->packets;
	}
	if (chains == 0)
		return;
	hr_mppe_rekey_chain(chain, chains);
	for (uint32_t i = 0; i < batch->n; i++) {
		struct hr_desc *const d = &batch->desc[i];
		struct hr_crypt_mppe *const s = streams[d->session];
		if (atomic_load_explicit(&s->mppe.mode, memory_order_relaxed) != HR_MPPE_STATELESS)
			continue;
		number(&s->mppe, d, 1);
		job[jobs] = rc4_job(batch, d);
		job[jobs].key = keys[s->keys + s->given++];
		job[jobs++].key_len = s->mppe.key_len;
	}
	hr_rc4_batch(job, jobs);
	hr_erase(keys, at * sizeof keys[0]);
}

/* In each round every stream works its next packet. */
static void run_stateful(struct hr_crypt_mppe *const *used, uint32_t n_used, struct hr_batch *batch, const uint16_t *next)
{
	struct hr_rc4_job job[HR_BATCH_MAX];
	uint32_t jobs;

	do {
		jobs = 0;
		for (uint32_t u = 0; u < n_used; u++) {
			struct hr_crypt_mppe *const s = used[u];
			struct hr_mppe *const mppe = &s->mppe;
			if (s->first == END || atomic_load_explicit(&mppe->mode, memory_order_relaxed) != HR_MPPE_STATEFUL)
				continue;
			struct hr_desc *const d = &batch->desc[s->first];
			s->first = next[s->first];
			if (number(mppe, d, 0)) {
				const struct hr_mppe_rekey_job rekey = {mppe->start, mppe->current, mppe->key_len, mppe->bits,
									0};
				hr_mppe_rekey(&rekey, 1);
				hr_rc4_init(&mppe->rc4, mppe->current, mppe->key_len);
			}
			job[jobs] = rc4_job(batch, d);
			job[jobs++].state = &mppe->rc4;
		}
		hr_rc4_batch(job, jobs);
	} while (jobs != 0);
}

int hr_crypt_mppe(struct hr_crypt_mppe *const *streams, uint32_t n_streams, struct hr_batch *batch)
{
	struct hr_crypt_mppe *used[HR_BATCH_MAX];
	uint16_t next[HR_BATCH_MAX];
	uint32_t n_used = 0;

	const int error = check_batch(streams, n_streams, batch);
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < batch->n; i++) {
		struct hr_crypt_mppe *const s = streams[batch->desc[i].session];
		if (s->packets++ == 0) {
			used[n_used++] = s;
			s->first = (uint16_t)i;
		} else {
			next[s->last] = (uint16_t)i;
		}
		s->last = (uint16_t)i;
		next[i] = END;
		batch->desc[i].status = HR_OK;
	}
	run_stateless(streams, used, n_used, batch);
	run_stateful(used, n_used, batch, next);
	for (uint32_t u = 0; u < n_used; u++)
		used[u]->packets = 0;
	return 0;
}
