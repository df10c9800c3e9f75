/* SPDX-License-Identifier: Apache-2.0
 *
 * rate.h: a token bucket as one clock (the generic cell rate algorithm).
 *
 * The clock says until when the allowance is spent. A packet costs time; it passes while the clock is not further ahead of now
 * than the burst. One word, so two threads meet on it without a lock, and no division.
 */
#ifndef HEADRACE_RATE_H
#define HEADRACE_RATE_H

#include "batch.h"

struct hr_rate {
	uint64_t cost;	/* of one octet in ns, 20 binary places; 0 = no limit */
	uint64_t burst; /* ns */
};

#define HR_RATE_PLACES 20

/* Octets a second. The burst is a tenth of a second, but never less than a few large packets. */
static inline struct hr_rate hr_rate_of(uint64_t octets)
{
	const uint64_t least_octets = 16384, tenth = 100000000;
	struct hr_rate rate = {0, 0};

	if (octets == 0)
		return rate;
	if (octets < 64) /* keeps a packet's cost within 64 bits */
		octets = 64;
	rate.cost = (UINT64_C(1000000000) << HR_RATE_PLACES) / octets;
	rate.burst = (least_octets * rate.cost) >> HR_RATE_PLACES;
	if (rate.burst < tenth)
		rate.burst = tenth;
	return rate;
}

/* 1 and the clock moves, or 0 and it stands. */
static inline int hr_rate_pass(_Atomic uint64_t *clock, uint64_t now, uint64_t cost, uint64_t burst)
{
	uint64_t spent = hr_read(clock);

	for (;;) {
		const uint64_t from = spent > now ? spent : now;
		if (from - now > burst)
			return 0;
		if (atomic_compare_exchange_weak_explicit(clock, &spent, from + cost, memory_order_relaxed,
							  memory_order_relaxed))
			return 1;
	}
}

static inline int hr_rate_packet(const struct hr_rate *rate, _Atomic uint64_t *clock, uint64_t now, uint32_t len)
{
	return rate->cost == 0 || hr_rate_pass(clock, now, (len * rate->cost) >> HR_RATE_PLACES, rate->burst);
}

#endif
