/* SPDX-License-Identifier: Apache-2.0
 *
 * rc4_scalar.h: RC4 one stream at a time, for the portable level, and for what the wide kernels leave over.
 *
 * The loop of key schedule and key stream alike is: j += s[i]; exchange s[i] and s[j]; next i. What bounds it is not the work
 * but one doubt: does the exchange change the s[i] of the next step? A processor that loads s[i + 1] early has to take the load
 * back whenever j was i + 1, learns to distrust it, and from then on waits for every store. So both loops below load two steps
 * ahead, and when j hits the value held for the next step, selects (conditional moves, no branch) put in its place what the
 * exchange puts there. The next j is computed for both cases before the comparison is done.
 */
#ifndef HEADRACE_KERNELS_RC4_SCALAR_H
#define HEADRACE_KERNELS_RC4_SCALAR_H

#include <stdint.h>
#include <string.h>

/* s = the state behind the key schedule. len is 1 to 256. */
static inline void rc4_schedule(uint8_t s[256], const uint8_t *key, uint32_t len)
{
	uint8_t k[17];		  /* sixteen octets of key, and the one behind */
	uint32_t x = 0, next = 1; /* s[i], s[i + 1] */
	uint32_t j = key[0];	  /* of this step, its last octet counts */

	for (uint32_t i = 0; i < 256; i++)
		s[i] = (uint8_t)i;
	for (uint32_t t = 0; t < 17; t++)
		k[t] = key[t % len];
	for (uint32_t i = 0; i < 256; i += 16) {
		if (16 % len != 0) { /* no MPPE key is like that */
			for (uint32_t t = 0; t < 17; t++)
				k[t] = key[(i + t) % len];
		}
#pragma GCC unroll 16
		for (uint32_t t = 0; t < 16; t++) {
			const uint32_t place = j & 255;
			const int hit = (uint8_t)j == (uint8_t)(i + t + 1);
			const uint32_t j_hit = j + x + k[t + 1], j_else = j + next + k[t + 1];
			s[i + t] = s[place];
			s[place] = (uint8_t)x;
			j = hit ? j_hit : j_else;
			x = hit ? x : next;
			next = s[(i + t + 2) & 255];
		}
	}
}

/* One octet of key stream. x and next are s[i] and s[i + 1], j belongs to i. */
#define RC4_STEP(out)                                                                                                          \
	{                                                                                                                      \
		const uint32_t place = j & 255;                                                                                \
		const int hit = (uint8_t)j == (uint8_t)(i + 1);                                                                \
		const uint32_t j_hit = j + x, j_else = j + next;                                                               \
		const uint32_t y = s[place];                                                                                   \
		s[i & 255] = (uint8_t)y;                                                                                       \
		s[place] = (uint8_t)x;                                                                                         \
		out = s[(x + y) & 255];                                                                                        \
		j = hit ? j_hit : j_else;                                                                                      \
		x = hit ? x : next;                                                                                            \
		next = s[(i + 2) & 255];                                                                                       \
		i++;                                                                                                           \
	}

/* Encrypt len octets; *pi and *pj are the stream's place. */
static inline void rc4_stream(uint8_t s[256], uint8_t *pi, uint8_t *pj, uint8_t *buf, uint32_t len)
{
	uint32_t i = *pi + 1u;
	uint32_t x = s[i & 255], next = s[(i + 1) & 255];
	uint32_t j = *pj + x;

	for (; len >= 8; len -= 8, buf += 8) {
		uint64_t stream = 0, text, out;
#pragma GCC unroll 8
		for (int t = 0; t < 8; t++) {
			RC4_STEP(out)
			stream |= __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? out << 8 * t : out << (56 - 8 * t);
		}
		memcpy(&text, buf, 8);
		text ^= stream;
		memcpy(buf, &text, 8);
	}
	for (; len != 0; len--, buf++) {
		uint8_t out;
		RC4_STEP(out)
		*buf ^= out;
	}
	*pi = (uint8_t)(i - 1);
	*pj = (uint8_t)(j - x);
}
#undef RC4_STEP

#endif
