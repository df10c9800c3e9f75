/* SPDX-License-Identifier: Apache-2.0
 *
 * Two engines of two workers each, back to back over loopback, while other threads send control packets, drain exceptions, read
 * counters, replace SAs and stop and start the workers. `tests/dataplane/sanitized tsan` builds it with the thread sanitizer,
 * which fails it on any race, and runs it.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "headrace.h"

enum { WORKERS = 2, MTU = 1400 };

#define CHECK(condition)                                                                                                       \
	do {                                                                                                                   \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                        \
			abort();                                                                                               \
		}                                                                                                              \
	} while (0)

struct side {
	struct hr_dp *dp;
	struct hr_engine *engine;
	int event;
	int udp[WORKERS];
	int far[WORKERS], near[WORKERS];
	uint16_t port;
	uint32_t peer, session;
	_Atomic uint64_t got;
};

static struct side left, right;
static _Atomic int over;

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(long us)
{
	struct timespec t = {0, us * 1000};
	nanosleep(&t, NULL);
}

static void open_side(struct side *s)
{
	struct hr_dp_config tables = {.max_peers = 4, .max_sas = 16, .max_sessions = 4};
	CHECK((s->dp = hr_dp_new(&tables)));
	s->event = eventfd(0, EFD_NONBLOCK);
	struct hr_engine_config config = {.workers = WORKERS,
					  .listeners = 1,
					  .batch = 128,
					  .exception_slots = 64,
					  .mtu = MTU,
					  .tun_vnet_hdr = 3,
					  .udp_gso = 1,
					  .event_fd = s->event};
	static struct hr_worker_config own[WORKERS];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	for (int i = 0; i < WORKERS; i++) {
		int one = 1, pair[2];
		socklen_t len = sizeof at;
		s->udp[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		CHECK(setsockopt(s->udp[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0);
		CHECK(bind(s->udp[i], (struct sockaddr *)&at, sizeof at) == 0);
		CHECK(getsockname(s->udp[i], (struct sockaddr *)&at, &len) == 0);
		setsockopt(s->udp[i], 17, 104, &one, sizeof one);
		CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) == 0);
		s->far[i] = pair[0];
		s->near[i] = pair[1];
		own[i] = (struct hr_worker_config){.tun = pair[1], .cpu = -1};
		own[i].listener[0] = (struct hr_listener){s->udp[i], -1, -1, 4, {0}};
	}
	s->port = ntohs(at.sin_port);
	CHECK((s->engine = hr_engine_new(s->dp, &config, own)));
}

static void add_sa(struct side *s, uint32_t spi, int outbound, uint32_t *index)
{
	struct hr_sa_config sa = {.spi = spi,
				  .peer = s->peer,
				  .outbound = (uint8_t)outbound,
				  .cipher = HR_CIPHER_NULL,
				  .auth = HR_AUTH_HMAC_SHA1_96,
				  .auth_key_len = 20,
				  .replay_window = outbound ? 0 : 4096};
	memset(sa.auth_key, (int)spi, sizeof sa.auth_key);
	CHECK(hr_sa_add(s->dp, &sa, index) == 0);
	if (outbound)
		CHECK(hr_sa_use(s->dp, *index) == 0);
}

static void connect_side(struct side *s, const struct side *to, uint32_t in, uint32_t out, uint16_t mine, uint16_t theirs)
{
	uint32_t index;
	struct hr_peer_config peer = {
	    .remote = {{127, 0, 0, 1}, 4, 0, to->port}, .udp_encap = 1, .follow = 1, .l2tp_port = 1701};
	CHECK(hr_peer_add(s->dp, &peer, &s->peer) == 0);
	add_sa(s, in, 0, &index);
	add_sa(s, out, 1, &index);
	struct hr_session_config session = {.peer = s->peer,
					    .local_tunnel = mine,
					    .local_session = mine,
					    .remote_tunnel = theirs,
					    .remote_session = theirs,
					    .l2tp_local_port = 1701,
					    .l2tp_remote_port = 1701,
					    .send_acfc = 1,
					    .send_pfc = 1,
					    .mppe_policy = HR_MPPE_WHEN_OPEN,
					    .open4 = 1,
					    .default_route = 1,
					    .send_mru = MTU};
	CHECK(hr_session_add(s->dp, &session, &s->session) == 0);
}

/* The kernel's side of the TUN: a large segment or a small packet in, whatever comes out is counted. */
static void *pump(void *argument)
{
	struct side *s = argument;
	static const uint8_t mine[2] = {2, 1};
	uint8_t from = mine[s == &right], to = mine[s == &left];
	uint8_t *data = calloc(1, 70000), *in = malloc(70000);
	for (uint32_t turn = 0; !atomic_load(&over); turn++) {
		uint32_t payload = turn % 3 ? 20000 : 100, len = 40 + payload;
		uint8_t *p = data + 10;
		uint16_t size = 1360, half[4] = {40, turn % 3 ? size : 0, 20, 16};
		data[0] = 1;
		data[1] = turn % 3 ? 1 : 0;
		memcpy(data + 2, half, sizeof half);
		const uint8_t head[40] = {0x45,
					  0,
					  (uint8_t)(len >> 8),
					  (uint8_t)len,
					  0,
					  (uint8_t)turn,
					  0x40,
					  0,
					  64,
					  6,
					  0,
					  0,
					  10,
					  9,
					  0,
					  from,
					  10,
					  9,
					  0,
					  to,
					  3,
					  232,
					  0,
					  80,
					  0,
					  0,
					  (uint8_t)(turn >> 8),
					  (uint8_t)turn,
					  0,
					  0,
					  0,
					  1,
					  0x50,
					  0x10};
		memcpy(p, head, sizeof head);
		for (int i = 0; i < WORKERS; i++) {
			if (send(s->far[i], data, 10 + len, 0) < 0)
				nap(200);
			while (recv(s->far[i], in, 70000, 0) > 0)
				atomic_fetch_add(&s->got, 1);
		}
	}
	free(data);
	free(in);
	return NULL;
}

/* The control plane: packets down, exceptions up, numbers. */
static void *talk(void *argument)
{
	struct side *s = argument;
	uint8_t *arena = calloc(1, 1 << 17), *inbox = malloc(1 << 20);
	struct hr_desc desc[4], *items = calloc(HR_BATCH_MAX, sizeof *items);
	while (!atomic_load(&over)) {
		memset(desc, 0, sizeof desc);
		for (uint32_t i = 0; i < 4; i++) {
			desc[i] = (struct hr_desc){.off = i * 512 + HR_HEADROOM,
						   .len = 8,
						   .room_head = HR_HEADROOM,
						   .room_tail = HR_TAILROOM,
						   .status = HR_PENDING,
						   .kind = HR_KIND_PPP,
						   .session = s->session,
						   .peer = HR_NONE,
						   .sa = HR_NONE};
			memcpy(arena + desc[i].off, "\xc0\x21\x09\x01\x00\x08..", 8);
		}
		struct hr_batch out = {arena, 1 << 17, desc, 4, 0}, up = {inbox, 1 << 20, items, 0, 0};
		hr_engine_send(s->engine, &out, now());
		CHECK(hr_engine_exceptions(s->engine, &up, 65536) >= 0);
		struct hr_engine_stats stats;
		uint64_t packets[HR_STATUS_COUNT], bytes[HR_STATUS_COUNT];
		hr_engine_stats(s->engine, &stats);
		hr_counters(s->dp, packets, bytes);
		hr_engine_alive(s->engine);
		nap(300);
	}
	free(arena);
	free(inbox);
	free(items);
	return NULL;
}

/* Rekeying: new inbound first, then outbound, then the old ones go. */
static void *rekey(void *argument)
{
	(void)argument;
	uint32_t in_l = HR_NONE, in_r = HR_NONE, out_l = HR_NONE, out_r = HR_NONE;
	for (uint32_t spi = 0x10000; !atomic_load(&over); spi += 2) {
		uint32_t l, r, ol, or ;
		add_sa(&left, spi, 0, &l);
		add_sa(&right, spi + 1, 0, &r);
		add_sa(&right, spi, 1, & or);
		add_sa(&left, spi + 1, 1, &ol);
		if (in_l != HR_NONE) {
			CHECK(hr_sa_remove(left.dp, in_l) == 0 && hr_sa_remove(right.dp, in_r) == 0);
			CHECK(hr_sa_remove(left.dp, out_l) == 0 && hr_sa_remove(right.dp, out_r) == 0);
		}
		in_l = l, in_r = r, out_l = ol, out_r = or ;
		nap(1500);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 2;
	CHECK(hr_init() == 0);
	open_side(&left);
	open_side(&right);
	connect_side(&left, &right, 0x1001, 0x2002, 7, 9);
	connect_side(&right, &left, 0x2002, 0x1001, 9, 7);
	pthread_t thread[5];
	CHECK(hr_engine_start(left.engine) == 0 && hr_engine_start(right.engine) == 0);
	pthread_create(&thread[0], NULL, pump, &left);
	pthread_create(&thread[1], NULL, pump, &right);
	pthread_create(&thread[2], NULL, talk, &left);
	pthread_create(&thread[3], NULL, talk, &right);
	pthread_create(&thread[4], NULL, rekey, NULL);
	for (int i = 0; i < seconds * 5; i++) {
		nap(200000);
		hr_engine_stop(left.engine);
		CHECK(hr_engine_start(left.engine) == 0);
	}
	atomic_store(&over, 1);
	for (int i = 0; i < 5; i++)
		pthread_join(thread[i], NULL);
	struct side *side[2] = {&left, &right};
	for (int i = 0; i < 2; i++) {
		CHECK(hr_engine_alive(side[i]->engine) == WORKERS);
		hr_engine_free(side[i]->engine);
		hr_dp_free(side[i]->dp);
	}
	printf("moved %llu and %llu\n", (unsigned long long)left.got, (unsigned long long)right.got);
	CHECK(left.got > 0 && right.got > 0);
	return 0;
}
