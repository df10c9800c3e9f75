/* SPDX-License-Identifier: Apache-2.0
 *
 * des_cbc_avx512.c: DES-CBC and 3DES-CBC, a lane a packet, or, decrypting packets of one key, a lane a block.
 *
 * The cipher works on octets, 64 or 32 lanes at a time (des_byteslice512.h). One block of 64 lanes costs 1,130 cycles on Zen 4,
 * one of 32 lanes 680: latency, not work, so the narrow form takes over where a batch runs thin. (Bits over 256 lanes, with
 * S-boxes of 26 ternary operations each, were tried: 4,300 cycles for 256 blocks instead of 4,520 with clang, 4,800 with gcc,
 * and no use for fewer packets.)
 */
#include "../cpu.h"

#if HR_X86
#include <string.h>

#include "../wipe.h"
#include "target.h"

HR_TARGET_BEGIN("avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni")
#include "des_byteslice512.h"

enum {
	GROUP = 64, /* lanes */
	THIN = 40   /* lanes below which decrypting goes on block by block */
};

static int same_key(struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		if (job[i]->key != job[0]->key)
			return 0;
	return 1;
}

/* --- rows: up to 64 octets of a packet ---------------------------------------------------------------------------------- */

/* The octets of a row that lie before `len`, `at` being the row's first. */
static inline __mmask64 row_mask(uint32_t at, uint32_t len)
{
	if (at >= len)
		return 0;
	return len - at >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (len - at)) - 1;
}

static inline __m512i load_row(const uint8_t *p, __mmask64 mask)
{
	return ~mask == 0 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(mask, p);
}

/* Stores with a mask are slow, hence the two cases. */
static inline void store_row(uint8_t *p, __mmask64 mask, __m512i row)
{
	if (~mask == 0)
		_mm512_storeu_si512(p, row);
	else
		_mm512_mask_storeu_epi8(p, mask, row);
}

/* --- a lane a block ----------------------------------------------------------------------------------------------------- */

/* Up to eight neighbouring blocks of one packet. */
struct row {
	uint8_t *text;
	uint32_t len;
};

/* Decrypt up to eight rows with one key. A packet's rows come from its last to its first: each needs the block before it as it
 * came, so all are read before any is written. */
static void run_rows(const struct octets_key *key, const struct row row[], uint32_t n)
{
	__m512i r[8], before[8];
	slab s;

	for (uint32_t i = 0; i < 8; i++) {
		r[i] = before[i] = _mm512_setzero_si512();
		if (i < n) {
			const __mmask64 mask = row_mask(0, row[i].len);
			r[i] = turn_octets(turn_bits(load_row(row[i].text, mask)));
			before[i] = load_row(row[i].text - 8, mask);
		}
	}
	turn_quads(r);
	for (int k = 0; k < 8; k++)
		_mm512_store_si512(s[k], r[k]);
	octets_cipher(s, no_slab, no_slab, key, n <= 4);
	for (int k = 0; k < 8; k++)
		r[k] = _mm512_load_si512(s[k]);
	turn_quads(r);
	for (uint32_t i = 0; i < n; i++)
		store_row(row[i].text, row_mask(0, row[i].len), _mm512_xor_si512(turn_bits(turn_octets(r[i])), before[i]));
	hr_erase(s, sizeof s);
}

/* Decrypt the texts of packets of one key, from octet `from` of each text on. */
static void decrypt_rows(struct hr_esp_job *const job[], uint32_t n, uint32_t from)
{
	struct octets_key key;
	struct row row[8];
	uint32_t waiting = 0;

	octets_share(&key, &job[0]->key->des, 1);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t end = job[i]->len - 16; end > from;) {
			const uint32_t begin = from + ((end - 1 - from) & ~63u);
			row[waiting++] = (struct row){job[i]->packet + 16 + begin, end - begin};
			end = begin;
			if (waiting == 8) {
				run_rows(&key, row, waiting);
				waiting = 0;
			}
		}
	}
	if (waiting != 0)
		run_rows(&key, row, waiting);
	octets_forget(&key);
}

/* --- a lane a packet ---------------------------------------------------------------------------------------------------- */

/* Up to 64 packets, the longest first, up to octet `until` counted from the IV field: a multiple of 64. Blocks are counted from
 * there too; decrypting, that one is only read. */
static void run_lanes(struct hr_esp_job *const job[], uint32_t lanes, uint32_t until, int decrypt)
{
	const uint32_t longest = job[0]->len - 8 < until ? job[0]->len - 8 : until;
	struct octets_key key;
	slab s[8], chain; /* chain: the last ciphertext block of the eight before */
	rows r;

	if (same_key(job, lanes))
		octets_share(&key, &job[0]->key->des, decrypt);
	else
		octets_turn(&key, job, lanes, decrypt);
	memset(chain, 0, sizeof chain);
	for (uint32_t at = 0; at < longest; at += 64) {
		while (job[lanes - 1]->len - 8 <= at)
			lanes--;
		const uint32_t steps = longest - at >= 64 ? 8 : (longest - at) / 8;
		const uint32_t groups = (lanes + 7) / 8;
		const int narrow = lanes <= 32;
		for (uint32_t l = 0; l < lanes; l++)
			r[l] = turn_bits(load_row(job[l]->packet + 8 + at, row_mask(at, job[l]->len - 8)));
		for (uint32_t l = lanes; l < 8 * groups; l++)
			r[l] = _mm512_setzero_si512();
		turn_in(s, r, groups);
		if (!decrypt) {
			for (uint32_t b = 0; b < steps; b++)
				octets_cipher(s[b], b == 0 ? chain[0] : s[b - 1][0], no_slab, &key, narrow);
			memcpy(chain, s[steps - 1], sizeof chain);
		} else {
			slab last;
			memcpy(last, s[steps - 1], sizeof last);
			for (uint32_t b = steps - 1; b > 0; b--) /* from the last, whose predecessor is still there */
				octets_cipher(s[b], no_slab, s[b - 1][0], &key, narrow);
			if (at != 0)
				octets_cipher(s[0], no_slab, chain[0], &key, narrow);
			memcpy(chain, last, sizeof chain);
		}
		turn_out(r, s, groups);
		for (uint32_t l = 0; l < lanes; l++) {
			__mmask64 mask = row_mask(at, job[l]->len - 8);
			if (decrypt && at == 0)
				mask &= ~(__mmask64)0xff;
			store_row(job[l]->packet + 8 + at, mask, turn_bits(r[l]));
		}
	}
	octets_forget(&key);
	hr_erase(s, sizeof s);
	hr_erase(chain, sizeof chain);
	hr_erase(r, sizeof r);
}

/* --- faces -------------------------------------------------------------------------------------------------------------- */

void hr_des_cbc_encrypt_avx512(struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i += GROUP)
		run_lanes(job + i, n - i < GROUP ? n - i : GROUP, UINT32_MAX, 0);
	_mm256_zeroupper();
}

/* Decrypt n (at most 64) packets with keys of their own. What only a few packets have, the far end of the long ones, goes first
 * and block by block: it needs the ciphertext before it. */
static void decrypt_lanes(struct hr_esp_job *const job[], uint32_t n)
{
	uint32_t until = 0;

	if (n > THIN)
		until = (job[THIN]->len - 8 + 63) & ~63u;
	for (uint32_t i = 0; i < n && job[i]->len - 8 > until; i++)
		decrypt_rows(job + i, 1, until == 0 ? 0 : until - 8);
	if (until != 0)
		run_lanes(job, n, until, 1);
}

void hr_des_cbc_decrypt_avx512(struct hr_esp_job *const job[], uint32_t n)
{
	if (n != 0 && same_key(job, n)) {
		decrypt_rows(job, n, 0);
	} else {
		for (uint32_t i = 0; i < n; i += GROUP)
			decrypt_lanes(job + i, n - i < GROUP ? n - i : GROUP);
	}
	_mm256_zeroupper();
}

HR_TARGET_END
#endif
