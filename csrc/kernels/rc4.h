/* SPDX-License-Identifier: Apache-2.0
 *
 * rc4.h: RC4 streams for MPPE (RFC 3078), one function a level.
 *
 * Works through n independent jobs in any order, as crypt.h describes them: lengths may differ, jobs that begin with a key and
 * jobs that go on from a state may be mixed, len 0 is allowed. Touches nothing outside [buf, buf + len) and the state.
 *
 * Not constant time: RC4 is defined by lookups and exchanges at secret places of a table of 256 octets, and there is no
 * practical way of computing it without. Kernels avoid branches that depend on keys or data; which cache lines are touched
 * they cannot hide. Whoever can watch the caches of this processor may learn something of an MPPE key.
 */
#ifndef HEADRACE_KERNELS_RC4_H
#define HEADRACE_KERNELS_RC4_H

#include <stdint.h>

struct hr_rc4_job;

typedef void hr_rc4_fn(const struct hr_rc4_job *job, uint32_t n);

hr_rc4_fn hr_rc4_portable, hr_rc4_avx2;

#endif
