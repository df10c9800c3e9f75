/* SPDX-License-Identifier: Apache-2.0
 *
 * l2tp.c: the L2TP header (RFC 2661 section 3.1).
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |T|L|x|x|S|x|O|P|x|x|x|x|  Ver  |  length, of all, if L         |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |  tunnel id                    |  session id                   |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |  Ns, if S                     |  Nr, if S (reserved in data)  |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |  offset size, if O            |  offset padding ...           |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
#include "stages.h"
#include "tables.h"

enum { T = 0x8000, L = 0x4000, S = 0x0800, O = 0x0200, VERSION = 0x000f, CONTROL_HEADER = 12 };

/* --- decap --- */

/* A control message goes up from its header on. Version 3 (RFC 3931) goes up too: its first message deserves an answer. */
static enum hr_status control(struct hr_work *work, struct hr_desc *d, uint32_t i, uint32_t flags)
{
	const uint32_t version = flags & VERSION;

	if ((version != 2 && version != 3) || (flags & (L | S)) != (L | S) || work->packet[i].len < CONTROL_HEADER)
		return HR_DROP_L2TP_HEADER;
	const uint32_t length = hr_get16(work->packet[i].data + 2);
	if (length < CONTROL_HEADER || length > work->packet[i].len)
		return HR_DROP_L2TP_LENGTH;
	work->packet[i].len = length;
	d->kind = HR_KIND_L2TP;
	if (work->packet[i].sa != NULL)
		return HR_EXC_L2TP;
	const struct hr_peer *const peer = hr_clear_peer(work->dp, &d->remote);
	if (peer == NULL)
		return HR_EXC_CLEAR_L2TP;
	d->peer = peer->index;
	return HR_EXC_L2TP;
}

/* Optional fields, one after the other; `at` is how far the header is known to reach. */
static enum hr_status data(struct hr_work *work, struct hr_desc *d, uint32_t i, uint32_t flags)
{
	uint32_t at = 2 + (flags & L ? 2u : 0u) + 4 + (flags & S ? 4u : 0u) + (flags & O ? 2u : 0u);
	uint32_t ns = 0;

	if ((flags & VERSION) != 2 || work->packet[i].len < at)
		return HR_DROP_L2TP_HEADER;
	const uint8_t *field = work->packet[i].data + 2;
	if (flags & L) {
		const uint32_t length = hr_get16(field);
		if (length < at || length > work->packet[i].len)
			return HR_DROP_L2TP_LENGTH;
		work->packet[i].len = length;
		field += 2;
	}
	/* the ids for now; the next stage makes an index of them */
	d->session = (uint32_t)hr_ids_key(hr_get16(field), hr_get16(field + 2));
	field += 4;
	if (flags & S) {
		ns = hr_get16(field);
		field += 4;
	}
	if (flags & O) {
		at += hr_get16(field);
		if (at > work->packet[i].len)
			return HR_DROP_L2TP_OFFSET;
	}
	work->packet[i].header = flags << 16 | ns;
	hr_pull(work, i, at);
	return HR_PENDING;
}

void hr_l2tp_strip(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		enum hr_status status = HR_DROP_L2TP_HEADER;

		if (alive.packet[i].len >= 6) {
			const uint32_t flags = hr_get16(alive.packet[i].data);
			status = flags & T ? control(work, d, i, flags) : data(work, d, i, flags);
		}
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}

/* Data in clear must come from the very address and port of its peer, and that peer must not be one that has IPsec. */
static enum hr_status check_owner(const struct hr_work *work, const struct hr_desc *d, uint32_t i,
				  const struct hr_session *session)
{
	if (work->packet[i].sa != NULL)
		return session->peer == work->packet[i].peer ? HR_PENDING : HR_DROP_WRONG_SA;
	if ((atomic_load_explicit(&session->peer->traits, memory_order_relaxed) & HR_TRAIT_CLEAR) == 0)
		return HR_DROP_NOT_PROTECTED;
	struct hr_endpoint remote;
	hr_place_read(&session->peer->remote, &remote);
	return hr_endpoint_equal(&remote, &d->remote) ? HR_PENDING : HR_DROP_NOT_PROTECTED;
}

/* Inbound numbering in one word: bit 63 = a number was seen, then the next number, how many late ones came in a row, and the
 * number that would continue that row. */
struct numbering {
	uint16_t next;
	uint16_t row;
	uint16_t row_next;
};

#define NUMBERED (UINT64_C(1) << 63)

/* A peer that started anew (or a gap beyond half of the numbers) would otherwise be late for ever: so many packets in perfect
 * order are believed. A network does not produce that: ESP lets nothing through twice, and in clear anybody could send a number
 * ahead. */
enum { ROW_BELIEVED = 16 };

/* RFC 2661 section 5.4 and 5.8: a number is late if it is the last one received or one of the 32767 before. Gaps forward are
 * accepted; nothing waits for what is missing. */
static int number_accepted(struct numbering *n, uint16_t ns)
{
	if ((uint16_t)(ns - n->next) < 0x8000) {
		n->row = 0;
	} else {
		n->row = ns == n->row_next ? (uint16_t)(n->row + 1) : 1;
		n->row_next = (uint16_t)(ns + 1);
		if (n->row < ROW_BELIEVED)
			return 0;
		n->row = 0;
	}
	n->next = (uint16_t)(ns + 1);
	return 1;
}

static int sequence(struct hr_session *session, uint16_t ns)
{
	uint64_t word = hr_read(&session->ns_in);

	for (;;) {
		struct numbering n = {(uint16_t)(word >> 32), (uint16_t)(word >> 16), (uint16_t)word};
		if ((word & NUMBERED) == 0)
			n.next = ns;
		const int accepted = number_accepted(&n, ns);
		const uint64_t fresh = NUMBERED | (uint64_t)n.next << 32 | (uint64_t)n.row << 16 | n.row_next;
		if (atomic_compare_exchange_weak_explicit(&session->ns_in, &word, fresh, memory_order_relaxed,
							  memory_order_relaxed))
			return accepted;
	}
}

/* Whether a packet may pass by its number, or without one. */
static int in_order(struct hr_session *session, const struct hr_plan *plan, uint32_t header)
{
	const uint32_t numbered = (header >> 16 & S) != 0;

	if (numbered ? !sequence(session, (uint16_t)header) : plan->require_sequence)
		return 0;
	/* the LNS decides, packet by packet, and the LAC follows, unless both have to */
	if (!plan->lns && !plan->require_sequence &&
	    atomic_load_explicit(&session->numbering, memory_order_relaxed) != numbered)
		atomic_store_explicit(&session->numbering, numbered, memory_order_relaxed);
	return 1;
}

enum { AHEAD = 8 }; /* packets whose entry of the table is fetched in advance */

void hr_l2tp_session(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	struct hr_map *const map = &work->dp->ids;
	struct hr_session *session = NULL;
	uint32_t known = 0; /* no session has tunnel and session id 0 */

	for (uint32_t k = 0; k < alive.n; k++)
		hr_map_prefetch(map, work->desc[alive.at[k]].session);
	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const uint32_t ids = d->session;

		if (k + AHEAD < alive.n && alive.desc[alive.at[k + AHEAD]].session != known)
			hr_map_prefetch(map, alive.desc[alive.at[k + AHEAD]].session);
		d->session = HR_NONE;
		if (ids != known) {
			session = hr_map_get(map, ids);
			known = ids;
		}
		if (session == NULL || session->ids != ids) {
			hr_end(work, d, HR_DROP_L2TP_SESSION);
			continue;
		}
		const enum hr_status status = check_owner(work, d, i, session);
		if (status != HR_PENDING) {
			hr_end(work, d, status);
			continue;
		}
		d->session = session->index;
		d->peer = session->peer->index;
		work->packet[i].session = session;
		work->packet[i].peer = session->peer;
		work->packet[i].plan = atomic_load(&session->plan);
		hr_note(&session->rx.last_ns, work->now);
		if (!in_order(session, work->packet[i].plan, work->packet[i].header))
			hr_end(work, d, HR_DROP_L2TP_SEQUENCE);
	}
}

/* --- encap --- */

void hr_l2tp_frame(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_session *const session = work->packet[i].session;
		const struct hr_plan *const plan = work->packet[i].plan;

		if (session == NULL) /* a control message brings its header along */
			continue;
		const uint32_t numbered =
		    plan->require_sequence | atomic_load_explicit(&session->numbering, memory_order_relaxed);
		const uint32_t size = 6 + (plan->send_length ? 2u : 0u) + (numbered ? 4u : 0u);
		uint8_t *p = hr_push(work, i, size);
		hr_put16(p, 2 | (plan->send_length ? L : 0u) | (numbered ? S : 0u));
		p += 2;
		if (plan->send_length) {
			hr_put16(p, alive.packet[i].len);
			p += 2;
		}
		hr_put16(p, plan->remote_tunnel);
		hr_put16(p + 2, plan->remote_session);
		if (numbered) {
			hr_put16(p + 4, atomic_fetch_add_explicit(&session->ns_out, 1, memory_order_relaxed) & 0xffff);
			hr_put16(p + 6, 0);
		}
		hr_note(&session->tx.last_ns, work->now);
	}
}
