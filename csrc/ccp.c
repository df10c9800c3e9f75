/* SPDX-License-Identifier: Apache-2.0
 *
 * ccp.c: compression on one direction of a session. What a frame may grow to when it is expanded is bounded three times: by
 * what the peer may send (the plan's limit), by the scratch, and by the room that the batch has.
 */
#include "ccp.h"

#include <stdlib.h>

#include "tables.h"
#include "wipe.h"

struct hr_ccp *hr_ccp_new(const struct hr_mppe_config *config, int *error)
{
	const int known = config->compression == HR_COMPRESS_MPPC || config->compression == HR_COMPRESS_DEFLATE;

	/* Deflate is a method of its own; MPPC goes with MPPE (RFC 3078 section 2). */
	*error = HR_E_ARGUMENT;
	if (!known || (config->compression == HR_COMPRESS_DEFLATE && config->bits != 0))
		return NULL;
	struct hr_ccp *const ccp = calloc(1, sizeof *ccp);
	*error = HR_E_MEMORY;
	if (ccp == NULL)
		return NULL;
	ccp->method = config->compression;
	ccp->outbound = config->outbound;
	ccp->restart = config->stateless;
	*error = 0;
	if (ccp->method == HR_COMPRESS_DEFLATE)
		*error = hr_deflate_open(&ccp->deflate, ccp->outbound, config->window);
	else if (!ccp->outbound)
		ccp->receiver.started = 1; /* both histories are empty: the first packet needs no A */
	if (*error == 0)
		return ccp;
	free(ccp);
	return NULL;
}

void hr_ccp_free(struct hr_ccp *ccp)
{
	if (ccp == NULL)
		return;
	if (ccp->method == HR_COMPRESS_DEFLATE)
		hr_deflate_close(&ccp->deflate, ccp->outbound);
	hr_erase(ccp, sizeof *ccp); /* the last octets of somebody's traffic */
	free(ccp);
}

/* --- places --- */

uint8_t *hr_ccp_place(struct hr_work *work, uint32_t i, uint32_t len)
{
	struct hr_packet *const packet = &work->packet[i];
	struct hr_desc *const d = &work->desc[i];
	const uint64_t at = (uint64_t)(packet->data - work->arena), end = (uint64_t)d->off + d->len + d->room_tail;

	if (len <= end - at) {
		packet->len = len;
		return packet->data;
	}
	if (work->spare_at + HR_VJ_GROWTH + len > work->spare_end)
		return NULL;
	/* The descriptor moves at once: what it had is nobody's until the batch ends. */
	d->off = (uint32_t)work->spare_at + HR_VJ_GROWTH;
	d->len = len;
	d->room_head = HR_VJ_GROWTH;
	d->room_tail = 0;
	work->spare_at += HR_VJ_GROWTH + ((len + 63u) & ~63u);
	if (work->spare_at > work->spare_end)
		work->spare_at = work->spare_end;
	packet->data = work->arena + d->off;
	packet->len = len;
	return packet->data;
}

static enum hr_status replace(struct hr_work *work, uint32_t i, const uint8_t *octets, uint32_t len)
{
	uint8_t *const place = hr_ccp_place(work, i, len);

	if (place == NULL)
		return HR_DROP_ROOM;
	memcpy(place, octets, len);
	return HR_PENDING;
}

/* The largest frame, protocol field and information, that the peer may send. */
static uint32_t limit_of(const struct hr_work *work, uint32_t i)
{
	return work->packet[i].plan->expand_max;
}

/* --- MPPC --- */

void hr_ccp_flush(struct hr_ccp *ccp)
{
	if (ccp->method == HR_COMPRESS_MPPC)
		hr_mppc_reset(&ccp->sender);
}

uint32_t hr_ccp_mppc_compress(struct hr_work *work, struct hr_ccp *ccp, uint32_t i)
{
	struct hr_packet *const packet = &work->packet[i];
	uint32_t len;

	if (ccp->restart)
		hr_mppc_reset(&ccp->sender);
	const uint32_t bits =
	    hr_mppc_compress(&ccp->sender, packet->data, packet->len, work->scratch, sizeof work->scratch, &len);
	if (bits & HR_MPPC_COMPRESSED) {
		memcpy(packet->data, work->scratch, len);
		packet->len = len;
	}
	return bits;
}

enum hr_status hr_ccp_mppc_expand(struct hr_work *work, struct hr_ccp *ccp, uint32_t i)
{
	struct hr_packet *const packet = &work->packet[i];
	uint32_t len;

	const enum hr_mppc_result result =
	    hr_mppc_expand(&ccp->receiver, packet->header, packet->data, packet->len, work->scratch, limit_of(work, i), &len);
	if (result != HR_MPPC_OK)
		return result == HR_MPPC_LOST ? HR_DROP_MPPC_LOST : HR_DROP_MPPC_MALFORMED;
	return packet->header & HR_MPPC_COMPRESSED ? replace(work, i, work->scratch, len) : HR_PENDING;
}

/* --- Deflate --- */

int hr_ccp_deflate_compress(struct hr_work *work, struct hr_ccp *ccp, uint32_t i)
{
	struct hr_packet *const packet = &work->packet[i];
	const uint32_t len = hr_deflate_compress(&ccp->deflate, packet->data, packet->len, work->scratch, sizeof work->scratch);

	if (len == 0)
		return 0;
	memcpy(packet->data, work->scratch, len);
	packet->len = len;
	return 1;
}

static enum hr_status lose(struct hr_ccp *ccp, enum hr_status why)
{
	ccp->waiting = 1;
	return why;
}

enum hr_status hr_ccp_deflate_expand(struct hr_work *work, struct hr_ccp *ccp, uint32_t i)
{
	struct hr_packet *const packet = &work->packet[i];
	uint32_t len;

	if (ccp->waiting)
		return HR_DROP_DEFLATE_LOST;
	switch (hr_deflate_expand(&ccp->deflate, (uint16_t)packet->header, packet->data, packet->len, work->scratch,
				  limit_of(work, i), &len)) {
	case HR_DEFLATE_OK:
		return replace(work, i, work->scratch, len);
	case HR_DEFLATE_GAP:
		return lose(ccp, HR_DROP_DEFLATE_LOST);
	default:
		return lose(ccp, HR_DROP_DEFLATE_MALFORMED);
	}
}

enum hr_status hr_ccp_deflate_note(struct hr_work *work, struct hr_ccp *ccp, uint32_t i)
{
	const struct hr_packet *const packet = &work->packet[i];
	const uint32_t protocol = work->desc[i].ppp_proto;

	if (ccp->waiting)
		return HR_PENDING; /* it stands by itself; the history begins anew in any case */
	if (packet->len + 2 > sizeof work->scratch)
		return lose(ccp, HR_DROP_DEFLATE_MALFORMED);
	hr_put16(work->scratch, protocol);
	memcpy(work->scratch + 2, packet->data, packet->len);
	return hr_deflate_note(&ccp->deflate, work->scratch, packet->len + 2) == HR_DEFLATE_OK
		   ? HR_PENDING
		   : lose(ccp, HR_DROP_DEFLATE_MALFORMED);
}

/* What is sent behind a Reset-Ack builds on nothing that was sent before it, in either direction. The control plane speaks; the
 * history follows at the very place among the packets where its words pass. */
void hr_ccp_reset_passes(struct hr_ccp *ccp, uint32_t code, uint32_t identifier, int ours)
{
	if (ccp->method != HR_COMPRESS_DEFLATE)
		return;
	if (ccp->outbound && ours && code == HR_CCP_RESET_ACK) {
		hr_deflate_reset(&ccp->deflate, 1);
	} else if (!ccp->outbound && ours && code == HR_CCP_RESET_REQUEST) {
		ccp->asked = 1;
		ccp->asked_id = (uint8_t)identifier;
	} else if (!ccp->outbound && !ours && code == HR_CCP_RESET_ACK && ccp->asked && ccp->asked_id == identifier) {
		hr_deflate_reset(&ccp->deflate, 0);
		ccp->asked = ccp->waiting = 0;
	}
}
