/* SPDX-License-Identifier: Apache-2.0
 *
 * mppc.c: Microsoft's PPP compression (RFC 2118). The coding is drawn in mppc.h.
 */
#include "mppc.h"

#include <string.h>

enum {
	CANDIDATES = 12,  /* places looked at for one match: beyond that the gain is below one in a hundred */
	LONG_ENOUGH = 64, /* a match as long as this is taken without looking further */
	MATCH_MIN = 3
};

/* --- bits out ----------------------------------------------------------------------------------------------------------- */

/* The most significant bit of `bits` that counts goes first. At most 32 bits wait. */
struct writer {
	uint8_t *at, *end;
	uint64_t bits;
	uint32_t waiting;
	int full;
};

static inline void put(struct writer *w, uint32_t value, uint32_t count)
{
	w->bits = w->bits << count | value;
	w->waiting += count;
	while (w->waiting >= 8) {
		if (w->at == w->end) {
			w->full = 1;
			w->waiting &= 7;
			return;
		}
		w->waiting -= 8;
		*w->at++ = (uint8_t)(w->bits >> w->waiting);
	}
}

static inline void put_literal(struct writer *w, uint8_t octet)
{
	if (octet < 0x80)
		put(w, octet, 8);
	else
		put(w, 0x100u | (octet & 0x7fu), 9);
}

static inline void put_copy(struct writer *w, uint32_t distance, uint32_t length)
{
	if (distance < 64)
		put(w, 0xfu << 6 | distance, 10);
	else if (distance < 320)
		put(w, 0xeu << 8 | (distance - 64), 12);
	else
		put(w, 0x6u << 13 | (distance - 320), 16);
	if (length == MATCH_MIN) {
		put(w, 0, 1);
	} else {
		const uint32_t k = 31u - (uint32_t)__builtin_clz(length);
		put(w, (1u << k) - 2, k); /* k - 1 ones and a zero */
		put(w, length - (1u << k), k);
	}
}

/* --- sender ------------------------------------------------------------------------------------------------------------- */

static inline uint32_t hash(const uint8_t *p)
{
	const uint32_t three = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
	return three * 0x9e3779b1u >> 20; /* 2^32 over the golden ratio; the upper 12 bits */
}

static inline void remember(struct hr_mppc_sender *s, uint32_t place)
{
	const uint32_t h = hash(s->history + place);
	s->older[place] = s->newest[h];
	s->newest[h] = (uint16_t)(place + 1);
}

/* The longest run before `place` that repeats there, of at most `limit` octets. */
static uint32_t find(const struct hr_mppc_sender *s, uint32_t place, uint32_t limit, uint32_t *distance)
{
	const uint8_t *const here = s->history + place;
	uint32_t best = 0;
	uint32_t candidate = s->newest[hash(here)];

	for (int tries = 0; candidate != 0 && tries < CANDIDATES && best < LONG_ENOUGH; tries++) {
		const uint8_t *const there = s->history + candidate - 1;
		if (best < limit && there[best] == here[best]) {
			uint32_t length = 0;
			while (length < limit && there[length] == here[length])
				length++;
			if (length > best) {
				best = length;
				*distance = place - (candidate - 1);
			}
		}
		candidate = s->older[candidate - 1];
	}
	return best;
}

static void encode(struct hr_mppc_sender *s, uint32_t begin, uint32_t end, struct writer *w)
{
	for (uint32_t place = begin; place < end && !w->full;) {
		const uint32_t left = end - place;
		uint32_t distance = 0;
		uint32_t length = left >= MATCH_MIN ? find(s, place, left, &distance) : 0;
		if (length < MATCH_MIN) {
			put_literal(w, s->history[place]);
			length = 1;
		} else {
			put_copy(w, distance, length);
		}
		for (const uint32_t next = place + length; place < next; place++) {
			if (end - place >= MATCH_MIN)
				remember(s, place);
		}
	}
	if (w->waiting != 0)
		put(w, 0, 8 - w->waiting);
}

void hr_mppc_reset(struct hr_mppc_sender *s)
{
	s->used = 0;
	s->started = 0;
	memset(s->newest, 0, sizeof s->newest);
}

uint32_t hr_mppc_compress(struct hr_mppc_sender *s, const uint8_t *frame, uint32_t len, uint8_t *out, uint32_t room,
			  uint32_t *out_len)
{
	uint32_t bits = s->started ? 0 : HR_MPPC_FLUSHED;

	*out_len = 0;
	if (len == 0 || len > HR_MPPC_HISTORY) {
		hr_mppc_reset(s);
		s->started = 0;
		return bits;
	}
	if (len > HR_MPPC_HISTORY - s->used) {
		hr_mppc_reset(s); /* older octets would still be there for the peer; this sender does not refer to them */
		bits |= HR_MPPC_FRONT;
	}
	const uint32_t begin = s->used;
	memcpy(s->history + begin, frame, len);
	s->used += len;
	s->started = 1;

	struct writer w = {.at = out, .end = out + (room < len ? room : len - 1)};
	encode(s, begin, begin + len, &w);
	if (w.full) {
		hr_mppc_reset(s);
		return bits & HR_MPPC_FLUSHED;
	}
	*out_len = (uint32_t)(w.at - out);
	return bits | HR_MPPC_COMPRESSED;
}

/* --- bits in ------------------------------------------------------------------------------------------------------------ */

struct reader {
	const uint8_t *at, *end;
	uint64_t bits; /* the next one uppermost */
	uint32_t held;
};

/* At least 32 bits, or all that are left; zeros behind them. */
static inline void fill(struct reader *r)
{
	while (r->held <= 56 && r->at != r->end) {
		r->bits |= (uint64_t)*r->at++ << (56 - r->held);
		r->held += 8;
	}
}

static inline uint32_t peek(const struct reader *r, uint32_t count)
{
	return (uint32_t)(r->bits >> (64 - count));
}

/* Take count (1 to 32) bits; 0 if they are not there. */
static inline int take(struct reader *r, uint32_t count, uint32_t *value)
{
	if (count > r->held)
		return 0;
	*value = peek(r, count);
	r->bits <<= count;
	r->held -= count;
	return 1;
}

static inline int skip(struct reader *r, uint32_t count)
{
	uint32_t ignored;
	return take(r, count, &ignored);
}

/* Behind "11": a distance and a length. 0 if there is none like that. */
static int take_copy(struct reader *r, uint32_t *distance, uint32_t *length)
{
	uint32_t value;

	if (peek(r, 4) == 0xf) {
		if (!skip(r, 4) || !take(r, 6, distance))
			return 0;
	} else if (peek(r, 4) == 0xe) {
		if (!skip(r, 4) || !take(r, 8, &value))
			return 0;
		*distance = value + 64;
	} else {
		if (!skip(r, 3) || !take(r, 13, &value))
			return 0;
		*distance = value + 320;
	}
	fill(r);
	const uint32_t ones = (uint32_t)__builtin_clzll(~r->bits | 1);
	if (ones > 11 || !skip(r, ones + 1))
		return 0;
	if (ones == 0) {
		*length = MATCH_MIN;
		return 1;
	}
	if (!take(r, ones + 1, &value))
		return 0;
	*length = (2u << ones) + value;
	return 1;
}

/* --- receiver ----------------------------------------------------------------------------------------------------------- */

void hr_mppc_lose(struct hr_mppc_receiver *r)
{
	r->started = 0;
}

/* 1 if length octets, `distance` back from the end of the history, are there to be copied: before the end, or, since places go
 * around, behind it where a round before has left something. */
static int may_copy(const struct hr_mppc_receiver *r, uint32_t distance, uint32_t length)
{
	if (distance == 0)
		return 0;
	if (distance <= r->used)
		return 1;
	if (distance > HR_MPPC_HISTORY)
		return 0;
	const uint32_t from = r->used + HR_MPPC_HISTORY - distance;
	return r->written == HR_MPPC_HISTORY || from + length <= r->written;
}

static enum hr_mppc_result decode(struct hr_mppc_receiver *h, const uint8_t *in, uint32_t len, uint32_t limit)
{
	struct reader r = {.at = in, .end = in + len};

	for (;;) {
		fill(&r);
		if (r.held < 8) /* shorter than any token: the filling up of the last octet */
			return r.bits == 0 ? HR_MPPC_OK : HR_MPPC_MALFORMED;
		uint32_t octet, distance = 0, length = 0;
		if (peek(&r, 1) == 0 || peek(&r, 2) == 2) {
			const uint32_t high = peek(&r, 1) << 7;
			if (!take(&r, high ? 9 : 8, &octet))
				return HR_MPPC_MALFORMED;
			if (h->used == limit)
				return HR_MPPC_TOO_LONG;
			h->history[h->used++] = (uint8_t)(high | (octet & 0x7f));
			continue;
		}
		if (!take_copy(&r, &distance, &length) || !may_copy(h, distance, length))
			return HR_MPPC_MALFORMED;
		if (length > limit - h->used)
			return HR_MPPC_TOO_LONG;
		uint32_t from = (h->used + HR_MPPC_HISTORY - distance) % HR_MPPC_HISTORY;
		for (; length != 0; length--) { /* source and destination may overlap: an octet at a time */
			h->history[h->used++] = h->history[from];
			from = (from + 1) % HR_MPPC_HISTORY;
		}
	}
}

enum hr_mppc_result hr_mppc_expand(struct hr_mppc_receiver *h, uint32_t bits, const uint8_t *in, uint32_t len, uint8_t *out,
				   uint32_t room, uint32_t *out_len)
{
	*out_len = 0;
	if (bits & HR_MPPC_FLUSHED) {
		h->used = h->written = 0;
		h->started = 1;
	}
	if (!h->started)
		return HR_MPPC_LOST;
	if (!(bits & HR_MPPC_COMPRESSED)) {
		if (len > room) {
			h->started = 0;
			return HR_MPPC_TOO_LONG;
		}
		memcpy(out, in, len);
		*out_len = len;
		return HR_MPPC_OK;
	}
	if (bits & HR_MPPC_FRONT)
		h->used = 0;
	const uint32_t begin = h->used;
	const uint32_t space = HR_MPPC_HISTORY - begin;
	const enum hr_mppc_result result = decode(h, in, len, begin + (room < space ? room : space));
	if (h->used > h->written)
		h->written = h->used;
	if (result != HR_MPPC_OK) {
		h->started = 0;
		return result;
	}
	*out_len = h->used - begin;
	memcpy(out, h->history + begin, *out_len);
	return HR_MPPC_OK;
}
