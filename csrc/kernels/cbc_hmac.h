/* SPDX-License-Identifier: Apache-2.0
 *
 * cbc_hmac.h: encrypt and authenticate in one pass, for the combinations where that is faster than a cipher's kernel and then a
 * hash's. The contracts of cbc.h and hmac.h together; the caller puts the MACs in place.
 */
#ifndef HEADRACE_KERNELS_CBC_HMAC_H
#define HEADRACE_KERNELS_CBC_HMAC_H

#include "hmac.h"

hr_hmac_fn hr_cbc128_sha1_seal_vaes512, hr_cbc256_sha1_seal_vaes512, hr_cbc128_sha256_seal_vaes512,
    hr_cbc256_sha256_seal_vaes512;

#endif
