/* SPDX-License-Identifier: Apache-2.0
 *
 * des_cbc_avx512.c: DES-CBC and 3DES-CBC in octets, 64 or 32 lanes (des_byteslice.h).
 *
 * A lane is a packet, or, decrypting packets of one key, a block: no lane of a full register is then idle. Sixty-four lanes
 * keep the arithmetic busy; half as many take little more than half the time, so where a batch runs thin the narrow form goes
 * on.
 *
 * Turning packets into registers, 64 lanes and 8 blocks at a time:
 *     row of a lane   8 blocks b0 .. b7; first the initial permutation, within each block
 *     8 rows          an 8 x 8 transposition of quadwords: register b has block b of 8 lanes
 *     each            a VPERMB: quadword k has octet k of the 8 lanes
 *     8 lane groups   an 8 x 8 transposition of quadwords: register (b, k) has octet k of block b of all 64 lanes
 */
#include "../cpu.h"

#if HR_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni")
#endif

#include <immintrin.h>

#include "../wipe.h"

#define DES_BYTESLICE
#include "des_byteslice_tables.h"
#include "turn512.h"

enum {
	ENTRIES = 3 * 17 + 1, /* of a prepared key */
	OPAQUE = 0xff
};

/* --- the cipher, 64 and 32 lanes wide ----------------------------------------------------------------------------------- */

#define LANES 64
#define vec __m512i
#define LOOKUP(box, index) _mm512_permutexvar_epi8(index, _mm512_load_si512(des_lookup[box]))
#define EXCHANGE(mask, x, y)                                                                                                   \
	{                                                                                                                      \
		const __m512i t_ = _mm512_ternarylogic_epi32(x, y, _mm512_set1_epi8(mask), 0xd8);                              \
		y = _mm512_ternarylogic_epi32(y, x, _mm512_set1_epi8(mask), 0xd8);                                             \
		x = t_;                                                                                                        \
	}
#define XOR(a, b) _mm512_xor_si512(a, b)
#define XOR3(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define AFFINE(a, matrix) _mm512_gf2p8affine_epi64_epi8(a, _mm512_set1_epi64((long long)(matrix)), 0)
#define LOAD(p) _mm512_load_si512(p)
#define SHARED(u32) _mm512_set1_epi32((int)(u32))
#include "des_byteslice.h"
#undef LANES
#undef vec
#undef LOOKUP
#undef EXCHANGE
#undef XOR
#undef XOR3
#undef AFFINE
#undef LOAD
#undef SHARED

#define LANES 32
#define vec __m256i
#define LOOKUP(box, index)                                                                                                     \
	_mm256_permutex2var_epi8(_mm256_load_si256((const __m256i *)des_lookup[box]), index,                                   \
				 _mm256_load_si256((const __m256i *)(des_lookup[box] + 32)))
#define EXCHANGE(mask, x, y)                                                                                                   \
	{                                                                                                                      \
		const __m256i t_ = _mm256_ternarylogic_epi32(x, y, _mm256_set1_epi8(mask), 0xd8);                              \
		y = _mm256_ternarylogic_epi32(y, x, _mm256_set1_epi8(mask), 0xd8);                                             \
		x = t_;                                                                                                        \
	}
#define XOR(a, b) _mm256_xor_si256(a, b)
#define XOR3(a, b, c) _mm256_ternarylogic_epi32(a, b, c, 0x96)
#define AFFINE(a, matrix) _mm256_gf2p8affine_epi64_epi8(a, _mm256_set1_epi64x((long long)(matrix)), 0)
#define LOAD(p) _mm256_load_si256((const __m256i *)(p))
#define SHARED(u32) _mm256_set1_epi32((int)(u32))
#include "des_byteslice.h"

/* Registers of one block of all lanes, in memory. The narrow form uses the lower half of each. */
typedef uint8_t slab[8][64] __attribute__((aligned(64)));

/* A prepared key for a group of lanes. */
struct material {
	union {
		uint32_t shared[ENTRIES * 8];
		uint8_t lane[ENTRIES * 8 * 64];
	} __attribute__((aligned(64)));
	uint32_t passes;
	int is_shared;
};

/* One block of all lanes, in place: s = E(s ^ before) or s = E(s) ^ after, where either may be the zero slab. */
#define SLAB_CIPHER(name, width, vec, do_load, do_store, do_xor, do_shared)                                                    \
	static __attribute__((noinline)) void name(slab s, slab before, slab after, const uint8_t *key, uint32_t passes)       \
	{                                                                                                                      \
		vec h[8];                                                                                                      \
		for (int k = 0; k < 8; k++)                                                                                    \
			h[k] = do_xor(do_load((const vec *)s[k]), do_load((const vec *)before[k]));                            \
		cipher_##width(h, key, do_shared, passes);                                                                     \
		for (int k = 0; k < 8; k++)                                                                                    \
			do_store((vec *)s[k], do_xor(h[k], do_load((const vec *)after[k])));                                   \
	}
SLAB_CIPHER(one_key_64, 64, __m512i, _mm512_load_si512, _mm512_store_si512, _mm512_xor_si512, 1)
SLAB_CIPHER(many_keys_64, 64, __m512i, _mm512_load_si512, _mm512_store_si512, _mm512_xor_si512, 0)
SLAB_CIPHER(one_key_32, 32, __m256i, _mm256_load_si256, _mm256_store_si256, _mm256_xor_si256, 1)
SLAB_CIPHER(many_keys_32, 32, __m256i, _mm256_load_si256, _mm256_store_si256, _mm256_xor_si256, 0)

static slab no_slab;

static void cipher(slab s, slab before, slab after, const struct material *key, int narrow)
{
	if (key->is_shared)
		(narrow ? one_key_32 : one_key_64)(s, before, after, (const uint8_t *)key->shared, key->passes);
	else
		(narrow ? many_keys_32 : many_keys_64)(s, before, after, key->lane, key->passes);
}

/* --- turning ------------------------------------------------------------------------------------------------------------ */

/* The initial permutation of the 8 blocks in a register, and its inverse, which is the same: octet k receives bit 7 - k of the
 * octets from last to first. */
static inline __m512i turn_bits(__m512i r)
{
	return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(0x0102040810204080), r, 0);
}

/* Eight blocks of each of 64 lanes, before and behind the first two steps of the turn. */
typedef __m512i rows[64];

/* From rows, rows[lane], to slabs, one a block. Only the first groups of eight lanes are looked at. */
static void turn_in(slab to[8], const rows from, uint32_t groups)
{
	__m512i mid[8][8]; /* [block][group of lanes] */
	__m512i r[8];

	for (uint32_t g = 0; g < 8; g++) {
		if (g >= groups) {
			for (int b = 0; b < 8; b++)
				mid[b][g] = _mm512_setzero_si512();
			continue;
		}
		for (int i = 0; i < 8; i++)
			r[i] = from[8 * g + (uint32_t)i];
		turn_quads(r);
		for (int b = 0; b < 8; b++)
			mid[b][g] = turn_octets(r[b]);
	}
	for (int b = 0; b < 8; b++) {
		turn_quads(mid[b]);
		for (int k = 0; k < 8; k++)
			_mm512_store_si512(to[b][k], mid[b][k]);
	}
}

/* And back. */
static void turn_out(rows to, slab from[8], uint32_t groups)
{
	__m512i mid[8][8];
	__m512i r[8];

	for (int b = 0; b < 8; b++) {
		for (int k = 0; k < 8; k++)
			r[k] = _mm512_load_si512(from[b][k]);
		turn_quads(r);
		for (int g = 0; g < 8; g++)
			mid[g][b] = turn_octets(r[g]);
	}
	for (uint32_t g = 0; g < groups; g++) {
		turn_quads(mid[g]);
		for (int i = 0; i < 8; i++)
			to[8 * g + (uint32_t)i] = mid[g][i];
	}
}

/* --- keys --------------------------------------------------------------------------------------------------------------- */

/* Which subkey of struct hr_des_key is the t-th (from 0) of the p-th pass in the order of use. */
static inline uint32_t subkey(uint32_t passes, uint32_t p, uint32_t t, int decrypt)
{
	const uint32_t key = decrypt ? passes - 1 - p : p;
	const uint32_t backwards = (p & 1) ^ (decrypt ? 1 : 0);
	return key * 16 + (backwards ? 15 - t : t);
}

/* Which one or two subkeys make up an entry; OPAQUE: none. */
static void entry_parts(uint32_t entry, uint32_t passes, int decrypt, uint32_t part[2])
{
	const uint32_t p = entry / 17, t = entry % 17; /* t counts the rounds from 1 */

	if (t == 0) {
		part[0] = p < passes ? subkey(passes, p, 0, decrypt) : OPAQUE;
		part[1] = p > 0 ? subkey(passes, p - 1, 15, decrypt) : OPAQUE;
	} else {
		part[0] = t > 1 ? subkey(passes, p, t - 2, decrypt) : OPAQUE;
		part[1] = t < 16 ? subkey(passes, p, t, decrypt) : OPAQUE;
	}
}

static void prepare_shared(struct material *m, const struct hr_des_key *key, int decrypt)
{
	const uint64_t *const round = key->round[0];

	m->passes = key->passes;
	m->is_shared = 1;
	for (uint32_t e = 0; e < 17 * key->passes + 1; e++) {
		uint32_t part[2];
		entry_parts(e, key->passes, decrypt, part);
		const uint64_t v = (part[0] == OPAQUE ? 0 : round[part[0]]) ^ (part[1] == OPAQUE ? 0 : round[part[1]]);
		const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)v));
		_mm256_store_si256((__m256i *)&m->shared[8 * e], _mm256_mullo_epi32(wide, _mm256_set1_epi32(0x01010101)));
	}
}

static void prepare_lanes(struct material *m, struct hr_esp_job *const job[], uint32_t lanes, int decrypt)
{
	slab turned[48];
	rows r;
	const uint32_t passes = job[0]->key->des.passes;

	m->passes = passes;
	m->is_shared = 0;
	for (uint32_t c = 0; c < 2 * passes; c++) {
		for (uint32_t l = 0; l < 64; l++) {
			const struct hr_des_key *const key = &job[l < lanes ? l : 0]->key->des;
			r[l] = _mm512_loadu_si512(key->round[0] + 8 * c);
		}
		turn_in(&turned[8 * c], r, 8);
	}
	for (uint32_t e = 0; e < 17 * passes + 1; e++) {
		uint32_t part[2];
		entry_parts(e, passes, decrypt, part);
		for (int k = 0; k < 8; k++) {
			__m512i v = _mm512_setzero_si512();
			if (part[0] != OPAQUE)
				v = _mm512_load_si512(turned[part[0]][k]);
			if (part[1] != OPAQUE)
				v = _mm512_xor_si512(v, _mm512_load_si512(turned[part[1]][k]));
			_mm512_store_si512(m->lane + (8 * e + (uint32_t)k) * 64, v);
		}
	}
	hr_erase(turned, passes * 16 * sizeof(slab));
	hr_erase(r, sizeof r);
}

static int same_key(struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		if (job[i]->key != job[0]->key)
			return 0;
	return 1;
}

static void prepare(struct material *m, struct hr_esp_job *const job[], uint32_t lanes, int decrypt)
{
	if (same_key(job, lanes))
		prepare_shared(m, &job[0]->key->des, decrypt);
	else
		prepare_lanes(m, job, lanes, decrypt);
}

static void forget(struct material *m)
{
	hr_erase(m, m->is_shared ? sizeof m->shared : m->passes * 17 * 8 * 64 + 8 * 64);
}

/* --- a lane a packet ---------------------------------------------------------------------------------------------------- */

/* The octets of a row of 64 that lie before `len`, `at` being the row's first. */
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

/* Up to 64 packets, the longest first. Blocks are counted from the IV field on; decrypting, that one is only read. */
static void run_lanes(const struct material *key, struct hr_esp_job *const job[], uint32_t lanes, int decrypt)
{
	slab s[8], chain; /* chain: the last ciphertext block of the eight before */
	rows r;

	memset(chain, 0, sizeof chain);
	for (uint32_t at = 0; at < job[0]->len - 8; at += 64) {
		while (job[lanes - 1]->len - 8 <= at)
			lanes--;
		const uint32_t steps = job[0]->len - 8 - at >= 64 ? 8 : (job[0]->len - 8 - at) / 8;
		const uint32_t groups = (lanes + 7) / 8;
		const int narrow = lanes <= 32;
		for (uint32_t l = 0; l < lanes; l++)
			r[l] = turn_bits(load_row(job[l]->packet + 8 + at, row_mask(at, job[l]->len - 8)));
		for (uint32_t l = lanes; l < 8 * groups; l++)
			r[l] = _mm512_setzero_si512();
		turn_in(s, r, groups);
		if (!decrypt) {
			for (uint32_t b = 0; b < steps; b++)
				cipher(s[b], b == 0 ? chain : s[b - 1], no_slab, key, narrow);
			memcpy(chain, s[steps - 1], sizeof chain);
		} else {
			slab last;
			memcpy(last, s[steps - 1], sizeof last);
			for (uint32_t b = steps - 1; b > 0; b--)
				cipher(s[b], no_slab, s[b - 1], key, narrow);
			if (at != 0)
				cipher(s[0], no_slab, chain, key, narrow);
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
	hr_erase(s, sizeof s);
	hr_erase(chain, sizeof chain);
	hr_erase(r, sizeof r);
}

/* --- a lane a block ----------------------------------------------------------------------------------------------------- */

/* Up to eight neighbouring blocks of one packet. */
struct row {
	uint8_t *text;
	uint32_t len;
};

/* Decrypt up to eight rows with one key. A packet's rows come from its last to its first, and are stored in that order, because
 * each needs the block before it as it came. */
static void run_rows(const struct material *key, const struct row row[], uint32_t n)
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
	cipher(s, no_slab, no_slab, key, n <= 4);
	for (int k = 0; k < 8; k++)
		r[k] = _mm512_load_si512(s[k]);
	turn_quads(r);
	for (uint32_t i = 0; i < n; i++)
		store_row(row[i].text, row_mask(0, row[i].len), _mm512_xor_si512(turn_bits(turn_octets(r[i])), before[i]));
	hr_erase(s, sizeof s);
}

/* Decrypt packets of one key. */
static void decrypt_rows(struct hr_esp_job *const job[], uint32_t n)
{
	struct material key;
	struct row row[8];
	uint32_t waiting = 0;

	prepare_shared(&key, &job[0]->key->des, 1);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t len = job[i]->len - 16;
		for (uint32_t end = len; end != 0;) {
			const uint32_t begin = (end - 1) & ~63u;
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
	forget(&key);
}

/* --- faces -------------------------------------------------------------------------------------------------------------- */

void hr_des_cbc_encrypt_avx512(struct hr_esp_job *const job[], uint32_t n)
{
	struct material key;

	for (uint32_t i = 0; i < n; i += 64) {
		const uint32_t lanes = n - i < 64 ? n - i : 64;
		prepare(&key, job + i, lanes, 0);
		run_lanes(&key, job + i, lanes, 0);
		forget(&key);
	}
	_mm256_zeroupper();
}

void hr_des_cbc_decrypt_avx512(struct hr_esp_job *const job[], uint32_t n)
{
	struct material key;

	if (n != 0 && same_key(job, n)) {
		decrypt_rows(job, n);
		_mm256_zeroupper();
		return;
	}
	/* Long packets fill their lanes alone; the others share. */
	uint32_t i = 0;
	for (; i < n && (job[i]->len - 16 >= 32 * 64 || n - i < 8); i++)
		decrypt_rows(job + i, 1);
	for (; i < n; i += 64) {
		const uint32_t lanes = n - i < 64 ? n - i : 64;
		prepare(&key, job + i, lanes, 1);
		run_lanes(&key, job + i, lanes, 1);
		forget(&key);
	}
	_mm256_zeroupper();
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
