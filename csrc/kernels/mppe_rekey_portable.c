/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey_portable.c: MPPE key changes, one chain after the other.
 */
#include "mppe_rekey.h"

#include <string.h>

#include "../crypt.h"
#include "../wipe.h"
#include "hmac.h"
#include "rc4_scalar.h"

void hr_mppe_message(uint8_t message[128], const uint8_t *start, const uint8_t *current, uint32_t key_len)
{
	const uint32_t bits = 8 * (2 * key_len + 80);

	memset(message, 0, 128);
	memcpy(message, start, key_len);
	memcpy(message + key_len + 40, current, key_len);
	memset(message + 2 * key_len + 40, 0xf2, 40);
	message[2 * key_len + 80] = 0x80;
	message[126] = (uint8_t)(bits >> 8);
	message[127] = (uint8_t)bits;
}

void hr_mppe_digest(uint32_t state[5], const uint8_t message[128])
{
	static const uint32_t first[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};

	memcpy(state, first, sizeof first);
	hr_sha1_block(state, message);
	hr_sha1_block(state, message + 64);
}

void hr_mppe_salt(uint8_t *key, uint32_t bits)
{
	if (bits == 40) {
		key[0] = 0xd1;
		key[1] = 0x26;
		key[2] = 0x9e;
	} else if (bits == 56) {
		key[0] = 0xd1;
	}
}

void hr_mppe_rekey_portable(const struct hr_mppe_chain_job *job, uint32_t n)
{
	uint8_t message[128];
	struct hr_rc4_state rc4;
	uint32_t state[5];

	for (uint32_t q = 0; q < n; q++) {
		uint8_t *const key = job[q].current;
		const uint32_t len = job[q].key_len;
		for (uint32_t step = 0; step < job[q].steps; step++) {
			hr_mppe_message(message, job[q].start, key, len);
			hr_mppe_digest(state, message);
			for (uint32_t i = 0; i < len; i++)
				key[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
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
	hr_erase(state, sizeof state);
}
