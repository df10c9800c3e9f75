/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey_shani.c: MPPE key changes one chain after the other, the hash by SHA-NI: for few chains. A chain is serial; a step
 * is two blocks of SHA-1, then the key schedule of RC4, which takes three quarters of the time.
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "rc4_scalar.h"
#include "target.h"

HR_TARGET_BEGIN("sha,sse4.1,ssse3")
#include <immintrin.h>

/* One block. abcd and e are FIPS 180-4's state with a in the upper word, w four times four words, first word uppermost. */
HR_INLINE void compress(__m128i *abcd, __m128i *e, __m128i w[4])
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

void hr_mppe_rekey_shani(const struct hr_mppe_chain_job *job, uint32_t n)
{
	const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	const __m128i first = _mm_set_epi32(0x67452301, (int)0xefcdab89, (int)0x98badcfe, 0x10325476);
	uint8_t message[128];
	struct hr_rc4_state rc4;
	__m128i w[4];

	for (uint32_t q = 0; q < n; q++) {
		uint8_t *const key = job[q].current;
		const uint32_t len = job[q].key_len;
		hr_mppe_message(message, job[q].start, key, len);
		for (uint32_t step = 0; step < job[q].steps; step++) {
			__m128i abcd = first, e = _mm_set_epi32((int)0xc3d2e1f0, 0, 0, 0);
			memcpy(message + len + 40, key, len);
			for (int block = 0; block < 2; block++) {
				for (int i = 0; i < 4; i++)
					w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(message + 64 * block) + i),
								reverse);
				compress(&abcd, &e, w);
			}
			_mm_storeu_si128((__m128i *)rc4.s, _mm_shuffle_epi8(abcd, reverse));
			memcpy(key, rc4.s, len);
			rc4_schedule(rc4.s, key, len);
			rc4.i = rc4.j = 0;
			rc4_stream(rc4.s, &rc4.i, &rc4.j, key, len);
			hr_mppe_salt(key, job[q].bits);
			if (job[q].keys != NULL)
				memcpy(job[q].keys[step], key, len);
		}
	}
	hr_erase(message, sizeof message);
	hr_erase(&rc4, sizeof rc4);
	hr_erase(w, sizeof w);
}

HR_TARGET_END
#endif
