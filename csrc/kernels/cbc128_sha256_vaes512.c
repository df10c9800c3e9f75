/* SPDX-License-Identifier: Apache-2.0
 *
 * cbc128_sha256_vaes512.c: AES-128-CBC with HMAC-SHA-256, sixteen packets at once.
 */
#include "../cpu.h"

#if HR_X86
#include "target.h"

HR_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,vaes,bmi2")
#include "lanes16x32_avx512.h"
#include "sha256_lanes.h"

#define SEAL_ROUNDS 10
#define SEAL_NAME hr_cbc128_sha256_seal_vaes512
#define SEAL_FINISH hr_cbc128_sha256_finish_x8
#define SEAL_EIGHT hr_cbc128_sha256_seal_x8
#include "cbc_hmac_lanes.h"

HR_TARGET_END
#endif
