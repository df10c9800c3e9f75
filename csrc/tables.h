/* SPDX-License-Identifier: Apache-2.0
 *
 * tables.h: the records behind the border's indices, and how the stages find them.
 *
 * Every record is two: what was configured (kept for export, or behind the border) and what the loop needs, prepared and laid
 * out by cache line. The first lines are only read by the loop; what it writes has lines of its own. The stages reach records
 * without a lock, through the maps and pools below, and may use what they found until they leave (grace.h). Changes are
 * serialised by hr_dp.lock. A session's plan is replaced as a whole, so a stage sees the old configuration or the new one,
 * never a mixture.
 */
#ifndef HEADRACE_TABLES_H
#define HEADRACE_TABLES_H

#include <pthread.h>

#include "grace.h"
#include "ccp.h"
#include "map.h"
#include "mppe.h"
#include "rate.h"
#include "replay.h"
#include "vj.h"

/* An endpoint that one thread changes while others read it: odd turn while it changes. */
struct hr_place {
	_Atomic uint32_t turn;
	_Atomic uint32_t tail; /* family and port */
	_Atomic uint64_t word[2];
};

void hr_place_read(const struct hr_place *place, struct hr_endpoint *endpoint);
void hr_place_write(struct hr_place *place, const struct hr_endpoint *endpoint);

static inline int hr_endpoint_equal(const struct hr_endpoint *a, const struct hr_endpoint *b)
{
	if (a->family != b->family || a->port != b->port)
		return 0;
	return a->family == 6 ? memcmp(a->addr, b->addr, 16) == 0 : memcmp(a->addr, b->addr, 4) == 0;
}

/* The parts of hr_peer.traits. */
enum hr_trait {
	HR_TRAIT_UDP_ENCAP = 1 << 8, /* the low octet is the listener */
	HR_TRAIT_FOLLOW = 1 << 9,
	HR_TRAIT_CLEAR = 1 << 10,
	HR_TRAIT_V6 = 1 << 11 /* and the port the selectors name from bit 16 on */
};

struct hr_peer {
	_Alignas(64) uint32_t index;
	uint32_t serial; /* never used twice, unlike the index */
	_Atomic uint32_t traits;
	_Atomic uint32_t moved; /* an event waits */
	_Atomic(struct hr_sa *) out;
	_Atomic uint32_t home; /* worker that sends to it, counted from 1; 0: none yet (home.c) */
	struct hr_place remote;

	_Alignas(64) _Atomic uint64_t cookie; /* the writer's from here on */
	uint64_t clear_key;
	struct hr_sa *sas;
	struct hr_session *sessions;
};
_Static_assert(sizeof(struct hr_peer) == 128, "one line for the loop, one for the writer");

struct hr_sa {
	_Alignas(64) uint32_t spi;
	uint32_t index;
	uint32_t serial;
	uint8_t outbound;
	uint8_t esn;
	uint8_t spare[2];
	struct hr_peer *peer;
	uint64_t seq_last;   /* the highest number that may be used */
	uint64_t seq_soft;   /* from here on a new SA is asked for */
	uint64_t hard_bytes; /* UINT64_MAX = none; the same below */
	uint64_t soft_bytes;
	uint64_t soft_packets;

	/* written by the loop */
	_Alignas(64) _Atomic uint64_t seq; /* outbound: last number used */
	_Atomic uint64_t packets;
	_Atomic uint64_t bytes;
	_Atomic uint64_t last_ns;
	_Atomic uint64_t replayed;
	_Atomic uint64_t auth_failed;
	_Atomic uint32_t soft_told; /* 0, 1: an event waits, 2: it was taken */
	_Atomic uint32_t lock;	    /* for whoever changes seq, packets, bytes or the replay window */

	_Alignas(64) struct hr_replay replay; /* inbound */

	struct hr_esp_key key;

	struct hr_sa_config config;
	struct hr_sa *next;  /* of the same peer */
	struct hr_sa **link; /* what points here in that list */
	uint32_t ring_words;
	_Atomic uint64_t ring[]; /* inbound: the replay bitmap */
};
_Static_assert(offsetof(struct hr_sa, seq) == 64, "what is only read has a line of its own");
_Static_assert(offsetof(struct hr_sa, replay) == 128, "and so has what is written for every packet");
_Static_assert(offsetof(struct hr_sa, key) == 192, "keys begin a line");

static inline void hr_sa_lock(struct hr_sa *sa)
{
	struct hr_patience patience = {0};
	uint32_t idle = 0;

	while (!atomic_compare_exchange_weak_explicit(&sa->lock, &idle, 1, memory_order_acquire, memory_order_relaxed)) {
		idle = 0;
		hr_be_patient(&patience);
	}
}

static inline void hr_sa_unlock(struct hr_sa *sa)
{
	atomic_store_explicit(&sa->lock, 0, memory_order_release);
}

/* What hr_session_update() replaces. */
struct hr_plan {
	_Alignas(64) uint16_t remote_tunnel;
	uint16_t remote_session;
	uint16_t local_port;
	uint16_t remote_port;
	uint32_t mru;
	uint16_t mss4;
	uint16_t mss6;
	uint8_t own4[4];
	uint8_t send_length;
	uint8_t send_sequence;
	uint8_t require_sequence;
	uint8_t lns;
	uint8_t acfc;
	uint8_t pfc;
	uint8_t policy;
	uint8_t open4;
	uint8_t open6;
	uint8_t own4_any;
	uint8_t own6_len;
	uint8_t filters;     /* how many of config.filter count */
	uint16_t expand_max; /* octets of protocol field and information that a frame may expand to */
	struct hr_rate rate_rx;
	uint8_t own6[16];
	struct hr_rate rate_tx;

	struct hr_session_config config; /* the writer's */
};
_Static_assert(offsetof(struct hr_plan, config) <= 96, "a line and a half for the loop");

/* One direction's sums. */
struct hr_flow {
	_Atomic uint64_t packets;
	_Atomic uint64_t bytes;
	_Atomic uint64_t dropped;
	_Atomic uint64_t last_ns;
	_Atomic uint64_t data_ns;
	_Atomic uint64_t rate_clock;
};

struct hr_session {
	_Alignas(64) uint32_t index;
	uint32_t serial;
	uint32_t ids;		     /* local tunnel << 16 | local session */
	_Atomic uint32_t mppe_reset; /* an event waits */
	struct hr_peer *peer;
	_Atomic(const struct hr_plan *) plan;
	_Atomic uint32_t numbering; /* outbound data is numbered: ours to say, or the peer's */
	_Atomic uint32_t ns_out;
	/* inbound numbering: next number << 16 | how many late ones came in a row, and the number after those */
	_Atomic uint64_t ns_in;

	_Atomic(struct hr_vj_state *) vj_in; /* NULL: not negotiated */
	_Atomic(struct hr_vj_state *) vj_out;

	_Alignas(64) struct hr_flow rx;
	_Alignas(64) struct hr_flow tx;
	_Alignas(64) struct hr_mppe mppe_in;
	_Alignas(64) struct hr_mppe mppe_out;

	struct hr_session *next;  /* of the same peer */
	struct hr_session **link; /* what points here in that list */
};
_Static_assert(offsetof(struct hr_session, rx) == 64, "a line to find it by");

/* Index -> record, and the indices that are free, oldest first, so that a late user of an index rarely meets a stranger. */
struct hr_pool {
	_Atomic(void *) *record;
	uint32_t *free;
	uint32_t max;
	uint32_t head;
	uint32_t n_free;
};

static inline void *hr_pool_get(const struct hr_pool *pool, uint32_t index)
{
	return index < pool->max ? atomic_load(&pool->record[index]) : NULL;
}

/* Events that wait for hr_dp_events(): which record, and which of its kind. */
struct hr_event_slot {
	uint32_t type;
	uint32_t index;
	uint32_t serial;
};

struct hr_events {
	pthread_mutex_t lock;
	_Atomic uint32_t waiting;
	uint32_t head;
	uint32_t mask;
	struct hr_event_slot *slot;
};

/* Local outer addresses. Replaced as a whole. */
struct hr_locals {
	struct hr_endpoint listener[HR_LISTENERS_MAX];
	uint32_t n4;
	uint32_t n6;
	uint8_t v4[HR_LISTENERS_MAX][4];
	uint8_t v6[HR_LISTENERS_MAX][16];
};

struct hr_dp {
	struct hr_grace grace;

	struct hr_map spi;		    /* inbound SAs */
	struct hr_map ids;		    /* local tunnel and session id -> session */
	struct hr_map clear;		    /* outer address and port -> peer without IPsec */
	struct hr_map route4;		    /* inner address -> session */
	struct hr_map route6;		    /* inner prefix -> session */
	_Atomic uint64_t route6_lengths[3]; /* bit n: there is a route with n bits of prefix */
	_Atomic(struct hr_session *) default_route;
	_Atomic(const struct hr_locals *) locals;
	_Atomic uint32_t vj_sessions; /* that compress TCP/IP headers */
	uint32_t allow_clear;

	struct hr_pool peers;
	struct hr_pool sas;
	struct hr_pool sessions;
	struct hr_events events;

	pthread_mutex_t lock; /* of the writer */
	uint32_t serial;
	uint32_t route6_count[129];
};

/* Keys of the maps. */
static inline uint64_t hr_ids_key(uint32_t tunnel, uint32_t session)
{
	return tunnel << 16 | session;
}

uint64_t hr_clear_key(const struct hr_endpoint *endpoint);
uint64_t hr_route6_key(const uint8_t address[16], uint32_t bits);

/* The peer without IPsec at this address, or NULL. */
struct hr_peer *hr_clear_peer(struct hr_dp *dp, const struct hr_endpoint *endpoint);

int hr_prefix_match(const uint8_t address[16], const uint8_t prefix[16], uint32_t bits);

/* The session that owns an inner destination, or NULL. */
struct hr_session *hr_route4(struct hr_dp *dp, const uint8_t address[4]);
struct hr_session *hr_route6(struct hr_dp *dp, const uint8_t address[16]);

/* Leave a note for the control plane. `flag` is the record's: 0 becomes 1 if it did not wait already. */
void hr_event_post(struct hr_work *work, enum hr_status type, uint32_t index, uint32_t serial, _Atomic uint32_t *flag);

#endif
