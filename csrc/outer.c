/* SPDX-License-Identifier: Apache-2.0
 *
 * outer.c: what is around ESP, and who sent it from where (RFC 3948, RFC 3947).
 */
#include "stages.h"
#include "tables.h"

enum {
	IPV4_HEADER = 20,
	PROTOCOL_ESP = 50,
	ECN_CE = 3,	    /* RFC 3168 */
	MARKER = 4,	    /* the octets of zero in front of IKE on port 4500 */
	ISAKMP_HEADER = 28, /* RFC 2408 section 3.1: cookies, next payload, version, exchange, flags, message id, length */
	ISAKMP_VERSION = 17,
	ISAKMP_LENGTH = 24,
	KEEPALIVE = 0xff
};

/* Port 4500. Four octets of zero announce IKE; they are also where an SPI of 0 would stand, which is never sent. What follows
 * the marker has the size of an ISAKMP header at least, and either a version that can be answered or a length field that is
 * right: what has neither is no IKE message by any reading. The rest of IKE's checks are IKE's. */
static enum hr_status natt(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	const uint8_t *const p = work->packet[i].data;
	const uint32_t len = work->packet[i].len;
	static const uint8_t zero[MARKER];

	if (len == 1 && p[0] == KEEPALIVE)
		return HR_KEEPALIVE;
	if (len < MARKER)
		return len != 0 && memcmp(p, zero, len) == 0 ? HR_DROP_NATT_MARKER : HR_DROP_ESP_SHORT;
	if (hr_get32(p) != 0)
		return HR_PENDING;
	if (len < MARKER + ISAKMP_HEADER)
		return HR_DROP_NATT_MARKER;
	const uint8_t *const isakmp = p + MARKER;
	const uint32_t major = isakmp[ISAKMP_VERSION] >> 4;
	if ((major == 0 || major > 2) && hr_get32(isakmp + ISAKMP_LENGTH) != len - MARKER)
		return HR_DROP_NATT_MARKER;
	hr_pull(work, i, MARKER);
	d->kind = HR_KIND_IKE;
	return HR_EXC_IKE;
}

/* A raw IPv4 socket hands over the header, of a datagram that the kernel has put together. */
static enum hr_status raw4(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	const uint8_t *const p = work->packet[i].data;
	const uint32_t len = work->packet[i].len;

	if (len < IPV4_HEADER || p[0] >> 4 != 4)
		return HR_DROP_OUTER_SHORT;
	const uint32_t header = (p[0] & 15u) * 4, total = hr_get16(p + 2);
	const int fragment = (hr_get16(p + 6) & 0x3fff) != 0;
	if (header < IPV4_HEADER || total < header || total > len || p[9] != PROTOCOL_ESP || fragment)
		return HR_DROP_OUTER_SHORT;
	if ((p[1] & ECN_CE) == ECN_CE)
		d->flags |= HR_FLAG_ECN_CE;
	if (d->remote.family == 0) {
		memcpy(d->remote.addr, p + 12, 4);
		d->remote.family = 4;
		d->remote.port = 0;
	}
	work->packet[i].len = total;
	hr_pull(work, i, header);
	return HR_PENDING;
}

void hr_outer_strip(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		enum hr_status status = HR_PENDING;

		d->flags &= HR_FLAG_ECN_CE;
		switch (d->kind) {
		case HR_KIND_UDP4500:
			status = natt(work, d, i);
			break;
		case HR_KIND_RAW4:
			status = raw4(work, d, i);
			break;
		case HR_KIND_UDP1701:
			if (!work->dp->allow_clear)
				status = HR_DROP_NOT_PROTECTED;
			break;
		default: /* HR_KIND_RAW6 begins with the SPI */
			break;
		}
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}

/* RFC 3947 section 4, RFC 3948 section 4: the side that is not behind a NAT sends to where the last authenticated packet came
 * from. "Last" is by sequence number, not by arrival: a packet that was overtaken on the way does not move the peer back. */
void hr_outer_follow(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	struct hr_endpoint at = {{0}, 0, 0, 0};
	const struct hr_peer *known = NULL; /* whose address `at` is */

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		const struct hr_desc *const d = &alive.desc[i];
		struct hr_peer *const peer = work->packet[i].peer;

		if (!work->packet[i].newest || d->kind != HR_KIND_UDP4500 || d->remote.family == 0)
			continue;
		const uint32_t traits = atomic_load_explicit(&peer->traits, memory_order_relaxed);
		if ((traits & HR_TRAIT_FOLLOW) == 0 || (traits & HR_TRAIT_UDP_ENCAP) == 0)
			continue;
		if (known != peer) {
			hr_place_read(&peer->remote, &at);
			known = peer;
		}
		if (hr_endpoint_equal(&at, &d->remote) || ((traits & HR_TRAIT_V6) != 0) != (d->remote.family == 6))
			continue;
		hr_place_write(&peer->remote, &d->remote);
		at = d->remote;
		hr_event_post(work, HR_EXC_MOVED, peer->index, peer->serial, &peer->moved);
	}
}

void hr_outer_address(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	struct hr_endpoint at = {{0}, 0, 0, 0};
	const struct hr_peer *known = NULL;
	uint32_t traits = 0;

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const struct hr_peer *const peer = work->packet[i].peer;

		if (known != peer) {
			known = peer;
			traits = atomic_load_explicit(&peer->traits, memory_order_relaxed);
			hr_place_read(&peer->remote, &at);
		}
		d->remote = at;
		d->listener = (uint8_t)traits;
		if (work->packet[i].sa == NULL) {
			d->kind = HR_KIND_SEND_UDP1701;
		} else if (traits & HR_TRAIT_UDP_ENCAP) {
			d->kind = HR_KIND_SEND_UDP4500;
		} else {
			d->kind = HR_KIND_SEND_RAW;
			d->remote.port = 0;
		}
		hr_end(work, d, HR_OK);
	}
}
