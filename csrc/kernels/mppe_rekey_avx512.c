/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey_avx512.c: MPPE key changes of up to 32 chains at once (mppe_rekey_lanes.h), SHA-1 in twice sixteen lanes.
 *
 * The message of the hash (mppe_rekey.h) is the same in all lanes but for the keys, so its words are made in registers and
 * nothing is padded:
 *
 *     16 octets of key   block 1: start[0..3], 10 x 0, current[0..1]; block 2: current[2..3], 10 x f2.., mark, 0, 0, length
 *      8 octets          block 1: start[0..1], 10 x 0, current[0..1], f2.., f2..; block 2: 8 x f2.., mark, 6 x 0, length
 */
#include "../cpu.h"

#if HR_X86
#include "target.h"

HR_TARGET_BEGIN("avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")
#include "lanes16x32_avx512.h"
#include "sha1_lanes.h"

/* Sixteen rows of four words <-> four vectors of sixteen. */
static inline void turn_words(vec x[4])
{
	const vec a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
	const vec c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm512_unpacklo_epi64(a, c);
	x[1] = _mm512_unpackhi_epi64(a, c);
	x[2] = _mm512_unpacklo_epi64(b, d);
	x[3] = _mm512_unpackhi_epi64(b, d);
}

/* Lane 4 p + k is 128-bit part p of vector k before the turn. */
static inline void load_words(vec x[4], const uint8_t rows[16][16])
{
	for (int k = 0; k < 4; k++) {
		__m512i v = _mm512_castsi128_si512(_mm_load_si128((const __m128i *)rows[k]));
		v = _mm512_inserti32x4(v, _mm_load_si128((const __m128i *)rows[4 + k]), 1);
		v = _mm512_inserti32x4(v, _mm_load_si128((const __m128i *)rows[8 + k]), 2);
		v = _mm512_inserti32x4(v, _mm_load_si128((const __m128i *)rows[12 + k]), 3);
		x[k] = vec_swap(v);
	}
	turn_words(x);
}

static inline void store_words(uint8_t rows[16][16], vec x[4])
{
	turn_words(x);
	for (int k = 0; k < 4; k++) {
		const __m512i v = vec_swap(x[k]);
		_mm_store_si128((__m128i *)rows[k], _mm512_castsi512_si128(v));
		_mm_store_si128((__m128i *)rows[4 + k], _mm512_extracti32x4_epi32(v, 1));
		_mm_store_si128((__m128i *)rows[8 + k], _mm512_extracti32x4_epi32(v, 2));
		_mm_store_si128((__m128i *)rows[12 + k], _mm512_extracti32x4_epi32(v, 3));
	}
}

/* interim = the hash, for sixteen lanes */
static __attribute__((noinline)) void hash(uint8_t interim[16][16], const uint8_t start[16][16], const uint8_t current[16][16],
					   uint32_t n, uint32_t key_len)
{
	(void)n; /* all lanes, whatever is in them */
	const vec zero = vec_set1(0), fill = vec_set1(0xf2f2f2f2u), mark = vec_set1(0x80000000u);
	vec s[4], c[4], w[16];
	vec state[5] = {vec_set1(0x67452301u), vec_set1(0xefcdab89u), vec_set1(0x98badcfeu), vec_set1(0x10325476u),
			vec_set1(0xc3d2e1f0u)};

	load_words(s, start);
	load_words(c, current);
	for (int block = 0; block < 2; block++) {
		for (int i = 0; i < 16; i++)
			w[i] = block == 0 ? zero : fill;
		if (block == 0 && key_len == 16) {
			w[0] = s[0], w[1] = s[1], w[2] = s[2], w[3] = s[3];
			w[14] = c[0], w[15] = c[1];
		} else if (block == 0) {
			w[0] = s[0], w[1] = s[1];
			w[12] = c[0], w[13] = c[1];
			w[14] = w[15] = fill;
		} else if (key_len == 16) {
			w[0] = c[2], w[1] = c[3];
			w[12] = mark;
			w[13] = w[14] = zero;
			w[15] = vec_set1(8 * (2 * 16 + 80));
		} else {
			w[8] = mark;
			for (int i = 9; i < 15; i++)
				w[i] = zero;
			w[15] = vec_set1(8 * (2 * 8 + 80));
		}
		hash_compress(state, w, lane_first(16));
	}
	if (key_len == 8) { /* twice, as rc4_lanes_begin() wants it */
		state[2] = state[0];
		state[3] = state[1];
	}
	store_words(interim, state);
}

#define REKEY_NAME hr_mppe_rekey_avx512
#include "mppe_rekey_lanes.h"

HR_TARGET_END
#endif
