/* SPDX-License-Identifier: Apache-2.0
 *
 * plane.h: what the fuzz targets of the pipeline share: a small data plane, and slots with poisoned ground between them, so
 * that the address sanitizer sees every octet that is read or written outside of a packet's own.
 */
#ifndef HEADRACE_TESTS_FUZZ_PLANE_H
#define HEADRACE_TESTS_FUZZ_PLANE_H

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypt.h"
#include "headrace.h"

enum { SLOTS = 8, ROOM = 2048, FENCE = 64, STRIDE = ROOM + FENCE };

#define CHECK(condition)                                                                                                       \
	do {                                                                                                                   \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                        \
			abort();                                                                                               \
		}                                                                                                              \
	} while (0)

struct plane {
	struct hr_dp *dp;
	uint32_t peer[2];
	uint32_t session[4];
	struct hr_sa_config in[4];
};

static uint8_t arena[SLOTS * STRIDE] __attribute__((aligned(64)));
static struct hr_desc desc[SLOTS];

static void fences(int up)
{
	for (int i = 0; i < SLOTS; i++) {
		if (up)
			ASAN_POISON_MEMORY_REGION(arena + i * STRIDE + ROOM, FENCE);
		else
			ASAN_UNPOISON_MEMORY_REGION(arena + i * STRIDE + ROOM, FENCE);
	}
}

/* Put a packet into slot i; what of it does not fit is left out. */
static void put(int i, uint8_t kind, const uint8_t *data, size_t len)
{
	const size_t most = ROOM - HR_HEADROOM - HR_TAILROOM;

	memset(&desc[i], 0, sizeof desc[i]);
	desc[i].off = (uint32_t)(i * STRIDE + HR_HEADROOM);
	desc[i].len = (uint32_t)(len < most ? len : most);
	desc[i].room_head = HR_HEADROOM;
	desc[i].room_tail = (uint16_t)(ROOM - HR_HEADROOM - desc[i].len);
	desc[i].kind = kind;
	desc[i].session = desc[i].peer = desc[i].sa = HR_NONE;
	desc[i].remote.family = 4;
	desc[i].remote.port = 4500;
	if (desc[i].len != 0)
		memcpy(arena + desc[i].off, data, desc[i].len);
}

/* A packet has a status and is still within its slot. */
static void check_slot(int i)
{
	const struct hr_desc *const d = &desc[i];

	CHECK(d->status != HR_PENDING && hr_status_text(d->status) != NULL);
	CHECK(d->off >= (uint32_t)(i * STRIDE) + d->room_head);
	CHECK((uint64_t)d->off + d->len + d->room_tail <= (uint64_t)(i * STRIDE + ROOM));
}

/* Two peers. The first has a session without MPPE and all that is checked; the second, the hostile one, has three: clear, MPPE
 * stateless, MPPE stateful; and four inbound SAs. */
static void plane_open(struct plane *p)
{
	static struct hr_dp *kept; /* between inputs only the memory lives on: records, numbers and keys are fresh every time */
	static const uint8_t cipher[4] = {HR_CIPHER_NULL, HR_CIPHER_AES_CBC, HR_CIPHER_AES_GCM16, HR_CIPHER_3DES_CBC};
	static const uint8_t key_len[4] = {0, 16, 20, 24};
	const struct hr_dp_config config = {.max_peers = 4, .max_sas = 16, .max_sessions = 8, .allow_clear_l2tp = 1};
	uint32_t index;

	if (kept == NULL) {
		CHECK(hr_init() == 0);
		kept = hr_dp_new(&config);
	}
	CHECK(kept != NULL);
	p->dp = kept;
	for (uint32_t n = 0; n < 2; n++) {
		const struct hr_peer_config peer = {
		    .remote = {{198, 51, 100, (uint8_t)n}, 4, 0, 4500}, .udp_encap = 1, .follow = 1, .l2tp_port = 1701};
		CHECK(hr_peer_add(p->dp, &peer, &p->peer[n]) == 0);
	}
	for (uint32_t n = 0; n < 4; n++) {
		struct hr_session_config session = {.peer = p->peer[n != 0],
						    .local_tunnel = 1,
						    .local_session = (uint16_t)(n + 1),
						    .remote_tunnel = 1,
						    .remote_session = (uint16_t)(n + 1),
						    .l2tp_local_port = 1701,
						    .l2tp_remote_port = 1701,
						    .lns = 1,
						    .mppe_policy = HR_MPPE_WHEN_OPEN,
						    .open4 = 1,
						    .open6 = 1,
						    .mss4 = 1300,
						    .mss6 = 1280};
		struct hr_mppe_config mppe = {.bits = 128, .stateless = n == 2};

		session.own4[0] = 10;
		session.own4[3] = (uint8_t)(n + 1);
		if (n == 1) /* this one may be anybody */
			memset(session.own4, 0, sizeof session.own4);
		CHECK(hr_session_add(p->dp, &session, &p->session[n]) == 0);
		if (n >= 2) {
			CHECK(hr_session_mppe(p->dp, p->session[n], &mppe) == 0);
			mppe.outbound = 1;
			CHECK(hr_session_mppe(p->dp, p->session[n], &mppe) == 0);
		}
		struct hr_sa_config sa = {.spi = 0x1000 + n,
					  .peer = p->peer[n != 0],
					  .cipher = cipher[n],
					  .auth = cipher[n] == HR_CIPHER_AES_GCM16 ? HR_AUTH_NONE : HR_AUTH_HMAC_SHA1_96,
					  .replay_window = 64,
					  .enc_key_len = key_len[n]};
		sa.auth_key_len = sa.auth == HR_AUTH_NONE ? 0 : 20;
		p->in[n] = sa;
		CHECK(hr_sa_add(p->dp, &sa, &index) == 0);
		sa.outbound = 1;
		CHECK(hr_sa_add(p->dp, &sa, &index) == 0);
		if (n < 2)
			CHECK(hr_sa_use(p->dp, index) == 0);
	}
}

static void plane_close(struct plane *p)
{
	for (int n = 0; n < 2; n++)
		CHECK(hr_peer_remove(p->dp, p->peer[n]) == 0);
}

/* What the peer would send through one of its SAs: header and ICV around `text`, which is brought to a whole block by cutting.
 */
static size_t seal(const struct hr_sa_config *sa, uint32_t seq, const uint8_t *text, size_t len, uint8_t *out)
{
	_Alignas(64) static struct hr_esp_key key;

	CHECK(hr_esp_key_init(&key, sa->cipher, sa->auth, 0, sa->enc_key, sa->enc_key_len, sa->auth_key, sa->auth_key_len, 1) ==
	      0);
	const uint8_t head[8] = {(uint8_t)(sa->spi >> 24), (uint8_t)(sa->spi >> 16), (uint8_t)(sa->spi >> 8), (uint8_t)sa->spi,
				 (uint8_t)(seq >> 24),	   (uint8_t)(seq >> 16),     (uint8_t)(seq >> 8),     (uint8_t)seq};
	len -= len % key.block;
	memcpy(out, head, 8);
	memcpy(out + 8 + key.iv_len, text, len);
	struct hr_esp_job job = {.key = &key, .packet = out, .len = (uint32_t)(8 + key.iv_len + len), .seq = seq};
	const size_t whole = job.len + key.icv_len;
	hr_esp_seal(&job, 1);
	return whole;
}

#endif
