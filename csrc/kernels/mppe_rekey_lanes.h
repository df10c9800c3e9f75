/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe_rekey_lanes.h: MPPE key changes of up to 32 chains at once, a template over the hash.
 *
 * Chains of equal key length run in step, the longest first; when few are left, they go on alone. The hash is what the levels
 * have of their own; RC4 runs in 32 lanes (rc4_lanes.h).
 *
 * Before including, define REKEY_NAME, and a function
 *   void hash(uint8_t interim[16][16], const uint8_t start[16][16], const uint8_t current[16][16], uint32_t n, uint32_t
 * key_len) that hashes for n (1 to 16) chains; keys of 8 octets it leaves twice in their rows.
 */
#include "../wipe.h"
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
			     (const uint8_t(*)[16])(h->current + half), alive - half < 16 ? alive - half : 16, len);
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

void REKEY_NAME(const struct hr_mppe_chain_job *job, uint32_t n)
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
