/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey_avx512.c: MPPE key changes of up to 32 chains at once: SHA-1 in twice sixteen lanes, RC4 in 32 (rc4_lanes.h).
 *
 * Chains of equal key length run in step, the longest first; when few are left, they go on alone. The message of the hash
 * (mppe_rekey.h) is the same in all lanes but for the keys, so its words are made in registers and nothing is padded:
 *
 *     16 octets of key   block 1: start[0..3], 10 x 0, current[0..1]; block 2: current[2..3], 10 x f2.., mark, 0, 0, length
 *      8 octets          block 1: start[0..1], 10 x 0, current[0..1], f2.., f2..; block 2: 8 x f2.., mark, 6 x 0, length
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "target.h"

HR_TARGET_BEGIN("avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")
#include "lanes16x32_avx512.h"
#include "sha1_lanes.h"
#include "rc4_lanes.h"

enum {
	FEW = 3,     /* chains up to this many are as fast one after the other (measured, Zen 4) */
	SORTED = 512 /* chains put in order at once */
};

/* What the chains of a group have in hand: rows of 16 octets, keys of 8 octets twice. */
struct hand {
	uint8_t start[RC4_LANES][16] __attribute__((aligned(64)));
	uint8_t current[RC4_LANES][16] __attribute__((aligned(64)));
	uint8_t interim[RC4_LANES][16] __attribute__((aligned(64)));
	rc4_tile tile;
	struct rc4_lanes rc4;
};

/* Sixteen rows of four words <-> four vectors of sixteen. */
static inline void turn_words(vec x[4])
{
	const vec a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
	const vec c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm512_unpacklo_epi64(a, c);
	x[1] = _mm512_unpackhi_epi64(a, c);
	x[2] = _mm512_unpacklo_epi64(b, d);
	x[3] = _mm512_unpackhi_epi64(b, d);
}

/* Lane 4 p + k is 128-bit part p of vector k before the turn. */
static inline void load_words(vec x[4], const uint8_t rows[16][16])
{
	for (int k = 0; k < 4; k++) {
		__m512i v = _mm512_castsi128_si512(_mm_load_si128((const __m128i *)rows[k]));
		v = _mm512_inserti32x4(v, _mm_load_si128((const __m128i *)rows[4 + k]), 1);
		v = _mm512_inserti32x4(v, _mm_load_si128((const __m128i *)rows[8 + k]), 2);
		v = _mm512_inserti32x4(v, _mm_load_si128((const __m128i *)rows[12 + k]), 3);
		x[k] = vec_swap(v);
	}
	turn_words(x);
}

static inline void store_words(uint8_t rows[16][16], vec x[4])
{
	turn_words(x);
	for (int k = 0; k < 4; k++) {
		const __m512i v = vec_swap(x[k]);
		_mm_store_si128((__m128i *)rows[k], _mm512_castsi512_si128(v));
		_mm_store_si128((__m128i *)rows[4 + k], _mm512_extracti32x4_epi32(v, 1));
		_mm_store_si128((__m128i *)rows[8 + k], _mm512_extracti32x4_epi32(v, 2));
		_mm_store_si128((__m128i *)rows[12 + k], _mm512_extracti32x4_epi32(v, 3));
	}
}

/* interim = the hash, for sixteen lanes */
static __attribute__((noinline)) void hash(uint8_t interim[16][16], const uint8_t start[16][16], const uint8_t current[16][16],
					   uint32_t key_len)
{
	const vec zero = vec_set1(0), fill = vec_set1(0xf2f2f2f2u), mark = vec_set1(0x80000000u);
	vec s[4], c[4], w[16];
	vec state[5] = {vec_set1(0x67452301u), vec_set1(0xefcdab89u), vec_set1(0x98badcfeu), vec_set1(0x10325476u),
			vec_set1(0xc3d2e1f0u)};

	load_words(s, start);
	load_words(c, current);
	for (int block = 0; block < 2; block++) {
		for (int i = 0; i < 16; i++)
			w[i] = block == 0 ? zero : fill;
		if (block == 0 && key_len == 16) {
			w[0] = s[0], w[1] = s[1], w[2] = s[2], w[3] = s[3];
			w[14] = c[0], w[15] = c[1];
		} else if (block == 0) {
			w[0] = s[0], w[1] = s[1];
			w[12] = c[0], w[13] = c[1];
			w[14] = w[15] = fill;
		} else if (key_len == 16) {
			w[0] = c[2], w[1] = c[3];
			w[12] = mark;
			w[13] = w[14] = zero;
			w[15] = vec_set1(8 * (2 * 16 + 80));
		} else {
			w[8] = mark;
			for (int i = 9; i < 15; i++)
				w[i] = zero;
			w[15] = vec_set1(8 * (2 * 8 + 80));
		}
		hash_compress(state, w, lane_first(16));
	}
	if (key_len == 8) { /* twice, as rc4_lanes_begin() wants it */
		state[2] = state[0];
		state[3] = state[1];
	}
	store_words(interim, state);
}

/* current = interim ^ the first octets of its own key stream */
static void encrypt_interim(struct hand *h, uint32_t n)
{
	const uint32_t groups = (n + 7) / 8;
	__m128i r[8], t[8];

	rc4_lanes_begin(&h->rc4, (const uint8_t(*)[16])h->interim, n);
	rc4_stream_lanes(&h->rc4, groups, 1, 16, h->tile, 0);
	for (uint32_t g = 0; g < groups; g++) {
		for (int i = 0; i < 8; i++)
			r[i] = _mm_load_si128((const __m128i *)h->tile[g][2 * i]);
		for (int round = 0; round < 4; round++) { /* as in rc4_turn_keys(), the other way */
			for (int i = 0; i < 4; i++) {
				t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 4]);
				t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 4]);
			}
			memcpy(r, t, sizeof r);
		}
		for (uint32_t q = 0; q < 8; q++)
			_mm_store_si128((__m128i *)h->current[8 * g + q],
					_mm_xor_si128(r[q], _mm_load_si128((const __m128i *)h->interim[8 * g + q])));
	}
}

/* Up to 32 chains of one key length, those with most steps first. */
static void together(struct hand *h, const struct hr_mppe_chain_job *const job[], uint32_t n)
{
	const uint32_t len = job[0]->key_len;
	uint32_t alive = n;

	memset(h->start, 0, sizeof h->start);
	memset(h->current, 0, sizeof h->current);
	for (uint32_t q = 0; q < n; q++) {
		memcpy(h->start[q], job[q]->start, len);
		memcpy(h->current[q], job[q]->current, len);
	}
	for (uint32_t step = 0;; step++) {
		while (alive != 0 && job[alive - 1]->steps == step)
			alive--;
		if (alive <= FEW) {
			_mm256_zeroupper();		       /* SHA-NI's old encoding suffers from dirty upper halves */
			for (uint32_t q = 0; q < alive; q++) { /* the long ones go on alone */
				struct hr_mppe_chain_job rest = *job[q];
				rest.steps -= step;
				rest.keys = rest.keys == NULL ? NULL : rest.keys + step;
				hr_mppe_rekey_shani(&rest, 1);
			}
			return;
		}
		for (uint32_t half = 0; half < alive; half += 16)
			hash(h->interim + half, (const uint8_t(*)[16])(h->start + half),
			     (const uint8_t(*)[16])(h->current + half), len);
		encrypt_interim(h, alive);
		for (uint32_t q = 0; q < alive; q++) {
			hr_mppe_salt(h->current[q], job[q]->bits);
			memcpy(job[q]->current, h->current[q], len);
			if (job[q]->keys != NULL)
				memcpy(job[q]->keys[step], h->current[q], len);
		}
	}
}

/* Keys of 16 octets first, then by number of steps. */
static int goes_before(const struct hr_mppe_chain_job *a, const struct hr_mppe_chain_job *b)
{
	return a->key_len > b->key_len || (a->key_len == b->key_len && a->steps >= b->steps);
}

void hr_mppe_rekey_avx512(const struct hr_mppe_chain_job *job, uint32_t n)
{
	struct hand h;
	const struct hr_mppe_chain_job *order[SORTED];
	int used = 0;

	while (n != 0) {
		const uint32_t now = n < SORTED ? n : SORTED;
		for (uint32_t i = 0; i < now; i++) {
			uint32_t at = i;
			for (; at > 0 && !goes_before(order[at - 1], &job[i]); at--)
				order[at] = order[at - 1];
			order[at] = &job[i];
		}
		for (uint32_t q = 0; q < now;) {
			uint32_t end = q;
			while (end < now && end - q < RC4_LANES && order[end]->key_len == order[q]->key_len)
				end++;
			if (end - q > FEW) {
				together(&h, order + q, end - q);
				used = 1;
				q = end;
			}
			if (q < end)
				_mm256_zeroupper();
			for (; q < end; q++)
				hr_mppe_rekey_shani(order[q], 1);
		}
		job += now;
		n -= now;
	}
	if (used)
		hr_erase(&h, sizeof h);
	_mm256_zeroupper();
}

HR_TARGET_END
#endif
