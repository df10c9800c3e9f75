/* SPDX-License-Identifier: Apache-2.0
 *
 * replay.h: the anti-replay window of an inbound SA (RFC 4303 section 3.4.3 and appendix A, bitmap as in RFC 6479).
 *
 * The bitmap is a ring of 64-bit words: the bit of a number is always in the same place, so moving the window forward clears
 * whole words and shifts nothing. The ring has at least one word more than the window, so the word being entered never holds
 * numbers that are still inside. It begins exactly `window` numbers wide: with 64, the number 63 behind the top is inside and
 * 64 behind is not.
 *
 * Order, when two threads meet on one SA: hr_replay_seen() takes no lock and may miss what another thread accepts at this
 * moment. It only saves work on packets that are surely late; nothing is decided by it. After the ICV has verified,
 * hr_replay_accept() tests and marks in one step under the SA's lock. So of two copies of one packet, in one batch or in two
 * threads, exactly one gets through, and a packet that does not verify never moves anything.
 */
#ifndef HEADRACE_REPLAY_H
#define HEADRACE_REPLAY_H

#include <stdatomic.h>
#include <stdint.h>

#include "batch.h"

enum { HR_REPLAY_MIN = 32, HR_REPLAY_MAX = 4096 };

struct hr_replay {
	_Atomic uint64_t top; /* highest number accepted */
	uint32_t window;
	uint32_t mask; /* words of the ring - 1 */
	_Atomic uint64_t *ring;
};

/* Words that the ring of a window needs: a power of two. */
static inline uint32_t hr_replay_words(uint32_t window)
{
	uint32_t words = 2;

	while (words < (window + 63) / 64 + 1)
		words *= 2;
	return words;
}

/* Open at `top`: it and everything before count as seen. ring has hr_replay_words() words. */
static inline void hr_replay_init(struct hr_replay *replay, uint32_t window, uint64_t top, _Atomic uint64_t *ring)
{
	replay->window = window;
	replay->mask = hr_replay_words(window) - 1;
	replay->ring = ring;
	atomic_init(&replay->top, top);
	for (uint32_t w = 0; w <= replay->mask; w++)
		atomic_init(&ring[w], UINT64_MAX);
	/* in the word that holds top, what is ahead of it has not been seen */
	atomic_init(&ring[(top >> 6) & replay->mask], UINT64_MAX >> (63 - (top & 63)));
}

/* The whole number of a packet that carries only the lower half (appendix A2.2): the one that lies nearest to the window, at or
 * behind its lower edge. 0, which no packet has, where that would be before the first number. */
static inline uint64_t hr_replay_whole(const struct hr_replay *replay, uint32_t low)
{
	const uint64_t top = hr_read(&replay->top);
	const uint32_t top_low = (uint32_t)top;
	const uint64_t high = top >> 32;
	const uint32_t edge = top_low - replay->window + 1; /* modulo 2^32 */

	if (top_low >= replay->window - 1) /* the window lies within one half */
		return (low >= edge ? high : high + 1) << 32 | low;
	if (low >= edge) /* it reaches back into the half before */
		return high == 0 ? 0 : (high - 1) << 32 | low;
	return high << 32 | low;
}

static inline int hr_replay_behind(const struct hr_replay *replay, uint64_t top, uint64_t seq)
{
	return seq == 0 || (seq <= top && top - seq >= replay->window);
}

/* 1 if the number is behind the window or was accepted before. */
static inline int hr_replay_seen(const struct hr_replay *replay, uint64_t seq)
{
	const uint64_t top = hr_read(&replay->top);

	if (hr_replay_behind(replay, top, seq))
		return 1;
	if (seq > top)
		return 0;
	return (int)(hr_read(&replay->ring[(seq >> 6) & replay->mask]) >> (seq & 63) & 1);
}

enum hr_replay_verdict { HR_REPLAY_SEEN = 0, HR_REPLAY_INSIDE = 1, HR_REPLAY_NEWEST = 2 };

/* Test and mark, under the SA's lock, after the ICV has verified. */
static inline enum hr_replay_verdict hr_replay_accept(struct hr_replay *replay, uint64_t seq)
{
	const uint64_t top = hr_read(&replay->top);
	const uint64_t bit = UINT64_C(1) << (seq & 63);
	_Atomic uint64_t *const word = &replay->ring[(seq >> 6) & replay->mask];

	if (hr_replay_behind(replay, top, seq))
		return HR_REPLAY_SEEN;
	if (seq <= top) {
		const uint64_t bits = hr_read(word);
		if (bits & bit)
			return HR_REPLAY_SEEN;
		atomic_store_explicit(word, bits | bit, memory_order_relaxed);
		return HR_REPLAY_INSIDE;
	}
	uint64_t skipped = (seq >> 6) - (top >> 6); /* words entered, this one included */
	if (skipped > (uint64_t)replay->mask + 1)
		skipped = (uint64_t)replay->mask + 1;
	for (uint64_t w = 0; w < skipped; w++)
		atomic_store_explicit(&replay->ring[((seq >> 6) - w) & replay->mask], 0, memory_order_relaxed);
	atomic_store_explicit(word, hr_read(word) | bit, memory_order_relaxed);
	atomic_store_explicit(&replay->top, seq, memory_order_relaxed);
	return HR_REPLAY_NEWEST;
}

#endif
