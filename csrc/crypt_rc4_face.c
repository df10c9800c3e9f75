/* SPDX-License-Identifier: Apache-2.0
 *
 * crypt_rc4_face.c: hr_crypt_rc4() and hr_crypt_mppe_keys(): RC4 and MPPE's chain of keys alone.
 */
#include <string.h>

#include "crypt.h"
#include "wipe.h"

int hr_crypt_rc4(const uint8_t *keys, uint32_t key_len, struct hr_batch *batch)
{
	struct hr_rc4_job job[HR_BATCH_MAX];

	int error = hr_init();
	if (error != 0)
		return error;
	if (keys == NULL || key_len == 0 || key_len > 256 || batch == NULL || batch->n > HR_BATCH_MAX ||
	    (batch->n > 0 && (!batch->arena || !batch->desc)))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		batch->bad_index = i;
		if ((uint64_t)d->off + d->len > batch->arena_len)
			return HR_E_DESCRIPTOR;
		job[i] = (struct hr_rc4_job){
		    .key = keys + (size_t)i * key_len, .key_len = key_len, .len = d->len, .buf = batch->arena + d->off};
	}
	batch->bad_index = 0;
	hr_rc4_batch(job, batch->n);
	for (uint32_t i = 0; i < batch->n; i++)
		batch->desc[i].status = HR_OK;
	return 0;
}

int hr_crypt_mppe_keys(const struct hr_mppe_config *config, uint32_t steps, uint8_t *keys)
{
	uint8_t current[16] = {0};

	int error = hr_init();
	if (error != 0)
		return error;
	if (config == NULL || keys == NULL || (config->bits != 40 && config->bits != 56 && config->bits != 128))
		return HR_E_ARGUMENT;
	const uint32_t key_len = config->bits == 128 ? 16 : 8;
	const struct hr_mppe_rekey_job begin = {config->start_key, current, key_len, config->bits, 1};
	hr_mppe_rekey(&begin, 1);
	memset(keys, 0, ((size_t)steps + 1) * 16);
	memcpy(keys, current, key_len);
	const struct hr_mppe_chain_job chain = {.start = config->start_key,
						.current = current,
						.key_len = key_len,
						.bits = config->bits,
						.steps = steps,
						.keys = (uint8_t(*)[16])(keys + 16)};
	hr_mppe_rekey_chain(&chain, 1);
	hr_erase(current, sizeof current);
	return 0;
}
