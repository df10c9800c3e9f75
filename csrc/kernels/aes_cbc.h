/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_cbc.h: AES-CBC for ESP (RFC 3602), one function a level. The contract is in cbc.h.
 */
#ifndef HEADRACE_KERNELS_AES_CBC_H
#define HEADRACE_KERNELS_AES_CBC_H

#include "cbc.h"

hr_cbc_fn hr_aes_cbc_encrypt_portable, hr_aes_cbc_decrypt_portable;
hr_cbc_fn hr_aes_cbc_encrypt_aesni, hr_aes_cbc_decrypt_aesni;
hr_cbc_fn hr_aes_cbc_encrypt_vaes512, hr_aes_cbc_decrypt_vaes512;

#endif
