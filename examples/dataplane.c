/* SPDX-License-Identifier: Apache-2.0
 *
 * dataplane.c: the data plane in a C program: keys and sessions put in by hand, a batch through it and back.
 *
 *     make lib
 *     cc -Ibuild examples/dataplane.c build/libheadrace.a -pthread -o dataplane && ./dataplane
 *
 * Two data planes stand for the two ends of a tunnel, of which one direction is shown. docs/library.md says what may be done
 * with all of this.
 */
#include <headrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PACKETS = 64, LENGTH = 1200, SLOT = 2048 };

static _Alignas(64) uint8_t arena[PACKETS * SLOT];
static _Alignas(64) struct hr_desc desc[PACKETS];

static const struct hr_endpoint gateway_end = {.addr = {192, 0, 2, 1}, .family = 4, .port = 4500};
static const struct hr_endpoint client_end = {.addr = {198, 51, 100, 7}, .family = 4, .port = 4500};
static const uint8_t host[4] = {10, 1, 2, 3}, inner[4] = {10, 99, 0, 2};

static void must(int code, const char *doing)
{
	if (code >= 0)
		return;
	fprintf(stderr, "%s: %s\n", doing, hr_error_text(code));
	exit(1);
}

/* One peer behind a NAT, one SA of AES-128-CBC with HMAC-SHA-1, one L2TP session: what IKE, L2TP and PPP would have negotiated.
 * Real keys come from a key exchange; whoever makes them up keeps them in memory that is wiped with hr_wipe(). */
static struct hr_dp *make(const struct hr_endpoint *remote, uint8_t outbound, uint32_t *session)
{
	const struct hr_dp_config size = {.max_peers = 1, .max_sas = 2, .max_sessions = 1};
	const struct hr_peer_config peer = {.remote = *remote, .udp_encap = 1, .l2tp_port = 1701};
	struct hr_sa_config sa = {.spi = 0x1001,
				  .outbound = outbound,
				  .cipher = HR_CIPHER_AES_CBC,
				  .auth = HR_AUTH_HMAC_SHA1_96,
				  .replay_window = outbound ? 0 : 1024,
				  .enc_key_len = 16,
				  .auth_key_len = 20};
	struct hr_session_config config = {.local_tunnel = 1,
					   .local_session = 1,
					   .remote_tunnel = 1,
					   .remote_session = 1,
					   .l2tp_local_port = 1701,
					   .l2tp_remote_port = 1701,
					   .lns = 1,
					   .open4 = 1,
					   .send_mru = 1400};
	struct hr_dp *const dp = hr_dp_new(&size);
	uint32_t index;

	if (dp == NULL) {
		fprintf(stderr, "no memory for the tables\n");
		exit(1);
	}
	must(hr_peer_add(dp, &peer, &config.peer), "adding the peer");
	sa.peer = config.peer;
	memset(sa.enc_key, 0x11, 16);
	memset(sa.auth_key, 0x22, 20);
	must(hr_sa_add(dp, &sa, &index), "adding the SA");
	if (outbound)
		must(hr_sa_use(dp, index), "using the SA");
	hr_wipe(&sa, sizeof sa);
	if (outbound) /* the gateway knows the inner address that it gave; a client takes everything */
		memcpy(config.own4, inner, sizeof inner);
	must(hr_session_add(dp, &config, session), "adding the session");
	return dp;
}

static void put_packet(uint8_t *p, uint8_t fill)
{
	uint32_t sum = 0;

	memset(p, fill, LENGTH);
	memcpy(p, "\x45\0\0\0\0\0\x40\0\x40\x11\0\0", 12);
	p[2] = LENGTH >> 8;
	p[3] = LENGTH & 0xff;
	memcpy(p + 12, host, 4);
	memcpy(p + 16, inner, 4);
	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	p[10] = (uint8_t)(sum >> 8);
	p[11] = (uint8_t)sum;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void tell(const char *doing)
{
	uint32_t count[HR_STATUS_COUNT] = {0};

	for (uint32_t i = 0; i < PACKETS; i++)
		count[desc[i].status]++;
	for (uint32_t s = 0; s < HR_STATUS_COUNT; s++) {
		if (count[s] != 0)
			printf("%s: %u packets: %s\n", doing, count[s], hr_status_text(s));
	}
}

int main(void)
{
	uint8_t expected[LENGTH];
	struct hr_batch batch = {.arena = arena, .arena_len = sizeof arena, .desc = desc, .n = PACKETS};
	uint32_t here, there;

	must(hr_init(), "starting");
	printf("headrace %s, level %s\n", hr_version(), hr_cpu_level());
	struct hr_dp *const gateway = make(&client_end, 1, &here);
	struct hr_dp *const client = make(&gateway_end, 0, &there);

	for (uint32_t i = 0; i < PACKETS; i++) {
		put_packet(arena + i * SLOT + HR_HEADROOM, (uint8_t)i);
		desc[i] = (struct hr_desc){.off = i * SLOT + HR_HEADROOM,
					   .len = LENGTH,
					   .room_head = HR_HEADROOM,
					   .room_tail = SLOT - HR_HEADROOM - LENGTH,
					   .kind = HR_KIND_IP,
					   .session = here};
	}
	must(hr_encap(gateway, &batch, now_ns()), "encap");
	tell("encap");

	for (uint32_t i = 0; i < PACKETS; i++) { /* as the client's socket would describe it */
		desc[i].kind = HR_KIND_UDP4500;
		desc[i].remote = gateway_end;
	}
	must(hr_decap(client, &batch, now_ns()), "decap");
	tell("decap");
	for (uint32_t i = 0; i < PACKETS; i++) {
		put_packet(expected, (uint8_t)i);
		if (desc[i].status != HR_OK || desc[i].session != there || desc[i].len != LENGTH ||
		    memcmp(arena + desc[i].off, expected, LENGTH) != 0) {
			fprintf(stderr, "packet %u came out changed\n", i);
			return 1;
		}
	}
	printf("all %d came out as they went in\n", PACKETS);
	hr_dp_free(gateway);
	hr_dp_free(client);
	return 0;
}
