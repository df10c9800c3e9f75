/* SPDX-License-Identifier: Apache-2.0
 *
 * route.c: everything that an outgoing packet needs is found here, before anything is drawn or written for it: session, peer,
 * SA, and room for all headers and trailers. What passes this stage uses up numbers and keys only if it is really sent, or
 * nearly so.
 */
#include "esp.h"
#include "mppe.h"
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
	    by_address ? route(dp, work->packet[i].data, d->ppp_proto) : hr_pool_get(&dp->sessions, d->session);

	if (session == NULL)
		return by_address ? HR_DROP_NO_ROUTE : HR_DROP_L2TP_SESSION;
	__builtin_prefetch(&session->tx, 1);
	work->packet[i].session = session;
	work->packet[i].plan = atomic_load(&session->plan);
	work->packet[i].peer = session->peer;
	d->session = session->index;
	d->peer = session->peer->index;
	return HR_PENDING;
}

/* A frame of the control plane. Network protocols that it carries itself (IPX, bridged Ethernet, link-local IPv6) are encrypted
 * where IP packets are; control protocols never (RFC 3078 section 3.1). */
static enum hr_status check_frame(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	const struct hr_plan *const plan = work->packet[i].plan;
	const uint8_t *const p = work->packet[i].data;
	uint32_t largest = plan->mru;

	if (work->packet[i].len < 2)
		return HR_DROP_PPP_SHORT;
	d->ppp_proto = p[0] & 1 ? p[0] : hr_get16(p);
	if (d->ppp_proto >= HR_PPP_ENCRYPTED_FIRST && d->ppp_proto <= HR_PPP_ENCRYPTED_LAST) {
		const int encrypt = hr_mppe_wanted(work->packet[i].session, plan);
		if (encrypt < 0)
			return HR_DROP_MPPE_NOT_OPEN;
		largest -= encrypt == HR_CCP_WRAP ? 4u : 0u; /* MPPE's header and the protocol inside count as information */
		work->packet[i].encrypt = (uint8_t)encrypt;
		work->encrypted += encrypt != HR_CCP_NOTHING;
	}
	if (work->packet[i].len - 2 > largest)
		return HR_DROP_PPP_MRU;
	if (d->ppp_proto == HR_PPP_CCP)
		hr_mppe_says(work->packet[i].session, p + 2, work->packet[i].len - 2);
	return HR_PENDING;
}

/* What the peer needs around the packet. */
static enum hr_status find_sa(struct hr_work *work, uint32_t i)
{
	struct hr_packet *const packet = &work->packet[i];

	if (atomic_load_explicit(&packet->peer->traits, memory_order_relaxed) & HR_TRAIT_CLEAR)
		return HR_PENDING;
	packet->sa = atomic_load(&packet->peer->out);
	return packet->sa != NULL ? HR_PENDING : HR_DROP_NO_SA;
}

static int has_room(const struct hr_packet *packet, const struct hr_desc *d)
{
	uint32_t head = packet->session != NULL ? PPP_ROOM + L2TP_ROOM : 0, tail = 0;

	if (packet->sa != NULL) {
		const struct hr_esp_key *const key = &packet->sa->key;
		head += UDP_ROOM + HR_ESP_HEADER + key->iv_len;
		tail = key->block - 1u + HR_ESP_TRAILER + key->icv_len;
	}
	return d->room_head >= head && d->room_tail >= tail;
}

static enum hr_status find(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	enum hr_status status = HR_PENDING;

	if (d->kind == HR_KIND_L2TP) {
		work->packet[i].peer = hr_pool_get(&work->dp->peers, d->peer);
		status = work->packet[i].peer != NULL ? HR_PENDING : HR_DROP_NO_SA;
	} else {
		status = find_session(work, d, i);
		if (status == HR_PENDING && d->kind == HR_KIND_PPP)
			status = check_frame(work, d, i);
	}
	return status == HR_PENDING ? find_sa(work, i) : status;
}

/* Packets for one session mostly come in a row: what was found for one is good for the next. */
static int same_session(const struct hr_desc *d, uint32_t session)
{
	return d->kind == HR_KIND_IP && d->session == session && session != HR_NONE;
}

void hr_route(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	const struct hr_packet *found = NULL;
	uint32_t session = HR_NONE; /* that `found` was found for */

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		struct hr_packet *const packet = &alive.packet[i];
		enum hr_status status = HR_PENDING;

		if (same_session(d, session)) {
			packet->sa = found->sa;
			packet->peer = found->peer;
			packet->session = found->session;
			packet->plan = found->plan;
			d->peer = packet->peer->index;
		} else {
			status = find(work, d, i);
			session = status == HR_PENDING && packet->session != NULL ? d->session : (uint32_t)HR_NONE;
			found = packet;
		}
		if (status == HR_PENDING && packet->sa != NULL)
			d->sa = packet->sa->index;
		if (status == HR_PENDING && !has_room(packet, d))
			status = HR_DROP_ROOM;
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}
