/* SPDX-License-Identifier: Apache-2.0
 *
 * des_turn512.h: packets to registers and back, for 64 lanes and 8 blocks at a time.
 *
 *     row of a lane   8 blocks b0 .. b7; first the initial permutation, within each block
 *     8 rows          an 8 x 8 transposition of quadwords: register b has block b of 8 lanes
 *     each            a VPERMB: quadword k has octet k of the 8 lanes
 *     8 lane groups   an 8 x 8 transposition of quadwords: register (b, k) has octet k of block b of all 64 lanes
 */
#ifndef HEADRACE_KERNELS_DES_TURN512_H
#define HEADRACE_KERNELS_DES_TURN512_H

#include <immintrin.h>
#include <stdint.h>

#include "turn512.h"

/* Registers of one block of all lanes, in memory. The narrow form uses the lower half of each. */
typedef uint8_t slab[8][64] __attribute__((aligned(64)));

/* Zeros, in the place of a slab that has nothing to add. */
static const uint8_t no_slab[8 * 64] __attribute__((aligned(64)));

/* The initial permutation of the 8 blocks in a register, and its inverse, which is the same: octet k receives bit 7 - k of the
 * octets from last to first. */
static inline __m512i turn_bits(__m512i r)
{
	return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(0x0102040810204080), r, 0);
}

/* Eight blocks of each of 64 lanes, before and behind the first two steps of the turn. */
typedef __m512i rows[64];

/* From rows, rows[lane], to slabs, one a block. Only the first groups of eight lanes are looked at. */
static void turn_in(slab to[8], const rows from, uint32_t groups)
{
	__m512i mid[8][8]; /* [block][group of lanes] */
	__m512i r[8];

	for (uint32_t g = 0; g < 8; g++) {
		if (g >= groups) {
			for (int b = 0; b < 8; b++)
				mid[b][g] = _mm512_setzero_si512();
			continue;
		}
		for (int i = 0; i < 8; i++)
			r[i] = from[8 * g + (uint32_t)i];
		turn_quads(r);
		for (int b = 0; b < 8; b++)
			mid[b][g] = turn_octets(r[b]);
	}
	for (int b = 0; b < 8; b++) {
		turn_quads(mid[b]);
		for (int k = 0; k < 8; k++)
			_mm512_store_si512(to[b][k], mid[b][k]);
	}
}

/* And back. */
static void turn_out(rows to, slab from[8], uint32_t groups)
{
	__m512i mid[8][8];
	__m512i r[8];

	for (int b = 0; b < 8; b++) {
		for (int k = 0; k < 8; k++)
			r[k] = _mm512_load_si512(from[b][k]);
		turn_quads(r);
		for (int g = 0; g < 8; g++)
			mid[g][b] = turn_octets(r[g]);
	}
	for (uint32_t g = 0; g < groups; g++) {
		turn_quads(mid[g]);
		for (int i = 0; i < 8; i++)
			to[8 * g + (uint32_t)i] = mid[g][i];
	}
}

#endif
