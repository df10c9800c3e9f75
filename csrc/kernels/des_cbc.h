/* SPDX-License-Identifier: Apache-2.0
 *
 * des_cbc.h: DES-CBC and 3DES-CBC for ESP (RFC 2405, 2451), one function a level. The contract is in cbc.h; both ciphers come
 * through one function, one cipher a call.
 */
#ifndef HEADRACE_KERNELS_DES_CBC_H
#define HEADRACE_KERNELS_DES_CBC_H

#include <stddef.h>
#include <stdint.h>
#include "cbc.h"

/* Subkeys of one (DES) or three (3DES) passes of 16 rounds of 48 bits, in an order of the kernels' choosing. */
struct hr_des_key {
	uint64_t round[3][16];
	uint32_t passes; /* 1 or 3 */
	uint32_t spare;
};

/* len is 8 or 24; parity bits are ignored. */
void hr_des_key_init(struct hr_des_key *key, const uint8_t *octets, size_t len);

hr_cbc_fn hr_des_cbc_encrypt_portable, hr_des_cbc_decrypt_portable;

#endif
