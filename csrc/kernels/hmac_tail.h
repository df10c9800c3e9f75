/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_tail.h: the end of an HMAC message, the same for every hash and level.
 *
 *     packet[0 .. len)  | ESN | 80 | 00 ... | length in bits, key block included
 *     whole blocks      |<------------- the tail: one block or two ----------->|
 */
#ifndef HEADRACE_KERNELS_HMAC_TAIL_H
#define HEADRACE_KERNELS_HMAC_TAIL_H

#include <stdint.h>
#include <string.h>

#include "../crypt.h"

/* Blocks that the kernel reads from the packet itself. */
static inline uint32_t hr_hmac_whole(const struct hr_esp_job *job, uint32_t block)
{
	return job->len / block;
}

/* Write the tail, one or two blocks (returned), of a hash with this block (64, or 128 with a length of 16 octets). MD5 has its
 * length in little-endian order. */
static inline uint32_t hr_hmac_tail(uint8_t *tail, const struct hr_esp_job *job, uint32_t block, int little_endian)
{
	const uint32_t length_field = block / 8;
	uint32_t at = job->len % block;
	uint64_t bits = (uint64_t)block + job->len;

	memcpy(tail, job->packet + (job->len - at), at);
	if (job->key->esn) {
		for (uint32_t i = 0; i < 4; i++)
			tail[at++] = (uint8_t)(job->seq_hi >> (24 - 8 * i));
		bits += 4;
	}
	bits *= 8;
	tail[at++] = 0x80;
	const uint32_t blocks = at + length_field > block ? 2 : 1;
	memset(tail + at, 0, blocks * block - at);
	for (uint32_t i = 0; i < 8; i++) {
		const uint8_t octet = (uint8_t)(bits >> (8 * i));
		if (little_endian)
			tail[blocks * block - 8 + i] = octet;
		else
			tail[blocks * block - 1 - i] = octet;
	}
	return blocks;
}

#endif
