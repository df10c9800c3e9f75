/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc.h: the three loops of HDLC-like framing (RFC 1662), each at several levels. Nothing here is secret.
 */
#ifndef HEADRACE_KERNELS_HDLC_H
#define HEADRACE_KERNELS_HDLC_H

#include <stddef.h>
#include <stdint.h>

/* FCS-16 (RFC 1662 appendix C): the remainder by x^16 + x^12 + x^5 + 1, least significant bit first, not complemented. Begins
 * with 0xffff; over a frame and its complemented FCS it ends with 0xf0b8. */
typedef uint16_t hr_fcs16_fn(uint16_t fcs, const uint8_t *data, size_t len);

/* Stuff len octets into out, which has 2 * len + HR_HDLC_SLACK octets; the octets written. */
typedef size_t hr_stuff_fn(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm);

/* Undo it, up to the first flag or the end. *escaped: the octet before `in` was an escape; and afterwards, the last one. out
 * has len + HR_HDLC_SLACK octets. Returns the octets written; *used were read, the flag not among them. Unescaped octets that
 * accm names are dropped. */
typedef size_t hr_unstuff_fn(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm, uint8_t *escaped, size_t *used);

hr_fcs16_fn hr_fcs16_portable, hr_fcs16_clmul;
hr_stuff_fn hr_stuff_portable, hr_stuff_avx2, hr_stuff_avx512;
hr_unstuff_fn hr_unstuff_portable, hr_unstuff_avx2, hr_unstuff_avx512;

#endif
