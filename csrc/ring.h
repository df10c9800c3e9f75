/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h: packets for the control plane, from one worker (the producer) to whoever drains them (one consumer at a time).
 * Bounded in octets. No flow of one origin takes more than a quarter, so that a flood from one peer leaves room for the others;
 * what anybody may send unauthenticated has a ring of its own (worker.h).
 */
#ifndef HEADRACE_RING_H
#define HEADRACE_RING_H

#include <stdatomic.h>

#include "headrace.h"

enum hr_ring_limit {
	HR_RING_SHARES = 64,	 /* origins, by hash */
	HR_RING_LEAST = 1 << 19, /* octets of the smallest ring: a sixteenth of it is the largest packet */
	HR_RING_SLOT = 1024	 /* octets of ring for each configured slot */
};

struct hr_ring {
	uint8_t *memory;
	uint64_t size; /* a power of two */

	_Alignas(64) _Atomic uint64_t head; /* octets ever written; the producer's */
	uint64_t pushed[HR_RING_SHARES];    /* octets ever written by origin */

	_Alignas(64) _Atomic uint64_t tail; /* octets ever read; the consumer's */
	_Atomic uint64_t popped[HR_RING_SHARES];
};

/* At least `slots` * HR_RING_SLOT octets. 0 or HR_E_MEMORY. */
int hr_ring_init(struct hr_ring *ring, uint32_t slots);
void hr_ring_free(struct hr_ring *ring);

/* Producer: copy the packet in. 1, or 0 if there is no room for it. `origin` is any hash of where it came from; `stamp` counts
 * up, so that the consumer of several rings of one producer can keep the order. */
int hr_ring_push(struct hr_ring *ring, const struct hr_desc *desc, const uint8_t *data, uint32_t origin, uint64_t stamp);

/* Consumer: move the oldest packet to `to`, which has room for `room` octets: desc gets its fields and length, its offset is
 * the caller's to set. 1; 0 if the ring is empty; -1 if it is longer than room: nothing moved, desc->len says how long it is.
 */
int hr_ring_pop(struct hr_ring *ring, struct hr_desc *desc, uint8_t *to, uint32_t room);
void hr_ring_skip(struct hr_ring *ring);		 /* forget the oldest packet */
int hr_ring_peek(struct hr_ring *ring, uint64_t *stamp); /* of the oldest packet; 0 if the ring is empty */
uint64_t hr_ring_backlog(struct hr_ring *ring);		 /* octets that wait; any thread */

#endif
