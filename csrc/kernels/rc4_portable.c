/* SPDX-License-Identifier: Apache-2.0
 *
 * rc4_portable.c: RC4, one stream after the other.
 */
#include "rc4.h"

#include "../crypt.h"
#include "../wipe.h"
#include "rc4_scalar.h"

void hr_rc4_portable(const struct hr_rc4_job *job, uint32_t n)
{
	struct hr_rc4_state own;

	for (uint32_t q = 0; q < n; q++) {
		struct hr_rc4_state *const state = job[q].state != NULL ? job[q].state : &own;
		if (job[q].key != NULL) {
			rc4_schedule(state->s, job[q].key, job[q].key_len);
			state->i = state->j = 0;
		}
		rc4_stream(state->s, &state->i, &state->j, job[q].buf, job[q].len);
	}
	hr_erase(&own, sizeof own);
}
