/* SPDX-License-Identifier: Apache-2.0
 *
 * turn512.h: 8 x 8 transpositions in AVX-512 registers. Include with F, BW and VBMI on.
 */
#ifndef HEADRACE_KERNELS_TURN512_H
#define HEADRACE_KERNELS_TURN512_H

#include <immintrin.h>
#include <stdint.h>

/* 8 x 8 quadwords: r[i][j] <-> r[j][i]. */
static inline __attribute__((always_inline)) void turn_quads(__m512i r[8])
{
	__m512i a[8], b[8];

#pragma GCC unroll 4
	for (int i = 0; i < 8; i += 2) {
		a[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
		a[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 8; i += 4) {
#pragma GCC unroll 2
		for (int j = 0; j < 2; j++) {
			b[i + j] = _mm512_shuffle_i64x2(a[i + j], a[i + j + 2], 0x88);
			b[i + j + 2] = _mm512_shuffle_i64x2(a[i + j], a[i + j + 2], 0xdd);
		}
	}
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++) {
		r[j] = _mm512_shuffle_i64x2(b[j], b[j + 4], 0x88);
		r[j + 4] = _mm512_shuffle_i64x2(b[j], b[j + 4], 0xdd);
	}
}

/* 8 x 8 octets within a register. */
static inline __m512i turn_octets(__m512i r)
{
	static const uint8_t order[64] __attribute__((aligned(64))) = {
	    0,	8,  16, 24, 32, 40, 48, 56, 1,	9,  17, 25, 33, 41, 49, 57, 2,	10, 18, 26, 34, 42,
	    50, 58, 3,	11, 19, 27, 35, 43, 51, 59, 4,	12, 20, 28, 36, 44, 52, 60, 5,	13, 21, 29,
	    37, 45, 53, 61, 6,	14, 22, 30, 38, 46, 54, 62, 7,	15, 23, 31, 39, 47, 55, 63};

	return _mm512_permutexvar_epi8(_mm512_load_si512(order), r);
}

#endif
