/* SPDX-License-Identifier: Apache-2.0
 *
 * cbc_hmac_group.h: sixteen packets on their way through cbc_hmac_lanes.h, the same for both widths, so that the narrow kernel
 * can go on where the wide one stops.
 */
#ifndef HEADRACE_KERNELS_CBC_HMAC_GROUP_H
#define HEADRACE_KERNELS_CBC_HMAC_GROUP_H

#include <stdint.h>

#include "hmac.h"

enum { SEAL_LANES = 16, SEAL_KEYS = 15 };

struct seal_group {
	_Alignas(64) uint8_t key[SEAL_KEYS][SEAL_LANES][16];
	_Alignas(64) uint8_t chain[SEAL_LANES][16];
	uint32_t state[8][SEAL_LANES]; /* inner hash */
	uint32_t carry[2][SEAL_LANES]; /* words made by the cipher that the next block of the hash begins with */
	uint64_t head[SEAL_LANES];     /* SPI and sequence number */
	uint32_t blocks[SEAL_LANES];   /* of the chain */
	uint32_t esn[SEAL_LANES];      /* 0 or 1 */
	uint32_t seq_hi[SEAL_LANES];
	uint32_t words[SEAL_LANES];		 /* of the message in the packet */
	uint32_t esn_at[SEAL_LANES];		 /* where the upper half of the sequence number goes, or never */
	uint32_t mark_at[SEAL_LANES];		 /* where the mark of the end goes */
	uint32_t inner[SEAL_LANES];		 /* blocks of the inner hash */
	uint32_t bits[SEAL_LANES];		 /* length of the message */
	uint8_t *at[SEAL_LANES];		 /* first block of the chain */
	const struct hr_esp_key *of[SEAL_LANES]; /* whose round keys are in key */
};

/* Blocks `block` to `last` of the inner hash of lanes 0 to 7. */
typedef void hr_seal_finish_fn(struct seal_group *group, uint32_t block, uint32_t last);
hr_seal_finish_fn hr_cbc128_sha1_finish_x8, hr_cbc256_sha1_finish_x8, hr_cbc128_sha256_finish_x8, hr_cbc256_sha256_finish_x8;
/* The whole of at most eight jobs. */
typedef void hr_seal_eight_fn(struct seal_group *group, struct hr_esp_job *const job[], uint32_t n,
			      uint8_t mac[][HR_MAC_STRIDE]);
hr_seal_eight_fn hr_cbc128_sha1_seal_x8, hr_cbc256_sha1_seal_x8, hr_cbc128_sha256_seal_x8, hr_cbc256_sha256_seal_x8;

#endif
