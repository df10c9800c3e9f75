/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey.h: the key changes of MPPE (RFC 3078 section 7.3), one function a level.
 *
 *     interim = SHA-1(start | 40 x 00 | current | 40 x f2), cut to the key's length
 *     current = RC4, keyed with interim, of interim; then the salt of 40 and 56 bits over its first octets
 *
 * With keys of 16 octets the message is 112 octets, with 8 octets 96: two blocks of SHA-1 with the padding either way. Chains
 * are independent, their steps serial. As far from constant time as RC4 is (rc4.h).
 */
#ifndef HEADRACE_KERNELS_MPPE_REKEY_H
#define HEADRACE_KERNELS_MPPE_REKEY_H

#include <stdint.h>

struct hr_mppe_chain_job;

typedef void hr_rekey_fn(const struct hr_mppe_chain_job *job, uint32_t n);

hr_rekey_fn hr_mppe_rekey_portable, hr_mppe_rekey_shani, hr_mppe_rekey_avx2, hr_mppe_rekey_avx512;

/* The message of the hash, padded: two blocks. */
void hr_mppe_message(uint8_t message[128], const uint8_t *start, const uint8_t *current, uint32_t key_len);
/* Its SHA-1, as words. */
void hr_mppe_digest(uint32_t state[5], const uint8_t message[128]);
/* The octets that make a key weak enough for 40 or 56 bits (RFC 3079 section 2.3). */
void hr_mppe_salt(uint8_t *key, uint32_t bits);

#endif
