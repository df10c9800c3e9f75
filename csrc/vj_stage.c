/* SPDX-License-Identifier: Apache-2.0
 *
 * vj_stage.c: Van Jacobson's compression (vj.c) in the pipeline.
 *
 * Every direction has a lock of its own, held for one packet. The packets of one TCP connection come from one queue and so stay
 * in order; packets of different connections do not depend on one another, for each names its slot. Only a connection that
 * takes over a slot while a packet of the one before is between here and the wire can be mixed up with it: the checksum tells,
 * the packet is dropped there, and its repetition goes whole.
 */
#include "vj.h"

#include "ppp.h"
#include "stages.h"
#include "tables.h"

static void lock(struct hr_vj_state *state)
{
	struct hr_patience patience = {0};
	uint32_t idle = 0;

	while (!atomic_compare_exchange_weak_explicit(&state->lock, &idle, 1, memory_order_acquire, memory_order_relaxed)) {
		idle = 0;
		hr_be_patient(&patience);
	}
}

static void unlock(struct hr_vj_state *state)
{
	atomic_store_explicit(&state->lock, 0, memory_order_release);
}

void hr_vj_shrink(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	if (atomic_load_explicit(&work->dp->vj_sessions, memory_order_relaxed) == 0)
		return;
	for (uint32_t k = 0; k < alive.n; k++) {
		struct hr_desc *const d = &alive.desc[alive.at[k]];
		struct hr_packet *const packet = &alive.packet[alive.at[k]];
		if (d->kind != HR_KIND_IP || d->ppp_proto != HR_PPP_IPV4)
			continue;
		struct hr_vj_state *const state = atomic_load(&packet->session->vj_out);
		if (state == NULL)
			continue;
		lock(state);
		d->ppp_proto = (uint16_t)hr_vj_compress(&state->vj, &packet->data, &packet->len);
		unlock(state);
	}
}

/* The header goes in front of the payload where there is room for it, else both go elsewhere. */
static enum hr_status join(struct hr_work *work, const struct hr_desc *d, uint32_t i, const uint8_t *header,
			   uint32_t header_len, const uint8_t *payload, uint32_t payload_len)
{
	struct hr_packet *const packet = &work->packet[i];
	const uint64_t room = (uint64_t)(payload - work->arena) - (d->off - (uint64_t)d->room_head);

	if (header_len <= room) {
		packet->data += payload - packet->data;
		packet->data -= header_len;
		packet->len = header_len + payload_len;
		memcpy(packet->data, header, header_len);
		return HR_PENDING;
	}
	memcpy(work->scratch, payload, payload_len);
	uint8_t *const place = hr_ccp_place(work, i, header_len + payload_len);
	if (place == NULL)
		return HR_DROP_ROOM;
	memcpy(place, header, header_len);
	memcpy(place + header_len, work->scratch, payload_len);
	return HR_PENDING;
}

enum hr_status hr_vj_restore(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	const struct hr_packet *const packet = &work->packet[i];
	struct hr_vj_state *const state = atomic_load(&packet->session->vj_in);
	uint8_t header[HR_VJ_HEADER];
	const uint8_t *payload = NULL;
	uint32_t header_len = 0, payload_len = 0;

	if (state == NULL)
		return HR_DROP_PPP_HEADER;
	if (packet->len > sizeof work->scratch)
		return HR_DROP_VJ_MALFORMED;
	lock(state);
	const enum hr_vj_result result = hr_vj_expand(&state->vj, (enum hr_vj_form)d->ppp_proto, packet->data, packet->len,
						      header, &header_len, &payload, &payload_len);
	unlock(state);
	if (result != HR_VJ_OK)
		return result == HR_VJ_LOST ? HR_DROP_VJ_LOST : HR_DROP_VJ_MALFORMED;
	d->ppp_proto = HR_PPP_IPV4;
	return join(work, d, i, header, header_len, payload, payload_len);
}
