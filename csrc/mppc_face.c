/* SPDX-License-Identifier: Apache-2.0
 *
 * mppc_face.c: hr_mppc_*, the public face of mppc.c: whole batches in place, every extent checked.
 */
#include <stdlib.h>
#include <string.h>

#include "headrace.h"
#include "mppc.h"
#include "wipe.h"

struct hr_mppc {
	struct hr_mppc_sender sender;
	struct hr_mppc_receiver receiver;
	uint8_t frame[HR_MPPC_HISTORY];
};

struct hr_mppc *hr_mppc_new(void)
{
	return (struct hr_mppc *)calloc(1, sizeof(struct hr_mppc));
}

void hr_mppc_free(struct hr_mppc *link)
{
	if (link == NULL)
		return;
	hr_erase(link, sizeof *link); /* the last octets of somebody's traffic */
	free(link);
}

void hr_mppc_reset_sender(struct hr_mppc *link)
{
	hr_mppc_reset(&link->sender);
}

void hr_mppc_lose_receiver(struct hr_mppc *link)
{
	hr_mppc_lose(&link->receiver);
}

static int check_batch(struct hr_mppc *const *links, uint32_t n_links, struct hr_batch *batch)
{
	if (batch == NULL || links == NULL || batch->n > HR_BATCH_MAX || (batch->n > 0 && (!batch->arena || !batch->desc)))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		batch->bad_index = i;
		if (d->session >= n_links || links[d->session] == NULL)
			return HR_E_ARGUMENT;
		if ((uint64_t)d->off + d->len + d->room_tail > batch->arena_len)
			return HR_E_DESCRIPTOR;
	}
	batch->bad_index = 0;
	return 0;
}

static void resize(struct hr_desc *d, uint32_t len)
{
	const uint32_t slot = d->len + d->room_tail;
	d->len = len;
	d->room_tail = (uint16_t)(slot - len > UINT16_MAX ? UINT16_MAX : slot - len);
}

int hr_mppc_compress_batch(struct hr_mppc *const *links, uint32_t n_links, struct hr_batch *batch)
{
	const int error = check_batch(links, n_links, batch);
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < batch->n; i++) {
		struct hr_desc *const d = &batch->desc[i];
		struct hr_mppc *const link = links[d->session];
		uint8_t *const frame = batch->arena + d->off;
		uint32_t len;
		const uint32_t bits = hr_mppc_compress(&link->sender, frame, d->len, link->frame, sizeof link->frame, &len);
		if (bits & HR_MPPC_COMPRESSED) {
			memcpy(frame, link->frame, len);
			resize(d, len);
		}
		d->seq = bits;
		d->status = HR_OK;
	}
	return 0;
}

int hr_mppc_expand_batch(struct hr_mppc *const *links, uint32_t n_links, struct hr_batch *batch)
{
	const int error = check_batch(links, n_links, batch);
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < batch->n; i++) {
		struct hr_desc *const d = &batch->desc[i];
		struct hr_mppc *const link = links[d->session];
		uint8_t *const frame = batch->arena + d->off;
		const uint32_t slot = d->len + d->room_tail;
		uint32_t len;
		const enum hr_mppc_result result =
		    hr_mppc_expand(&link->receiver, (uint32_t)d->seq, frame, d->len, link->frame,
				   slot < sizeof link->frame ? slot : (uint32_t)sizeof link->frame, &len);
		if (result == HR_MPPC_OK) {
			memcpy(frame, link->frame, len);
			resize(d, len);
			d->status = HR_OK;
		} else if (result == HR_MPPC_LOST) {
			d->status = HR_DROP_MPPC_LOST;
		} else {
			d->status =
			    result == HR_MPPC_TOO_LONG && slot < HR_MPPC_HISTORY ? HR_DROP_ROOM : HR_DROP_MPPC_MALFORMED;
		}
	}
	return 0;
}
