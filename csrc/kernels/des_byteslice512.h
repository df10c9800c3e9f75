/* SPDX-License-Identifier: Apache-2.0
 *
 * des_byteslice512.h: the cipher of des_byteslice.h in 64 and in 32 lanes, and its keys.
 */
#ifndef HEADRACE_KERNELS_DES_BYTESLICE512_H
#define HEADRACE_KERNELS_DES_BYTESLICE512_H

#include <immintrin.h>
#include <string.h>

#include "../crypt.h"
#include "../wipe.h"
#define DES_BYTESLICE
#include "des_byteslice_tables.h"
#include "des_turn512.h"

enum {
	ENTRIES = 3 * 17 + 1, /* of a prepared key */
	OPAQUE = 0xff
};

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

/* A prepared key for a group of lanes. */
struct octets_key {
	union {
		uint32_t shared[ENTRIES * 8];
		uint8_t lane[ENTRIES * 8 * 64];
	} __attribute__((aligned(64)));
	uint32_t passes;
	int is_shared;
};

/* One block of all lanes, in place: s = E(s ^ before) or s = E(s) ^ after; either slab may be no_slab. */
#define SLAB_CIPHER(name, width, vec, do_load, do_store, do_xor, do_shared)                                                    \
	static __attribute__((noinline)) void name(slab s, const uint8_t *before, const uint8_t *after, const uint8_t *key,    \
						   uint32_t passes)                                                            \
	{                                                                                                                      \
		vec h[8];                                                                                                      \
		for (int k = 0; k < 8; k++)                                                                                    \
			h[k] = do_xor(do_load((const vec *)s[k]), do_load((const vec *)(before + 64 * k)));                    \
		cipher_##width(h, key, do_shared, passes);                                                                     \
		for (int k = 0; k < 8; k++)                                                                                    \
			do_store((vec *)s[k], do_xor(h[k], do_load((const vec *)(after + 64 * k))));                           \
	}
SLAB_CIPHER(one_key_64, 64, __m512i, _mm512_load_si512, _mm512_store_si512, _mm512_xor_si512, 1)
SLAB_CIPHER(many_keys_64, 64, __m512i, _mm512_load_si512, _mm512_store_si512, _mm512_xor_si512, 0)
SLAB_CIPHER(one_key_32, 32, __m256i, _mm256_load_si256, _mm256_store_si256, _mm256_xor_si256, 1)
SLAB_CIPHER(many_keys_32, 32, __m256i, _mm256_load_si256, _mm256_store_si256, _mm256_xor_si256, 0)

static void octets_cipher(slab s, const uint8_t *before, const uint8_t *after, const struct octets_key *key, int narrow)
{
	if (key->is_shared)
		(narrow ? one_key_32 : one_key_64)(s, before, after, (const uint8_t *)key->shared, key->passes);
	else
		(narrow ? many_keys_32 : many_keys_64)(s, before, after, key->lane, key->passes);
}

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

static void octets_share(struct octets_key *m, const struct hr_des_key *key, int decrypt)
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

static void octets_turn(struct octets_key *m, struct hr_esp_job *const job[], uint32_t lanes, int decrypt)
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

static void octets_forget(struct octets_key *m)
{
	hr_erase(m, m->is_shared ? sizeof m->shared : m->passes * 17 * 8 * 64 + 8 * 64);
}

#endif
