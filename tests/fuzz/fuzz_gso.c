/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariants of gso.c and ring.c under any input: nothing outside the slots is touched (the sanitizers say), a large segment
 * that is accepted is cut into whole packets with right checksums, and joining those packets again gives the segment back.
 *
 * `tests/fuzz/run fuzz_gso` fuzzes it. With -DHR_STANDALONE it is a program of its own that makes its input from a seed:
 * tests/dataplane/test_worker.py builds and runs that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gso.h"
#include "ring.h"

enum { CAP = 1400, STRIDE = 1664, HEAD = 128, REST = 65536 + 256 };

#define CHECK(condition)                                                                                                       \
	do {                                                                                                                   \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                        \
			abort();                                                                                               \
		}                                                                                                              \
	} while (0)

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

/* The slow, obvious way: one 16-bit word after the other. */
static uint32_t slow_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t slow_transport(const uint8_t *p, uint32_t len, uint32_t thoff, uint8_t proto)
{
	uint8_t pseudo[8] = {0, 0, 0, 0, 0, 0, 0, proto};
	uint32_t tlen = len - thoff;
	pseudo[2] = (uint8_t)(tlen >> 8);
	pseudo[3] = (uint8_t)tlen;
	uint32_t sum = slow_sum(pseudo, 8, 0);
	sum = p[0] >> 4 == 4 ? slow_sum(p + 12, 8, sum) : slow_sum(p + 8, 32, sum);
	return slow_sum(p + thoff, tlen, sum);
}

/* How often the interesting ways were gone. */
static unsigned long cuts, joins;

static void check_whole(const uint8_t *p, uint32_t len, uint32_t thoff)
{
	uint32_t total = 0;
	CHECK(hr_ip_whole(p, len, len, &total) == HR_OK && total == len);
	if (p[0] >> 4 == 4)
		CHECK(slow_sum(p, (p[0] & 15u) * 4, 0) == 0xffff);
	uint8_t proto = p[0] >> 4 == 4 ? p[9] : p[6];
	if (proto == 6 || proto == 17) /* not behind extension headers */
		CHECK(slow_transport(p, len, thoff, proto) == 0xffff);
}

/* Cut, check each packet, join, compare. */
static void cut_and_join(struct hr_vnet vnet, const uint8_t *packet, uint32_t len)
{
	static struct hr_desc desc[HR_BATCH_MAX];
	static struct hr_merge merge;
	uint8_t *slots = malloc((size_t)HR_GSO_SEGMENTS * STRIDE);
	uint8_t *rest = malloc(CAP + REST);
	uint32_t held = len < CAP ? len : CAP;
	struct hr_gso_read in = {slots + HEAD, rest + CAP, len, held, CAP, STRIDE};
	uint32_t lens[HR_GSO_SEGMENTS];
	enum hr_status why;

	memset(slots, 0xa5, (size_t)HR_GSO_SEGMENTS * STRIDE);
	memcpy(in.packet, packet, held);
	memcpy(in.rest, packet + held, len - held);
	uint32_t n = hr_gso_split(&vnet, &in, lens, &why);
	CHECK(n <= HR_GSO_SEGMENTS && (n == 0) == (why != HR_OK));
	CHECK(why == HR_OK || why == HR_DROP_TUN_MALFORMED || why == HR_DROP_GSO_MALFORMED || why == HR_DROP_TOO_BIG);
	cuts += n > 1;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *p = slots + (size_t)i * STRIDE + HEAD;
		CHECK(lens[i] <= CAP);
		check_whole(p, lens[i], vnet.csum_start);
		for (uint32_t k = HEAD + lens[i]; i && k < STRIDE; k++)
			CHECK(slots[(size_t)i * STRIDE + k] == 0xa5);
		desc[i] = (struct hr_desc){.off = i * STRIDE + HEAD, .len = lens[i], .status = HR_OK, .kind = HR_KIND_IP};
	}
	struct hr_batch batch = {slots, (uint64_t)HR_GSO_SEGMENTS * STRIDE, desc, n, 0};
	hr_merge_plan(&merge, &batch, HR_MERGE_TCP | HR_MERGE_UDP);
	uint32_t seen = 0;
	for (uint32_t r = 0; r < merge.runs; r++) {
		const struct hr_run *run = &merge.run[r];
		seen += run->count;
		struct hr_vnet out;
		hr_merge_head(run, slots + desc[run->first].off, &out);
		CHECK(run->count > 1 ? out.type == run->type && out.gso_size == run->size : out.type == HR_VNET_NONE);
		if (merge.runs != 1 || n < 2)
			continue;
		/* One run: it is the segment again, but for what cutting is allowed to change. */
		joins++;
		uint32_t total = 0, at = run->first;
		CHECK(hr_ip_whole(packet, held, len, &total) == HR_OK && run->bytes == total);
		uint8_t *joined = malloc(run->bytes);
		uint32_t used = desc[at].len;
		memcpy(joined, slots + desc[at].off, used);
		for (uint32_t k = 1; k < run->count; k++) {
			at = merge.next[at];
			memcpy(joined + used, slots + desc[at].off + run->hlen, desc[at].len - run->hlen);
			used += desc[at].len - run->hlen;
		}
		CHECK(used == run->bytes && memcmp(joined + run->hlen, packet + run->hlen, used - run->hlen) == 0);
		struct hr_vnet complete = {
		    .flags = out.flags, .hdr_len = out.hdr_len, .csum_start = out.csum_start, .csum_offset = out.csum_offset};
		CHECK(hr_gso_complete(&complete, joined, used) == HR_OK);
		check_whole(joined, used, run->thoff);
		CHECK(run->type == HR_VNET_UDP_L4 || memcmp(joined + run->thoff + 4, packet + run->thoff + 4, 8) == 0);
		free(joined);
	}
	CHECK(seen == n);
	free(rest);
	free(slots);
}

/* Any octets as a batch out of decap. */
static void join_anything(const uint8_t *data, size_t size)
{
	static struct hr_desc desc[HR_BATCH_MAX];
	static struct hr_merge merge;
	if (size > 4096)
		size = 4096;
	uint8_t *copy = malloc(size + 1);
	memcpy(copy, data, size);
	struct hr_batch batch = {copy, size, desc, 0, 0};
	for (size_t at = 0; at + 1 < size && batch.n < HR_BATCH_MAX;) {
		uint32_t len = data[at];
		at++;
		if (len > size - at)
			len = (uint32_t)(size - at);
		desc[batch.n++] = (struct hr_desc){.off = (uint32_t)at, .len = len, .status = HR_OK, .kind = HR_KIND_IP};
		at += len;
	}
	hr_merge_plan(&merge, &batch, HR_MERGE_TCP | HR_MERGE_UDP);
	uint32_t seen = 0;
	for (uint32_t r = 0; r < merge.runs; r++) {
		struct hr_vnet vnet;
		seen += merge.run[r].count;
		hr_merge_head(&merge.run[r], copy + desc[merge.run[r].first].off, &vnet);
	}
	CHECK(seen == batch.n);
	free(copy);
}

/* What goes into the ring comes out of it, in order and unchanged. */
static void ring(const uint8_t *data, size_t size)
{
	struct hr_ring r;
	static uint8_t out[1 << 16];
	CHECK(hr_ring_init(&r, 0) == 0);
	uint32_t sent[100], n = 0, m = 0;
	for (size_t i = 0; i + 2 < size && i < 100; i++) {
		if (data[i] & 1) {
			struct hr_desc d = {.len = (uint32_t)((get16(data + i) * 7) % 40000), .cookie = n};
			static uint8_t fill[40000];
			memset(fill, (int)(n & 0xff), d.len);
			if (hr_ring_push(&r, &d, fill, data[i + 1], n))
				sent[n++] = d.len;
			else
				CHECK(d.len > 1000 || hr_ring_backlog(&r) >= r.size / 8);
		} else {
			struct hr_desc d;
			int got = hr_ring_pop(&r, &d, out, sizeof out);
			CHECK(got == (m < n));
			if (got) {
				CHECK(d.cookie == m && d.len == sent[m]);
				for (uint32_t k = 0; k < d.len; k++)
					CHECK(out[k] == (m & 0xff));
				m++;
			}
		}
	}
	hr_ring_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hr_vnet vnet;
	if (size < sizeof vnet + 1)
		return 0;
	memcpy(&vnet, data, sizeof vnet);
	cut_and_join(vnet, data + sizeof vnet, (uint32_t)(size - sizeof vnet < 65535 ? size - sizeof vnet : 65535));
	uint32_t total;
	uint8_t *copy = malloc(size);
	memcpy(copy, data, size);
	hr_ip_whole(copy, (uint32_t)size, (uint32_t)size, &total);
	hr_gso_complete(&vnet, copy, (uint32_t)size);
	free(copy);
	join_anything(data, size);
	ring(data, size);
	return 0;
}

#ifdef HR_STANDALONE
static uint64_t state;

static uint32_t chance(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 11) % below);
}

/* A large segment as the kernel makes it; then, two times out of three, some octets of header or packet are changed. */
static uint32_t make(uint8_t *out)
{
	struct hr_vnet *vnet = (struct hr_vnet *)out;
	uint8_t *p = out + sizeof *vnet;
	int v6 = (int)chance(2), udp = (int)chance(2);
	uint32_t ip = v6 ? 40 : 20, options = udp ? 0 : chance(11) * 4;
	uint32_t hlen = ip + (udp ? 8 : 20 + options), size = 1 + chance(CAP - hlen + (chance(20) == 0) * 40);
	uint32_t segments = 1 + chance(HR_GSO_SEGMENTS + (chance(20) == 0) * 4);
	uint32_t payload = size * (segments - 1) + 1 + chance(size);
	if (payload > 65535 - hlen)
		payload = 65535 - hlen;
	uint32_t len = hlen + payload;
	for (uint32_t i = 0; i < len; i += 4) {
		uint32_t word = chance(0xffffffff);
		memcpy(p + i, &word, 4);
	}
	*vnet = (struct hr_vnet){HR_VNET_NEEDS_CSUM, udp ? HR_VNET_UDP_L4 : v6 ? HR_VNET_TCPV6 : HR_VNET_TCPV4,
				 (uint16_t)hlen,     (uint16_t)size,
				 (uint16_t)ip,	     udp ? 6 : 16};
	if (v6) {
		p[0] = 0x60;
		p[4] = (uint8_t)((len - 40) >> 8);
		p[5] = (uint8_t)(len - 40);
		p[6] = udp ? 17 : 6;
	} else {
		p[0] = 0x45;
		p[2] = (uint8_t)(len >> 8);
		p[3] = (uint8_t)len;
		p[6] = (uint8_t)(chance(2) << 6);
		p[7] = 0;
		p[9] = udp ? 17 : 6;
	}
	if (!udp) {
		p[ip + 12] = (uint8_t)((5 + options / 4) << 4);
		p[ip + 13] = (uint8_t)(0x10 | (chance(2) << 3));
	}
	for (uint32_t k = chance(3); k; k--) {
		uint32_t at = chance(2) ? chance((uint32_t)sizeof *vnet) : chance(len < 64 ? len : 64) + (uint32_t)sizeof *vnet;
		out[at] = chance(2) ? (uint8_t)chance(256) : (uint8_t)(out[at] ^ (1u << chance(8)));
	}
	uint32_t whole = len + (uint32_t)sizeof *vnet;
	return chance(10) == 0 ? 1 + chance(whole) : whole;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	if (state == 0)
		state = 1;
	uint8_t *whole = malloc(1 << 17);
	for (unsigned long i = 0; i < rounds; i++) {
		/* An own allocation of the right size, so that the sanitizer sees every octet read too far. */
		uint32_t len = make(whole);
		uint8_t *exact = malloc(len);
		memcpy(exact, whole, len);
		LLVMFuzzerTestOneInput(exact, len);
		free(exact);
	}
	free(whole);
	printf("%lu rounds, %lu cut, %lu joined again\n", rounds, cuts, joins);
	return 0;
}
#endif
