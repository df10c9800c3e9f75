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

/* One packet on its way: all that the stages tell one another about it, in one cache line. */
struct hr_packet {
	_Alignas(64) uint8_t *data; /* where it is now: its descriptor keeps what came in until the pipeline ends */
	uint32_t len;
	uint32_t header;  /* decap: L2TP's flags << 16 | Ns, then MPPE's two octets; encap: MPPE's two octets */
	struct hr_sa *sa; /* NULL: L2TP in clear */
	struct hr_peer *peer;
	struct hr_session *session;
	const struct hr_plan *plan;
	uint8_t newest;	 /* decap: its sequence number moved the replay window */
	uint8_t encrypt; /* encap: enum hr_ccp_work; decap: 1 = the frame was inside an MPPE, MPPC or Deflate frame */
	uint16_t next;	 /* mppe.c: the following packet of the same direction of a session */
	uint16_t steps;	 /* mppe.c: key changes from the packet before to this one */
};
_Static_assert(sizeof(struct hr_packet) == 64, "one cache line");

/* What CCP's method has to do with a packet that goes out. */
enum hr_ccp_work {
	HR_CCP_NOTHING = 0,
	HR_CCP_WRAP = 1,    /* encrypt, compress: two octets of header and the protocol inside are on top */
	HR_CCP_DEFLATE = 2, /* as it is if that is not larger */
	HR_CCP_BARE = 3	    /* Deflate has found that it is not */
};

/* The working set of one hr_encap() or hr_decap(). It belongs to the reader (grace.h) and is used again by the next call. */
struct hr_work {
	struct hr_dp *dp;
	struct hr_reader *reader;
	uint32_t self; /* number of the reader + 1: what it writes into the locks it holds */
	struct hr_desc *desc;
	uint64_t now;
	uint8_t *arena;
	uint64_t spare_at, spare_end; /* what is left of the arena's spare octets */

	uint32_t alive_n;
	uint32_t ended;	    /* packets that ended in this stage */
	uint32_t encrypted; /* packets that MPPE has to work on */
	uint32_t jobs;	    /* of esp */
	uint16_t alive[HR_BATCH_MAX];
	struct hr_packet packet[HR_BATCH_MAX]; /* in the order of the batch */

	struct hr_esp_job esp[HR_BATCH_MAX];
	uint16_t esp_of[HR_BATCH_MAX]; /* job -> packet */

	/* mppe.c */
	uint16_t todo[HR_BATCH_MAX];
	uint8_t key[HR_BATCH_MAX][16];
	struct hr_mppe *held[HR_BATCH_MAX];
	struct hr_mppe *active[HR_BATCH_MAX];
	struct hr_mppe_rekey_job rekey[HR_BATCH_MAX];
	struct hr_rc4_job rc4[HR_BATCH_MAX];
	uint16_t worked[HR_BATCH_MAX]; /* packet of each RC4 job */
	uint8_t scratch[16384];	       /* ccp.c: a frame being compressed or expanded */
};

typedef void hr_stage(struct hr_work *work);

/* 0, or HR_E_ARGUMENT for a batch that is too large, or HR_E_DESCRIPTOR with batch->bad_index. `kinds` has a bit for each
 * enum hr_kind that may come in. */
int hr_batch_check(struct hr_batch *batch, uint32_t kinds, struct hr_work *work);

/* What a stage goes through, in registers: nothing that it writes can change them. */
struct hr_list {
	const uint16_t *at; /* indices */
	uint32_t n;
	struct hr_desc *desc;
	struct hr_packet *packet;
};

static inline struct hr_list hr_alive(struct hr_work *work)
{
	const struct hr_list list = {work->alive, work->alive_n, work->desc, work->packet};

	return list;
}

/* --- one packet --- */

static inline void hr_end(struct hr_work *work, struct hr_desc *desc, enum hr_status status)
{
	desc->status = (uint8_t)status;
	work->ended++;
}

/* Take n octets off the front; n is at most its length. */
static inline void hr_pull(struct hr_work *work, uint32_t i, uint32_t n)
{
	work->packet[i].data += n;
	work->packet[i].len -= n;
}

/* Take back n octets in front, for writing a header. The caller has checked the room (route.c) or has pulled them before. */
static inline uint8_t *hr_push(struct hr_work *work, uint32_t i, uint32_t n)
{
	work->packet[i].len += n;
	return work->packet[i].data -= n;
}

/* --- network order --- */

/* One load or store and one swap, at any alignment. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HR_NETWORK16(x) __builtin_bswap16(x)
#define HR_NETWORK32(x) __builtin_bswap32(x)
#else
#define HR_NETWORK16(x) (x)
#define HR_NETWORK32(x) (x)
#endif

static inline uint16_t hr_get16(const uint8_t *p)
{
	uint16_t value;

	memcpy(&value, p, 2);
	return HR_NETWORK16(value);
}

static inline uint32_t hr_get32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, 4);
	return HR_NETWORK32(value);
}

static inline void hr_put16(uint8_t *p, uint32_t value)
{
	const uint16_t turned = HR_NETWORK16((uint16_t)value);

	memcpy(p, &turned, 2);
}

static inline void hr_put32(uint8_t *p, uint32_t value)
{
	const uint32_t turned = HR_NETWORK32(value);

	memcpy(p, &turned, 4);
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

/* By the one thread that may change it, under a lock. */
static inline void hr_write(_Atomic uint64_t *place, uint64_t value)
{
	atomic_store_explicit(place, value, memory_order_relaxed);
}

/* Times and flags: no read-modify-write, and no write at all if nothing changes, for the line may be shared. */
static inline void hr_note(_Atomic uint64_t *place, uint64_t value)
{
	if (hr_read(place) != value)
		hr_write(place, value);
}

#endif
