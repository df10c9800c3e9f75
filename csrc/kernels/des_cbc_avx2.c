/* SPDX-License-Identifier: Apache-2.0
 *
 * des_cbc_avx2.c: DES-CBC and 3DES-CBC bitsliced over 256 lanes.
 */
#include "../cpu.h"

#if HR_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#include <immintrin.h>

typedef uint64_t word __attribute__((vector_size(32)));

#define WORDS 4
#define ENCRYPT_NAME hr_des_cbc_encrypt_avx2
#define DECRYPT_NAME hr_des_cbc_decrypt_avx2
#include "des_bitslice.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
