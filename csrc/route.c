/* SPDX-License-Identifier: Apache-2.0
 *
 * route.c: everything that an outgoing packet needs is found here, before anything is drawn or written for it: session, peer,
 * SA, and room for all headers and trailers. What passes this stage uses up numbers and keys only if it is really sent, or
 * nearly so.
 */
#include "esp.h"
#include "ppp.h"
#include "stages.h"
#include "tables.h"

enum {
	PPP_ROOM = 2 + 2 + 2 + 2, /* address and control, protocol, MPPE header, protocol inside */
	L2TP_ROOM = 12,		  /* flags, length, ids, Ns and Nr */
	UDP_ROOM = 8
};

static struct hr_session *route(struct hr_dp *dp, const uint8_t *p, uint32_t protocol)
{
	return protocol == HR_PPP_IPV4 ? hr_route4(dp, p + 16) : hr_route6(dp, p + 24);
}

/* The session of an IP packet or PPP frame. */
static enum hr_status find_session(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	struct hr_dp *const dp = work->dp;
	const int by_address = d->kind == HR_KIND_IP && d->session == HR_NONE;
	struct hr_session *const session =
	    by_address ? route(dp, hr_data(work, d), d->ppp_proto) : hr_pool_get(&dp->sessions, d->session);

	if (session == NULL)
		return by_address ? HR_DROP_NO_ROUTE : HR_DROP_L2TP_SESSION;
	__builtin_prefetch(&session->tx, 1);
	work->session[i] = session;
	work->plan[i] = atomic_load(&session->plan);
	work->peer[i] = session->peer;
	d->session = session->index;
	d->peer = session->peer->index;
	return HR_PENDING;
}

/* A frame of the control plane. User data that has to be encrypted does not go this way. */
static enum hr_status check_frame(const struct hr_work *work, struct hr_desc *d, const struct hr_plan *plan)
{
	const uint8_t *const p = hr_data(work, d);

	if (d->len < 2)
		return HR_DROP_PPP_SHORT;
	d->ppp_proto = p[0] & 1 ? p[0] : hr_get16(p);
	if (d->len - 2 > plan->mru)
		return HR_DROP_PPP_MRU;
	if (plan->policy == HR_MPPE_REQUIRED && d->ppp_proto >= HR_PPP_ENCRYPTED_FIRST && d->ppp_proto <= HR_PPP_ENCRYPTED_LAST)
		return HR_DROP_MPPE_CLEARTEXT;
	return HR_PENDING;
}

static enum hr_status find_sa(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	struct hr_peer *const peer = work->peer[i];
	uint32_t head = work->session[i] != NULL ? PPP_ROOM + L2TP_ROOM : 0, tail = 0;

	if ((atomic_load_explicit(&peer->traits, memory_order_relaxed) & HR_TRAIT_CLEAR) == 0) {
		struct hr_sa *const sa = atomic_load(&peer->out);
		if (sa == NULL)
			return HR_DROP_NO_SA;
		work->sa[i] = sa;
		d->sa = sa->index;
		head += UDP_ROOM + HR_ESP_HEADER + sa->key.iv_len;
		tail = sa->key.block - 1u + HR_ESP_TRAILER + sa->key.icv_len;
	}
	return d->room_head >= head && d->room_tail >= tail ? HR_PENDING : HR_DROP_ROOM;
}

static enum hr_status find(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	enum hr_status status = HR_PENDING;

	if (d->kind == HR_KIND_L2TP) {
		work->peer[i] = hr_pool_get(&work->dp->peers, d->peer);
		status = work->peer[i] != NULL ? HR_PENDING : HR_DROP_NO_SA;
	} else {
		status = find_session(work, d, i);
		if (status == HR_PENDING && d->kind == HR_KIND_PPP)
			status = check_frame(work, d, work->plan[i]);
	}
	return status == HR_PENDING ? find_sa(work, d, i) : status;
}

void hr_route(struct hr_work *work)
{
	for (uint32_t k = 0; k < work->alive_n; k++) {
		const uint32_t i = work->alive[k];
		struct hr_desc *const d = &work->desc[i];
		const enum hr_status status = find(work, d, i);

		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}
