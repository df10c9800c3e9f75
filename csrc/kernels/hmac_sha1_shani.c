/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_sha1_shani.c: HMAC-SHA-1 over ESP packets (RFC 2404) with SHA-NI.
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "hmac_tail.h"
#include "target.h"

HR_TARGET_BEGIN("sha,sse4.1,ssse3")
#include <immintrin.h>

#include "hmac_shani.h"

/* state[0] is FIPS 180-4's a, b, c, d with a in the upper word, state[1] has e there. */
static void load_state(__m128i state[2], const uint32_t *words)
{
	state[0] = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)words), 0x1b);
	state[1] = _mm_set_epi32((int)words[4], 0, 0, 0);
}

static void store_digest(uint8_t *digest, const __m128i state[2])
{
	const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	const uint32_t e = __builtin_bswap32((uint32_t)_mm_extract_epi32(state[1], 3));

	_mm_storeu_si128((__m128i *)digest, _mm_shuffle_epi8(state[0], reverse));
	memcpy(digest + 16, &e, 4);
}

HR_INLINE void run_streams(struct stream *const stream[], const uint32_t count, uint32_t blocks)
{
	const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	__m128i abcd[STREAMS], e[STREAMS], a[STREAMS], next[STREAMS], w[STREAMS][4];
	const uint8_t *at[STREAMS];

	HR_UNROLL
	for (uint32_t s = 0; s < count; s++) {
		abcd[s] = stream[s]->state[0];
		e[s] = stream[s]->state[1];
		at[s] = stream[s]->at;
	}
	for (; blocks > 0; blocks--) {
		HR_UNROLL
		for (uint32_t s = 0; s < count; s++) {
			HR_UNROLL
			for (int i = 0; i < 4; i++)
				w[s][i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)at[s] + i), reverse);
			at[s] += 64;
			a[s] = abcd[s];
			next[s] = _mm_add_epi32(e[s], w[s][0]);
		}
		HR_UNROLL
		for (int i = 0; i < 20; i++) { /* four rounds each */
			HR_UNROLL
			for (uint32_t s = 0; s < count; s++) {
				const __m128i before = a[s];
				if (i < 5)
					a[s] = _mm_sha1rnds4_epu32(a[s], next[s], 0);
				else if (i < 10)
					a[s] = _mm_sha1rnds4_epu32(a[s], next[s], 1);
				else if (i < 15)
					a[s] = _mm_sha1rnds4_epu32(a[s], next[s], 2);
				else
					a[s] = _mm_sha1rnds4_epu32(a[s], next[s], 3);
				if (i >= 3 && i < 19) { /* words 4 (i + 1) on, in place of those sixteen before */
					const __m128i mixed = _mm_sha1msg1_epu32(w[s][(i + 1) & 3], w[s][(i + 2) & 3]);
					w[s][(i + 1) & 3] =
					    _mm_sha1msg2_epu32(_mm_xor_si128(mixed, w[s][(i + 3) & 3]), w[s][i & 3]);
				}
				next[s] = _mm_sha1nexte_epu32(before, i < 19 ? w[s][(i + 1) & 3] : e[s]);
			}
		}
		HR_UNROLL
		for (uint32_t s = 0; s < count; s++) {
			abcd[s] = _mm_add_epi32(abcd[s], a[s]);
			e[s] = next[s];
		}
	}
	HR_UNROLL
	for (uint32_t s = 0; s < count; s++) {
		stream[s]->state[0] = abcd[s];
		stream[s]->state[1] = e[s];
	}
}

static void run(struct stream *const stream[], uint32_t count, uint32_t blocks)
{
	if (count == 2)
		run_streams(stream, 2, blocks);
	else
		run_streams(stream, 1, blocks);
}

void hr_hmac_sha1_shani(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	static const struct hash hash = {20, load_state, store_digest, run};

	hmac_all(&hash, job, n, mac);
}

HR_TARGET_END
#endif
