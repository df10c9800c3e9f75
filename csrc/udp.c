/* SPDX-License-Identifier: Apache-2.0
 *
 * udp.c: the UDP header inside ESP (RFC 768).
 *
 *  +-------------------------------+-------------------------------+
 *  |  source port                  |  destination port             |
 *  +-------------------------------+-------------------------------+
 *  |  length, header included      |  checksum, 0 = none           |
 *  +-------------------------------+-------------------------------+
 *
 * The checksum is not looked at: a NAT on the way changed the addresses that it covers, and ESP has vouched for every octet
 * (RFC 3948 section 3.1.2). Over IPv4 it is sent as 0. Over IPv6 many hosts refuse a checksum of 0 (RFC 8200 section 8.1), so
 * it is computed where both outer addresses are known.
 */
#include "gso.h"
#include "stages.h"
#include "tables.h"

enum { HEADER = 8, PROTOCOL = 17 };

void hr_udp_strip(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const uint8_t *const p = alive.packet[i].data;

		if (work->packet[i].sa == NULL) { /* in clear: the kernel has taken the header */
			d->l2tp_local_port = 1701;
			d->l2tp_remote_port = d->remote.port;
			continue;
		}
		const uint32_t len = alive.packet[i].len < HEADER ? 0 : hr_get16(p + 4);
		if (len < HEADER || len > alive.packet[i].len) {
			hr_end(work, d, HR_DROP_UDP_LENGTH);
			continue;
		}
		d->l2tp_remote_port = hr_get16(p);
		d->l2tp_local_port = hr_get16(p + 2);
		if (d->l2tp_local_port != atomic_load_explicit(&work->packet[i].peer->traits, memory_order_relaxed) >> 16) {
			hr_end(work, d, HR_DROP_SELECTOR);
			continue;
		}
		alive.packet[i].len = len; /* what follows is traffic flow padding (RFC 4303 section 2.7) */
		hr_pull(work, i, HEADER);
	}
}

/* Over the pseudo-header of RFC 8200 section 8.1, header and payload. 0 would mean "none" and is written as its other form. */
static void checksum6(const struct hr_work *work, const struct hr_peer *peer, uint8_t *p, uint32_t len)
{
	const struct hr_endpoint *const local =
	    &atomic_load(&work->dp->locals)->listener[atomic_load_explicit(&peer->traits, memory_order_relaxed) & 0xff];
	struct hr_endpoint remote;
	uint8_t lengths[8] = {0};

	if (local->family != 6)
		return;
	hr_place_read(&peer->remote, &remote);
	hr_put32(lengths, len);
	lengths[7] = PROTOCOL;
	const uint64_t sum = hr_sum(local->addr, 16) + hr_sum(remote.addr, 16) + hr_sum(lengths, 8) + hr_sum(p, len);
	const uint16_t checksum = (uint16_t)~hr_sum_fold(sum); /* in memory order */
	memcpy(p + 6, checksum == 0 ? "\xff\xff" : (const char *)&checksum, 2);
}

void hr_udp_frame(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const struct hr_plan *const plan = work->packet[i].plan;

		if (work->packet[i].sa == NULL)
			continue;
		if (alive.packet[i].len > HR_PACKET_MAX - HEADER) {
			hr_end(work, d, HR_DROP_UDP_LENGTH);
			continue;
		}
		uint8_t *const p = hr_push(work, i, HEADER);
		hr_put16(p, plan != NULL ? plan->local_port : d->l2tp_local_port);
		hr_put16(p + 2, plan != NULL ? plan->remote_port : d->l2tp_remote_port);
		hr_put16(p + 4, alive.packet[i].len);
		hr_put16(p + 6, 0);
		if (atomic_load_explicit(&work->packet[i].peer->traits, memory_order_relaxed) & HR_TRAIT_V6)
			checksum6(work, work->packet[i].peer, p, alive.packet[i].len);
	}
}
