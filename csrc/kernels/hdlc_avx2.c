/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc_avx2.c: octet stuffing with AVX2. Most octets of a frame need nothing: 32 are looked at and copied together. Where one
 * needs something, they are taken one by one.
 */
#include "../cpu.h"

#if HR_X86
#include "../hdlc.h"
#include "hdlc.h"
#include "target.h"

HR_TARGET_BEGIN("avx2,bmi,bmi2,popcnt")
#include <immintrin.h>

/* Which octets are control characters that the map names: the map as a table of bits, the octet's upper five bits choosing the
 * octet of it, the lower three the bit. */
struct map {
	__m256i octets; /* accm's four octets, then zeros */
	__m256i bits;	/* 1, 2, 4 .. 128 */
};

HR_INLINE struct map map_of(uint32_t accm)
{
	struct map m;
	m.octets = _mm256_broadcastsi128_si256(_mm_cvtsi32_si128((int)accm));
	m.bits = _mm256_set1_epi64x((long long)0x8040201008040201ULL);
	return m;
}

HR_INLINE __m256i mapped(const struct map *m, __m256i v)
{
	const __m256i row = _mm256_and_si256(_mm256_srli_epi16(v, 3), _mm256_set1_epi8(31));
	/* rows 4 to 15 are zeros; 16 and up would wrap around: bit 7 makes the shuffle give zero */
	const __m256i row_or_none = _mm256_or_si256(row, _mm256_slli_epi16(_mm256_and_si256(row, _mm256_set1_epi8(16)), 3));
	const __m256i bits = _mm256_shuffle_epi8(m->octets, row_or_none);
	const __m256i bit = _mm256_shuffle_epi8(m->bits, _mm256_and_si256(v, _mm256_set1_epi8(7)));
	return _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), bit);
}

HR_INLINE __m256i equal(__m256i v, uint8_t octet)
{
	return _mm256_cmpeq_epi8(v, _mm256_set1_epi8((char)octet));
}

size_t hr_stuff_avx2(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm)
{
	const uint8_t *const begin = out;
	const struct map map = map_of(accm);

	for (; len >= 32; len -= 32, in += 32) {
		const __m256i v = _mm256_loadu_si256((const __m256i *)in);
		const __m256i needs =
		    _mm256_or_si256(_mm256_or_si256(equal(v, HR_HDLC_FLAG), equal(v, HR_HDLC_ESCAPE)), mapped(&map, v));
		if (_mm256_testz_si256(needs, needs)) {
			_mm256_storeu_si256((__m256i *)out, v);
			out += 32;
		} else {
			out += hr_stuff_portable(out, in, 32, accm);
		}
	}
	out += hr_stuff_portable(out, in, len, accm);
	return (size_t)(out - begin);
}

size_t hr_unstuff_avx2(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm, uint8_t *escaped, size_t *used)
{
	const uint8_t *const begin = out;
	const struct map map = map_of(accm);
	size_t at = 0, taken;

	while (len - at >= 32) {
		const __m256i v = _mm256_loadu_si256((const __m256i *)(in + at));
		const __m256i special = _mm256_or_si256(equal(v, HR_HDLC_FLAG), equal(v, HR_HDLC_ESCAPE));
		const uint32_t mask = (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(special, mapped(&map, v)));
		if (mask == 0 && !*escaped) {
			_mm256_storeu_si256((__m256i *)out, v);
			out += 32;
			at += 32;
			continue;
		}
		/* up to the special octet together, a few more one by one */
		const uint32_t plain = *escaped ? 0 : (uint32_t)__builtin_ctz(mask);
		_mm256_storeu_si256((__m256i *)out, v);
		out += plain;
		at += plain;
		const size_t few = len - at < 8 ? len - at : 8;
		out += hr_unstuff_portable(out, in + at, few, accm, escaped, &taken);
		at += taken;
		if (taken < few) {
			*used = at;
			return (size_t)(out - begin);
		}
	}
	out += hr_unstuff_portable(out, in + at, len - at, accm, escaped, &taken);
	*used = at + taken;
	return (size_t)(out - begin);
}

HR_TARGET_END
#endif
