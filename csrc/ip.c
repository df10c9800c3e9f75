/* SPDX-License-Identifier: Apache-2.0
 *
 * ip.c: the inner packet (RFC 791, RFC 8200): is it one, is it the peer's own, does it lead back, does it fit.
 */
#include "filter.h"
#include "mppe.h"
#include "ppp.h"
#include "stages.h"
#include "tables.h"

enum {
	HEADER4 = 20,
	HEADER6 = 40,
	TCP = 6,
	UDP = 17,
	ESP = 50,
	TCP_HEADER = 20,
	TCP_SYN = 0x02,
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
	ECN = 3, /* the two bits of RFC 3168 */
	EXTENSIONS_MAX = 8
};

/* HR_PENDING if the packet is whole; cut to the length that it claims (RFC 1661 section 5 allows padding). */
static enum hr_status whole(struct hr_work *work, uint32_t i, uint32_t protocol)
{
	const uint8_t *const p = work->packet[i].data;
	const uint32_t len = work->packet[i].len;
	uint32_t total;

	if (protocol == HR_PPP_IPV4) {
		if (len < HEADER4 || p[0] >> 4 != 4)
			return HR_DROP_IP_MALFORMED;
		const uint32_t header = (p[0] & 15u) * 4;
		total = hr_get16(p + 2);
		if (header < HEADER4 || total < header)
			return HR_DROP_IP_MALFORMED;
	} else {
		if (len < HEADER6 || p[0] >> 4 != 6)
			return HR_DROP_IP_MALFORMED;
		total = HEADER6 + (uint32_t)hr_get16(p + 4);
	}
	if (total > len)
		return HR_DROP_IP_MALFORMED;
	work->packet[i].len = total;
	return HR_PENDING;
}

/* --- checksums that follow a change (RFC 1624, equation 3) --- */

static void adjust(uint8_t *checksum, uint32_t old, uint32_t fresh)
{
	uint32_t sum = (~hr_get16(checksum) & 0xffffu) + (~old & 0xffffu) + fresh;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	hr_put16(checksum, ~sum & 0xffffu);
}

/* --- TCP: the maximum segment size of a SYN (RFC 879) --- */

/* Where the TCP header begins, or 0: not TCP, or not the first fragment. */
static uint32_t find_tcp(const uint8_t *p, uint32_t len, uint32_t protocol)
{
	if (protocol == HR_PPP_IPV4)
		return p[9] == TCP && (hr_get16(p + 6) & 0x1fff) == 0 ? (p[0] & 15u) * 4 : 0;

	uint32_t next = p[6], at = HEADER6;
	for (uint32_t n = 0; n < EXTENSIONS_MAX && next != TCP; n++) {
		if (at + 8 > len || (next != 0 && next != 43 && next != 60)) /* hop-by-hop, routing, destination options */
			return 0;
		next = p[at];
		at += 8 + 8u * p[at + 1];
	}
	return next == TCP ? at : 0;
}

static void clamp_mss(uint8_t *p, uint32_t len, uint32_t protocol, uint32_t limit)
{
	const uint32_t tcp = find_tcp(p, len, protocol);

	if (tcp == 0 || tcp + TCP_HEADER > len || (p[tcp + 13] & TCP_SYN) == 0)
		return;
	const uint32_t end = tcp + (p[tcp + 12] >> 4) * 4u;
	if (end > len)
		return;
	for (uint32_t at = tcp + TCP_HEADER; at < end && p[at] != OPTION_END;) {
		if (p[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 2 > end || p[at + 1] < 2 || at + p[at + 1] > end)
			return;
		if (p[at] == OPTION_MSS && p[at + 1] == 4) {
			const uint32_t mss = hr_get16(p + at + 2);
			if (mss > limit) {
				/* at an odd place its octets stand in the other halves of the words that are summed */
				const int odd = (at - tcp) & 1;
				hr_put16(p + at + 2, limit);
				adjust(p + tcp + 16, odd ? (mss >> 8 | mss << 8) & 0xffff : mss,
				       odd ? (limit >> 8 | limit << 8) & 0xffff : limit);
			}
			return;
		}
		at += p[at + 1];
	}
}

/* --- addresses --- */

static int is_loopback(const uint8_t *address, uint32_t protocol)
{
	static const uint8_t loopback6[16] = {[15] = 1};

	return protocol == HR_PPP_IPV4 ? address[0] == 127 : memcmp(address, loopback6, 16) == 0;
}

/* One of the addresses that ESP itself goes to and comes from. */
static int is_local_outer(const struct hr_locals *locals, const uint8_t *address, uint32_t protocol)
{
	if (protocol == HR_PPP_IPV4) {
		for (uint32_t n = 0; n < locals->n4; n++) {
			if (memcmp(address, locals->v4[n], 4) == 0)
				return 1;
		}
		return 0;
	}
	for (uint32_t n = 0; n < locals->n6; n++) {
		if (memcmp(address, locals->v6[n], 16) == 0)
			return 1;
	}
	return 0;
}

static int has_own(const struct hr_plan *plan, uint32_t protocol)
{
	return protocol == HR_PPP_IPV4 ? !plan->own4_any : plan->own6_len != 0;
}

static int is_own(const struct hr_plan *plan, const uint8_t *address, uint32_t protocol)
{
	if (protocol == HR_PPP_IPV4)
		return !plan->own4_any && memcmp(address, plan->own4, 4) == 0;
	return plan->own6_len != 0 && hr_prefix_match(address, plan->own6, plan->own6_len);
}

static const uint8_t *source_of(const uint8_t *p, uint32_t protocol)
{
	return p + (protocol == HR_PPP_IPV4 ? 12 : 8);
}

static const uint8_t *destination_of(const uint8_t *p, uint32_t protocol)
{
	return p + (protocol == HR_PPP_IPV4 ? 16 : 24);
}

/* --- decap --- */

/* Congestion met on the outer path is told to the ends that understand it (RFC 6040 section 4.2). */
static void mark_congestion(uint8_t *p, uint32_t protocol)
{
	const uint32_t before = hr_get16(p);
	const uint32_t shift = protocol == HR_PPP_IPV4 ? 0 : 4; /* the traffic class stands 4 bits higher */
	const uint32_t bits = before >> shift & ECN;

	if (bits == 0)
		return;
	hr_put16(p, before | (uint32_t)ECN << shift);
	if (protocol == HR_PPP_IPV4)
		adjust(p + 10, before, hr_get16(p));
}

static enum hr_status inbound(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	struct hr_session *const session = work->packet[i].session;
	const struct hr_plan *const plan = work->packet[i].plan;
	const uint32_t protocol = d->ppp_proto;
	const enum hr_status status = whole(work, i, protocol);
	uint8_t *const p = work->packet[i].data;
	const uint32_t len = work->packet[i].len;

	if (status != HR_PENDING)
		return status;
	if (has_own(plan, protocol) && !is_own(plan, source_of(p, protocol), protocol))
		return HR_DROP_SPOOFED_SOURCE;
	const uint8_t *const to = destination_of(p, protocol);
	if (is_loopback(to, protocol) || is_own(plan, to, protocol) ||
	    is_local_outer(atomic_load(&work->dp->locals), to, protocol))
		return HR_DROP_LOOP;
	if (plan->filters != 0 && !hr_filter_allows(plan->config.filter, plan->filters, p, len, protocol))
		return HR_DROP_FILTER;
	if (!hr_rate_packet(&plan->rate_rx, &session->rx.rate_clock, work->now, len))
		return HR_DROP_RATE;
	const uint32_t mss = protocol == HR_PPP_IPV4 ? plan->mss4 : plan->mss6;
	if (mss != 0)
		clamp_mss(p, len, protocol, mss);
	if (d->flags & HR_FLAG_ECN_CE)
		mark_congestion(p, protocol);
	d->kind = HR_KIND_IP;
	return HR_OK;
}

/* A row of packets of one session, summed before it is added to what other threads add to. */
struct row {
	struct hr_session *session;
	uint64_t packets;
	uint64_t bytes;
};

static void settle(const struct hr_work *work, struct hr_flow *flow, struct row *row)
{
	if (row->packets != 0) {
		hr_add(&flow->packets, row->packets);
		hr_add(&flow->bytes, row->bytes);
		hr_note(&flow->data_ns, work->now);
	}
	row->packets = row->bytes = 0;
}

void hr_ip_inbound(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	struct row row = {NULL, 0, 0};

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const enum hr_status status = inbound(work, d, i);

		hr_end(work, d, status);
		if (status != HR_OK)
			continue;
		if (row.session != work->packet[i].session) {
			if (row.session != NULL)
				settle(work, &row.session->rx, &row);
			row.session = work->packet[i].session;
		}
		row.packets++;
		row.bytes += alive.packet[i].len;
	}
	if (row.session != NULL)
		settle(work, &row.session->rx, &row);
}

/* --- encap --- */

void hr_ip_check(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];

		if (d->kind != HR_KIND_IP)
			continue;
		const uint32_t version = alive.packet[i].len == 0 ? 0 : alive.packet[i].data[0] >> 4;
		d->ppp_proto = version == 6 ? HR_PPP_IPV6 : HR_PPP_IPV4;
		const enum hr_status status = whole(work, i, d->ppp_proto);
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}

/* Our own tunnel packets, routed into the tunnel: each would come out larger than it went in, and come back. */
static int is_our_tunnel(const struct hr_work *work, const struct hr_endpoint *remote, const uint8_t *p, uint32_t len,
			 uint32_t protocol)
{
	if (remote->family == (protocol == HR_PPP_IPV4 ? 4 : 6) &&
	    memcmp(remote->addr, destination_of(p, protocol), remote->family == 4 ? 4 : 16) == 0)
		return 1;
	if (!is_local_outer(atomic_load(&work->dp->locals), source_of(p, protocol), protocol))
		return 0;
	const uint32_t next = protocol == HR_PPP_IPV4 ? p[9] : p[6];
	const uint32_t header = protocol == HR_PPP_IPV4 ? (p[0] & 15u) * 4 : HEADER6;
	if (next == ESP)
		return 1;
	if (next != UDP || len < header + 8)
		return 0;
	const uint32_t port = hr_get16(p + header);
	return port == 4500 || port == 500 || port == 1701;
}

static enum hr_status outbound(struct hr_work *work, struct hr_desc *d, uint32_t i, const struct hr_endpoint *remote)
{
	struct hr_session *const session = work->packet[i].session;
	const struct hr_plan *const plan = work->packet[i].plan;
	const uint32_t protocol = d->ppp_proto;
	uint8_t *const p = work->packet[i].data;
	const uint32_t len = work->packet[i].len;

	if (protocol == HR_PPP_IPV4 ? !plan->open4 : !plan->open6)
		return HR_DROP_PPP_NOT_OPEN;
	if (is_loopback(destination_of(p, protocol), protocol) || is_own(plan, source_of(p, protocol), protocol) ||
	    is_our_tunnel(work, remote, p, len, protocol))
		return HR_DROP_LOOP;

	const int encrypt = hr_mppe_wanted(session, plan);
	if (encrypt < 0)
		return HR_DROP_MPPE_NOT_OPEN;
	/* MPPE's header and the protocol inside count as information */
	const uint32_t largest = plan->mru - (encrypt == HR_CCP_WRAP ? 4u : 0u);
	if (len > largest) {
		d->seq = largest;
		return HR_DROP_TOO_BIG;
	}
	if (!hr_rate_packet(&plan->rate_tx, &session->tx.rate_clock, work->now, len))
		return HR_DROP_RATE;
	const uint32_t mss = protocol == HR_PPP_IPV4 ? plan->mss4 : plan->mss6;
	if (mss != 0)
		clamp_mss(p, len, protocol, mss);
	work->packet[i].encrypt = (uint8_t)encrypt;
	work->encrypted += encrypt != HR_CCP_NOTHING;
	return HR_PENDING;
}

void hr_ip_outbound(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	struct row row = {NULL, 0, 0};
	struct hr_endpoint remote = {{0}, 0, 0, 0};
	const struct hr_peer *known = NULL; /* whose address `remote` is */

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];

		if (d->kind != HR_KIND_IP)
			continue;
		if (known != work->packet[i].peer) {
			known = work->packet[i].peer;
			hr_place_read(&known->remote, &remote);
		}
		const enum hr_status status = outbound(work, d, i, &remote);
		if (status != HR_PENDING) {
			hr_end(work, d, status);
			continue;
		}
		if (row.session != work->packet[i].session) {
			if (row.session != NULL)
				settle(work, &row.session->tx, &row);
			row.session = work->packet[i].session;
		}
		row.packets++;
		row.bytes += alive.packet[i].len;
	}
	if (row.session != NULL)
		settle(work, &row.session->tx, &row);
}
