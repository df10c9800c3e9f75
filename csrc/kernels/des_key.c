/* SPDX-License-Identifier: Apache-2.0
 *
 * des_key.c: expanding DES and 3DES keys (FIPS 46-3), for all levels.
 */
#include "des_cbc.h"

#include <string.h>

void hr_des_key_init(struct hr_des_key *key, const uint8_t *octets, size_t len)
{
	memset(key, 0, sizeof *key);
	key->passes = len == 24 ? 3 : 1;
	for (uint32_t p = 0; p < key->passes; p++)
		for (uint32_t i = 0; i < 8; i++)
			key->octets[p] = key->octets[p] << 8 | octets[8 * p + i];
}
