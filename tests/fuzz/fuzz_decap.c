/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever arrives, every packet comes back with a status and within the octets that it was given, nothing outside of them is
 * read or written, and its neighbours come out as if it had not been there.
 *
 * An input is a row of packets, each with a first octet that says what becomes of it and a length. A packet is thrown at the
 * data plane as it stands, or is what a peer that knows the keys puts into ESP: then it may be the whole text (with a trailer
 * of its own), the UDP datagram, the L2TP message or the PPP frame, with everything around it in order.
 */
#include "plane.h"

enum { AS_IT_IS = 0, TEXT = 4, DATAGRAM = 8, MESSAGE = 12, FRAME = 16, LEVELS = 20 };

static const uint8_t kinds[4] = {HR_KIND_UDP4500, HR_KIND_RAW4, HR_KIND_RAW6, HR_KIND_UDP1701};
static uint32_t seq;

/* Put what is missing around `data` at `level`, 0 to 3 saying which SA and session. */
static size_t dress(const struct plane *p, uint8_t level, uint8_t which, const uint8_t *data, size_t len, uint8_t *out)
{
	uint8_t text[ROOM];
	size_t at = 0;
	const size_t header = level >= FRAME ? 14 : level >= MESSAGE ? 8 : 0;
	const size_t most = ROOM - 256;

	len = len < most ? len : most;
	if (level >= MESSAGE) {
		const size_t size = header + len;
		const uint8_t udp[8] = {6, 165, 6, 165, (uint8_t)(size >> 8), (uint8_t)size, 0, 0};
		memcpy(text, udp, 8);
		at = 8;
	}
	if (level >= FRAME) {
		const uint8_t l2tp[6] = {0, 2, 0, 1, 0, (uint8_t)(2 + which % 3)};
		memcpy(text + at, l2tp, 6);
		at += 6;
	}
	if (len != 0)
		memcpy(text + at, data, len);
	at += len;
	if (level >= DATAGRAM) {
		uint8_t pad = 0;
		while ((at + 2) % 16 != 0)
			text[at++] = ++pad;
		text[at++] = pad;
		text[at++] = 17;
	}
	return seal(&p->in[1 + which % 3], ++seq, text, at, out);
}

/* A good packet of the other peer, marked by its size. */
static size_t neighbour(const struct plane *p, uint32_t number, uint8_t *out)
{
	uint8_t text[256] = {6, 165, 6, 165, 0, 0, 0, 0,  0,  2, 0, 1,	0, 1, 0xff, 3,	 0, 0x21, 0x45,
			     0, 0,   0, 0,   0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1,    192, 0, 2,	  1};
	size_t at = 38 + number;

	text[5] = (uint8_t)at;
	text[21] = (uint8_t)(at - 18);
	for (uint8_t pad = 0;; pad++) {
		if ((at + 2) % 4 == 0) {
			text[at++] = pad;
			text[at++] = 17;
			break;
		}
		text[at++] = (uint8_t)(pad + 1);
	}
	return seal(&p->in[0], ++seq, text, at, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[ROOM + 256];
	struct plane plane;
	struct hr_batch batch = {arena, sizeof arena, desc, 0, 0};
	uint64_t now = 1;

	seq = 0;
	plane_open(&plane);
	while (size >= 3) {
		for (batch.n = 0; batch.n < SLOTS; batch.n++) {
			if (batch.n % 4 == 0) {
				put((int)batch.n, HR_KIND_UDP4500, out, neighbour(&plane, batch.n, out));
				continue;
			}
			const uint8_t level = size >= 3 ? (uint8_t)(data[0] % LEVELS & ~3) : 0,
				      which = size >= 3 ? data[0] & 3 : 0;
			size_t len = size >= 3 ? (size_t)(data[1] << 8 | data[2]) % 1600 : 0;
			const uint8_t *const body = size >= 3 ? data + 3 : data;
			if (size >= 3) {
				len = len < size - 3 ? len : size - 3;
				data += 3 + len;
				size -= 3 + len;
			}
			if (level == AS_IT_IS)
				put((int)batch.n, kinds[which], body, len);
			else
				put((int)batch.n, HR_KIND_UDP4500, out, dress(&plane, level, which, body, len, out));
		}
		fences(1);
		CHECK(hr_decap(plane.dp, &batch, now += 1000000) == 0);
		fences(0);
		for (int i = 0; i < SLOTS; i++) {
			check_slot(i);
			if (i % 4 != 0)
				continue;
			const uint8_t *const ip = arena + desc[i].off;
			CHECK(desc[i].status == HR_OK && desc[i].kind == HR_KIND_IP && desc[i].session == plane.session[0]);
			CHECK(desc[i].len == 20u + (uint32_t)i && ip[0] == 0x45 && ip[15] == 1 && ip[19] == 1);
		}
	}
	plane_close(&plane);
	return 0;
}
