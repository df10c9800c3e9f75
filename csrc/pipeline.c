/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.c: the way of a packet. Each file is visited in the order of the headers; each stage sees only what is still alive.
 *
 *              | outer IP (UDP 4500) | ESP   | UDP   | L2TP   | PPP (MPPE)   | payload |
 *                outer.c               esp.c   udp.c   l2tp.c   ppp.c mppe.c   ip.c
 *
 * Wire to payload (decap):
 *   1. outer      IKE and keepalives leave; ESP goes on, and clear L2TP where it is allowed
 *   2. esp        SA by SPI, lengths; late numbers are dropped before they cost anything; ICV, decryption; the number is
 * marked;
 *   3. outer      only now the packet may move its peer to a new address;
 *   4. esp        padding and next header
 *   5. udp        length, and the port that the SA is for
 *   6. l2tp       control messages leave; the session, which must belong to the SA's peer; numbering
 *   7. ppp, mppe  address and control, protocol; decryption; frames that are not user data leave
 *   8. ip         sane, the peer's own source, not back where it came from, within the rate
 *
 * Payload to wire (encap): the same rooms the other way round.
 *   1. ip         sane
 *   2. route      session, peer, SA, room for every header; whatever can fail without drawing a number fails here
 *   3. ip         loops, size, rate
 *   4. ppp, mppe  protocol; encryption; address and control
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
    hr_outer_strip,   hr_esp_lookup,  hr_esp_replay_check, hr_esp_decrypt, hr_esp_replay_accept,
    hr_outer_follow,  hr_esp_trailer, hr_udp_strip,	   hr_l2tp_strip,  hr_l2tp_session,
    hr_l2tp_sequence, hr_ppp_outer,   hr_mppe_decrypt,	   hr_ppp_inner,   hr_ip_inbound,
};

static hr_stage *const encap[] = {
    hr_ip_check,   hr_route,	 hr_ip_outbound, hr_ppp_protocol, hr_mppe_encrypt,  hr_ppp_address,
    hr_l2tp_frame, hr_udp_frame, hr_esp_number,	 hr_esp_encrypt,  hr_outer_address,
};

enum {
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

static void begin(struct hr_work *work, const struct hr_batch *batch, uint64_t now)
{
	work->n = work->alive_n = batch->n;
	work->ended = 0;
	work->jobs = 0;
	work->arena = batch->arena;
	work->desc = batch->desc;
	work->now = now;
	memset(work->sa, 0, batch->n * sizeof work->sa[0]);
	memset(work->peer, 0, batch->n * sizeof work->peer[0]);
	memset(work->session, 0, batch->n * sizeof work->session[0]);
	memset(work->plan, 0, batch->n * sizeof work->plan[0]);
	memset(work->newest, 0, batch->n * sizeof work->newest[0]);
	for (uint32_t i = 0; i < batch->n; i++) {
		work->alive[i] = (uint16_t)i;
		work->desc[i].status = HR_PENDING;
		work->desc[i].sa = HR_NONE;
		work->desc[i].seq = 0;
	}
}

/* Every packet has a status now. Count it, and a loss also on its session. */
static void account(struct hr_work *work, size_t flow)
{
	for (uint32_t i = 0; i < work->n; i++) {
		const struct hr_desc *const d = &work->desc[i];
		hr_count(work->reader, d->status, 1, d->len);
		if (d->status >= HR_DROP_OUTER_SHORT && work->session[i] != NULL)
			hr_add(&((struct hr_flow *)(void *)((uint8_t *)work->session[i] + flow))->dropped, 1);
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

int hr_decap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns)
{
	struct hr_reader *const reader = hr_grace_enter(&dp->grace);
	if (reader == NULL)
		return HR_E_MEMORY;
	struct hr_work *const work = reader->work;
	const int error = hr_batch_check(batch, DECAP_KINDS, work);

	if (error == 0) {
		work->dp = dp;
		begin(work, batch, now_ns);
		for (uint32_t i = 0; i < batch->n; i++)
			batch->desc[i].session = batch->desc[i].peer = HR_NONE;
		run(work, decap, sizeof decap / sizeof decap[0]);
		account(work, offsetof(struct hr_session, rx));
	}
	hr_grace_leave(reader);
	return error;
}

int hr_encap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns)
{
	struct hr_reader *const reader = hr_grace_enter(&dp->grace);
	if (reader == NULL)
		return HR_E_MEMORY;
	struct hr_work *const work = reader->work;
	const int error = hr_batch_check(batch, ENCAP_KINDS, work);

	if (error == 0) {
		work->dp = dp;
		begin(work, batch, now_ns);
		run(work, encap, sizeof encap / sizeof encap[0]);
		account(work, offsetof(struct hr_session, tx));
	}
	hr_grace_leave(reader);
	return error;
}
