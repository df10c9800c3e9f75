/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_shani.h: the hash of an MPPE key change by SHA-NI. Include with SHA, SSSE3 and SSE4.1 on.
 */
#ifndef HEADRACE_KERNELS_MPPE_SHANI_H
#define HEADRACE_KERNELS_MPPE_SHANI_H

#include <immintrin.h>
#include <stdint.h>

#include "target.h"

/* One block. abcd and e are FIPS 180-4's state with a in the upper word, w four times four words, first word uppermost. */
HR_INLINE void sha1_block(__m128i *abcd, __m128i *e, __m128i w[4])
{
	const __m128i abcd_before = *abcd, e_before = *e;
	__m128i a = *abcd, next;

	next = _mm_add_epi32(*e, w[0]);
	HR_UNROLL
	for (int i = 0; i < 20; i++) { /* four rounds each */
		const __m128i before = a;
		if (i < 5)
			a = _mm_sha1rnds4_epu32(a, next, 0);
		else if (i < 10)
			a = _mm_sha1rnds4_epu32(a, next, 1);
		else if (i < 15)
			a = _mm_sha1rnds4_epu32(a, next, 2);
		else
			a = _mm_sha1rnds4_epu32(a, next, 3);
		if (i >= 3 && i < 19) /* words 4 (i + 1) on, in place of those sixteen before */
			w[(i + 1) & 3] = _mm_sha1msg2_epu32(
			    _mm_xor_si128(_mm_sha1msg1_epu32(w[(i + 1) & 3], w[(i + 2) & 3]), w[(i + 3) & 3]), w[i & 3]);
		next = _mm_sha1nexte_epu32(before, i < 19 ? w[(i + 1) & 3] : e_before);
	}
	*abcd = _mm_add_epi32(a, abcd_before);
	*e = next;
}

/* The first 16 octets of the SHA-1 of a message of two blocks, padding included. */
HR_INLINE __m128i sha1_two_blocks(const uint8_t message[128])
{
	const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	__m128i abcd = _mm_set_epi32(0x67452301, (int)0xefcdab89, (int)0x98badcfe, 0x10325476);
	__m128i e = _mm_set_epi32((int)0xc3d2e1f0, 0, 0, 0), w[4];

	for (int block = 0; block < 2; block++) {
		for (int i = 0; i < 4; i++)
			w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(message + 64 * block) + i), reverse);
		sha1_block(&abcd, &e, w);
	}
	return _mm_shuffle_epi8(abcd, reverse);
}

#endif
