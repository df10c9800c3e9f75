/* SPDX-License-Identifier: Apache-2.0
 *
 * selftest_mppe.c: the chosen RC4 and MPPE kernels against a known answer and against the portable ones, inside hr_init().
 */
#include <string.h>

#include "cpu.h"

enum { STREAMS = 41, ROOM = 300, STEPS = 4 };

/* RFC 3079 section 3.5: the start key of the server's sending direction, its session key, and the key of the first packet. */
static const uint8_t sample_start[16] = {0x8b, 0x7c, 0xdc, 0x14, 0x9b, 0x99, 0x3a, 0x1b,
					 0xa1, 0x18, 0xcb, 0x15, 0x3f, 0x56, 0xdc, 0xcb};
static const uint8_t sample_session[16] = {0x40, 0x5c, 0xb2, 0x24, 0x7a, 0x79, 0x56, 0xe6,
					   0xe2, 0x11, 0x00, 0x7a, 0xe2, 0x7b, 0x22, 0xd4};
static const uint8_t sample_first[16] = {0x72, 0x6f, 0x10, 0x50, 0x0e, 0x2b, 0x54, 0x13,
					 0x5b, 0x1b, 0x74, 0xd7, 0x68, 0x2f, 0x04, 0x71};

struct streams {
	uint8_t key[STREAMS][16];
	uint8_t text[STREAMS][ROOM];
	struct hr_rc4_state state[STREAMS];
	uint8_t keys[STREAMS][STEPS][16];
};

/* The same work by any kernels: streams that begin and streams that go on, of mixed lengths; then chains of mixed lengths. */
static void work(struct streams *s, hr_rc4_fn *rc4, hr_rekey_fn *rekey)
{
	struct hr_rc4_job job[STREAMS];
	struct hr_mppe_chain_job chain[STREAMS];

	memset(s, 0, sizeof *s);
	for (uint32_t q = 0; q < STREAMS; q++) {
		for (uint32_t i = 0; i < 16; i++)
			s->key[q][i] = (uint8_t)(q * 31 + i * 7);
		hr_rc4_init(&s->state[q], s->key[q], 16);
		job[q] = (struct hr_rc4_job){.key = q % 3 == 0 ? NULL : s->key[q],
					     .key_len = q % 5 == 0 ? 8 : 16,
					     .len = q * 53 % ROOM,
					     .buf = s->text[q],
					     .state = q % 3 == 1 ? NULL : &s->state[q]};
		chain[q] = (struct hr_mppe_chain_job){.start = sample_start,
						      .current = s->key[q],
						      .key_len = q % 4 == 0 ? 8 : 16,
						      .bits = q % 4 != 0   ? 128
							      : q % 8 != 0 ? 56
									   : 40,
						      .steps = q % (STEPS + 1),
						      .keys = s->keys[q]};
	}
	rc4(job, STREAMS);
	rekey(chain, STREAMS);
}

int hr_selftest_mppe(void)
{
	static struct streams chosen, portable; /* hr_init() holds its lock */
	uint8_t key[16];
	struct hr_mppe_rekey_job sample = {.start = sample_start, .current = key, .key_len = 16, .bits = 128, .initial = 1};

	hr_mppe_rekey(&sample, 1);
	int good = memcmp(key, sample_session, 16) == 0;
	sample.initial = 0;
	hr_mppe_rekey(&sample, 1);
	good &= memcmp(key, sample_first, 16) == 0;

	work(&chosen, hr_kernel.rc4.run, hr_kernel.mppe_rekey.run);
	work(&portable, hr_rc4_portable, hr_mppe_rekey_portable);
	good &= memcmp(&chosen, &portable, sizeof chosen) == 0;
	return good ? 0 : HR_E_SELFTEST;
}
