/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_key.h: the AES key schedule (FIPS 197 section 5.2), made once per SA, in the form that all levels read.
 */
#ifndef HEADRACE_KERNELS_AES_KEY_H
#define HEADRACE_KERNELS_AES_KEY_H

#include <stddef.h>
#include <stdint.h>

/* len is 16, 24 or 32; returns the number of rounds: 10, 12 or 14. Constant time. */
uint8_t hr_aes_expand(uint8_t schedule[15][16], const uint8_t *key, size_t len);

/* The schedule of the equivalent inverse cipher (section 5.3.5), which AESDEC wants: reversed, inner keys through
 * InvMixColumns. */
void hr_aes_invert(uint8_t inverse[15][16], const uint8_t schedule[15][16], uint8_t rounds);

#endif
