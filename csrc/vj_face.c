/* SPDX-License-Identifier: Apache-2.0
 *
 * vj_face.c: hr_vj_*, the public face of vj.c: whole batches in place, every extent checked.
 */
#include <stdlib.h>
#include <string.h>

#include "headrace.h"
#include "vj.h"
#include "wipe.h"

struct hr_vj_pair {
	struct hr_vj sender;
	struct hr_vj receiver;
};

struct hr_vj_pair *hr_vj_new(uint32_t slots, uint32_t omit_slot)
{
	if (slots < 1 || slots > HR_VJ_SLOTS)
		return NULL;
	struct hr_vj_pair *const pair = malloc(sizeof *pair);
	if (pair == NULL)
		return NULL;
	hr_vj_init(&pair->sender, slots, omit_slot != 0);
	hr_vj_init(&pair->receiver, slots, 0);
	return pair;
}

void hr_vj_free(struct hr_vj_pair *pair)
{
	if (pair == NULL)
		return;
	hr_erase(pair, sizeof *pair);
	free(pair);
}

static int check(const struct hr_vj_pair *pair, struct hr_batch *batch)
{
	if (pair == NULL || batch == NULL || batch->n > HR_BATCH_MAX || (batch->n > 0 && (!batch->arena || !batch->desc)))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		batch->bad_index = i;
		if (d->room_head > d->off || (uint64_t)d->off + d->len > batch->arena_len || d->len > UINT16_MAX)
			return HR_E_DESCRIPTOR;
	}
	batch->bad_index = 0;
	return 0;
}

/* The packet begins somewhere else now. */
static void move(struct hr_desc *d, uint32_t off, uint32_t len)
{
	d->room_head = (uint16_t)(d->room_head + off - d->off);
	d->off = off;
	d->len = len;
}

int hr_vj_compress_batch(struct hr_vj_pair *pair, struct hr_batch *batch)
{
	const int error = check(pair, batch);

	for (uint32_t i = 0; error == 0 && i < batch->n; i++) {
		struct hr_desc *const d = &batch->desc[i];
		uint8_t *packet = batch->arena + d->off;
		uint32_t len = d->len;
		d->ppp_proto = (uint16_t)hr_vj_compress(&pair->sender, &packet, &len);
		move(d, (uint32_t)(packet - batch->arena), len);
		d->status = HR_OK;
	}
	return error;
}

static enum hr_status expand(struct hr_vj *receiver, uint8_t *arena, struct hr_desc *d)
{
	uint8_t header[HR_VJ_HEADER];
	const uint8_t *payload;
	uint32_t header_len, payload_len;

	if (d->ppp_proto != HR_VJ_COMPRESSED && d->ppp_proto != HR_VJ_UNCOMPRESSED)
		return d->ppp_proto == HR_VJ_IP ? HR_OK : HR_DROP_VJ_MALFORMED;
	switch (hr_vj_expand(receiver, (enum hr_vj_form)d->ppp_proto, arena + d->off, d->len, header, &header_len, &payload,
			     &payload_len)) {
	case HR_VJ_OK:
		break;
	case HR_VJ_LOST:
		return HR_DROP_VJ_LOST;
	default:
		return HR_DROP_VJ_MALFORMED;
	}
	const uint32_t at = (uint32_t)(payload - arena);
	if (header_len > at - (d->off - d->room_head))
		return HR_DROP_ROOM;
	memcpy(arena + at - header_len, header, header_len);
	move(d, at - header_len, header_len + payload_len);
	d->ppp_proto = HR_VJ_IP;
	return HR_OK;
}

int hr_vj_expand_batch(struct hr_vj_pair *pair, struct hr_batch *batch)
{
	const int error = check(pair, batch);

	for (uint32_t i = 0; error == 0 && i < batch->n; i++)
		batch->desc[i].status = (uint8_t)expand(&pair->receiver, batch->arena, &batch->desc[i]);
	return error;
}
