/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes8x32_avx512vl.h: eight lanes of 32-bit words with AVX-512's instructions on 256-bit vectors: half of
 * lanes16x32_avx512.h, at little more than half its cost, for when fewer lanes are left.
 */
#ifndef HEADRACE_KERNELS_LANES_H
#define HEADRACE_KERNELS_LANES_H

#include <immintrin.h>
#include <stdint.h>

#include "target.h"

enum { LANES = 8 };
typedef uint32_t lane_word;
typedef __m256i vec;
typedef __mmask8 lane_mask;

HR_INLINE vec vec_set1(lane_word x)
{
	return _mm256_set1_epi32((int)x);
}

HR_INLINE vec vec_add(vec a, vec b)
{
	return _mm256_add_epi32(a, b);
}

HR_INLINE vec vec_xor(vec a, vec b)
{
	return _mm256_xor_si256(a, b);
}

HR_INLINE vec vec_xor3(vec a, vec b, vec c)
{
	return _mm256_ternarylogic_epi32(a, b, c, 0x96);
}

HR_INLINE vec vec_choose(vec a, vec if_set, vec if_clear)
{
	return _mm256_ternarylogic_epi32(a, if_set, if_clear, 0xca);
}

HR_INLINE vec vec_majority(vec a, vec b, vec c)
{
	return _mm256_ternarylogic_epi32(a, b, c, 0xe8);
}

HR_INLINE vec vec_or_not_xor(vec b, vec c, vec d)
{
	return _mm256_ternarylogic_epi32(b, c, d, 0x39);
}

#define vec_rol(x, n) _mm256_rol_epi32(x, n)
#define vec_ror(x, n) _mm256_ror_epi32(x, n)
#define vec_shl(x, n) _mm256_slli_epi32(x, n)
#define vec_shlv(x, n) _mm256_sllv_epi32(x, n)
#define vec_sub(a, b) _mm256_sub_epi32(a, b)
#define vec_min(a, b) _mm256_min_epu32(a, b)
#define vec_shr(x, n) _mm256_srli_epi32(x, n)

HR_INLINE lane_mask lane_first(uint32_t n)
{
	return (lane_mask)((1u << n) - 1);
}

HR_INLINE lane_mask lane_greater(vec a, vec b)
{
	return _mm256_cmpgt_epi32_mask(a, b);
}

HR_INLINE vec vec_load(const lane_word *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

HR_INLINE void vec_store(lane_word *p, vec x)
{
	_mm256_storeu_si256((__m256i *)p, x);
}

HR_INLINE vec vec_add_masked(vec a, lane_mask mask, vec b)
{
	return _mm256_mask_add_epi32(a, mask, a, b);
}

HR_INLINE vec vec_place(vec x, vec position, lane_word at, vec then)
{
	return _mm256_mask_mov_epi32(x, _mm256_cmpeq_epi32_mask(position, vec_set1(at)), then);
}

/* x in the lanes of the mask, 0 elsewhere */
HR_INLINE vec vec_keep(lane_mask mask, vec x)
{
	return _mm256_maskz_mov_epi32(mask, x);
}

HR_INLINE vec vec_swap(vec x)
{
	return _mm256_shuffle_epi8(
	    x, _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3)));
}

/* Eight rows of eight words become eight columns. */
HR_INLINE void vec_transpose(vec x[8])
{
	vec t[8], u[8];

	HR_UNROLL
	for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
		t[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
	}
	HR_UNROLL
	for (int i = 0; i < 8; i += 4) {
		u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
		u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
		u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
		u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	HR_UNROLL
	for (int c = 0; c < 4; c++) {
		x[c] = _mm256_permute2x128_si256(u[c], u[4 + c], 0x20);
		x[4 + c] = _mm256_permute2x128_si256(u[c], u[4 + c], 0x31);
	}
}

HR_INLINE void vec_load_block(vec w[16], const uint8_t *const p[LANES], uint64_t offset)
{
	HR_UNROLL
	for (int half = 0; half < 2; half++) {
		HR_UNROLL
		for (int i = 0; i < 8; i++)
			w[8 * half + i] = _mm256_loadu_si256((const __m256i *)(p[i] + offset + 32 * half));
		vec_transpose(w + 8 * half);
	}
}

HR_INLINE void vec_load_part(vec w[16], const uint8_t *const p[LANES], const uint32_t words[LANES])
{
	HR_UNROLL
	for (int i = 0; i < 8; i++) {
		const uint32_t mask = (1u << words[i]) - 1;
		w[i] = _mm256_maskz_loadu_epi32((__mmask8)mask, p[i]);
		w[8 + i] = _mm256_maskz_loadu_epi32((__mmask8)(mask >> 8), p[i] + 32);
	}
	vec_transpose(w);
	vec_transpose(w + 8);
}

HR_INLINE void vec_load_states(vec first[8], vec second[8], const lane_word *const row[LANES])
{
	HR_UNROLL
	for (int i = 0; i < 8; i++) {
		first[i] = vec_load(row[i]);
		second[i] = vec_load(row[i] + 8);
	}
	vec_transpose(first);
	vec_transpose(second);
}

HR_INLINE void vec_store_rows(uint8_t (*rows)[32], uint32_t n, const vec x[8])
{
	vec t[8];
	HR_UNROLL
	for (int i = 0; i < 8; i++)
		t[i] = x[i];
	vec_transpose(t);
	for (uint32_t i = 0; i < n; i++)
		vec_store((lane_word *)rows[i], t[i]);
}

#endif
