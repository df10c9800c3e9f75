/* SPDX-License-Identifier: Apache-2.0
 *
 * rc4_scalar.h: RC4 one stream at a time, for the portable level, and for what the wide kernels leave over.
 *
 * The loop of key schedule and key stream alike is: j += s[i]; exchange s[i] and s[j]; next i. What bounds it is not the work
 * but one doubt: does the exchange change the s[i] of the next step? A processor that loads s[i + 1] early has to take the load
 * back whenever j was i + 1, learns to distrust it, and from then on waits for every store. So both loops below load two steps
 * ahead, and repair the value held for the next step by a select (a conditional move, no branch) when j hits it.
 */
#ifndef HEADRACE_KERNELS_RC4_SCALAR_H
#define HEADRACE_KERNELS_RC4_SCALAR_H

#include <stdint.h>
#include <string.h>

/* s = the state behind the key schedule. len is 1 to 256. */
static inline void rc4_schedule(uint8_t s[256], const uint8_t *key, uint32_t len)
{
	uint8_t k[16];
	uint32_t j = 0;
	uint32_t now = 0, next = 1; /* s[i], s[i + 1] */

	for (uint32_t i = 0; i < 256; i++)
		s[i] = (uint8_t)i;
	for (uint32_t t = 0; t < 16; t++)
		k[t] = key[t % len];
	for (uint32_t i = 0; i < 256; i += 16) {
		if (16 % len != 0) { /* no MPPE key is like that */
			for (uint32_t t = 0; t < 16; t++)
				k[t] = key[(i + t) % len];
		}
		for (uint32_t t = 0; t < 16; t++) {
			const uint32_t x = now;
			j = (j + x + k[t]) & 255;
			s[i + t] = s[j];
			s[j] = (uint8_t)x;
			now = j == i + t + 1 ? x : next;
			next = s[(i + t + 2) & 255];
		}
	}
}

/* Encrypt len octets; *pi and *pj are the stream's place. */
static inline void rc4_stream(uint8_t s[256], uint8_t *pi, uint8_t *pj, uint8_t *buf, uint32_t len)
{
	uint32_t i = (*pi + 1u) & 255, j = *pj;
	uint32_t now = s[i], next = s[(i + 1) & 255];

	for (; len >= 8; len -= 8, buf += 8) {
		uint64_t stream = 0, text;
		for (int t = 0; t < 8; t++) {
			const uint32_t x = now;
			j = (j + x) & 255;
			const uint32_t y = s[j];
			s[i] = (uint8_t)y;
			s[j] = (uint8_t)x;
			const uint64_t out = s[(x + y) & 255];
			stream |= __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? out << 8 * t : out << (56 - 8 * t);
			i = (i + 1) & 255;
			now = j == i ? x : next;
			next = s[(i + 1) & 255];
		}
		memcpy(&text, buf, 8);
		text ^= stream;
		memcpy(buf, &text, 8);
	}
	for (; len != 0; len--, buf++) {
		const uint32_t x = now;
		j = (j + x) & 255;
		const uint32_t y = s[j];
		s[i] = (uint8_t)y;
		s[j] = (uint8_t)x;
		*buf ^= s[(x + y) & 255];
		i = (i + 1) & 255;
		now = j == i ? x : next;
		next = s[(i + 1) & 255];
	}
	*pi = (uint8_t)(i - 1);
	*pj = (uint8_t)j;
}

#endif
