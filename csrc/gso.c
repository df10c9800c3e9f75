/* SPDX-License-Identifier: Apache-2.0
 *
 * gso.c: cut large segments, join small ones.
 *
 *   | IPv4 or IPv6 | TCP, with options | payload, up to 64 KiB                     |
 *   | IP' | TCP' | payload 0 |  | IP' | TCP' | payload 1 |  ...  | IP' | TCP' | rest |
 *
 * What differs between the segments (and so must agree when they are joined): the lengths, the IPv4 identification, which
 * counts up, the TCP sequence number, FIN and PSH (last segment only), CWR (first only), and the checksums.
 */
#include "gso.h"

#include <string.h>

enum {
	IP4_HEADER = 20,
	IP6_HEADER = 40,
	TCP_HEADER = 20,
	UDP_HEADER = 8,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	TCP_CHECK = 16, /* offset of the checksum */
	UDP_CHECK = 6,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_CWR = 0x80
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

/* --- checksums ---------------------------------------------------------------------------------------------------- */

/* Words of 64 bits, taken apart into their 32-bit halves, which are added into 64-bit accumulators: no carries to look after,
 * and nothing but loads, masks, shifts and additions on two words at a time (GNU C vectors, which every 64-bit processor has).
 * The sum of 2^16 such words stays below 2^49. */
typedef uint64_t pair __attribute__((vector_size(16)));
typedef pair loose_pair __attribute__((aligned(1), may_alias));

static inline pair load(const uint8_t *at)
{
	return *(const loose_pair *)at;
}

static inline void store(uint8_t *at, pair word)
{
	*(loose_pair *)at = word;
}

static inline pair halves(pair word)
{
	return (word & 0xffffffff) + (word >> 32);
}

/* What is left, less than 16 octets. */
static uint64_t sum_rest(const uint8_t *data, size_t len)
{
	uint64_t sum = 0;
	uint32_t word;
	for (; len >= 4; data += 4, len -= 4) {
		memcpy(&word, data, 4);
		sum += word;
	}
	uint8_t tail[4] = {0};
	for (size_t i = 0; i < len; i++)
		tail[i] = data[i];
	memcpy(&word, tail, 4);
	return sum + word;
}

uint64_t hr_sum(const uint8_t *data, size_t len)
{
	pair a = {0}, b = {0};
	for (; len >= 64; data += 64, len -= 64) {
		a += halves(load(data)) + halves(load(data + 16));
		b += halves(load(data + 32)) + halves(load(data + 48));
	}
	for (; len >= 16; data += 16, len -= 16)
		a += halves(load(data));
	a += b;
	return a[0] + a[1] + sum_rest(data, len);
}

uint64_t hr_sum_copy(uint8_t *restrict to, const uint8_t *restrict from, size_t len)
{
	pair a = {0}, b = {0};
	for (; len >= 64; to += 64, from += 64, len -= 64) {
		const pair w0 = load(from), w1 = load(from + 16), w2 = load(from + 32), w3 = load(from + 48);
		store(to, w0);
		store(to + 16, w1);
		store(to + 32, w2);
		store(to + 48, w3);
		a += halves(w0) + halves(w1);
		b += halves(w2) + halves(w3);
	}
	memcpy(to, from, len);
	a += b;
	return a[0] + a[1] + hr_sum(from, len);
}

uint16_t hr_sum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void store_sum(uint8_t *p, uint16_t sum)
{
	memcpy(p, &sum, 2);
}

/* Addresses, protocol and length of the transport part (RFC 9293 section 3.1, RFC 8200 section 8.1). */
static uint64_t pseudo_sum(const uint8_t *ip, uint8_t proto, uint32_t len)
{
	uint8_t word[8] = {0};
	put32(word, len);
	word[7] = proto;
	uint64_t addresses = ip[0] >> 4 == 4 ? hr_sum(ip + 12, 8) : hr_sum(ip + 8, 32);
	return addresses + hr_sum(word, 8);
}

static void ip4_sum(uint8_t *ip)
{
	uint32_t ihl = (ip[0] & 15u) * 4u;
	put16(ip + 10, 0);
	store_sum(ip + 10, (uint16_t)~hr_sum_fold(hr_sum(ip, ihl)));
}

/* --- one packet as it stands --------------------------------------------------------------------------------------- */

enum hr_status hr_ip_whole(const uint8_t *packet, uint32_t held, uint32_t len, uint32_t *total)
{
	if (held < 1)
		return HR_DROP_TUN_MALFORMED;
	if (packet[0] >> 4 == 4 && held >= IP4_HEADER) {
		uint32_t ihl = (packet[0] & 15u) * 4u;
		*total = get16(packet + 2);
		if (ihl >= IP4_HEADER && ihl <= *total && *total <= len)
			return HR_OK;
	} else if (packet[0] >> 4 == 6 && held >= IP6_HEADER) {
		*total = IP6_HEADER + (uint32_t)get16(packet + 4);
		if (*total <= len)
			return HR_OK;
	}
	return HR_DROP_TUN_MALFORMED;
}

enum hr_status hr_gso_complete(const struct hr_vnet *vnet, uint8_t *packet, uint32_t len)
{
	if (vnet->hdr_len > len)
		return HR_DROP_GSO_MALFORMED;
	if (!(vnet->flags & HR_VNET_NEEDS_CSUM))
		return HR_OK;
	uint32_t start = vnet->csum_start;
	uint32_t at = start + vnet->csum_offset;
	if (start >= len || at + 2 > len)
		return HR_DROP_GSO_MALFORMED;
	/* The field holds the sum of the pseudo header already. */
	uint16_t sum = (uint16_t)~hr_sum_fold(hr_sum(packet + start, len - start));
	if (sum == 0 && vnet->csum_offset == UDP_CHECK)
		sum = 0xffff; /* zero would mean "none" (RFC 768); both are the same number */
	store_sum(packet + at, sum);
	return HR_OK;
}

/* --- cutting --------------------------------------------------------------------------------------------------------- */

/* Where the headers of a large segment end, and what is wrong with it if they cannot be trusted. */
struct shape {
	uint32_t thoff, hlen;
	uint8_t proto;
};

static enum hr_status gso_shape(const struct hr_vnet *vnet, const uint8_t *packet, uint32_t len, uint32_t held,
				struct shape *shape)
{
	uint32_t type = vnet->type & ~(uint32_t)HR_VNET_ECN;
	uint32_t version = packet[0] >> 4;
	uint32_t least = version == 4 ? (packet[0] & 15u) * 4u : IP6_HEADER;
	uint8_t proto = version == 4 ? packet[9] : packet[6];

	if (!(vnet->flags & HR_VNET_NEEDS_CSUM) || vnet->hdr_len > len)
		return HR_DROP_GSO_MALFORMED;
	if (type == HR_VNET_TCPV4 ? version != 4 : type == HR_VNET_TCPV6 ? version != 6 : type != HR_VNET_UDP_L4)
		return HR_DROP_GSO_MALFORMED;
	shape->proto = type == HR_VNET_UDP_L4 ? PROTO_UDP : PROTO_TCP;
	shape->thoff = vnet->csum_start;
	/* IPv6 extension headers may stand between, and are repeated in every segment. A fragment is never segmented. */
	if (proto == shape->proto ? shape->thoff != least : version == 4 || shape->thoff < least + 8)
		return HR_DROP_GSO_MALFORMED;
	if (version == 4 && (get16(packet + 6) & 0x3fff))
		return HR_DROP_GSO_MALFORMED;
	uint32_t fixed = shape->proto == PROTO_TCP ? TCP_HEADER : UDP_HEADER;
	if (shape->thoff + fixed > held || vnet->csum_offset != (shape->proto == PROTO_TCP ? TCP_CHECK : UDP_CHECK))
		return HR_DROP_GSO_MALFORMED;
	shape->hlen = shape->thoff + fixed;
	if (shape->proto == PROTO_TCP) {
		uint32_t doff = (packet[shape->thoff + 12] >> 4) * 4u;
		if (doff < TCP_HEADER)
			return HR_DROP_GSO_MALFORMED;
		shape->hlen = shape->thoff + doff;
	}
	if (shape->hlen > held || shape->hlen >= len || shape->hlen > HR_GSO_HEADERS)
		return HR_DROP_GSO_MALFORMED;
	return HR_OK;
}

/* Headers of segment `index` of `n`, over `payload` octets that lie in place and whose sum is known. */
static void gso_header(const uint8_t *original, const struct shape *shape, uint8_t *packet, uint32_t index, uint32_t n,
		       uint32_t size, uint32_t payload, uint64_t payload_sum)
{
	uint8_t *th = packet + shape->thoff;
	uint32_t tlen = shape->hlen - shape->thoff + payload;

	memcpy(packet, original, shape->hlen);
	if (original[0] >> 4 == 4) {
		put16(packet + 2, shape->thoff + tlen);
		put16(packet + 4, get16(original + 4) + index);
		ip4_sum(packet);
	} else {
		put16(packet + 4, shape->thoff - IP6_HEADER + tlen);
	}
	uint32_t check = TCP_CHECK;
	if (shape->proto == PROTO_TCP) {
		put32(th + 4, get32(th + 4) + index * size);
		if (index + 1 < n)
			th[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (index > 0)
			th[13] &= (uint8_t)~TCP_CWR;
	} else {
		check = UDP_CHECK;
		put16(th + 4, tlen);
	}
	put16(th + check, 0);
	uint64_t sum = pseudo_sum(packet, shape->proto, tlen) + hr_sum(th, shape->hlen - shape->thoff) + payload_sum;
	uint16_t folded = (uint16_t)~hr_sum_fold(sum);
	store_sum(th + check, folded == 0 && shape->proto == PROTO_UDP ? 0xffff : folded);
}

uint32_t hr_gso_split(const struct hr_vnet *vnet, const struct hr_gso_read *in, uint32_t len[HR_GSO_SEGMENTS],
		      enum hr_status *why)
{
	struct shape shape;
	uint32_t total = 0;

	*why = hr_ip_whole(in->packet, in->held, in->len, &total);
	if (*why != HR_OK)
		return 0;
	*why = gso_shape(vnet, in->packet, total, in->held, &shape);
	if (*why != HR_OK)
		return 0;

	uint32_t size = vnet->gso_size;
	uint32_t left = total - shape.hlen;
	if (size == 0 || left > (uint64_t)size * HR_GSO_SEGMENTS) {
		*why = HR_DROP_GSO_MALFORMED;
		return 0;
	}
	uint32_t n = (left + size - 1) / size;
	if (shape.hlen + (left < size ? left : size) > in->cap) {
		*why = HR_DROP_TOO_BIG;
		return 0;
	}

	uint8_t original[HR_GSO_HEADERS];
	memcpy(original, in->packet, shape.hlen);

	/* The first segment stays where it was read to; what else the first slot holds moves in front of the rest. Where the
	 * slot is as large as a segment, that is nothing. */
	uint32_t payload = left < size ? left : size;
	uint32_t first = shape.hlen + payload;
	const uint8_t *from = in->rest - (in->held - first);
	memcpy(in->rest - (in->held - first), in->packet + first, in->held - first);
	uint64_t sum = hr_sum(in->packet + shape.hlen, payload);

	for (uint32_t i = 0;;) {
		gso_header(original, &shape, in->packet + (size_t)i * in->stride, i, n, size, payload, sum);
		len[i] = shape.hlen + payload;
		left -= payload;
		if (++i == n)
			break;
		payload = left < size ? left : size;
		sum = hr_sum_copy(in->packet + (size_t)i * in->stride + shape.hlen, from, payload);
		from += payload;
	}
	return n;
}

/* --- joining --------------------------------------------------------------------------------------------------------- */

/* A packet that may stand in a run, or HR_VNET_NONE. Options in IPv4, fragments, extension headers and TCP flags other than
 * ACK and PSH keep it out. */
static uint8_t mergeable(const uint8_t *p, uint32_t len, uint32_t what, struct hr_run *run)
{
	uint32_t thoff;
	uint8_t proto;

	if (len < IP4_HEADER + UDP_HEADER + 1)
		return HR_VNET_NONE;
	if (p[0] == 0x45) {
		if (get16(p + 2) != len || (get16(p + 6) & 0x3fff))
			return HR_VNET_NONE;
		thoff = IP4_HEADER;
		proto = p[9];
	} else if (p[0] >> 4 == 6 && len > IP6_HEADER + UDP_HEADER && IP6_HEADER + (uint32_t)get16(p + 4) == len) {
		thoff = IP6_HEADER;
		proto = p[6];
	} else {
		return HR_VNET_NONE;
	}
	run->thoff = (uint8_t)thoff;
	const uint8_t *th = p + thoff;
	if (proto == PROTO_TCP && (what & HR_MERGE_TCP) && len > thoff + TCP_HEADER) {
		uint32_t doff = (th[12] >> 4) * 4u;
		if (doff < TCP_HEADER || thoff + doff >= len || (th[13] & ~TCP_PSH) != TCP_ACK || (th[12] & 15))
			return HR_VNET_NONE;
		run->hlen = (uint8_t)(thoff + doff);
		run->size = (uint16_t)(len - run->hlen);
		run->next_seq = get32(th + 4) + run->size;
		run->open = !(th[13] & TCP_PSH);
		return thoff == IP4_HEADER ? HR_VNET_TCPV4 : HR_VNET_TCPV6;
	}
	if (proto == PROTO_UDP && (what & HR_MERGE_UDP)) {
		if (get16(th + 4) != len - thoff || get16(th + UDP_CHECK) == 0)
			return HR_VNET_NONE;
		run->hlen = (uint8_t)(thoff + UDP_HEADER);
		run->size = (uint16_t)(len - run->hlen);
		run->open = 1;
		return HR_VNET_UDP_L4;
	}
	return HR_VNET_NONE;
}

static int sums_right(const uint8_t *p, uint32_t len, const struct hr_run *run)
{
	uint8_t proto = run->type == HR_VNET_UDP_L4 ? PROTO_UDP : PROTO_TCP;
	if (run->thoff == IP4_HEADER && hr_sum_fold(hr_sum(p, IP4_HEADER)) != 0xffff)
		return 0;
	uint64_t sum = pseudo_sum(p, proto, len - run->thoff) + hr_sum(p + run->thoff, len - run->thoff);
	return hr_sum_fold(sum) == 0xffff;
}

/* Addresses and ports; both packets have the same version and no options. */
static int same_flow(const uint8_t *a, const uint8_t *b, uint32_t thoff)
{
	if (a[0] != b[0] && (a[0] >> 4 != 6 || b[0] >> 4 != 6))
		return 0;
	uint32_t addresses = thoff == IP4_HEADER ? 12 : 8;
	return memcmp(a + addresses, b + addresses, thoff - addresses + 4) == 0;
}

/* Everything else that a joined segment can have only once. `count` packets of the run stand before b. */
static int same_headers(const uint8_t *a, const uint8_t *b, const struct hr_run *run)
{
	if (run->thoff == IP4_HEADER) {
		if (a[1] != b[1] || a[8] != b[8] || get16(a + 6) != get16(b + 6))
			return 0;
		/* Without don't-fragment the identification means something: it must be what cutting would make of it. */
		if (!(a[6] & 0x40) && (uint16_t)(get16(a + 4) + run->count) != get16(b + 4))
			return 0;
	} else if (memcmp(a, b, 4) != 0 || a[7] != b[7]) {
		return 0;
	}
	if (run->type == HR_VNET_UDP_L4)
		return 1;
	const uint8_t *ta = a + run->thoff, *tb = b + run->thoff;
	uint32_t options = (uint32_t)run->hlen - run->thoff - TCP_HEADER;
	return memcmp(ta + 8, tb + 8, 5) == 0 && memcmp(ta + 14, tb + 14, 2) == 0 && memcmp(ta + 18, tb + 18, 2 + options) == 0;
}

/* The ports begin the transport header, the destination ends right before it: fold them, and the source, to an index. */
static uint32_t flow_hash(const uint8_t *p, uint32_t thoff)
{
	uint64_t a, b;
	memcpy(&a, p + thoff - 4, 8); /* the last four octets of the destination, and the ports */
	memcpy(&b, thoff == IP4_HEADER ? p + 12 : p + 16, 8);
	a = (a ^ (b >> 32) ^ (b << 7)) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(a >> 56) % HR_MERGE_TABLE;
}

/* Try to put packet p (described by `lone`) behind the run. */
static int append(struct hr_run *run, const uint8_t *first, uint32_t first_len, const uint8_t *p, uint32_t len,
		  const struct hr_run *lone)
{
	if (!run->open || run->type != lone->type || run->hlen != lone->hlen || !same_headers(first, p, run))
		return 0;
	if (lone->size > run->size || run->bytes + lone->size > HR_GSO_BYTES || run->count >= HR_GSO_SEGMENTS)
		return 0;
	if (run->type != HR_VNET_UDP_L4 && run->next_seq != get32(p + run->thoff + 4))
		return 0;
	if (!run->checked) {
		if (!sums_right(first, first_len, run)) {
			run->open = 0;
			return 0;
		}
		run->checked = 1;
	}
	return sums_right(p, len, lone);
}

void hr_merge_plan(struct hr_merge *merge, const struct hr_batch *batch, uint32_t what)
{
	merge->runs = 0;
	memset(merge->table, 0, sizeof merge->table);
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *d = &batch->desc[i];
		if (d->status != HR_OK || d->kind != HR_KIND_IP)
			continue;
		const uint8_t *p = batch->arena + d->off;
		struct hr_run *run = &merge->run[merge->runs];
		*run = (struct hr_run){.first = (uint16_t)i, .last = (uint16_t)i, .count = 1, .bytes = d->len};
		if (what == HR_MERGE_NOTHING) {
			merge->runs++;
			continue;
		}
		run->type = mergeable(p, d->len, what, run);
		if (run->type == HR_VNET_NONE) {
			/* It may belong to a flow with an open run, say with a FIN: nothing of that flow may overtake it. */
			if (d->len >= IP4_HEADER + 4 && p[0] == 0x45)
				merge->table[flow_hash(p, IP4_HEADER)] = 0;
			else if (d->len >= IP6_HEADER + 4 && p[0] >> 4 == 6)
				merge->table[flow_hash(p, IP6_HEADER)] = 0;
			else
				memset(merge->table, 0, sizeof merge->table);
			run->open = 0;
			merge->runs++;
			continue;
		}
		uint16_t *entry = &merge->table[flow_hash(p, run->thoff)];
		if (*entry) {
			struct hr_run *old = &merge->run[*entry - 1];
			const struct hr_desc *first = &batch->desc[old->first];
			const uint8_t *q = batch->arena + first->off;
			if (old->thoff == run->thoff && same_flow(q, p, run->thoff) &&
			    append(old, q, first->len, p, d->len, run)) {
				merge->next[old->last] = (uint16_t)i;
				old->last = (uint16_t)i;
				old->count++;
				old->bytes += run->size;
				old->next_seq = run->next_seq;
				old->push |= !run->open;
				old->open = run->open && run->size == old->size;
				continue;
			}
		}
		*entry = (uint16_t)++merge->runs;
	}
}

void hr_merge_head(const struct hr_run *run, uint8_t *packet, struct hr_vnet *vnet)
{
	*vnet = (struct hr_vnet){0};
	if (run->count < 2)
		return;
	uint8_t proto = run->type == HR_VNET_UDP_L4 ? PROTO_UDP : PROTO_TCP;
	uint8_t *th = packet + run->thoff;
	uint32_t tlen = run->bytes - run->thoff;

	vnet->flags = HR_VNET_NEEDS_CSUM;
	vnet->type = run->type;
	vnet->hdr_len = run->hlen;
	vnet->gso_size = run->size;
	vnet->csum_start = run->thoff;
	vnet->csum_offset = proto == PROTO_TCP ? TCP_CHECK : UDP_CHECK;
	if (run->thoff == IP4_HEADER) {
		put16(packet + 2, run->bytes);
		ip4_sum(packet);
	} else {
		put16(packet + 4, tlen);
	}
	if (proto == PROTO_UDP)
		put16(th + 4, tlen);
	else if (run->push)
		th[13] |= TCP_PSH;
	store_sum(th + vnet->csum_offset, hr_sum_fold(pseudo_sum(packet, proto, tlen)));
}
