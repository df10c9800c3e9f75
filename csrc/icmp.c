/* SPDX-License-Identifier: Apache-2.0
 *
 * icmp.c: what a router does with a packet that does not fit: tell the sender, or cut it into fragments.
 *
 *  +---------------+---------------+-------------------------------+
 *  |  type         |  code         |  checksum                     |   IPv4: 3, 4 (RFC 792, RFC 1191)
 *  +---------------+---------------+-------------------------------+   IPv6: 2, 0 (RFC 4443 section 3.2)
 *  |  IPv4: 16 bits 0, 16 bits MTU;  IPv6: 32 bits MTU             |
 *  +---------------------------------------------------------------+
 *  |  as much of the packet as fits ...
 */
#include "batch.h"
#include "gso.h"

enum {
	HEADER4 = 20,
	HEADER6 = 40,
	HEADER_ICMP = 8,
	ICMP = 1,
	ICMPV6 = 58,
	TTL = 64,
	LEAST4 = 576,  /* RFC 1812 section 4.3.2.3: an answer is no longer */
	LEAST6 = 1280, /* RFC 4443 section 2.4 (c) */
	MORE = 0x2000,
	DONT = 0x4000,
	OFFSET = 0x1fff
};

static uint32_t header_len(const uint8_t *p)
{
	return (p[0] & 15u) * 4;
}

static int is_ip4(const uint8_t *p, uint32_t len)
{
	return len >= HEADER4 && p[0] >> 4 == 4 && header_len(p) >= HEADER4 && hr_get16(p + 2) == len && header_len(p) <= len;
}

static int is_ip6(const uint8_t *p, uint32_t len)
{
	return len >= HEADER6 && p[0] >> 4 == 6 && hr_get16(p + 4) + (uint32_t)HEADER6 == len;
}

static void put_checksum(uint8_t *at, uint64_t sum)
{
	const uint16_t checksum = (uint16_t)~hr_sum_fold(sum);

	memcpy(at, &checksum, 2);
}

/* RFC 1122 section 3.2.2: no error about an error, about a fragment that is not the first, to or from what is not one host. */
static int may_answer4(const uint8_t *p, uint32_t len)
{
	const uint32_t header = header_len(p);
	static const uint8_t errors[] = {3, 4, 5, 11, 12};

	if (hr_get16(p + 6) & OFFSET)
		return 0;
	if (p[12] == 0 || p[12] == 127 || p[12] >= 224 || p[16] >= 224 || p[16] == 0)
		return 0;
	if (p[9] != ICMP)
		return 1;
	return len > header && memchr(errors, p[header], sizeof errors) == NULL;
}

static uint32_t too_big4(const uint8_t *p, uint32_t len, uint32_t mtu, uint8_t *reply, uint32_t room)
{
	const uint32_t most = LEAST4 - HEADER4 - HEADER_ICMP;
	const uint32_t quoted = len < most ? len : most;
	const uint32_t total = HEADER4 + HEADER_ICMP + quoted;

	if (!may_answer4(p, len) || total > room)
		return 0;
	memset(reply, 0, HEADER4 + HEADER_ICMP);
	reply[0] = 0x45;
	hr_put16(reply + 2, total);
	reply[8] = TTL;
	reply[9] = ICMP;
	memcpy(reply + 12, p + 16, 4);
	memcpy(reply + 16, p + 12, 4);
	put_checksum(reply + 10, hr_sum(reply, HEADER4));

	uint8_t *const icmp = reply + HEADER4;
	icmp[0] = 3;
	icmp[1] = 4;
	hr_put16(icmp + 6, mtu);
	memcpy(icmp + HEADER_ICMP, p, quoted);
	put_checksum(icmp + 2, hr_sum(icmp, HEADER_ICMP + quoted));
	return total;
}

/* RFC 4443 section 2.4 (e). "Too big" may be said to a multicast packet, but there is no source address for it here. */
static int may_answer6(const uint8_t *p, uint32_t len)
{
	static const uint8_t unspecified[16];

	if (p[8] == 0xff || p[24] == 0xff || memcmp(p + 8, unspecified, 16) == 0)
		return 0;
	return p[6] != ICMPV6 || (len > HEADER6 && p[HEADER6] >= 128 && p[HEADER6] != 137);
}

static uint32_t too_big6(const uint8_t *p, uint32_t len, uint32_t mtu, uint8_t *reply, uint32_t room)
{
	const uint32_t most = LEAST6 - HEADER6 - HEADER_ICMP;
	const uint32_t quoted = len < most ? len : most;
	const uint32_t total = HEADER6 + HEADER_ICMP + quoted;
	uint8_t tail[8] = {0};

	if (!may_answer6(p, len) || total > room)
		return 0;
	memset(reply, 0, HEADER6 + HEADER_ICMP);
	reply[0] = 0x60;
	hr_put16(reply + 4, HEADER_ICMP + quoted);
	reply[6] = ICMPV6;
	reply[7] = TTL;
	memcpy(reply + 8, p + 24, 16);
	memcpy(reply + 24, p + 8, 16);

	uint8_t *const icmp = reply + HEADER6;
	icmp[0] = 2;
	hr_put32(icmp + 4, mtu < LEAST6 ? LEAST6 : mtu); /* RFC 8201: no IPv6 link is smaller */
	memcpy(icmp + HEADER_ICMP, p, quoted);
	hr_put32(tail, HEADER_ICMP + quoted);
	tail[7] = ICMPV6;
	put_checksum(icmp + 2, hr_sum(reply + 8, 32) + hr_sum(tail, 8) + hr_sum(icmp, HEADER_ICMP + quoted));
	return total;
}

uint32_t hr_ip_too_big(const uint8_t *packet, uint32_t len, uint32_t mtu, uint8_t *reply, uint32_t room)
{
	if (is_ip4(packet, len))
		return too_big4(packet, len, mtu < HR_PACKET_MAX ? mtu : HR_PACKET_MAX, reply, room);
	return is_ip6(packet, len) ? too_big6(packet, len, mtu, reply, room) : 0;
}

int hr_ip_may_fragment(const uint8_t *packet, uint32_t len)
{
	return is_ip4(packet, len) && (hr_get16(packet + 6) & DONT) == 0;
}

/* RFC 791 section 3.2. The first fragment has all options, the others only those that say so in their first bit. */
static uint32_t copied_options(const uint8_t *p, uint32_t header, uint8_t *to)
{
	uint32_t n = 0;

	for (uint32_t at = HEADER4; at < header && p[at] != 0;) {
		if (p[at] == 1) {
			at++;
			continue;
		}
		if (at + 2 > header || p[at + 1] < 2 || at + p[at + 1] > header)
			break;
		if (p[at] & 0x80) {
			memcpy(to + n, p + at, p[at + 1]);
			n += p[at + 1];
		}
		at += p[at + 1];
	}
	while (n % 4 != 0)
		to[n++] = 0;
	return n;
}

uint32_t hr_ip_fragment(const uint8_t *packet, uint32_t len, uint32_t mtu, uint32_t *at, uint8_t *fragment, uint32_t room)
{
	if (!hr_ip_may_fragment(packet, len))
		return 0;
	const uint32_t all_headers = header_len(packet), payload = len - all_headers;
	const uint32_t flags = hr_get16(packet + 6);
	uint8_t options[40];
	uint32_t header = all_headers;

	if (*at >= payload || *at % 8 != 0)
		return 0;
	if (*at != 0)
		header = HEADER4 + copied_options(packet, all_headers, options);
	if (mtu < header + 8)
		return 0;
	const uint32_t most = (mtu - header) & ~7u;
	const uint32_t left = payload - *at;
	const int last = left <= mtu - header;
	const uint32_t size = last ? left : most;
	if (header + size > room)
		return 0;

	memcpy(fragment, packet, *at == 0 ? header : (uint32_t)HEADER4);
	if (*at != 0)
		memcpy(fragment + HEADER4, options, header - HEADER4);
	memcpy(fragment + header, packet + all_headers + *at, size);
	fragment[0] = (uint8_t)(0x40 | header / 4);
	hr_put16(fragment + 2, header + size);
	hr_put16(fragment + 6, (last ? flags & MORE : MORE) | ((flags & OFFSET) + *at / 8));
	hr_put16(fragment + 10, 0);
	put_checksum(fragment + 10, hr_sum(fragment, header));
	*at += size;
	return header + size;
}
