/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac.h: HMAC over ESP packets (RFC 2104, 2403, 2404, 4868), one function per hash and level.
 *
 * The message is packet[0 .. len), with ESN followed by the upper half of the sequence number (4 octets, big endian). The
 * states behind the inner and the outer key block are precomputed (esp_key.h), so a packet costs its own blocks, the padding
 * and one block more. mac[i] receives the first HR_ICV_MAX octets of job i's MAC, or all if the digest is shorter; what lies
 * behind a shorter digest is undefined. All jobs of one call share hash and digest length; keys and message lengths may
 * differ, the longest come first (to within eight octets). Reads nothing outside the message.
 */
#ifndef HEADRACE_KERNELS_HMAC_H
#define HEADRACE_KERNELS_HMAC_H

#include <stdint.h>

struct hr_esp_job;
enum { HR_MAC_STRIDE = 32 };

typedef void hr_hmac_fn(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE]);

hr_hmac_fn hr_hmac_md5_portable, hr_hmac_sha1_portable, hr_hmac_sha256_portable, hr_hmac_sha512_portable;
hr_hmac_fn hr_hmac_sha1_shani, hr_hmac_sha256_shani;
hr_hmac_fn hr_hmac_md5_avx2, hr_hmac_sha1_avx2, hr_hmac_sha256_avx2, hr_hmac_sha512_avx2;
hr_hmac_fn hr_hmac_md5_avx512, hr_hmac_sha1_avx512, hr_hmac_sha256_avx512, hr_hmac_sha512_avx512;

/* One step of each hash from its state, for the key setup: the kernels above have their own. */
void hr_md5_block(uint32_t state[4], const uint8_t block[64]);
void hr_sha1_block(uint32_t state[5], const uint8_t block[64]);
void hr_sha256_block(uint32_t state[8], const uint8_t block[64]);
void hr_sha512_block(uint64_t state[8], const uint8_t block[128]);

#endif
