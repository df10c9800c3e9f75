/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.c: the way of a packet. Each file is visited in the order of the headers; each stage sees only what is still alive.
 *
 *              | outer IP (UDP 4500) | ESP   | UDP   | L2TP   | PPP (MPPE)   | payload |
 *                outer.c               esp.c   udp.c   l2tp.c   ppp.c mppe.c   ip.c
 *
 * Wire to payload (decap):
 *   1. outer      IKE and keepalives leave; ESP goes on, and clear L2TP where it is allowed
 *   2. esp        SA by SPI, lengths; late numbers are dropped before they cost anything; ICV, decryption; the number
 *                 is marked; padding and next header
 *   3. outer      only now a packet may move its peer to a new address
 *   4. udp        length, and the port that the SA is for
 *   5. l2tp       control messages leave; the session, which must belong to the SA's peer; numbering
 *   6. ppp, mppe  address and control, protocol; decryption, expansion; TCP/IP headers; frames that are not user data leave
 *   7. ip         sane, the peer's own source, not back where it came from, to where it may go, within the rate
 *
 * Payload to wire (encap): the same rooms the other way round.
 *   1. ip         sane
 *   2. route      session, peer, SA, room for every header; whatever can fail without drawing a number fails here
 *   3. ip         loops, size, rate; whether it will be encrypted
 *   4. vj, ppp, mppe  TCP/IP headers; protocol, address and control; compression, encryption
 *   5. l2tp, udp  headers
 *   6. esp        sequence number, padding; encryption and ICV
 *   7. outer      where to, from which socket
 *
 * PPP frames of the control plane enter at route and skip what is for user data; its L2TP messages have no session and skip
 * what is for sessions. L2TP in clear has no SA and skips ESP.
 */
#include "stages.h"
#include "tables.h"

static hr_stage *const decap[] = {
    hr_outer_strip,				     /* outer.c */
    hr_esp_lookup,   hr_esp_decrypt,  hr_esp_accept, /* esp.c */
    hr_outer_follow,				     /* outer.c */
    hr_udp_strip,				     /* udp.c */
    hr_l2tp_strip,   hr_l2tp_session,		     /* l2tp.c */
    hr_ppp_outer,    hr_mppe_decrypt, hr_ppp_inner,  /* ppp.c, mppe.c */
    hr_ip_inbound,				     /* ip.c */
};

static hr_stage *const encap[] = {
    hr_ip_check,      hr_route,	       hr_ip_outbound, /* ip.c, route.c */
    hr_vj_shrink,				       /* vj_stage.c */
    hr_ppp_frame,     hr_mppe_encrypt,		       /* ppp.c, mppe.c */
    hr_l2tp_frame,				       /* l2tp.c */
    hr_udp_frame,				       /* udp.c */
    hr_esp_number,    hr_esp_encrypt,		       /* esp.c */
    hr_outer_address,				       /* outer.c */
};

/* A line of its own: neither outer headers nor L2TP. */
static hr_stage *const line_decap[] = {
    hr_line_enter,				  /* line.c */
    hr_ppp_outer,  hr_mppe_decrypt, hr_ppp_inner, /* ppp.c, mppe.c */
    hr_ip_inbound,				  /* ip.c */
};

static hr_stage *const line_encap[] = {
    hr_ip_check,   hr_route,	    hr_ip_outbound, /* ip.c, route.c */
    hr_vj_shrink,				    /* vj_stage.c */
    hr_ppp_frame,  hr_mppe_encrypt,		    /* ppp.c, mppe.c */
    hr_line_leave,				    /* line.c */
};

enum {
	LINE_KINDS = 1 << HR_KIND_PPP,
	LINE_ENCAP_KINDS = 1 << HR_KIND_IP | 1 << HR_KIND_PPP,
	DECAP_KINDS = 1 << HR_KIND_UDP4500 | 1 << HR_KIND_RAW4 | 1 << HR_KIND_RAW6 | 1 << HR_KIND_UDP1701,
	ENCAP_KINDS = 1 << HR_KIND_IP | 1 << HR_KIND_PPP | 1 << HR_KIND_L2TP
};

/* Take those that ended out of the list. */
static void bury(struct hr_work *work)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < work->alive_n; k++) {
		const uint16_t i = work->alive[k];
		work->alive[n] = i;
		n += work->desc[i].status == HR_PENDING;
	}
	work->alive_n = n;
	work->ended = 0;
}

/* Into encap session and peer are questions, out of decap they are answers. */
static void begin(struct hr_work *work, const struct hr_batch *batch, uint64_t now, int inbound)
{
	struct hr_desc *const desc = batch->desc;
	uint8_t *const arena = batch->arena;
	const uint32_t n = batch->n;

	work->alive_n = n;
	work->ended = work->encrypted = work->jobs = 0;
	work->desc = desc;
	work->now = now;
	work->arena = arena;
	work->spare_at = batch->spare_off;
	work->spare_end = batch->spare_off + batch->spare_len;
	for (uint32_t i = 0; i < n; i++) {
		const struct hr_packet packet = {.data = arena + desc[i].off, .len = desc[i].len};
		work->packet[i] = packet;
		work->alive[i] = (uint16_t)i;
		desc[i].status = HR_PENDING;
		desc[i].sa = HR_NONE;
		desc[i].seq = 0;
		if (inbound)
			desc[i].session = desc[i].peer = HR_NONE;
	}
}

static uint16_t room(int64_t octets)
{
	return octets > UINT16_MAX ? UINT16_MAX : (uint16_t)octets;
}

/* The descriptor learns where its packet has got to; the rooms around it follow. */
static void write_back(struct hr_desc *d, const struct hr_packet *packet, const uint8_t *arena)
{
	const uint32_t off = (uint32_t)(packet->data - arena);
	const int64_t head = (int64_t)off - d->off, tail = (int64_t)d->len - packet->len - head;

	d->room_head = room(d->room_head + head);
	d->room_tail = room(d->room_tail + tail);
	d->off = off;
	d->len = packet->len;
}

/* Every packet has a status now. Count it, and a loss also on its session. */
static void finish(struct hr_work *work, const struct hr_batch *batch, size_t flow)
{
	struct hr_desc *const desc = batch->desc;
	const uint8_t *const arena = batch->arena;
	const uint32_t n = batch->n;

	for (uint32_t i = 0; i < n;) { /* a row of the same status at a time */
		const uint32_t status = desc[i].status, first = i;
		uint64_t bytes = 0;
		for (; i < n && desc[i].status == status; i++) {
			const struct hr_packet *const packet = &work->packet[i];
			write_back(&desc[i], packet, arena);
			bytes += packet->len;
			if (status >= HR_DROP_OUTER_SHORT && packet->session != NULL)
				hr_add(&((struct hr_flow *)(void *)((uint8_t *)packet->session + flow))->dropped, 1);
		}
		hr_count(work->reader, status, i - first, bytes);
	}
}

static void run(struct hr_work *work, hr_stage *const *stage, size_t stages)
{
	for (size_t s = 0; s < stages && work->alive_n != 0; s++) {
		stage[s](work);
		if (work->ended != 0)
			bury(work);
	}
}

/* A pipeline: what goes in, the stages, whose losses they are, and whether the session is an answer or a question. */
struct pipeline {
	uint32_t kinds;
	int answers;
	hr_stage *const *stage;
	size_t stages;
	size_t flow;
};

#define STAGES(list) list, sizeof(list) / sizeof(list)[0]

static int work_batch(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns, const struct pipeline *pipeline)
{
	struct hr_reader *const reader = hr_grace_enter(&dp->grace);
	if (reader == NULL)
		return HR_E_MEMORY;
	struct hr_work *const work = reader->work;
	const int error = hr_batch_check(batch, pipeline->kinds, work);

	if (error == 0) {
		work->dp = dp;
		begin(work, batch, now_ns, pipeline->answers);
		run(work, pipeline->stage, pipeline->stages);
		finish(work, batch, pipeline->flow);
	}
	hr_grace_leave(reader);
	return error;
}

int hr_decap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns)
{
	static const struct pipeline pipeline = {DECAP_KINDS, 1, STAGES(decap), offsetof(struct hr_session, rx)};

	return work_batch(dp, batch, now_ns, &pipeline);
}

int hr_encap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns)
{
	static const struct pipeline pipeline = {ENCAP_KINDS, 0, STAGES(encap), offsetof(struct hr_session, tx)};

	return work_batch(dp, batch, now_ns, &pipeline);
}

int hr_line_decap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns)
{
	static const struct pipeline pipeline = {LINE_KINDS, 0, STAGES(line_decap), offsetof(struct hr_session, rx)};

	return work_batch(dp, batch, now_ns, &pipeline);
}

int hr_line_encap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns)
{
	static const struct pipeline pipeline = {LINE_ENCAP_KINDS, 0, STAGES(line_encap), offsetof(struct hr_session, tx)};

	return work_batch(dp, batch, now_ns, &pipeline);
}
