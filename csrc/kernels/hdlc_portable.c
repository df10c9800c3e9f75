/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc_portable.c: HDLC-like framing octet by octet; FCS-16 eight octets at a time.
 *
 * Slicing: the remainder is linear, so that of eight octets is the exclusive-or of what each does alone, with the octets behind
 * it zero. One lookup an octet, and all eight at once instead of one after the other.
 */
#include "hdlc.h"

#include <string.h>

#include "../hdlc.h"
#include "hdlc_tables.h"

uint16_t hr_fcs16_portable(uint16_t fcs, const uint8_t *p, size_t len)
{
	for (; len >= 8; len -= 8, p += 8)
		fcs = (uint16_t)(fcs16_table[7][(fcs ^ p[0]) & 255] ^ fcs16_table[6][(fcs >> 8) ^ p[1]] ^ fcs16_table[5][p[2]] ^
				 fcs16_table[4][p[3]] ^ fcs16_table[3][p[4]] ^ fcs16_table[2][p[5]] ^ fcs16_table[1][p[6]] ^
				 fcs16_table[0][p[7]]);
	for (; len != 0; len--, p++)
		fcs = (uint16_t)(fcs16_table[0][(fcs ^ *p) & 255] ^ fcs >> 8);
	return fcs;
}

static int mapped(uint8_t octet, uint32_t accm)
{
	return octet < 32 && (accm >> octet & 1);
}

size_t hr_stuff_portable(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm)
{
	const uint8_t *const begin = out;

	for (; len != 0; len--, in++) {
		if (*in == HR_HDLC_FLAG || *in == HR_HDLC_ESCAPE || mapped(*in, accm)) {
			*out++ = HR_HDLC_ESCAPE;
			*out++ = *in ^ 0x20;
		} else {
			*out++ = *in;
		}
	}
	return (size_t)(out - begin);
}

size_t hr_unstuff_portable(uint8_t *out, const uint8_t *in, size_t len, uint32_t accm, uint8_t *escaped, size_t *used)
{
	const uint8_t *const begin = out;
	size_t i = 0;

	for (; i < len && in[i] != HR_HDLC_FLAG; i++) {
		if (*escaped) {
			*out++ = in[i] ^ 0x20;
			*escaped = 0;
		} else if (in[i] == HR_HDLC_ESCAPE) {
			*escaped = 1;
		} else if (!mapped(in[i], accm)) {
			*out++ = in[i];
		}
	}
	*used = i;
	return (size_t)(out - begin);
}
