/* SPDX-License-Identifier: Apache-2.0
 *
 * des_cbc_portable.c: DES-CBC and 3DES-CBC bitsliced over the 64 lanes of a uint64_t.
 */
typedef __UINT64_TYPE__ word;

#define WORDS 1
#define ENCRYPT_NAME hr_des_cbc_encrypt_portable
#define DECRYPT_NAME hr_des_cbc_decrypt_portable
#include "des_bitslice.h"
