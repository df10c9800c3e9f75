/* SPDX-License-Identifier: Apache-2.0
 *
 * race.c: threads that receive, send and change the tables at the same time, for the thread sanitizer.
 *
 * `tests/dataplane/sanitized tsan` builds and runs it. It returns 0 if nothing is wrong: no data race, and packets that
 * are sent on one side of the data plane come in on its other side.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "headrace.h"

enum { PACKETS = 64, SLOT = 512, READERS = 3, SESSIONS = 8 };

static struct hr_dp *dp;
static _Atomic int stop;
static _Atomic uint64_t arrived;
static _Atomic uint32_t session[SESSIONS + 1]; /* [n] has the local session id n */
static uint32_t peer;

#define MUST(call)                                                                                                             \
	do {                                                                                                                   \
		const int result = (call);                                                                                     \
		if (result < 0) {                                                                                              \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, hr_error_text(result));                  \
			exit(1);                                                                                               \
		}                                                                                                              \
	} while (0)

static void ip_packet(uint8_t *p, uint32_t len, uint8_t session)
{
	const uint8_t head[20] = {
	    0x45, 0, (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 10, 0, 0, session};

	memset(p, 0x5a, len);
	memcpy(p, head, sizeof head);
}

/* Send through a session, and feed what was sent back in as if the far end had sent it: the SAs are the same both ways. */
static void *traffic(void *argument)
{
	uint8_t *const arena = aligned_alloc(64, PACKETS * SLOT);
	struct hr_desc *const desc = aligned_alloc(64, PACKETS * sizeof *desc);
	struct hr_batch batch = {arena, PACKETS * SLOT, desc, PACKETS, 0};
	uint32_t turn = (uint32_t)(uintptr_t)argument;

	memset(arena, 0, PACKETS * SLOT);
	while (!atomic_load(&stop)) {
		for (uint32_t i = 0; i < PACKETS; i++) {
			memset(&desc[i], 0, sizeof desc[i]);
			desc[i].off = i * SLOT + HR_HEADROOM;
			desc[i].len = 60;
			desc[i].room_head = HR_HEADROOM;
			desc[i].room_tail = HR_TAILROOM;
			desc[i].kind = HR_KIND_IP;
			desc[i].session = i % 4 ? atomic_load(&session[1 + (i + turn) % SESSIONS]) : (uint32_t)HR_NONE;
			ip_packet(arena + desc[i].off, 60, (uint8_t)(1 + (i + turn) % SESSIONS));
		}
		MUST(hr_encap(dp, &batch, turn));
		for (uint32_t i = 0; i < PACKETS; i++) {
			desc[i].kind = HR_KIND_UDP4500;
			desc[i].remote.port = (uint16_t)(4500 + turn % 3);
		}
		MUST(hr_decap(dp, &batch, turn));
		for (uint32_t i = 0; i < PACKETS; i++)
			atomic_fetch_add(&arrived, desc[i].status == HR_OK);
		turn++;
	}
	free(arena);
	free(desc);
	return NULL;
}

static uint32_t add_sa(uint32_t spi, uint8_t outbound)
{
	struct hr_sa_config config = {.spi = spi,
				      .peer = peer,
				      .outbound = outbound,
				      .cipher = HR_CIPHER_AES_GCM16,
				      .replay_window = 4096,
				      .enc_key_len = 20,
				      .soft_packets = 100};
	uint32_t index;

	memset(config.enc_key, (int)spi, 20);
	MUST(hr_sa_add(dp, &config, &index));
	return index;
}

static struct hr_session_config session_config(uint16_t number)
{
	struct hr_session_config config = {.peer = peer,
					   .local_tunnel = 1,
					   .local_session = number,
					   .remote_tunnel = 1,
					   .remote_session = number,
					   .l2tp_local_port = 1701,
					   .l2tp_remote_port = 1701,
					   .lns = 1,
					   .mppe_policy = HR_MPPE_WHEN_OPEN,
					   .open4 = 1};

	if (number == 1) { /* found by its address; it takes no packet from elsewhere */
		config.own4[0] = 10;
		config.own4[3] = (uint8_t)number;
	}
	config.default_route = number == 2;
	return config;
}

static void set_mppe(uint32_t session, uint32_t turn)
{
	struct hr_mppe_config config = {.bits = 128, .stateless = turn & 1};

	MUST(hr_session_mppe(dp, session, &config));
	config.outbound = 1;
	MUST(hr_session_mppe(dp, session, &config));
}

static void change_tables(double seconds)
{
	struct timespec begin, now;
	uint32_t in = add_sa(1000, 0), out = add_sa(1000, 1), index, turn = 0;
	uint64_t packets[HR_STATUS_COUNT], bytes[HR_STATUS_COUNT];

	MUST(hr_sa_use(dp, out));
	for (uint16_t n = 1; n <= SESSIONS; n++) {
		struct hr_session_config config = session_config(n);
		MUST(hr_session_add(dp, &config, &index));
		atomic_store(&session[n], index);
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		const uint16_t n = (uint16_t)(1 + turn % SESSIONS);
		struct hr_session_config config = session_config(n);
		struct hr_peer_config peer_config;
		struct hr_sa_config exported;
		struct hr_mppe_config mppe;
		struct hr_session_stats stats;
		struct hr_sa_stats sa_stats;
		struct hr_dp_event event[16];
		struct hr_endpoint local = {{203, 0, 113, (uint8_t)turn}, 4, 0, 0};

		config.send_sequence = turn & 1;
		config.mss4 = (uint16_t)turn;
		MUST(hr_session_update(dp, session[n], &config));
		if (turn % 5 == 0)
			set_mppe(session[n], turn);
		MUST(hr_session_mppe_flush(dp, session[n]));
		MUST(hr_session_mppe_export(dp, session[n], 1, &mppe));
		MUST(hr_session_stats(dp, session[n], &stats));
		if (turn % 7 == 0) {
			MUST(hr_session_remove(dp, session[n]));
			MUST(hr_session_add(dp, &config, &index));
			atomic_store(&session[n], index);
		}
		if (turn % 3 == 0) {
			const uint32_t fresh_in = add_sa(1001 + turn, 0), fresh_out = add_sa(1001 + turn, 1);
			MUST(hr_sa_use(dp, fresh_out));
			MUST(hr_sa_export(dp, out, &exported));
			MUST(hr_sa_stats(dp, in, &sa_stats));
			MUST(hr_sa_remove(dp, out));
			MUST(hr_sa_remove(dp, in));
			in = fresh_in;
			out = fresh_out;
		}
		MUST(hr_peer_get(dp, peer, &peer_config));
		peer_config.listener = (uint8_t)(turn % HR_LISTENERS_MAX);
		MUST(hr_peer_update(dp, peer, &peer_config));
		MUST(hr_dp_listener(dp, turn % HR_LISTENERS_MAX, &local));
		MUST(hr_dp_events(dp, event, 16));
		hr_counters(dp, packets, bytes);
		turn++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 < seconds);
}

int main(int argc, char **argv)
{
	const struct hr_dp_config config = {.max_peers = 4, .max_sas = 16, .max_sessions = 16};
	const struct hr_peer_config peer_config = {
	    .remote = {{198, 51, 100, 1}, 4, 0, 4500}, .udp_encap = 1, .follow = 1, .l2tp_port = 1701};
	pthread_t thread[READERS];

	MUST(hr_init());
	dp = hr_dp_new(&config);
	MUST(hr_peer_add(dp, &peer_config, &peer));
	for (uintptr_t t = 0; t < READERS; t++)
		pthread_create(&thread[t], NULL, traffic, (void *)t);
	change_tables(argc > 1 ? atof(argv[1]) : 3);
	atomic_store(&stop, 1);
	for (uint32_t t = 0; t < READERS; t++)
		pthread_join(thread[t], NULL);
	hr_dp_free(dp);
	printf("%llu packets arrived\n", (unsigned long long)atomic_load(&arrived));
	return atomic_load(&arrived) == 0;
}
