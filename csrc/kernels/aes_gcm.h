/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_gcm.h: AES-GCM with a 16-octet ICV for ESP (RFC 4106), one pair of functions a level.
 *
 *     packet:   SPI (4) | sequence (4) | IV (8) | text | ICV (16)
 *               0                       8        16     len
 *     nonce:    salt (4) | IV (8)
 *     AAD:      SPI | sequence, or with ESN: SPI | upper half of the sequence number | sequence
 *
 * seal: the IV is in place; encrypts the text and writes the ICV at packet + len.
 * open: sets job->ok to 1 and decrypts the text, or sets it to 0 and leaves the text as it came.
 * Text of any length, keys may differ from job to job, the longest come first (to within eight octets). Touches nothing outside
 * [packet, packet + len + 16). Constant time in keys and data.
 */
#ifndef HEADRACE_KERNELS_AES_GCM_H
#define HEADRACE_KERNELS_AES_GCM_H

#include <stdint.h>

struct hr_esp_job;

typedef void hr_gcm_fn(struct hr_esp_job *const job[], uint32_t n);

hr_gcm_fn hr_aes_gcm_seal_portable, hr_aes_gcm_open_portable;
hr_gcm_fn hr_aes_gcm_seal_aesni, hr_aes_gcm_open_aesni;
hr_gcm_fn hr_aes_gcm_seal_vaes512, hr_aes_gcm_open_vaes512;

#endif
