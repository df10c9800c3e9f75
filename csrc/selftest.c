/* SPDX-License-Identifier: Apache-2.0
 *
 * selftest.c: every chosen kernel against known answers, once, inside hr_init(). A processor, compiler or emulator that gets
 * one instruction wrong must not carry traffic.
 *
 * One row a transform: forty packets of mixed lengths, keys and sequence numbers, so that lanes are refilled and run out; the
 * ICVs, which depend on every octet, are summed up and compared. Then the same packets are opened, one of them forged.
 */
#include <string.h>

#include "cpu.h"
#include "wipe.h"

enum { PACKETS = 40, ROOM = 8 + 16 + 37 * 36 + HR_ICV_MAX, FORGED = 7 };

/* From tests/kernels/selftest_answers.py, which computes them with OpenSSL; a test compares. */
static const struct answer {
	uint8_t cipher, auth, enc_len, auth_len;
	uint8_t icv_sum[16];
} answers[] = {
    {HR_CIPHER_AES_CBC,
     HR_AUTH_HMAC_SHA1_96,
     16,
     20,
     {0xc1, 0x1d, 0x91, 0x11, 0xee, 0x81, 0x1c, 0x2c, 0xa2, 0xfb, 0xf2, 0x2c, 0xc1, 0x1d, 0x91, 0x11}},
    {HR_CIPHER_AES_CBC,
     HR_AUTH_HMAC_SHA2_256_128,
     32,
     32,
     {0xf7, 0xbc, 0xc5, 0x9c, 0x6c, 0x7e, 0x66, 0x69, 0x2b, 0x60, 0x80, 0xd8, 0x07, 0x0c, 0x65, 0x7c}},
    {HR_CIPHER_AES_CBC,
     HR_AUTH_HMAC_SHA2_384_192,
     24,
     48,
     {0x48, 0x13, 0x0a, 0x2b, 0xe6, 0xa4, 0x48, 0x8f, 0xf0, 0x5c, 0x8b, 0x49, 0xce, 0x34, 0xca, 0x0b}},
    {HR_CIPHER_AES_CBC,
     HR_AUTH_HMAC_SHA2_512_256,
     32,
     64,
     {0xb1, 0xf1, 0xcd, 0xaf, 0x76, 0xed, 0x3b, 0x60, 0xcf, 0x68, 0xd2, 0x3d, 0x6b, 0x14, 0x0a, 0x83}},
    {HR_CIPHER_AES_CBC,
     HR_AUTH_HMAC_MD5_96,
     16,
     16,
     {0x50, 0xbc, 0xcd, 0xa6, 0x1e, 0x12, 0x19, 0x3e, 0xc7, 0x6d, 0xe1, 0x9d, 0x50, 0xbc, 0xcd, 0xa6}},
    {HR_CIPHER_AES_GCM16,
     HR_AUTH_NONE,
     20,
     0,
     {0x2c, 0xd3, 0x64, 0x9b, 0xc5, 0xb0, 0x2b, 0xdf, 0xcd, 0xc9, 0x59, 0x7b, 0xd9, 0xea, 0xf3, 0xa4}},
    {HR_CIPHER_AES_GCM16,
     HR_AUTH_NONE,
     28,
     0,
     {0xba, 0x6f, 0xa7, 0x95, 0x4f, 0xe3, 0xea, 0x52, 0x3e, 0x91, 0x9b, 0x37, 0x84, 0x26, 0x2c, 0x3e}},
    {HR_CIPHER_AES_GCM16,
     HR_AUTH_NONE,
     36,
     0,
     {0x7c, 0x1d, 0x13, 0x63, 0xd6, 0xaf, 0x89, 0x36, 0x5e, 0x40, 0xee, 0x75, 0x67, 0x6e, 0x5b, 0x67}},
    {HR_CIPHER_DES_CBC,
     HR_AUTH_HMAC_SHA1_96,
     8,
     20,
     {0x68, 0xbc, 0x50, 0xc7, 0x62, 0xe8, 0xf8, 0x5f, 0xd2, 0xb3, 0x56, 0xc9, 0x68, 0xbc, 0x50, 0xc7}},
    {HR_CIPHER_3DES_CBC,
     HR_AUTH_HMAC_SHA1_96,
     24,
     20,
     {0x19, 0x1a, 0xa6, 0x1d, 0xf7, 0xf1, 0x36, 0xab, 0xac, 0x5d, 0xb8, 0xb8, 0x19, 0x1a, 0xa6, 0x1d}},
};

struct scratch {
	struct hr_esp_key key[PACKETS];
	struct hr_esp_job job[PACKETS];
	uint8_t packet[PACKETS][ROOM];
};

static void pattern(uint8_t *out, size_t len, uint32_t packet, uint32_t step, uint32_t start)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(packet * 37 + i * step + start);
}

static int same_pattern(const uint8_t *in, size_t len, uint32_t packet, uint32_t step, uint32_t start)
{
	for (size_t i = 0; i < len; i++) {
		if (in[i] != (uint8_t)(packet * 37 + i * step + start))
			return 0;
	}
	return 1;
}

static int prepare(struct scratch *s, const struct answer *a)
{
	for (uint32_t p = 0; p < PACKETS; p++) {
		uint8_t enc_key[36], auth_key[64];
		struct hr_esp_job *job = &s->job[p];
		uint8_t *packet = s->packet[p];

		pattern(enc_key, a->enc_len, p, 13, 1);
		pattern(auth_key, a->auth_len, p, 5, 3);
		const int error =
		    hr_esp_key_expand(&s->key[p], a->cipher, a->auth, p & 1, enc_key, a->enc_len, auth_key, a->auth_len);
		if (error != 0)
			return error;
		pattern(s->key[p].iv_secret, 16, p, 29, 11);
		const uint32_t header = 8u + s->key[p].iv_len;
		const uint32_t unit = a->cipher == HR_CIPHER_AES_GCM16 ? 36 : s->key[p].block;
		job->key = &s->key[p];
		job->packet = packet;
		job->len = header + (1 + p * 7 % 37) * unit;
		job->seq_hi = (p & 1) << 1;
		job->seq = (p + 1) | (uint64_t)job->seq_hi << 32;
		job->ok = 2;
		memset(packet, 0, 8);
		packet[2] = 0x10;
		packet[3] = (uint8_t)p;
		packet[7] = (uint8_t)(p + 1);
		pattern(packet + header, job->len - header, p, 17, 5);
	}
	return 0;
}

static int check_sealed(const struct scratch *s, const struct answer *a)
{
	uint8_t sum[16] = {0};

	for (uint32_t p = 0; p < PACKETS; p++) {
		for (uint32_t i = 0; i < 16; i++)
			sum[i] = (uint8_t)(5 * sum[i] + s->packet[p][s->job[p].len + i % s->key[p].icv_len]);
	}
	return memcmp(sum, a->icv_sum, sizeof sum) == 0;
}

static int check_opened(const struct scratch *s)
{
	for (uint32_t p = 0; p < PACKETS; p++) {
		const uint32_t header = 8u + s->key[p].iv_len;
		const int restored = same_pattern(s->packet[p] + header, s->job[p].len - header, p, 17, 5);
		if (s->job[p].ok != (p != FORGED) || restored != (p != FORGED))
			return 0;
	}
	return 1;
}

static int test_transform(struct scratch *s, const struct answer *a)
{
	if (prepare(s, a) != 0)
		return 0;
	hr_esp_seal(s->job, PACKETS);
	if (!check_sealed(s, a))
		return 0;
	s->packet[FORGED][s->job[FORGED].len] ^= 0x80;
	hr_esp_open(s->job, PACKETS);
	return check_opened(s);
}

int hr_selftest(void)
{
	static struct scratch scratch; /* too large for a thread's stack; hr_init() holds its lock */
	int error = 0;

	for (size_t i = 0; i < sizeof answers / sizeof answers[0] && error == 0; i++) {
		if (!test_transform(&scratch, &answers[i]))
			error = HR_E_SELFTEST;
	}
	hr_erase(&scratch, sizeof scratch);
	return error != 0 ? error : hr_selftest_mppe();
}
