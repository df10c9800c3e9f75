/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc_avx512.c: octet stuffing with AVX-512 VBMI2, without a branch on what the octets are.
 *
 * Stuffing: 32 octets become 32 pairs (escape, octet), of which VPCOMPRESSB keeps the second always and the first where it is
 * due. Unstuffing: VPCOMPRESSB takes 64 octets without the escapes, those behind them turned over first.
 */
#include "../cpu.h"

#if HR_X86
#include "../hdlc.h"
#include "hdlc.h"
#include "target.h"

HR_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,bmi,bmi2,popcnt")
#include <immintrin.h>

/* Octets below 32 whose bit in the map is set. */
HR_INLINE __mmask64 mapped(__m512i v, __m512i map_octets)
{
	const __m512i bits = _mm512_set1_epi64((long long)0x8040201008040201ULL);
	const __mmask64 control = _mm512_cmplt_epu8_mask(v, _mm512_set1_epi8(32));
	const __m512i row = _mm512_and_si512(_mm512_srli_epi16(v, 3), _mm512_set1_epi8(3));
	return _mm512_mask_test_epi8_mask(control, _mm512_shuffle_epi8(map_octets, row),
					  _mm512_shuffle_epi8(bits, _mm512_and_si512(v, _mm512_set1_epi8(7))));
}

HR_INLINE __mmask64 equal(__m512i v, uint8_t octet)
{
	return _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8((char)octet));
}

size_t hr_stuff_avx512(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm)
{
	const uint8_t *const begin = out;
	const __m512i map = _mm512_set1_epi32((int)accm);
	const __m512i turned = _mm512_set1_epi8(0x20), escape = _mm512_set1_epi8(HR_HDLC_ESCAPE);

	while (len != 0) {
		const size_t now = len < 64 ? len : 64;
		const __mmask64 there = ~(__mmask64)0 >> (64 - now);
		__m512i v = _mm512_maskz_loadu_epi8(there, in);
		const __mmask64 due = there & (equal(v, HR_HDLC_FLAG) | equal(v, HR_HDLC_ESCAPE) | mapped(v, map));
		in += now;
		len -= now;
		if (due == 0) {
			_mm512_storeu_si512(out, v);
			out += now;
			continue;
		}
		v = _mm512_xor_si512(v, _mm512_maskz_mov_epi8(due, turned));
		for (int half = 0; half < 2; half++) {
			const uint32_t due32 = (uint32_t)(due >> 32 * half), there32 = (uint32_t)(there >> 32 * half);
			const __m256i octets = half == 0 ? _mm512_castsi512_si256(v) : _mm512_extracti64x4_epi64(v, 1);
			/* each octet into the upper half of a word, the escape below */
			const __m512i pairs = _mm512_or_si512(_mm512_slli_epi16(_mm512_cvtepu8_epi16(octets), 8),
							      _mm512_and_si512(escape, _mm512_set1_epi16(0xff)));
			const __mmask64 keep =
			    _pdep_u64(due32, 0x5555555555555555ULL) | _pdep_u64(there32, 0xaaaaaaaaaaaaaaaaULL);
			_mm512_storeu_si512(out, _mm512_maskz_compress_epi8(keep, pairs));
			out += __builtin_popcountll(keep);
		}
	}
	_mm256_zeroupper();
	return (size_t)(out - begin);
}

/* The escapes among the octets 7d: in a run of them every second one is data. before: the octet in front of bit 0 is an escape;
 * *after: so is the last one. As with backslashes: add the beginnings of runs that begin at even places to the run, and the
 * carry comes out at an even or an odd place. */
HR_INLINE uint64_t find_escapes(uint64_t octets_7d, uint64_t before)
{
	const uint64_t even = 0x5555555555555555ULL;
	octets_7d &= ~before;
	const uint64_t follows = octets_7d << 1 | before;
	const uint64_t odd_begins = octets_7d & ~even & ~follows;
	const uint64_t invert = (odd_begins + octets_7d) << 1;
	/* octets behind an escape */
	const uint64_t escaped = (even ^ invert) & follows;
	return octets_7d & ~escaped;
}

size_t hr_unstuff_avx512(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm, uint8_t *escaped, size_t *used)
{
	const uint8_t *const begin = out;
	const __m512i map = _mm512_set1_epi32((int)accm);
	const __m512i turned = _mm512_set1_epi8(0x20);
	size_t at = 0;
	uint64_t before = *escaped;

	while (at < len) {
		const size_t now = len - at < 64 ? len - at : 64;
		const __mmask64 there = ~(__mmask64)0 >> (64 - now);
		const __m512i v = _mm512_maskz_loadu_epi8(there, in + at);
		const __mmask64 flags = equal(v, HR_HDLC_FLAG) & there;
		const __mmask64 text = flags == 0 ? there : there & ((flags & -flags) - 1);
		const uint64_t escapes = find_escapes(equal(v, HR_HDLC_ESCAPE) & text, before);
		const uint64_t behind = (escapes << 1 | before) & text; /* to be turned over */
		const uint32_t count = (uint32_t)__builtin_popcountll(text);
		const __mmask64 keep = text & ~escapes & ~(mapped(v, map) & ~behind);
		_mm512_storeu_si512(
		    out, _mm512_maskz_compress_epi8(keep, _mm512_xor_si512(v, _mm512_maskz_mov_epi8(behind, turned))));
		out += __builtin_popcountll(keep);
		at += count;
		if (count != 0)
			before = escapes >> (count - 1) & 1;
		if (flags != 0)
			break;
	}
	*escaped = (uint8_t)before;
	*used = at;
	_mm256_zeroupper();
	return (size_t)(out - begin);
}

HR_TARGET_END
#endif
