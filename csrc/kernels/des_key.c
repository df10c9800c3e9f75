/* SPDX-License-Identifier: Apache-2.0
 *
 * des_key.c: expanding DES and 3DES keys (FIPS 46-3), for all levels.
 */
#include "des_cbc.h"

#include <string.h>

#include "des_byteslice_tables.h"
#include "des_tables.h"

/* The subkey of one round: an octet for each S-box, its bits where des_byteslice.h wants them. */
static uint64_t subkey(uint64_t octets, int round)
{
	uint8_t box[8] = {0};
	uint64_t all;

	for (int i = 0; i < 48; i++)
		box[i / 6] = (uint8_t)(box[i / 6] | (octets >> des_subkey_bit[round][i] & 1) << des_place[i / 6][i % 6]);
	memcpy(&all, box, sizeof all);
	return all;
}

void hr_des_key_init(struct hr_des_key *key, const uint8_t *octets, size_t len)
{
	memset(key, 0, sizeof *key);
	key->passes = len == 24 ? 3 : 1;
	for (uint32_t p = 0; p < key->passes; p++) {
		for (uint32_t i = 0; i < 8; i++)
			key->octets[p] = key->octets[p] << 8 | octets[8 * p + i];
		for (int r = 0; r < 16; r++)
			key->round[p][r] = subkey(key->octets[p], r);
	}
}
