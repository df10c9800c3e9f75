/* SPDX-License-Identifier: Apache-2.0
 *
 * vj.c: Van Jacobson's compression of TCP/IP headers (RFC 1144). The forms are drawn in vj.h.
 */
#include "vj.h"

#include <string.h>

#include "batch.h"

enum changes { C = 0x40, I = 0x20, P = 0x10, S = 0x08, A = 0x04, W = 0x02, U = 0x01, ECHOED = S | W | U, DATA = S | A | W | U };

enum {
	IP_LEAST = 20,
	TCP_LEAST = 20,
	/* in the IP header */
	LENGTH = 2,
	ID = 4,
	FRAGMENT = 6,
	TTL = 8,
	PROTOCOL = 9,
	IP_SUM = 10,
	SOURCE = 12,
	/* in the TCP header */
	SEQUENCE = 4,
	ACK = 8,
	OFFSET = 12,
	FLAGS = 13,
	WINDOW = 14,
	TCP_SUM = 16,
	URGENT = 18,
	/* flags of TCP */
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACKED = 0x10,
	URG = 0x20,
	TCP = 6,
	DELTA_MOST = 3,			     /* octets of one difference */
	COMPRESSED_MOST = 4 + 5 * DELTA_MOST /* mask, slot, checksum, differences */
};

void hr_vj_init(struct hr_vj *vj, uint32_t slots, uint32_t omit_slot)
{
	memset(vj, 0, sizeof *vj);
	vj->slots = slots;
	vj->omit_slot = omit_slot;
	vj->last = HR_VJ_SLOTS;
	vj->tossing = 1;
}

static uint32_t ip_len(const uint8_t *ip)
{
	return (ip[0] & 15u) * 4;
}

static uint32_t tcp_len(const uint8_t *tcp)
{
	return (tcp[OFFSET] >> 4) * 4u;
}

/* The length of both headers of an unfragmented IPv4 packet with TCP, all of it there; 0 for anything else. `protocol` is what
 * stands in its place: a slot in a packet that goes whole. */
static uint32_t headers(const uint8_t *ip, uint32_t len, uint32_t protocol)
{
	if (len < IP_LEAST + TCP_LEAST || ip[0] >> 4 != 4 || protocol != TCP || (hr_get16(ip + FRAGMENT) & 0x3fff) != 0)
		return 0;
	const uint32_t first = ip_len(ip);
	if (first < IP_LEAST || first + TCP_LEAST > len || hr_get16(ip + LENGTH) != len)
		return 0;
	const uint32_t second = tcp_len(ip + first);
	return second >= TCP_LEAST && first + second <= len ? first + second : 0;
}

/* --- sender ------------------------------------------------------------------------------------------------------------- */

struct deltas {
	uint8_t octets[COMPRESSED_MOST];
	uint32_t n;
};

static void put(struct deltas *d, uint32_t value)
{
	if (value - 1 < 255) {
		d->octets[d->n++] = (uint8_t)value;
	} else {
		d->octets[d->n] = 0;
		hr_put16(d->octets + d->n + 1, value);
		d->n += DELTA_MOST;
	}
}

static int same_connection(const struct hr_vj_slot *slot, const uint8_t *ip, const uint8_t *tcp)
{
	return slot->len != 0 && memcmp(slot->header + SOURCE, ip + SOURCE, 8) == 0 &&
	       memcmp(slot->header + ip_len(slot->header), tcp, 4) == 0;
}

/* The slot of the packet's connection, or the one that was not used for longest, emptied. */
static struct hr_vj_slot *find(struct hr_vj *vj, const uint8_t *ip, const uint8_t *tcp)
{
	if (same_connection(&vj->slot[vj->latest], ip, tcp))
		return &vj->slot[vj->latest];
	struct hr_vj_slot *oldest = &vj->slot[0];
	for (uint32_t n = 0; n < vj->slots; n++) {
		struct hr_vj_slot *const slot = &vj->slot[n];
		if (same_connection(slot, ip, tcp))
			return slot;
		if (vj->clock - slot->used > vj->clock - oldest->used)
			oldest = slot;
	}
	oldest->len = 0;
	return oldest;
}

/* Whether everything is the same of which the short form says nothing. */
static int predictable(const uint8_t *old, const uint8_t *ip, uint32_t first, uint32_t whole)
{
	const uint8_t *const was = old + first, *const tcp = ip + first;

	return old[0] == ip[0] && old[1] == ip[1] && hr_get16(old + FRAGMENT) == hr_get16(ip + FRAGMENT) &&
	       old[TTL] == ip[TTL] && was[OFFSET] == tcp[OFFSET] && ((was[FLAGS] ^ tcp[FLAGS]) & ~(PSH | URG)) == 0 &&
	       memcmp(old + IP_LEAST, ip + IP_LEAST, first - IP_LEAST) == 0 &&
	       memcmp(was + TCP_LEAST, tcp + TCP_LEAST, whole - first - TCP_LEAST) == 0;
}

/* The differences, or -1 if the packet has to go whole. */
static int differences(const uint8_t *old, const uint8_t *ip, uint32_t first, uint32_t whole, struct deltas *d)
{
	const uint8_t *const was = old + first, *const tcp = ip + first;
	const uint32_t data_before = hr_get16(old + LENGTH) - whole;
	uint32_t changes = 0;

	if (tcp[FLAGS] & URG) {
		put(d, hr_get16(tcp + URGENT));
		changes |= U;
	} else if ((was[FLAGS] & URG) != 0 || hr_get16(tcp + URGENT) != hr_get16(was + URGENT)) {
		return -1; /* some receivers would keep the flag */
	}
	const uint32_t window = (uint32_t)(hr_get16(tcp + WINDOW) - hr_get16(was + WINDOW)) & 0xffff;
	if (window != 0) {
		put(d, window);
		changes |= W;
	}
	const uint32_t ack = hr_get32(tcp + ACK) - hr_get32(was + ACK);
	const uint32_t sequence = hr_get32(tcp + SEQUENCE) - hr_get32(was + SEQUENCE);
	if (ack > 0xffff || sequence > 0xffff)
		return -1;
	if (ack != 0) {
		put(d, ack);
		changes |= A;
	}
	if (sequence != 0) {
		put(d, sequence);
		changes |= S;
	}
	if (changes == ECHOED || changes == DATA)
		return -1; /* these mean something else */
	/* Nothing new: an acknowledgement that is followed by data; else a repetition, from which the receiver is to recover.
	 */
	if (changes == 0 && (hr_get16(ip + LENGTH) == hr_get16(old + LENGTH) || data_before != 0))
		return -1;
	if (changes == (S | A) && sequence == ack && sequence == data_before) {
		changes = ECHOED;
		d->n = 0;
	} else if (changes == S && sequence == data_before) {
		changes = DATA;
		d->n = 0;
	}
	const uint32_t id = (uint32_t)(hr_get16(ip + ID) - hr_get16(old + ID)) & 0xffff;
	if (id != 1) {
		put(d, id);
		changes |= I;
	}
	return (int)(changes | (tcp[FLAGS] & PSH ? P : 0u));
}

enum hr_vj_form hr_vj_compress(struct hr_vj *vj, uint8_t **packet, uint32_t *len)
{
	uint8_t *const ip = *packet;
	const uint32_t whole = *len < IP_LEAST ? 0 : headers(ip, *len, ip[PROTOCOL]);

	if (whole == 0)
		return HR_VJ_IP;
	const uint32_t first = ip_len(ip);
	uint8_t *const tcp = ip + first;
	if ((tcp[FLAGS] & (FIN | SYN | RST | ACKED)) != ACKED)
		return HR_VJ_IP;

	struct hr_vj_slot *const slot = find(vj, ip, tcp);
	const uint8_t number = (uint8_t)(slot - vj->slot);
	struct deltas d = {.n = 0};
	const int changes = slot->len == whole && predictable(slot->header, ip, first, whole)
				? differences(slot->header, ip, first, whole, &d)
				: -1;
	slot->used = ++vj->clock;
	slot->len = (uint16_t)whole;
	memcpy(slot->header, ip, whole);
	vj->latest = number;
	const int omit = vj->omit_slot && vj->last == number;
	vj->last = number;
	if (changes < 0) {
		ip[PROTOCOL] = number;
		return HR_VJ_UNCOMPRESSED;
	}
	/* Mask, slot, checksum and differences are fewer octets than both headers: 19 at most. */
	uint8_t *at = ip + whole - d.n;
	uint8_t sum[2] = {tcp[TCP_SUM], tcp[TCP_SUM + 1]};
	memcpy(at, d.octets, d.n);
	memcpy(at -= 2, sum, 2);
	if (!omit)
		*--at = number;
	*--at = (uint8_t)(changes | (omit ? 0 : C));
	*len -= (uint32_t)(at - ip);
	*packet = at;
	return HR_VJ_COMPRESSED;
}

/* --- receiver ----------------------------------------------------------------------------------------------------------- */

static uint64_t add(uint64_t sum, const uint8_t *p, uint32_t len)
{
	for (; len > 1; len -= 2, p += 2)
		sum += hr_get16(p);
	return len != 0 ? sum + ((uint32_t)p[0] << 8) : sum;
}

static uint32_t fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint32_t)sum;
}

/* TCP's checksum: the header in one place, the data in another. */
static int tcp_sum_good(const uint8_t *header, uint32_t whole, const uint8_t *data, uint32_t len)
{
	const uint32_t first = ip_len(header);
	uint64_t sum = add(TCP + whole - first + len, header + SOURCE, 8);

	sum = add(sum, header + first, whole - first);
	return fold(add(sum, data, len)) == 0xffff;
}

struct reader {
	const uint8_t *at, *end;
	int short_of;
};

static uint32_t take(struct reader *r, uint32_t octets)
{
	if ((uint32_t)(r->end - r->at) < octets) {
		r->short_of = 1;
		return 0;
	}
	r->at += octets;
	return octets == 1 ? r->at[-1] : hr_get16(r->at - 2);
}

static uint32_t take_delta(struct reader *r)
{
	const uint32_t octet = take(r, 1);

	return octet != 0 ? octet : take(r, 2);
}

static void add16(uint8_t *p, uint32_t delta)
{
	hr_put16(p, (hr_get16(p) + delta) & 0xffff);
}

static void add32(uint8_t *p, uint32_t delta)
{
	hr_put32(p, hr_get32(p) + delta);
}

static enum hr_vj_result toss(struct hr_vj *vj, enum hr_vj_result why)
{
	vj->tossing = 1;
	return why;
}

/* A packet that came whole: its header is the one to build on. */
static enum hr_vj_result learn(struct hr_vj *vj, const uint8_t *in, uint32_t len, uint8_t *header, uint32_t *header_len)
{
	const uint32_t total = len < IP_LEAST ? 0 : hr_get16(in + LENGTH); /* padding may follow (RFC 1661 section 5) */
	const uint32_t whole = total > len ? 0 : headers(in, total, TCP);

	if (whole == 0 || in[PROTOCOL] >= vj->slots)
		return toss(vj, HR_VJ_MALFORMED);
	struct hr_vj_slot *const slot = &vj->slot[in[PROTOCOL]];
	memcpy(header, in, whole);
	header[PROTOCOL] = TCP;
	if (fold(add(0, header, ip_len(header))) != 0xffff)
		return toss(vj, HR_VJ_MALFORMED);
	memcpy(slot->header, header, whole);
	slot->len = (uint16_t)whole;
	vj->last = in[PROTOCOL];
	vj->tossing = 0;
	*header_len = whole;
	return HR_VJ_OK;
}

/* Apply the differences to a copy of the slot's header. */
static void apply(uint8_t *header, uint32_t whole, uint32_t changes, struct reader *r)
{
	uint8_t *const tcp = header + ip_len(header);
	const uint32_t data_before = hr_get16(header + LENGTH) - whole;

	tcp[FLAGS] = (uint8_t)((tcp[FLAGS] & ~(PSH | URG)) | (changes & P ? PSH : 0));
	if ((changes & DATA) == ECHOED || (changes & DATA) == DATA) {
		if ((changes & DATA) == ECHOED)
			add32(tcp + ACK, data_before);
		add32(tcp + SEQUENCE, data_before);
	} else {
		if (changes & U) {
			tcp[FLAGS] |= URG;
			hr_put16(tcp + URGENT, take_delta(r));
		}
		if (changes & W)
			add16(tcp + WINDOW, take_delta(r));
		if (changes & A)
			add32(tcp + ACK, take_delta(r));
		if (changes & S)
			add32(tcp + SEQUENCE, take_delta(r));
	}
	add16(header + ID, changes & I ? take_delta(r) : 1);
}

static enum hr_vj_result rebuild(struct hr_vj *vj, const uint8_t *in, uint32_t len, uint8_t *header, uint32_t *header_len,
				 const uint8_t **payload)
{
	struct reader r = {in, in + len, 0};
	const uint32_t changes = take(&r, 1);

	if (r.short_of || (changes & 0x80) != 0)
		return toss(vj, HR_VJ_MALFORMED);
	if (changes & C) {
		const uint32_t number = take(&r, 1);
		if (r.short_of || number >= vj->slots)
			return toss(vj, HR_VJ_MALFORMED);
		vj->last = number;
		vj->tossing = 0;
	} else if (vj->tossing || vj->last >= vj->slots) {
		return HR_VJ_LOST;
	}
	struct hr_vj_slot *const slot = &vj->slot[vj->last];
	const uint32_t whole = slot->len;
	if (whole == 0)
		return HR_VJ_LOST;
	memcpy(header, slot->header, whole);
	uint8_t *const tcp = header + ip_len(header);
	hr_put16(tcp + TCP_SUM, take(&r, 2));
	apply(header, whole, changes, &r);
	const uint32_t rest = (uint32_t)(r.end - r.at);
	if (r.short_of || whole + rest > HR_PACKET_MAX) {
		slot->len = 0;
		return toss(vj, HR_VJ_MALFORMED);
	}
	hr_put16(header + LENGTH, whole + rest);
	hr_put16(header + IP_SUM, 0);
	hr_put16(header + IP_SUM, ~fold(add(0, header, ip_len(header))) & 0xffff);
	if (!tcp_sum_good(header, whole, r.at, rest)) {
		slot->len = 0; /* a packet before this one is missing */
		return HR_VJ_LOST;
	}
	memcpy(slot->header, header, whole);
	*header_len = whole;
	*payload = r.at;
	return HR_VJ_OK;
}

enum hr_vj_result hr_vj_expand(struct hr_vj *vj, enum hr_vj_form form, const uint8_t *in, uint32_t len, uint8_t *header,
			       uint32_t *header_len, const uint8_t **payload, uint32_t *payload_len)
{
	enum hr_vj_result result;

	if (form == HR_VJ_UNCOMPRESSED) {
		result = learn(vj, in, len, header, header_len);
		if (result == HR_VJ_OK)
			*payload = in + *header_len;
	} else {
		result = rebuild(vj, in, len, header, header_len, payload);
	}
	if (result == HR_VJ_OK)
		*payload_len = (uint32_t)(in + len - *payload);
	return result;
}
