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

/* One key for both directions, in the forms of all levels. The subkeys are those of encryption: decrypting, a kernel takes
 * passes and rounds from the end. Passes are E, D, E with key 1, 2, 3. */
struct hr_des_key {
	uint64_t round[3][16]; /* the 48 bits of a subkey as eight octets in memory, one for each S-box: des_byteslice.h */
	uint64_t octets[3];    /* the key as it came, big endian: what the bitsliced kernels begin with */
	uint32_t passes;       /* 1 or 3 */
	uint32_t spare;
};

/* len is 8 or 24; parity bits are ignored. */
void hr_des_key_init(struct hr_des_key *key, const uint8_t *octets, size_t len);

hr_cbc_fn hr_des_cbc_encrypt_portable, hr_des_cbc_decrypt_portable;
hr_cbc_fn hr_des_cbc_encrypt_avx2, hr_des_cbc_decrypt_avx2;
hr_cbc_fn hr_des_cbc_encrypt_avx512, hr_des_cbc_decrypt_avx512;

#endif
