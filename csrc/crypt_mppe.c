/* SPDX-License-Identifier: Apache-2.0
 *
 * crypt_mppe.c: the MPPE half of crypt.h, on top of the chosen kernels.
 */
#include "crypt.h"

#include "cpu.h"
#include "kernels/rc4_scalar.h"
#include "wipe.h"

void hr_rc4_init(struct hr_rc4_state *state, const uint8_t *key, uint32_t key_len)
{
	rc4_schedule(state->s, key, key_len);
	state->i = state->j = 0;
}

void hr_rc4_batch(const struct hr_rc4_job *job, uint32_t n)
{
	hr_kernel.rc4.run(job, n);
}

void hr_mppe_rekey_chain(const struct hr_mppe_chain_job *job, uint32_t n)
{
	hr_kernel.mppe_rekey.run(job, n);
}

/* The first session key of a chain: the hash alone, of the start key twice. */
static void begin(const struct hr_mppe_rekey_job *job)
{
	uint8_t message[128];
	uint32_t state[5];

	hr_mppe_message(message, job->start, job->start, job->key_len);
	hr_mppe_digest(state, message);
	for (uint32_t i = 0; i < job->key_len; i++)
		job->current[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
	hr_mppe_salt(job->current, job->bits);
	hr_erase(message, sizeof message);
	hr_erase(state, sizeof state);
}

void hr_mppe_rekey(const struct hr_mppe_rekey_job *job, uint32_t n)
{
	enum { AT_ONCE = 64 };
	struct hr_mppe_chain_job chain[AT_ONCE];
	uint32_t waiting = 0;

	for (uint32_t q = 0; q < n; q++) {
		if (job[q].initial) {
			begin(&job[q]);
			continue;
		}
		chain[waiting++] = (struct hr_mppe_chain_job){.start = job[q].start,
							      .current = job[q].current,
							      .key_len = job[q].key_len,
							      .bits = job[q].bits,
							      .steps = 1};
		if (waiting == AT_ONCE) {
			hr_mppe_rekey_chain(chain, waiting);
			waiting = 0;
		}
	}
	hr_mppe_rekey_chain(chain, waiting);
}
