/* SPDX-License-Identifier: Apache-2.0
 *
 * cbc.h: the contract of every CBC kernel (AES, DES, 3DES), encrypting and decrypting ESP packets where they lie.
 *
 *     packet:   SPI (4) | sequence (4) | IV (block) | text (a multiple of block) | ICV
 *               0                       8            8 + block                    len
 *
 * Encrypting, a kernel runs the chain over IV field and text together, from a previous block of zeros: the caller has put a
 * block that never repeats under the key (iv_secret xor sequence number) into the IV field, its encryption is the IV, and
 * no pass of its own is needed to make it. Decrypting, it runs over the text and leaves the IV field alone.
 *
 * One packet a lane: CBC encryption is serial within a packet and parallel over packets only. Lengths and keys may differ
 * from job to job (keys of AES have one length in one call); the longest come first, so that lanes filled in this order end
 * together. Touches only the octets from 8 to len of each packet. Constant time in keys and data.
 */
#ifndef HEADRACE_KERNELS_CBC_H
#define HEADRACE_KERNELS_CBC_H

#include <stdint.h>

struct hr_esp_job;

typedef void hr_cbc_fn(struct hr_esp_job *const job[], uint32_t n);

#endif
