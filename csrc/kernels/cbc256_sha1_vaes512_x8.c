/* SPDX-License-Identifier: Apache-2.0
 *
 * cbc256_sha1_vaes512_x8.c: AES-256-CBC with HMAC-SHA-1, the last eight packets.
 */
#include "../cpu.h"

#if HR_X86
#include "target.h"

HR_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,vaes,bmi2")
#include "lanes8x32_avx512vl.h"
#include "sha1_lanes.h"

#define SEAL_ROUNDS 14
#define SEAL_FINISH hr_cbc256_sha1_finish_x8
#define SEAL_EIGHT hr_cbc256_sha1_seal_x8
#include "cbc_hmac_lanes.h"

HR_TARGET_END
#endif
