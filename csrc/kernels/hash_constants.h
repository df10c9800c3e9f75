/* SPDX-License-Identifier: Apache-2.0
 *
 * hash_constants.h: round constants and initial states, shared by all levels.
 */
#ifndef HEADRACE_KERNELS_HASH_CONSTANTS_H
#define HEADRACE_KERNELS_HASH_CONSTANTS_H

#include <stdint.h>

extern const uint32_t hr_md5_initial[4], hr_sha1_initial[5], hr_sha256_initial[8];
extern const uint64_t hr_sha384_initial[8], hr_sha512_initial[8];
extern const uint32_t hr_md5_constant[64];
_Alignas(64) extern const uint32_t hr_sha256_constant[64];
_Alignas(64) extern const uint64_t hr_sha512_constant[80];

#endif
