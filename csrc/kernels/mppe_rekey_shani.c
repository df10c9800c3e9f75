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
#include "mppe_shani.h"

void hr_mppe_rekey_shani(const struct hr_mppe_chain_job *job, uint32_t n)
{
	uint8_t message[128];
	struct hr_rc4_state rc4;

	for (uint32_t q = 0; q < n; q++) {
		uint8_t *const key = job[q].current;
		const uint32_t len = job[q].key_len;
		hr_mppe_message(message, job[q].start, key, len);
		for (uint32_t step = 0; step < job[q].steps; step++) {
			memcpy(message + len + 40, key, len);
			_mm_storeu_si128((__m128i *)rc4.s, sha1_two_blocks(message));
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
}

HR_TARGET_END
#endif
