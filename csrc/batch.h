/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.h: what all stages share: how a packet moves inside its slot, how it ends, and the working set of one call.
 *
 * A stage is a function over the packets that are still alive. It goes through all of them, and for each either leaves it alive
 * for the next stage or ends it with a status. Nothing else in here knows about protocols.
 */
#ifndef HEADRACE_BATCH_H
#define HEADRACE_BATCH_H

#include <stdatomic.h>
#include <string.h>

#include "crypt.h"
#include "headrace.h"

struct hr_dp;
struct hr_peer;
struct hr_sa;
struct hr_session;
struct hr_plan;
struct hr_mppe;
struct hr_reader;

_Static_assert(sizeof(struct hr_endpoint) == 20, "packed without holes");
_Static_assert(sizeof(struct hr_desc) == 64, "one cache line");

enum {
	HR_PACKET_MAX = 65535, /* no datagram and no IP packet is longer */
	HR_CHAIN_END = 0xffff
};

/* The working set of one hr_encap() or hr_decap(): one array entry a packet, in the order of the batch. It belongs to the
 * reader (grace.h) and is used again by the next call. */
struct hr_work {
	struct hr_dp *dp;
	struct hr_reader *reader;
	uint32_t self; /* number of the reader + 1: what it writes into the locks it holds */
	uint32_t n;
	uint8_t *arena;
	struct hr_desc *desc;
	uint64_t now;

	uint32_t alive_n;
	uint32_t ended; /* packets that ended in this stage */
	uint16_t alive[HR_BATCH_MAX];

	struct hr_sa *sa[HR_BATCH_MAX]; /* NULL: L2TP in clear */
	struct hr_peer *peer[HR_BATCH_MAX];
	struct hr_session *session[HR_BATCH_MAX];
	const struct hr_plan *plan[HR_BATCH_MAX];

	uint8_t newest[HR_BATCH_MAX];  /* decap: the sequence number moved the replay window */
	uint32_t header[HR_BATCH_MAX]; /* L2TP: flags << 16 | Ns; then MPPE: its two octets */

	struct hr_esp_job esp[HR_BATCH_MAX];
	uint16_t esp_of[HR_BATCH_MAX]; /* job -> packet */
	uint32_t jobs;

	/* mppe.c */
	uint16_t todo[HR_BATCH_MAX];
	uint16_t next[HR_BATCH_MAX];  /* the following packet of the same direction of a session */
	uint16_t steps[HR_BATCH_MAX]; /* key changes from the packet before to this one */
	uint8_t key[HR_BATCH_MAX][16];
	struct hr_mppe *held[HR_BATCH_MAX];
	struct hr_mppe *active[HR_BATCH_MAX];
	struct hr_mppe_rekey_job rekey[HR_BATCH_MAX];
	struct hr_rc4_job rc4[HR_BATCH_MAX];
};

typedef void hr_stage(struct hr_work *work);

/* 0, or HR_E_ARGUMENT for a batch that is too large, or HR_E_DESCRIPTOR with batch->bad_index. `kinds` has a bit for each
 * enum hr_kind that may come in. */
int hr_batch_check(struct hr_batch *batch, uint32_t kinds, struct hr_work *work);

/* --- one packet --- */

static inline uint8_t *hr_data(const struct hr_work *work, const struct hr_desc *desc)
{
	return work->arena + desc->off;
}

static inline void hr_end(struct hr_work *work, struct hr_desc *desc, enum hr_status status)
{
	desc->status = (uint8_t)status;
	work->ended++;
}

static inline uint16_t hr_more_room(uint16_t room, uint32_t by)
{
	const uint32_t sum = room + by;
	return sum > UINT16_MAX ? UINT16_MAX : (uint16_t)sum;
}

/* Take n octets off the front; n is at most desc->len. */
static inline void hr_pull(struct hr_desc *desc, uint32_t n)
{
	desc->off += n;
	desc->len -= n;
	desc->room_head = hr_more_room(desc->room_head, n);
}

/* Cut the packet to len octets; len is at most desc->len. */
static inline void hr_trim(struct hr_desc *desc, uint32_t len)
{
	desc->room_tail = hr_more_room(desc->room_tail, desc->len - len);
	desc->len = len;
}

/* Take back n octets in front, for writing a header. The caller has checked the room (route.c) or has pulled them before. */
static inline uint8_t *hr_push(struct hr_work *work, struct hr_desc *desc, uint32_t n)
{
	desc->off -= n;
	desc->len += n;
	desc->room_head = (uint16_t)(desc->room_head - n);
	return hr_data(work, desc);
}

/* --- network order --- */

static inline uint16_t hr_get16(const uint8_t *p)
{
	return (uint16_t)((uint32_t)p[0] << 8 | p[1]);
}

static inline uint32_t hr_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void hr_put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void hr_put32(uint8_t *p, uint32_t value)
{
	hr_put16(p, value >> 16);
	hr_put16(p + 2, value);
}

/* --- sums that several threads add to and anybody reads --- */

static inline void hr_add(_Atomic uint64_t *sum, uint64_t value)
{
	atomic_fetch_add_explicit(sum, value, memory_order_relaxed);
}

static inline uint64_t hr_read(const _Atomic uint64_t *sum)
{
	return atomic_load_explicit(sum, memory_order_relaxed);
}

/* Times and flags: no read-modify-write, and no write at all if nothing changes, for the line may be shared. */
static inline void hr_note(_Atomic uint64_t *place, uint64_t value)
{
	if (hr_read(place) != value)
		atomic_store_explicit(place, value, memory_order_relaxed);
}

#endif
