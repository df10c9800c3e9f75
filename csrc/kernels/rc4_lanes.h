/* SPDX-License-Identifier: Apache-2.0
 *
 * rc4_lanes.h: RC4 on up to 32 streams at once (AVX2). Include with that target on.
 *
 * A processor does one thing to 32 tables only where their indices agree, and in RC4 only i does. So s[i] of all lanes is one
 * row, and j, the exchange's row store and all sums are vector operations; s[j] and s[s[i] + s[j]] are loads, and the other
 * half of the exchange a store, one a lane. Three memory operations a lane are the least there can be. The rest is keeping
 * everything else out of the way:
 *
 *   - Lanes lie in groups of eight: s[group][row][lane]. Then a lane's place is base + 8 * index + constant, which an address
 *     can say by itself, and the indices of a group are eight octets of a general register.
 *   - Rows are read two steps ahead, long before they are needed, and repaired by a compare and a blend when j hits them
 *     meanwhile. Read when needed, a row would often wait for the single octets just stored into it.
 *   - The lookup of the key stream for step i - 1 is done in the midst of step i, so that its chain of insertions overlaps.
 *
 * Streams are at different i, so rows are counted from each lane's own place: row r of a lane is s[(r + i0) & 255], where i0 is
 * the i it came with. Then j - i0 goes in j's stead, and the sum of a lookup gets i0 taken off too (`turn`).
 *
 * The empty asm statements keep compilers from delaying the insertions, which would cost a store and a load each.
 */
#ifndef HEADRACE_KERNELS_RC4_LANES_H
#define HEADRACE_KERNELS_RC4_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "../wipe.h"

enum { RC4_LANES = 32, RC4_GROUPS = 4 };

/* Key stream: [group][step][lane]. */
typedef uint8_t rc4_tile[RC4_GROUPS][64][8] __attribute__((aligned(64)));
/* Octets to be added to j in a key schedule, for rows 0 to 15, 16 to 31, and so on. */
typedef uint8_t rc4_key_rows[16][RC4_LANES] __attribute__((aligned(64)));

struct rc4_lanes {
	uint8_t s[RC4_GROUPS][256][8];
	uint8_t j[RC4_LANES];	 /* less i0 */
	uint8_t turn[RC4_LANES]; /* i0 */
} __attribute__((aligned(64)));

#define RC4_INLINE static inline __attribute__((always_inline))
#define RC4_KEEP_X(v) __asm__("" : "+x"(v))
#define RC4_KEEP_R(v) __asm__("" : "+r"(v))

/* Row r (0 to 255) of the lanes of the first `groups` groups. */
RC4_INLINE __m256i rc4_row(const struct rc4_lanes *l, uint32_t r, const int groups)
{
	const __m128i a = _mm_loadl_epi64((const __m128i *)l->s[0][r]);
	const __m128i b = groups > 1 ? _mm_loadl_epi64((const __m128i *)l->s[1][r]) : a;
	const __m128i c = groups > 2 ? _mm_loadl_epi64((const __m128i *)l->s[2][r]) : a;
	const __m128i d = groups > 3 ? _mm_loadl_epi64((const __m128i *)l->s[3][r]) : a;
	return _mm256_set_m128i(_mm_unpacklo_epi64(c, d), _mm_unpacklo_epi64(a, b));
}

RC4_INLINE uint64_t rc4_group(__m256i v, const int g)
{
	const __m128i half = g < 2 ? _mm256_castsi256_si128(v) : _mm256_extracti128_si256(v, 1);
	return (uint64_t)(g % 2 == 0 ? _mm_cvtsi128_si64(half) : _mm_extract_epi64(half, 1));
}

/* The lookups and stores of lane Q of a group: k = s[t] (of the step before), a = s[j], s[j] = x. */
#define RC4_LANE(Q, SHIFT)                                                                                                     \
	{                                                                                                                      \
		if (stream) {                                                                                                  \
			k = _mm_insert_epi8(k, s[8 * (size_t)(uint8_t)(t >> SHIFT) + Q], Q);                                   \
			RC4_KEEP_X(k);                                                                                         \
		}                                                                                                              \
		uint8_t *const p = &s[8 * (size_t)(uint8_t)(j >> SHIFT) + Q];                                                  \
		a = _mm_insert_epi8(a, *p, Q);                                                                                 \
		RC4_KEEP_X(a);                                                                                                 \
		*p = (uint8_t)(x >> SHIFT);                                                                                    \
	}
#define RC4_TWO_LANES(Q)                                                                                                       \
	RC4_LANE(Q, 0)                                                                                                         \
	RC4_LANE(Q + 1, 8)                                                                                                     \
	t >>= 16;                                                                                                              \
	j >>= 16;                                                                                                              \
	x >>= 16;                                                                                                              \
	RC4_KEEP_R(t);                                                                                                         \
	RC4_KEEP_R(j);                                                                                                         \
	RC4_KEEP_R(x);

/* One group's part of a step; s is the group's table. Gives s[j] of its lanes, and in *out the key stream of the step before.
 */
RC4_INLINE __m128i rc4_group_step(uint8_t *s, uint64_t j, uint64_t x, uint64_t t, __m128i *out, const int stream)
{
	__m128i a = _mm_setzero_si128(), k = a;

	RC4_TWO_LANES(0)
	RC4_TWO_LANES(2)
	RC4_TWO_LANES(4)
	RC4_TWO_LANES(6)
	*out = k;
	return a;
}

/* The lookups alone. */
RC4_INLINE __m128i rc4_group_lookup(const uint8_t *s, uint64_t t)
{
	__m128i k = _mm_setzero_si128();

#define RC4_LOOKUP(Q)                                                                                                          \
	k = _mm_insert_epi8(k, s[8 * (size_t)(uint8_t)(t >> 8 * Q) + Q], Q);                                                   \
	RC4_KEEP_X(k);
	RC4_LOOKUP(0)
	RC4_LOOKUP(1)
	RC4_LOOKUP(2)
	RC4_LOOKUP(3)
	RC4_LOOKUP(4)
	RC4_LOOKUP(5)
	RC4_LOOKUP(6)
	RC4_LOOKUP(7)
#undef RC4_LOOKUP
	return k;
}

/* n steps from row `first` on. stream: write the key stream into the tile from step `at` on; else it is a key schedule. */
RC4_INLINE void rc4_steps(struct rc4_lanes *l, uint32_t first, uint32_t n, rc4_tile tile, uint32_t at, const rc4_key_rows key,
			  const int stream, const int groups)
{
	uint8_t *s = l->s[0][0];
	__m256i j = _mm256_load_si256((const __m256i *)l->j), t = _mm256_setzero_si256();
	const __m256i turn = _mm256_load_si256((const __m256i *)l->turn);
	__m256i now = rc4_row(l, first & 255, groups), next = rc4_row(l, (first + 1) & 255, groups);
	__m128i a[4], k[4];

	if (n == 0)
		return;
	RC4_KEEP_R(s);
	for (uint32_t i = first; i != first + n; i++) {
		const __m256i x = now;
		j = _mm256_add_epi8(j, x);
		if (!stream)
			j = _mm256_add_epi8(j, _mm256_load_si256((const __m256i *)key[i & 15]));
		const __m256i after = rc4_row(l, (i + 2) & 255, groups);
		now = _mm256_blendv_epi8(next, x, _mm256_cmpeq_epi8(j, _mm256_set1_epi8((char)(i + 1))));
		next = _mm256_blendv_epi8(after, x, _mm256_cmpeq_epi8(j, _mm256_set1_epi8((char)(i + 2))));

		a[0] = a[1] = a[2] = a[3] = k[0] = k[1] = k[2] = k[3] = _mm_setzero_si128();
		a[0] = rc4_group_step(s, rc4_group(j, 0), rc4_group(x, 0), rc4_group(t, 0), &k[0], stream);
		if (groups > 1)
			a[1] = rc4_group_step(s + 2048, rc4_group(j, 1), rc4_group(x, 1), rc4_group(t, 1), &k[1], stream);
		if (groups > 2)
			a[2] = rc4_group_step(s + 4096, rc4_group(j, 2), rc4_group(x, 2), rc4_group(t, 2), &k[2], stream);
		if (groups > 3)
			a[3] = rc4_group_step(s + 6144, rc4_group(j, 3), rc4_group(x, 3), rc4_group(t, 3), &k[3], stream);
		for (int g = 0; g < groups; g++)
			_mm_storel_epi64((__m128i *)(s + 2048 * g + 8 * (i & 255)), a[g]);
		if (stream) {
			const __m256i y = _mm256_set_m128i(_mm_unpacklo_epi64(a[2], a[3]), _mm_unpacklo_epi64(a[0], a[1]));
			if (i != first) {
				for (int g = 0; g < groups; g++)
					_mm_storel_epi64((__m128i *)tile[g][at], k[g]);
				at++;
			}
			t = _mm256_sub_epi8(_mm256_add_epi8(x, y), turn);
		}
	}
	_mm256_store_si256((__m256i *)l->j, j);
	if (stream) { /* the last step's */
		for (int g = 0; g < groups; g++)
			_mm_storel_epi64((__m128i *)tile[g][at], rc4_group_lookup(s + 2048 * g, rc4_group(t, g)));
	}
}

#define RC4_STEPS(groups)                                                                                                      \
	static __attribute__((noinline)) void rc4_stream_##groups(struct rc4_lanes *l, uint32_t first, uint32_t n,             \
								  rc4_tile tile, uint32_t at)                                  \
	{                                                                                                                      \
		rc4_steps(l, first, n, tile, at, NULL, 1, groups);                                                             \
	}                                                                                                                      \
	static __attribute__((noinline)) void rc4_schedule_##groups(struct rc4_lanes *l, const rc4_key_rows key)               \
	{                                                                                                                      \
		rc4_steps(l, 0, 256, NULL, 0, key, 0, groups);                                                                 \
	}
RC4_STEPS(1)
RC4_STEPS(2)
RC4_STEPS(3)
RC4_STEPS(4)

/* For the lanes of 1 to 4 groups. */
static inline void rc4_stream_lanes(struct rc4_lanes *l, uint32_t groups, uint32_t first, uint32_t n, rc4_tile tile,
				    uint32_t at)
{
	if (groups == 4)
		rc4_stream_4(l, first, n, tile, at);
	else if (groups == 3)
		rc4_stream_3(l, first, n, tile, at);
	else if (groups == 2)
		rc4_stream_2(l, first, n, tile, at);
	else
		rc4_stream_1(l, first, n, tile, at);
}

static inline void rc4_schedule_lanes(struct rc4_lanes *l, uint32_t groups, const rc4_key_rows key)
{
	if (groups == 4)
		rc4_schedule_4(l, key);
	else if (groups == 3)
		rc4_schedule_3(l, key);
	else if (groups == 2)
		rc4_schedule_2(l, key);
	else
		rc4_schedule_1(l, key);
}

/* The keys of a group's lanes, up to n, into their eight columns of the rows. */
static inline void rc4_turn_keys(rc4_key_rows rows, const uint8_t (*keys)[16], uint32_t n, uint32_t g)
{
	__m128i r[8], t[8];

	for (uint32_t q = 0; q < 8; q++)
		r[q] = _mm_loadu_si128((const __m128i *)keys[8 * g + q < n ? 8 * g + q : 0]);
	for (int round = 0; round < 3; round++) { /* see turn_once() in rc4_avx2.c */
		for (int i = 0; i < 4; i++) {
			t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 4]);
			t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 4]);
		}
		memcpy(r, t, sizeof r);
	}
	for (int i = 0; i < 8; i++) {
		_mm_storel_epi64((__m128i *)(rows[2 * i] + 8 * g), r[i]);
		_mm_storel_epi64((__m128i *)(rows[2 * i + 1] + 8 * g), _mm_unpackhi_epi64(r[i], r[i]));
	}
}

/* Begin streams with keys of 16 octets, a key of 8 twice. Lanes behind n take part with any contents. */
static inline void rc4_lanes_begin(struct rc4_lanes *l, const uint8_t (*keys)[16], uint32_t n)
{
	rc4_key_rows rows;
	const uint32_t groups = (n + 7) / 8;
	const __m256i four = _mm256_set1_epi8(4);

	memset(rows, 0, sizeof rows);
	for (uint32_t g = 0; g < groups; g++)
		rc4_turn_keys(rows, keys, n, g);
	for (uint32_t g = 0; g < groups; g++) {
		__m256i four_rows = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
		for (int r = 0; r < 256; r += 4, four_rows = _mm256_add_epi8(four_rows, four))
			_mm256_store_si256((__m256i *)l->s[g][r], four_rows);
	}
	memset(l->j, 0, sizeof l->j);
	memset(l->turn, 0, sizeof l->turn);
	rc4_schedule_lanes(l, groups, (const uint8_t(*)[RC4_LANES])rows);
	memset(l->j, 0, sizeof l->j);
	hr_erase(rows, sizeof rows);
}

#endif
