/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever is to be sent, every packet comes back with a status and within the room that it was given, and a packet that was
 * sealed is accepted by the pipeline's other direction; and answers and fragments that are made of it are whole packets.
 *
 * An input is a row of packets, each behind an octet for kind and session and two for its length.
 */
#include "plane.h"

static uint32_t total_of(const uint8_t *p)
{
	return p[0] >> 4 == 4 ? (uint32_t)(p[2] << 8 | p[3]) : 40u + (uint32_t)(p[4] << 8 | p[5]);
}

static void answers(const uint8_t *p, uint32_t len)
{
	uint8_t *const copy = malloc(len + 1), *const reply = malloc(1280);
	uint32_t at = 0, size, payload = 0;

	if (len != 0)
		memcpy(copy, p, len);
	size = hr_ip_too_big(copy, len, 1000, reply, 1280);
	CHECK(size <= 1280 && (size == 0 || total_of(reply) == size));
	for (uint32_t before = 0; (size = hr_ip_fragment(copy, len, 100, &at, reply, 1280)) != 0; before = at) {
		CHECK(at > before && size <= 100 && total_of(reply) == size);
		payload += size - (reply[0] & 15u) * 4;
	}
	CHECK(payload == 0 || payload == len - (copy[0] & 15u) * 4);
	free(copy);
	free(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t kinds[3] = {HR_KIND_IP, HR_KIND_PPP, HR_KIND_L2TP};
	struct plane plane;
	struct hr_batch batch = {arena, sizeof arena, desc, 0, 0};
	uint64_t now = 1;

	plane_open(&plane);
	while (size >= 3) {
		for (batch.n = 0; batch.n < SLOTS && size >= 3; batch.n++) {
			size_t len = (size_t)(data[1] << 8 | data[2]) % 1600;
			len = len < size - 3 ? len : size - 3;
			put((int)batch.n, kinds[data[0] % 3], data + 3, len);
			desc[batch.n].session = data[0] & 8 ? (uint32_t)HR_NONE : plane.session[data[0] >> 4 & 3];
			desc[batch.n].peer = plane.peer[data[0] >> 4 & 1];
			desc[batch.n].l2tp_local_port = desc[batch.n].l2tp_remote_port = 1701;
			if (data[0] & 4) {
				desc[batch.n].room_head = data[0] % HR_HEADROOM;
				desc[batch.n].room_tail = data[1] % HR_TAILROOM;
			}
			answers(data + 3, (uint32_t)len);
			data += 3 + len;
			size -= 3 + len;
		}
		fences(1);
		CHECK(hr_encap(plane.dp, &batch, now += 1000000) == 0);
		for (uint32_t i = 0; i < batch.n; i++) {
			check_slot((int)i);
			CHECK(desc[i].status == HR_OK || desc[i].status >= HR_DROP_OUTER_SHORT);
			/* the SAs have the same keys both ways; what was not sent is no ESP */
			desc[i].cookie = desc[i].status == HR_OK;
			desc[i].kind = HR_KIND_UDP4500;
			desc[i].len = desc[i].cookie ? desc[i].len : 0;
		}
		CHECK(hr_decap(plane.dp, &batch, now) == 0);
		fences(0);
		for (uint32_t i = 0; i < batch.n; i++) {
			check_slot((int)i);
			CHECK(desc[i].cookie ? desc[i].status < HR_DROP_OUTER_SHORT || desc[i].status > HR_DROP_NO_SA
					     : desc[i].status == HR_DROP_ESP_SHORT);
		}
	}
	plane_close(&plane);
	return 0;
}
