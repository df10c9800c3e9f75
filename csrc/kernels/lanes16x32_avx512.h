/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes16x32_avx512.h: sixteen lanes of 32-bit words, for hmac_lanes.h. Lane i is word i of every vector.
 */
#ifndef HEADRACE_KERNELS_LANES_H
#define HEADRACE_KERNELS_LANES_H

#include <immintrin.h>
#include <stdint.h>

#include "target.h"

enum { LANES = 16 };
typedef uint32_t lane_word;
typedef __m512i vec;
typedef __mmask16 lane_mask;

HR_INLINE vec vec_set1(lane_word x)
{
	return _mm512_set1_epi32((int)x);
}

HR_INLINE vec vec_add(vec a, vec b)
{
	return _mm512_add_epi32(a, b);
}

HR_INLINE vec vec_xor(vec a, vec b)
{
	return _mm512_xor_si512(a, b);
}

HR_INLINE vec vec_xor3(vec a, vec b, vec c)
{
	return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}

HR_INLINE vec vec_choose(vec a, vec if_set, vec if_clear)
{
	return _mm512_ternarylogic_epi32(a, if_set, if_clear, 0xca);
}

HR_INLINE vec vec_majority(vec a, vec b, vec c)
{
	return _mm512_ternarylogic_epi32(a, b, c, 0xe8);
}

/* c xor (b or not d), MD5's fourth function */
HR_INLINE vec vec_or_not_xor(vec b, vec c, vec d)
{
	return _mm512_ternarylogic_epi32(b, c, d, 0x39);
}

#define vec_rol(x, n) _mm512_rol_epi32(x, n)
#define vec_ror(x, n) _mm512_ror_epi32(x, n)
#define vec_shl(x, n) _mm512_slli_epi32(x, n)
#define vec_shlv(x, n) _mm512_sllv_epi32(x, n)
#define vec_sub(a, b) _mm512_sub_epi32(a, b)
#define vec_min(a, b) _mm512_min_epu32(a, b)
#define vec_shr(x, n) _mm512_srli_epi32(x, n)

HR_INLINE lane_mask lane_first(uint32_t n)
{
	return (lane_mask)((1u << n) - 1);
}

HR_INLINE lane_mask lane_greater(vec a, vec b)
{
	return _mm512_cmpgt_epi32_mask(a, b);
}

HR_INLINE vec vec_load(const lane_word *p)
{
	return _mm512_loadu_si512(p);
}

HR_INLINE void vec_store(lane_word *p, vec x)
{
	_mm512_storeu_si512(p, x);
}

/* a + b in the lanes of the mask, a elsewhere */
HR_INLINE vec vec_add_masked(vec a, lane_mask mask, vec b)
{
	return _mm512_mask_add_epi32(a, mask, a, b);
}

/* `then` where position equals at */
HR_INLINE vec vec_place(vec x, vec position, lane_word at, vec then)
{
	return _mm512_mask_mov_epi32(x, _mm512_cmpeq_epi32_mask(position, vec_set1(at)), then);
}

/* x in the lanes of the mask, 0 elsewhere */
HR_INLINE vec vec_keep(lane_mask mask, vec x)
{
	return _mm512_maskz_mov_epi32(mask, x);
}

/* Reverse the octets of each word. */
HR_INLINE vec vec_swap(vec x)
{
	return _mm512_shuffle_epi8(x,
				   _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3)));
}

/* Sixteen rows of sixteen words become sixteen columns: words, pairs of words, then 128-bit parts find their places. */
HR_INLINE void vec_transpose(vec x[16])
{
	vec t[16], u[16];

	HR_UNROLL
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
	}
	HR_UNROLL
	for (int i = 0; i < 16; i += 4) { /* u[i + c]: word c of each 128-bit part, of rows i to i + 3 */
		u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	HR_UNROLL
	for (int c = 0; c < 4; c++) {
		const vec low01 = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x44);
		const vec high01 = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xee);
		const vec low23 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x44);
		const vec high23 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xee);
		x[c] = _mm512_shuffle_i32x4(low01, low23, 0x88);
		x[4 + c] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
		x[8 + c] = _mm512_shuffle_i32x4(high01, high23, 0x88);
		x[12 + c] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
	}
}

/* The sixteen words of one 64-octet block of every lane. */
HR_INLINE void vec_load_block(vec w[16], const uint8_t *const p[LANES], uint64_t offset)
{
	HR_UNROLL
	for (int i = 0; i < 16; i++)
		w[i] = _mm512_loadu_si512(p[i] + offset);
	vec_transpose(w);
}

/* The same of the first words[i] words only; zeros behind, which are not read. */
HR_INLINE void vec_load_part(vec w[16], const uint8_t *const p[LANES], const uint32_t words[LANES])
{
	HR_UNROLL
	for (int i = 0; i < 16; i++)
		w[i] = _mm512_maskz_loadu_epi32((__mmask16)((1u << words[i]) - 1), p[i]);
	vec_transpose(w);
}

/* Rows of twice eight words, one row a lane, to two times eight vectors. */
HR_INLINE void vec_load_states(vec first[8], vec second[8], const lane_word *const row[LANES])
{
	vec t[16];
	HR_UNROLL
	for (int i = 0; i < 16; i++)
		t[i] = _mm512_loadu_si512(row[i]);
	vec_transpose(t);
	HR_UNROLL
	for (int i = 0; i < 8; i++) {
		first[i] = t[i];
		second[i] = t[i + 8];
	}
}

/* Eight or fewer vectors to n rows of eight words, 32 octets apart. */
HR_INLINE void vec_store_rows(uint8_t (*rows)[32], uint32_t n, const vec x[8])
{
	vec t[16];
	HR_UNROLL
	for (int i = 0; i < 8; i++) {
		t[i] = x[i];
		t[i + 8] = _mm512_setzero_si512();
	}
	vec_transpose(t);
	for (uint32_t i = 0; i < n; i++)
		_mm256_storeu_si256((__m256i *)rows[i], _mm512_castsi512_si256(t[i]));
}

#endif
