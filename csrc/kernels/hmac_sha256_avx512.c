/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_sha256_avx512.c: HMAC-SHA-256 in sixteen lanes.
 */
#include "../cpu.h"

#if HR_X86
#include "target.h"

HR_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,bmi2")
#include "lanes16x32_avx512.h"
#include "sha256_lanes.h"

#define HASH_HAS_NARROW 0
#define HASH_STATES(key) (key)->hmac.w32[0]
#define hash_narrow(memory, job, done, active) (void)(memory)
#include "hmac_lanes.h"

void hr_hmac_sha256_avx512(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	for (uint32_t i = 0; i < n; i += LANES)
		hmac_group(job + i, n - i < LANES ? n - i : LANES, mac + i);
}

HR_TARGET_END
#endif
