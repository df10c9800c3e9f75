/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc_face.c: hr_hdlc_*, the public face of hdlc.c: whole batches, every extent checked.
 */
#include <stdlib.h>
#include <string.h>

#include "hdlc.h"
#include "headrace.h"

enum { LONGEST = 65535, SHORTEST = 8 };

struct hr_hdlc {
	uint32_t send_map;
	uint32_t max_frame;
	struct hr_hdlc_receiver receiver;
	uint8_t *frame; /* the one that is coming in */
	uint8_t *line;	/* one frame on its way out */
};

struct hr_hdlc *hr_hdlc_new(uint32_t max_frame)
{
	if (max_frame < SHORTEST || max_frame > LONGEST || hr_init() != 0)
		return NULL;
	struct hr_hdlc *const line = (struct hr_hdlc *)calloc(1, sizeof *line);
	if (line == NULL)
		return NULL;
	line->max_frame = max_frame;
	line->receiver.room = max_frame + HR_HDLC_FCS_LEN;
	line->frame = (uint8_t *)malloc(line->receiver.room + HR_HDLC_SLACK);
	line->line = (uint8_t *)malloc(hr_hdlc_room(LONGEST));
	if (line->frame == NULL || line->line == NULL) {
		hr_hdlc_free(line);
		return NULL;
	}
	hr_hdlc_maps(line, 0xffffffffu, 0xffffffffu);
	return line;
}

void hr_hdlc_free(struct hr_hdlc *line)
{
	if (line == NULL)
		return;
	free(line->frame);
	free(line->line);
	free(line);
}

void hr_hdlc_maps(struct hr_hdlc *line, uint32_t send, uint32_t receive)
{
	line->send_map = send;
	line->receiver.accm = receive;
}

void hr_hdlc_stats(const struct hr_hdlc *line, struct hr_hdlc_stats *stats)
{
	const struct hr_hdlc_receiver *const r = &line->receiver;
	*stats = (struct hr_hdlc_stats){r->good, r->bad_fcs, r->runts, r->aborts, r->too_long};
}

static int check(const struct hr_batch *batch)
{
	return batch != NULL && batch->n <= HR_BATCH_MAX && (batch->n == 0 || (batch->arena && batch->desc));
}

int64_t hr_hdlc_encode_batch(struct hr_hdlc *line, struct hr_batch *batch, uint8_t open, uint8_t *out, uint64_t room)
{
	uint64_t at = 0;

	if (line == NULL || out == NULL || !check(batch))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		batch->bad_index = i;
		if ((uint64_t)d->off + d->len > batch->arena_len || d->len > LONGEST)
			return HR_E_DESCRIPTOR;
	}
	batch->bad_index = 0;
	for (uint32_t i = 0; i < batch->n; i++) {
		struct hr_desc *const d = &batch->desc[i];
		const uint8_t *const frame = batch->arena + d->off;
		const int with_flag = open && i == 0;
		if (room - at >= hr_hdlc_room(d->len)) { /* the usual case: straight into place */
			at += hr_hdlc_encode(out + at, frame, d->len, line->send_map, with_flag);
		} else {
			const size_t len = hr_hdlc_encode(line->line, frame, d->len, line->send_map, with_flag);
			if (len > room - at)
				return HR_E_FULL;
			memcpy(out + at, line->line, len);
			at += len;
		}
		d->status = HR_OK;
	}
	return (int64_t)at;
}

int64_t hr_hdlc_decode_batch(struct hr_hdlc *line, const uint8_t *octets, uint64_t len, struct hr_batch *batch)
{
	uint32_t frames = 0;
	uint64_t at = 0;

	if (line == NULL || (octets == NULL && len != 0) || len > INT64_MAX || !check(batch))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		batch->bad_index = i;
		if ((uint64_t)d->off + d->len > batch->arena_len || d->len < line->max_frame)
			return HR_E_DESCRIPTOR;
	}
	batch->bad_index = 0;
	while (at < len && frames < batch->n) {
		size_t used;
		const size_t frame_len = hr_hdlc_decode(&line->receiver, line->frame, octets + at, len - at, &used);
		at += used;
		if (frame_len == 0)
			break;
		struct hr_desc *const d = &batch->desc[frames++];
		memcpy(batch->arena + d->off, line->frame, frame_len);
		d->len = (uint32_t)frame_len;
		d->kind = HR_KIND_PPP;
		d->status = HR_OK;
	}
	batch->n = frames;
	return (int64_t)at;
}
