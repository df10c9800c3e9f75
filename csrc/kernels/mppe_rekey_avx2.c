/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey_avx2.c: MPPE key changes of up to 32 chains at once (mppe_rekey_lanes.h), SHA-1 by SHA-NI one after the other: it
 * is the smaller part.
 */
#include "../cpu.h"

#if HR_X86
#include "target.h"

HR_TARGET_BEGIN("avx2,bmi2,sha")
#include "mppe_shani.h"
#include "../wipe.h"

static void hash(uint8_t interim[16][16], const uint8_t start[16][16], const uint8_t current[16][16], uint32_t n,
		 uint32_t key_len)
{
	uint8_t message[128];

	for (uint32_t q = 0; q < n; q++) {
		hr_mppe_message(message, start[q], current[q], key_len);
		const __m128i v = sha1_two_blocks(message);
		_mm_store_si128((__m128i *)interim[q], key_len == 8 ? _mm_unpacklo_epi64(v, v) : v);
	}
	hr_erase(message, sizeof message);
}

#define REKEY_NAME hr_mppe_rekey_avx2
#include "mppe_rekey_lanes.h"

HR_TARGET_END
#endif
