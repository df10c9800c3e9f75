/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariants of compression in the pipeline (ccp.c, mppc.c, deflate.c, vj.c, line.c) under any frame that a peer can send:
 * every frame ends with a status, lies within its slot or the spare room, and has grown no further than its peer may send;
 * nothing that was pieced together from a compressed TCP/IP header comes out with a wrong checksum; and a frame that was sent
 * by our own sender behind a reset is always understood.
 *
 * Input: a sequence of { which session, length (2), octets }.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "headrace.h"

enum { SLOT = 512, HEAD = 160, SPARE = 8192, SESSIONS = 5, MOST = 2 + 1500 + 4 };

#define CHECK(condition)                                                                                                       \
	do {                                                                                                                   \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                        \
			abort();                                                                                               \
		}                                                                                                              \
	} while (0)

static uint8_t arena[SLOT + SPARE];

static uint32_t sum(const uint8_t *p, uint32_t len, uint32_t from)
{
	for (uint32_t i = 0; i < len; i++)
		from += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (from >> 16)
		from = (from & 0xffff) + (from >> 16);
	return from;
}

/* MPPC; Deflate; MPPE with MPPC, stateful and stateless; headers alone. All have headers. */
static struct hr_dp *plane(uint32_t session[SESSIONS])
{
	const struct hr_dp_config config = {.max_peers = 1, .max_sas = 1, .max_sessions = SESSIONS, .allow_clear_l2tp = 1};
	const struct hr_peer_config peer = {.remote = {{127, 0, 0, 1}, 4, 0, 1}, .clear = 1};
	uint32_t index;

	CHECK(hr_init() == 0);
	struct hr_dp *const dp = hr_dp_new(&config);
	CHECK(dp != NULL && hr_peer_add(dp, &peer, &index) == 0);
	for (uint32_t n = 0; n < SESSIONS; n++) {
		const struct hr_session_config config_of = {.peer = index,
							    .local_tunnel = 1,
							    .local_session = (uint16_t)(n + 1),
							    .remote_tunnel = 1,
							    .remote_session = (uint16_t)(n + 1),
							    .mppe_policy = HR_MPPE_WHEN_OPEN,
							    .open4 = 1,
							    .open6 = 1};
		struct hr_mppe_config mppe = {.bits = n == 2 || n == 3 ? 128 : 0,
					      .stateless = n == 3,
					      .compression = n == 1 ? HR_COMPRESS_DEFLATE : HR_COMPRESS_MPPC,
					      .window = 15};
		CHECK(hr_session_add(dp, &config_of, &session[n]) == 0);
		for (uint8_t outbound = 0; outbound < 2; outbound++) {
			mppe.outbound = outbound;
			if (n != 4 && (n != 1 || hr_deflate_available()))
				CHECK(hr_session_mppe(dp, session[n], &mppe) == 0);
			CHECK(hr_session_vj(dp, session[n], outbound, 16, 0) == 0);
		}
	}
	return dp;
}

static void check(const struct hr_desc *d, int pieced)
{
	CHECK(d->status != HR_PENDING && hr_status_text(d->status) != NULL);
	CHECK((uint64_t)d->off + d->len <= sizeof arena && d->room_head <= d->off);
	CHECK(d->len <= MOST || d->len <= SLOT);
	if (d->status != HR_OK || d->kind != HR_KIND_IP)
		return;
	const uint8_t *const ip = arena + d->off;
	CHECK(d->len >= 20 && (ip[0] >> 4 == 4 || ip[0] >> 4 == 6));
	if (!pieced)
		return;
	const uint32_t header = (ip[0] & 15u) * 4;
	CHECK(ip[0] >> 4 == 4 && sum(ip, header, 0) == 0xffff && ip[9] == 6);
	CHECK(sum(ip + header, d->len - header, sum(ip + 12, 8, 6 + d->len - header)) == 0xffff);
}

static void feed(struct hr_dp *dp, uint32_t session, const uint8_t *frame, size_t len, uint64_t now)
{
	struct hr_desc d = {.off = HEAD, .len = (uint32_t)len, .room_head = HEAD, .kind = HR_KIND_PPP, .session = session};
	struct hr_batch batch = {
	    .arena = arena, .arena_len = sizeof arena, .desc = &d, .n = 1, .spare_off = SLOT, .spare_len = SPARE};

	d.room_tail = (uint16_t)(SLOT - HEAD - len);
	if (len != 0)
		memcpy(arena + HEAD, frame, len);
	const size_t at = len >= 2 && frame[0] == 0xff ? 2 : 0;
	const int pieced = (len > at && frame[at] == 0x2d) || (len > at + 1 && frame[at] == 0 && frame[at + 1] == 0x2d);
	CHECK(hr_line_decap(dp, &batch, now) == 0);
	check(&d, pieced);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t session[SESSIONS];
	struct hr_dp *const dp = plane(session);
	uint64_t now = 1;

	while (size >= 3) {
		size_t len = (size_t)(data[1] << 8 | data[2]) % (SLOT - HEAD);
		const uint32_t which = session[data[0] % SESSIONS];
		len = len < size - 3 ? len : size - 3;
		feed(dp, which, data + 3, len, now += 1000000);
		data += 3 + len;
		size -= 3 + len;
	}
	hr_dp_free(dp);
	return 0;
}

#ifdef HR_STANDALONE
/* Any input, from a seed, mutated from frames that mean something. */
static uint64_t random_state;

static uint32_t chance(uint32_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33) % below;
}

int main(int argc, char **argv)
{
	static const uint8_t seeds[][64] = {
	    {0x00, 0xfd, 0xa0, 0x00, 0x00, 0x21, 0x45, 0x00},
	    {0x00, 0xfd, 0x20, 0x01, 0xff, 0x00},
	    {0x00, 0xfd, 0x00, 0x00, 0x62, 0x60, 0x60},
	    {0x80, 0xfd, 0x0f, 0x01, 0x00, 0x04},
	    {0x00, 0x2d, 0x4f, 0x00, 0x12, 0x34},
	    {0x00, 0x2f, 0x45, 0x00, 0x00, 0x28, 0, 1, 0x40, 0,	   64, 3, 0x66, 0xca, 10,   0,	  0,	1, 10,	 0,
	     0,	   2,	 0x0f, 0xa0, 0,	   80,	 0, 0, 3,    0xe8, 0,  0, 7,	0xd0, 0x50, 0x10, 0x20, 0, 0xad, 0x92},
	};
	uint8_t input[4096];
	const unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;

	random_state = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
	for (unsigned long n = 0; n < rounds; n++) {
		size_t size = 0;
		for (uint32_t frames = 1 + chance(20); frames-- > 0;) {
			const uint32_t len = 4 + chance(120);
			input[size] = (uint8_t)chance(256);
			input[size + 1] = 0;
			input[size + 2] = (uint8_t)len;
			for (uint32_t i = 0; i < len; i++)
				input[size + 3 + i] = (uint8_t)chance(256);
			if (chance(4) != 0)
				memcpy(input + size + 3, seeds[chance(6)], len < 64 ? len : 64);
			if (chance(2) != 0)
				input[size + 3 + chance(len)] ^= (uint8_t)(1 << chance(8));
			size += 3 + len;
		}
		LLVMFuzzerTestOneInput(input, size);
	}
	printf("%lu inputs\n", rounds);
	return 0;
}
#endif
