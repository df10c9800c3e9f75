/* SPDX-License-Identifier: Apache-2.0
 *
 * esp_key.h: what the loop needs of one SA's keys, laid out by cache line. Included by crypt.h, never alone.
 */
#ifndef HEADRACE_ESP_KEY_H
#define HEADRACE_ESP_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/des_cbc.h"

enum {
	HR_ICV_MAX = 32, /* longest ICV, and the part of a MAC that kernels hand out */
	HR_IV_MAX = 16,
	HR_GHASH_POWERS = 32 /* powers of the hash key kept per SA */
};

struct hr_esp_key {
	/* line 0: sizes, all a stage may read, and what every packet needs */
	_Alignas(64) uint8_t cipher; /* enum hr_cipher */
	uint8_t auth;		     /* enum hr_auth */
	uint8_t esn;
	uint8_t block;	    /* text is a multiple of this: 4, 8 or 16 */
	uint8_t iv_len;	    /* octets between sequence number and text: 0, 8 or 16 */
	uint8_t icv_len;    /* octets behind the text: 12, 16, 24 or 32 */
	uint8_t rounds;	    /* AES: 10, 12 or 14 */
	uint8_t digest_len; /* of the whole hash: 16, 20, 32, 48 or 64 */
	uint8_t outbound;
	uint8_t group; /* jobs of one group go to the same kernels */
	uint8_t spare[6];
	uint8_t iv_secret[16]; /* CBC, outbound: the block that becomes the IV is this xor the sequence number */
	uint8_t salt[4];       /* GCM: the first octets of the nonce */
	uint8_t spare2[28];

	/* line 1 and 2: HMAC states behind the key's block: [0] inner, [1] outer. Host order words */
	union {
		uint32_t w32[2][8];
		uint64_t w64[2][8];
	} hmac;

	/* from line 3 */
	union {
		struct {
			uint8_t encrypt[15][16];
			union {
				uint8_t decrypt[15][16]; /* CBC: in the order and form that AESDEC wants */
				/* GCM: [32 - i] is the i-th power of the hash key, see kernels/ghash.h; kernels read the
				 * three zeros behind the last one too */
				_Alignas(64) uint8_t power[HR_GHASH_POWERS + 3][16];
			};
		} aes;
		struct hr_des_key des;
	};
};

/* hr_esp_key_init() without its beginning and end, hr_init() and the drawing of iv_secret: for the self-test inside hr_init().
 */
int hr_esp_key_expand(struct hr_esp_key *key, uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
		      const uint8_t *auth_key, size_t auth_len);

_Static_assert(sizeof(struct hr_esp_key) % 64 == 0, "whole cache lines");

#endif
