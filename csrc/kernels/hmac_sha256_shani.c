/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_sha256_shani.c: HMAC-SHA-256 over ESP packets (RFC 4868) with SHA-NI.
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "hash_constants.h"
#include "hmac_tail.h"
#include "target.h"

HR_TARGET_BEGIN("sha,sse4.1,ssse3")
#include <immintrin.h>

#include "hmac_shani.h"

/* state[0] is FIPS 180-4's a, b, e, f with a in the upper word, state[1] is c, d, g, h. */
static void load_state(__m128i state[2], const uint32_t *words)
{
	const __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)words), 0x1b);
	const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(words + 4)), 0x1b);

	state[0] = _mm_unpackhi_epi64(hgfe, dcba);
	state[1] = _mm_unpacklo_epi64(hgfe, dcba);
}

static void store_digest(uint8_t *digest, const __m128i state[2])
{
	const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	const __m128i dcba = _mm_unpackhi_epi64(state[1], state[0]), hgfe = _mm_unpacklo_epi64(state[1], state[0]);

	_mm_storeu_si128((__m128i *)digest, _mm_shuffle_epi8(dcba, reverse));
	_mm_storeu_si128((__m128i *)(digest + 16), _mm_shuffle_epi8(hgfe, reverse));
}

HR_INLINE void run_streams(struct stream *const stream[], const uint32_t count, uint32_t blocks)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i abef[STREAMS], cdgh[STREAMS], x[STREAMS], y[STREAMS], w[STREAMS][4];
	const uint8_t *at[STREAMS];

	HR_UNROLL
	for (uint32_t s = 0; s < count; s++) {
		abef[s] = stream[s]->state[0];
		cdgh[s] = stream[s]->state[1];
		at[s] = stream[s]->at;
	}
	for (; blocks > 0; blocks--) {
		HR_UNROLL
		for (uint32_t s = 0; s < count; s++) {
			HR_UNROLL
			for (int i = 0; i < 4; i++)
				w[s][i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)at[s] + i), big_endian);
			at[s] += 64;
			x[s] = abef[s];
			y[s] = cdgh[s];
		}
		HR_UNROLL
		for (int i = 0; i < 16; i++) { /* four rounds each */
			const __m128i constant = _mm_load_si128((const __m128i *)hr_sha256_constant + i);
			HR_UNROLL
			for (uint32_t s = 0; s < count; s++) {
				const __m128i sum = _mm_add_epi32(w[s][i & 3], constant);
				y[s] = _mm_sha256rnds2_epu32(y[s], x[s], sum);
				x[s] = _mm_sha256rnds2_epu32(x[s], y[s], _mm_shuffle_epi32(sum, 0x0e));
				if (i < 12) { /* words 4 (i + 4) on, in place of those sixteen before */
					const __m128i mixed = _mm_sha256msg1_epu32(w[s][i & 3], w[s][(i + 1) & 3]);
					const __m128i seven_before = _mm_alignr_epi8(w[s][(i + 3) & 3], w[s][(i + 2) & 3], 4);
					w[s][i & 3] =
					    _mm_sha256msg2_epu32(_mm_add_epi32(mixed, seven_before), w[s][(i + 3) & 3]);
				}
			}
		}
		HR_UNROLL
		for (uint32_t s = 0; s < count; s++) {
			abef[s] = _mm_add_epi32(abef[s], x[s]);
			cdgh[s] = _mm_add_epi32(cdgh[s], y[s]);
		}
	}
	HR_UNROLL
	for (uint32_t s = 0; s < count; s++) {
		stream[s]->state[0] = abef[s];
		stream[s]->state[1] = cdgh[s];
	}
}

static void run(struct stream *const stream[], uint32_t count, uint32_t blocks)
{
	if (count == 2)
		run_streams(stream, 2, blocks);
	else
		run_streams(stream, 1, blocks);
}

void hr_hmac_sha256_shani(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	static const struct hash hash = {32, load_state, store_digest, run};

	hmac_all(&hash, job, n, mac);
}

HR_TARGET_END
#endif
