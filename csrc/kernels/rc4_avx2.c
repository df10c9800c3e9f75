/* SPDX-License-Identifier: Apache-2.0
 *
 * rc4_avx2.c: RC4 on 32 streams at once (rc4_lanes.h).
 *
 * Jobs are put in order, the longest first, and taken in groups of 32, which then end one after the other; eight lanes that
 * have ended drop out of the work. Streams that go on are turned from tables into rows at the beginning, and back at their end.
 */
#include "../cpu.h"

#if HR_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi2")
#endif

#include "../wipe.h"
#include "rc4_lanes.h"

enum {
	TILE = 64,   /* steps whose key stream is turned at once */
	FEW = 3,     /* streams up to this many are as fast one after the other (measured, Zen 4) */
	SORTED = 512 /* jobs put in order at once */
};

/* A group of streams of one call: the longest first. */
struct run {
	struct rc4_lanes lanes;
	rc4_tile tile;
	uint8_t stream[8][TILE] __attribute__((aligned(64)));
	uint8_t table[8][512] __attribute__((aligned(64))); /* twice in a row, so that it can be used from any place on */
};

/* Eight registers, in each 128-bit half: number the octets by seven bits, register first, and turn those bits left by one. */
static inline __attribute__((always_inline)) void turn_once(__m256i r[8])
{
	__m256i t[8];

	for (int i = 0; i < 4; i++) {
		t[2 * i] = _mm256_unpacklo_epi8(r[i], r[i + 4]);
		t[2 * i + 1] = _mm256_unpackhi_epi8(r[i], r[i + 4]);
	}
	for (int i = 0; i < 8; i++)
		r[i] = t[i];
}

/* 8 x 64 octets: rows[r][q] = lane[q][r]. */
static inline void rows_of(uint8_t rows[64][8], const uint8_t *const lane[8])
{
	for (int at = 0; at < 64; at += 32) {
		__m256i r[8];
		for (int q = 0; q < 8; q++)
			r[q] = _mm256_loadu_si256((const __m256i *)(lane[q] + at));
		turn_once(r); /* from (lane, row) to (upper three bits of the row, its last bit and the lane) */
		turn_once(r);
		turn_once(r);
		for (int i = 0; i < 8; i++) {
			_mm_store_si128((__m128i *)rows[at + 2 * i], _mm256_castsi256_si128(r[i]));
			_mm_store_si128((__m128i *)rows[at + 16 + 2 * i], _mm256_extracti128_si256(r[i], 1));
		}
	}
}

/* And back. */
static inline void lanes_of(uint8_t *const lane[8], const uint8_t rows[64][8])
{
	for (int at = 0; at < 64; at += 32) {
		__m256i r[8];
		for (int i = 0; i < 8; i++)
			r[i] = _mm256_set_m128i(_mm_load_si128((const __m128i *)rows[at + 16 + 2 * i]),
						_mm_load_si128((const __m128i *)rows[at + 2 * i]));
		turn_once(r); /* four turns more than the three, and the seven bits are where they began */
		turn_once(r);
		turn_once(r);
		turn_once(r);
		for (int q = 0; q < 8; q++)
			_mm256_storeu_si256((__m256i *)(lane[q] + at), r[q]);
	}
}

/* Exclusive-or len (1 to TILE) octets of key stream into the text. */
static inline void apply(uint8_t *text, const uint8_t *stream, uint32_t len)
{
	uint32_t i = 0;

	for (; i + 32 <= len; i += 32) {
		const __m256i v = _mm256_loadu_si256((const __m256i *)(text + i));
		_mm256_storeu_si256((__m256i *)(text + i),
				    _mm256_xor_si256(v, _mm256_load_si256((const __m256i *)(stream + i))));
	}
	for (; i + 8 <= len; i += 8) {
		uint64_t a, b;
		memcpy(&a, text + i, 8);
		memcpy(&b, stream + i, 8);
		a ^= b;
		memcpy(text + i, &a, 8);
	}
	for (; i < len; i++)
		text[i] ^= stream[i];
}

/* The key stream of a tile, `len` steps, to the texts of lanes first to end - 1. */
static void apply_tile(struct run *r, const struct hr_rc4_job *const job[], uint32_t first, uint32_t end, uint32_t at,
		       uint32_t len)
{
	uint8_t *const lane[8] = {r->stream[0], r->stream[1], r->stream[2], r->stream[3],
				  r->stream[4], r->stream[5], r->stream[6], r->stream[7]};

	for (uint32_t q = first; q < end; q++) {
		if (q == first || q % 8 == 0)
			lanes_of(lane, (const uint8_t(*)[8])r->tile[q / 8]);
		apply(job[q]->buf + at, r->stream[q % 8], len);
	}
}

/* A state's table, twice in a row. */
static inline void table_in(uint8_t table[512], const uint8_t s[256])
{
	for (int r = 0; r < 256; r += 32) {
		const __m256i v = _mm256_loadu_si256((const __m256i *)(s + r));
		_mm256_store_si256((__m256i *)(table + r), v);
		_mm256_store_si256((__m256i *)(table + 256 + r), v);
	}
}

/* And back, where only the octets `from` to from + 255 are valid. */
static inline void table_out(uint8_t s[256], const uint8_t table[512], uint8_t from)
{
	const __m256i least = _mm256_set1_epi8((char)from);
	__m256i place = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
					 24, 25, 26, 27, 28, 29, 30, 31);

	for (int r = 0; r < 256; r += 32, place = _mm256_add_epi8(place, _mm256_set1_epi8(32))) {
		const __m256i first = _mm256_load_si256((const __m256i *)(table + r));
		const __m256i second = _mm256_load_si256((const __m256i *)(table + 256 + r));
		const __m256i in_first = _mm256_cmpeq_epi8(_mm256_max_epu8(place, least), place);
		_mm256_storeu_si256((__m256i *)(s + r), _mm256_blendv_epi8(second, first, in_first));
	}
}

/* Bring in the tables of streams that go on. */
static void resume(struct run *r, const struct hr_rc4_job *const job[], uint32_t n)
{
	const uint8_t *lane[8];

	memset(r->lanes.j, 0, sizeof r->lanes.j);
	memset(r->lanes.turn, 0, sizeof r->lanes.turn);
	for (int q = 0; q < 8; q++)
		lane[q] = r->table[q];
	for (uint32_t q = 0; q < n; q++) {
		const struct hr_rc4_state *const state = job[q]->state;
		table_in(r->table[q % 8], state->s);
		lane[q % 8] = r->table[q % 8] + state->i;
		r->lanes.j[q] = (uint8_t)(state->j - state->i);
		r->lanes.turn[q] = state->i;
		if (q % 8 != 7 && q + 1 != n)
			continue;
		for (int at = 0; at < 256; at += 64) {
			rows_of(r->lanes.s[q / 8] + at, lane);
			for (int k = 0; k < 8; k++)
				lane[k] += 64;
		}
		for (int k = 0; k < 8; k++)
			lane[k] = r->table[k];
	}
}

/* Hand out the states of lanes first to end - 1, which have just done all their steps. */
static void suspend(struct run *r, const struct hr_rc4_job *const job[], uint32_t first, uint32_t end)
{
	uint32_t group = RC4_GROUPS; /* whose tables are out */
	uint8_t *lane[8];

	for (uint32_t q = first; q < end; q++) {
		struct hr_rc4_state *const state = job[q]->state;
		if (state == NULL)
			continue;
		if (q / 8 != group) {
			group = q / 8;
			for (uint32_t k = 0; k < 8; k++)
				lane[k] = r->table[k] + r->lanes.turn[8 * group + k];
			for (int at = 0; at < 256; at += 64) {
				lanes_of(lane, (const uint8_t(*)[8])(r->lanes.s[group] + at));
				for (int k = 0; k < 8; k++)
					lane[k] += 64;
			}
		}
		const uint8_t from = r->lanes.turn[q];
		table_out(state->s, r->table[q % 8], from);
		state->i = (uint8_t)(from + job[q]->len);
		state->j = (uint8_t)(r->lanes.j[q] + from);
	}
}

/* Up to 32 streams, the longest first, that all begin or all go on. */
static void together(struct run *r, const struct hr_rc4_job *const job[], uint32_t n)
{
	if (job[0]->key != NULL) {
		uint8_t keys[RC4_LANES][16];
		for (uint32_t q = 0; q < n; q++) {
			memcpy(keys[q], job[q]->key, 8);
			memcpy(keys[q] + 8, job[q]->key + (job[q]->key_len == 8 ? 0 : 8), 8);
		}
		rc4_lanes_begin(&r->lanes, (const uint8_t(*)[16])keys, n);
		hr_erase(keys, sizeof keys);
	} else {
		resume(r, job, n);
	}

	uint32_t alive = n;
	for (uint32_t at = 0; alive != 0;) {
		const uint32_t tile_at = at & ~(uint32_t)(TILE - 1);
		uint32_t stop = tile_at + TILE;
		if (job[alive - 1]->len < stop)
			stop = job[alive - 1]->len;
		rc4_stream_lanes(&r->lanes, (alive + 7) / 8, at + 1, stop - at, r->tile, at - tile_at);
		at = stop;

		uint32_t left = alive;
		while (left != 0 && job[left - 1]->len == at)
			left--;
		const uint32_t filled = at - tile_at;
		if (filled == TILE)
			apply_tile(r, job, 0, alive, tile_at, filled);
		else if (filled != 0)
			apply_tile(r, job, left, alive, tile_at, filled);
		suspend(r, job, left, alive);
		alive = left;
	}
}

/* Order by length, the longest first, streams that begin before those that go on. Insertion, because a batch mostly has a few
 * lengths in runs, and what is equal stays where it is. */
static void sort(const struct hr_rc4_job *order[], uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		const struct hr_rc4_job *const job = order[i];
		uint32_t at = i;
		for (; at > 0; at--) {
			const struct hr_rc4_job *const before = order[at - 1];
			if ((before->key != NULL) > (job->key != NULL) ||
			    ((before->key != NULL) == (job->key != NULL) && before->len >= job->len))
				break;
			order[at] = before;
		}
		order[at] = job;
	}
}

void hr_rc4_avx2(const struct hr_rc4_job *job, uint32_t n)
{
	struct run r;
	const struct hr_rc4_job *order[SORTED];
	int used = 0;

	while (n != 0) {
		const uint32_t now = n < SORTED ? n : SORTED;
		uint32_t wide = 0;
		for (uint32_t q = 0; q < now; q++) {
			if (job[q].key != NULL && job[q].key_len != 8 && job[q].key_len != 16)
				hr_rc4_portable(&job[q], 1); /* no MPPE key */
			else
				order[wide++] = &job[q];
		}
		sort(order, wide);
		for (uint32_t q = 0; q < wide;) {
			uint32_t end = q;
			while (end < wide && end - q < RC4_LANES && (order[end]->key != NULL) == (order[q]->key != NULL))
				end++;
			if (end - q > FEW) {
				together(&r, order + q, end - q);
				used = 1;
				q = end;
			}
			for (; q < end; q++)
				hr_rc4_portable(order[q], 1);
		}
		job += now;
		n -= now;
	}
	if (used)
		hr_erase(&r, sizeof r);
	_mm256_zeroupper();
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
