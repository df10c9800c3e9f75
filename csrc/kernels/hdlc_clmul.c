/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc_clmul.c: FCS-16 by carry-less multiplication.
 *
 * Sixteen octets stand for a polynomial of which only the remainder matters; so they may be moved on over the next sixteen by
 * multiplying with x^128 modulo the FCS's polynomial and adding. Four such sums run side by side, then become one, and the
 * last sixteen octets go through the tables.
 */
#include "../cpu.h"

#if HR_X86
#include "hdlc.h"
#include "hdlc_tables.h"
#include "target.h"

HR_TARGET_BEGIN("pclmul,sse4.1")
#include <immintrin.h>

HR_INLINE __m128i move_on(__m128i sum, __m128i constant, __m128i next)
{
	const __m128i low = _mm_clmulepi64_si128(sum, constant, 0x00), high = _mm_clmulepi64_si128(sum, constant, 0x11);
	return _mm_xor_si128(next, _mm_xor_si128(low, high));
}

HR_INLINE __m128i load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

uint16_t hr_fcs16_clmul(uint16_t fcs, const uint8_t *p, size_t len)
{
	const __m128i by_16 = _mm_set_epi64x((long long)FCS16_FOLD_16_HIGH, (long long)FCS16_FOLD_16_LOW);
	const __m128i by_64 = _mm_set_epi64x((long long)FCS16_FOLD_64_HIGH, (long long)FCS16_FOLD_64_LOW);
	uint8_t last[16];

	if (len < 32)
		return hr_fcs16_portable(fcs, p, len);
	__m128i sum = _mm_xor_si128(load(p), _mm_cvtsi32_si128(fcs));
	p += 16;
	len -= 16;
	if (len >= 112) {
		__m128i b = load(p), c = load(p + 16), d = load(p + 32);
		p += 48;
		len -= 48;
		for (; len >= 64; len -= 64, p += 64) {
			sum = move_on(sum, by_64, load(p));
			b = move_on(b, by_64, load(p + 16));
			c = move_on(c, by_64, load(p + 32));
			d = move_on(d, by_64, load(p + 48));
		}
		sum = move_on(sum, by_16, b);
		sum = move_on(sum, by_16, c);
		sum = move_on(sum, by_16, d);
	}
	for (; len >= 16; len -= 16, p += 16)
		sum = move_on(sum, by_16, load(p));
	_mm_storeu_si128((__m128i *)last, sum);
	return hr_fcs16_portable(hr_fcs16_portable(0, last, sizeof last), p, len);
}

HR_TARGET_END
#endif
