/* SPDX-License-Identifier: Apache-2.0
 *
 * cbc_hmac_lanes.h: AES-CBC and HMAC in one pass over sixteen (or eight) packets, 64 octets of each at a time.
 *
 * The hash never reads the packets: what the cipher has just made is still in registers, as columns of 128-bit blocks, and 32
 * shuffles make sixteen words of sixteen lanes of them, where loading and transposing would take 80 and sixteen loads across
 * cache lines. The ESP header shifts the two against each other: eight octets before the IV, so the hash runs two words behind.
 *
 *     packet   SPI | seq | IV  b0 | b1 | b2 | b3 | b4 | ...          16-octet blocks of the chain
 *     cipher             | chunk 0                | chunk 1 ...      four blocks
 *     hash     | block 0                    | block 1 ...            sixteen words: two carried over, fourteen new
 *
 * A group ends with its longest packet; lanes that have ended earlier keep their state. When only the first eight lanes are
 * left, the narrow kernel goes on with those. Include after a lanes*x32_avx512*.h and a *_lanes.h; define SEAL_ROUNDS (AES),
 * and SEAL_NAME with SEAL_FINISH and SEAL_EIGHT (wide: calls those) or only the latter two (narrow: defines them).
 */
#include "../crypt.h"
#include "../wipe.h"
#include "cbc_hmac_group.h"

enum { VECTORS = LANES / 4, KEY_STRIDE = SEAL_LANES / 4, WORDS = 16, NEVER = 0x7fffffff };

/* Fill the lanes from n of at most LANES jobs; lanes behind have no blocks. */
static inline void seal_start(struct seal_group *g, struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t lane = 0; lane < LANES; lane++) {
		const struct hr_esp_job *j = job[lane < n ? lane : 0];
		const struct hr_esp_key *key = j->key;

		g->at[lane] = j->packet + 8;
		memcpy(&g->head[lane], j->packet, 8);
		g->blocks[lane] = lane < n ? (j->len - 8) / 16 : 0;
		g->esn[lane] = key->esn;
		g->seq_hi[lane] = j->seq_hi;
		if (g->of[lane] == key)
			continue;
		g->of[lane] = key;
		HR_UNROLL
		for (uint32_t r = 0; r <= SEAL_ROUNDS; r++)
			_mm_store_si128((__m128i *)g->key[r][lane], _mm_load_si128((const __m128i *)key->aes.encrypt[r]));
	}
	memset(g->chain, 0, sizeof g->chain);
	/* whole arithmetic of the padding, in all lanes */
	const vec blocks = vec_load(g->blocks), esn = vec_load(g->esn);
	const vec words = vec_add(vec_shl(blocks, 2), vec_set1(2));
	const vec end = vec_add(words, esn); /* the mark, and two words of length */
	vec_store(g->words, words);
	vec_store(g->mark_at, end);
	vec_store(g->esn_at, vec_add(words, vec_keep(lane_greater(vec_set1(1), esn), vec_set1(NEVER / 2))));
	vec_store(g->inner, vec_keep(lane_greater(blocks, vec_set1(0)), vec_shr(vec_add(end, vec_set1(3 + WORDS - 1)), 4)));
	vec_store(g->bits, vec_shl(vec_add(end, vec_set1(16)), 5));
}

/* Four rows of four blocks become four columns; its own inverse. */
HR_INLINE void seal_transpose(__m512i out[4], const __m512i in[4])
{
	const __m512i low01 = _mm512_shuffle_i32x4(in[0], in[1], 0x44), high01 = _mm512_shuffle_i32x4(in[0], in[1], 0xee);
	const __m512i low23 = _mm512_shuffle_i32x4(in[2], in[3], 0x44), high23 = _mm512_shuffle_i32x4(in[2], in[3], 0xee);
	out[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
	out[1] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
	out[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
	out[3] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
}

/* One block in every lane. */
HR_INLINE void seal_column(const struct seal_group *g, __m512i chain[VECTORS], __m512i text[VECTORS][4], const uint32_t column)
{
	const __m512i *key = (const __m512i *)g->key;
	__asm__("" : "+r"(key)); /* or the compiler keeps 44 round keys in registers that it does not have */
	HR_UNROLL
	for (uint32_t v = 0; v < VECTORS; v++)
		chain[v] = _mm512_ternarylogic_epi64(chain[v], text[v][column], key[v], 0x96);
	HR_UNROLL
	for (uint32_t r = 1; r < SEAL_ROUNDS; r++) {
		HR_UNROLL
		for (uint32_t v = 0; v < VECTORS; v++)
			chain[v] = _mm512_aesenc_epi128(chain[v], key[KEY_STRIDE * r + v]);
	}
	HR_UNROLL
	for (uint32_t v = 0; v < VECTORS; v++)
		text[v][column] = chain[v] = _mm512_aesenclast_epi128(chain[v], key[KEY_STRIDE * SEAL_ROUNDS + v]);
}

/* The sixteen words of four columns, in host order, one vector a word. */
HR_INLINE void seal_words(vec words[WORDS], __m512i text[VECTORS][4])
{
	/* of eight blocks in two vectors: word 0 of each, then word 1 of each, octets reversed; then the same of words 2 and 3
	 */
	const __m512i low =
	    _mm512_setr_epi32(0x00010203, 0x10111213, 0x20212223, 0x30313233, 0x40414243, 0x50515253, 0x60616263, 0x70717273,
			      0x04050607, 0x14151617, 0x24252627, 0x34353637, 0x44454647, 0x54555657, 0x64656667, 0x74757677);
	const __m512i high = _mm512_or_si512(low, _mm512_set1_epi8(8));

	HR_UNROLL
	for (uint32_t c = 0; c < 4; c++) {
		const __m512i a = _mm512_permutex2var_epi8(text[0][c], low, text[1][c]);
		const __m512i b = _mm512_permutex2var_epi8(text[0][c], high, text[1][c]);
#ifdef SEAL_NAME
		const __m512i d = _mm512_permutex2var_epi8(text[2][c], low, text[3][c]);
		const __m512i e = _mm512_permutex2var_epi8(text[2][c], high, text[3][c]);
		words[4 * c] = _mm512_shuffle_i64x2(a, d, 0x44);
		words[4 * c + 1] = _mm512_shuffle_i64x2(a, d, 0xee);
		words[4 * c + 2] = _mm512_shuffle_i64x2(b, e, 0x44);
		words[4 * c + 3] = _mm512_shuffle_i64x2(b, e, 0xee);
#else
		words[4 * c] = _mm512_castsi512_si256(a);
		words[4 * c + 1] = _mm512_extracti64x4_epi64(a, 1);
		words[4 * c + 2] = _mm512_castsi512_si256(b);
		words[4 * c + 3] = _mm512_extracti64x4_epi64(b, 1);
#endif
	}
}

/* Encrypt chunk number `chunk`, of which `columns` blocks are there in the longest lane, and return it as words. */
HR_INLINE void seal_chunk(struct seal_group *g, vec words[WORDS], uint32_t chunk, uint32_t columns, int full)
{
	__m512i chain[VECTORS], text[VECTORS][4], row[4];
	const uint64_t offset = 64 * (uint64_t)chunk;

	HR_UNROLL
	for (uint32_t v = 0; v < VECTORS; v++)
		chain[v] = _mm512_load_si512(g->chain[4 * v]);
	if (full) {
		HR_UNROLL
		for (uint32_t v = 0; v < VECTORS; v++) {
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				row[i] = _mm512_loadu_si512(g->at[4 * v + i] + offset);
			seal_transpose(text[v], row);
		}
		HR_UNROLL
		for (uint32_t c = 0; c < 4; c++)
			seal_column(g, chain, text, c);
		HR_UNROLL
		for (uint32_t v = 0; v < VECTORS; v++) {
			seal_transpose(row, text[v]);
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				_mm512_storeu_si512(g->at[4 * v + i] + offset, row[i]);
		}
	} else {
		/* two mask bits for each block that a lane has */
		_Alignas(64) uint32_t mask[LANES];
		const vec done = vec_set1(4 * chunk), blocks = vec_load(g->blocks);
		const vec left = vec_min(vec_keep(lane_greater(blocks, done), vec_sub(blocks, done)), vec_set1(4));
		vec_store(mask, vec_sub(vec_shlv(vec_set1(1), vec_add(left, left)), vec_set1(1)));
		HR_UNROLL
		for (uint32_t v = 0; v < VECTORS; v++) {
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				row[i] = _mm512_maskz_loadu_epi64((__mmask8)mask[4 * v + i], g->at[4 * v + i] + offset);
			seal_transpose(text[v], row);
		}
		HR_UNROLL
		for (uint32_t c = 0; c < 4; c++) {
			if (c < columns)
				seal_column(g, chain, text, c);
		}
		HR_UNROLL
		for (uint32_t v = 0; v < VECTORS; v++) {
			seal_transpose(row, text[v]);
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				_mm512_mask_storeu_epi64(g->at[4 * v + i] + offset, (__mmask8)mask[4 * v + i], row[i]);
		}
	}
	HR_UNROLL
	for (uint32_t v = 0; v < VECTORS; v++)
		_mm512_store_si512(g->chain[4 * v], chain[v]);
	seal_words(words, text);
}

/* In a block where some lane's message ends: nothing behind the end but the padding. */
HR_INLINE void seal_pad(const struct seal_group *g, vec w[WORDS], uint32_t block)
{
	const vec words = vec_load(g->words), esn_at = vec_load(g->esn_at), mark_at = vec_load(g->mark_at);
	const vec inner = vec_load(g->inner), seq_hi = vec_load(g->seq_hi), bits = vec_load(g->bits);
	const vec mark = vec_set1(0x80000000u);

	HR_UNROLL
	for (uint32_t i = 0; i < WORDS; i++) {
		const lane_word at = WORDS * block + i;
		w[i] = vec_keep(lane_greater(words, vec_set1(at)), w[i]);
		w[i] = vec_place(w[i], esn_at, at, seq_hi);
		w[i] = vec_place(w[i], mark_at, at, mark);
	}
	w[WORDS - 1] = vec_place(w[WORDS - 1], inner, block + 1, bits);
}

/* Blocks of the inner hash from `block` to `end`; with `outer`, the outer hash behind them. State and carry are in the group.
 */
HR_INLINE void seal_blocks(struct seal_group *g, uint32_t block, const uint32_t end, const vec *outer)
{
	vec state[8], w[WORDS], fresh[WORDS], carry[2];
	uint32_t longest = 0, shortest = UINT32_MAX;

	for (uint32_t lane = 0; lane < LANES; lane++) {
		longest = g->blocks[lane] > longest ? g->blocks[lane] : longest;
		shortest = g->blocks[lane] < shortest ? g->blocks[lane] : shortest;
	}
	HR_UNROLL
	for (uint32_t i = 0; i < HASH_STATE; i++)
		state[i] = vec_load(g->state[i]);
	carry[0] = vec_load(g->carry[0]);
	carry[1] = vec_load(g->carry[1]);
	HR_UNROLL
	for (uint32_t i = 0; i < WORDS; i++)
		fresh[i] = vec_set1(0);

	for (; block < end + (outer != NULL); block++) {
		lane_mask mask = (lane_mask)~0u;
		if (block < end) {
			if (4 * block < longest)
				seal_chunk(g, fresh, block, longest - 4 * block, block < shortest / 4);
			w[0] = carry[0];
			w[1] = carry[1];
			HR_UNROLL
			for (uint32_t i = 0; i < 14; i++)
				w[i + 2] = fresh[i];
			carry[0] = fresh[14];
			carry[1] = fresh[15];
			if (block >= shortest / 4) {
				seal_pad(g, w, block);
				mask = lane_greater(vec_load(g->inner), vec_set1(block));
			}
		} else {
			HR_UNROLL
			for (uint32_t i = 0; i < WORDS; i++)
				w[i] = i < HASH_STATE ? state[i] : vec_set1(0);
			w[HASH_STATE] = vec_set1(0x80000000u);
			w[WORDS - 1] = vec_set1((64 + 4 * HASH_STATE) * 8);
			HR_UNROLL
			for (uint32_t i = 0; i < HASH_STATE; i++)
				state[i] = outer[i];
		}
		hash_compress(state, w, mask);
	}
	HR_UNROLL
	for (uint32_t i = 0; i < HASH_STATE; i++)
		vec_store(g->state[i], state[i]);
	vec_store(g->carry[0], carry[0]);
	vec_store(g->carry[1], carry[1]);
}

/* n of at most LANES jobs, the longest first. */
static inline void seal_jobs(struct seal_group *g, struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	const lane_word *states[LANES];
	vec state[8], outer[8];
	uint32_t last = 0, narrow = 0;

	seal_start(g, job, n);
	for (uint32_t lane = 0; lane < LANES; lane++) {
		states[lane] = g->of[lane]->hmac.w32[0];
		last = g->inner[lane] > last ? g->inner[lane] : last;
		if (lane >= SEAL_LANES / 2)
			narrow = g->inner[lane] > narrow ? g->inner[lane] : narrow;
		g->carry[0][lane] = __builtin_bswap32((uint32_t)g->head[lane]);
		g->carry[1][lane] = __builtin_bswap32((uint32_t)(g->head[lane] >> 32));
	}
	vec_load_states(state, outer, states);
	HR_UNROLL
	for (uint32_t i = 0; i < HASH_STATE; i++)
		vec_store(g->state[i], state[i]);
#ifdef SEAL_NAME
	if (last > narrow) {
		seal_blocks(g, 0, narrow, NULL);
		SEAL_FINISH(g, narrow, last);
		seal_blocks(g, last, last, outer);
	} else
#endif
	{
		seal_blocks(g, 0, last, outer);
	}
	HR_UNROLL
	for (uint32_t i = 0; i < 8; i++)
		state[i] = i < HASH_STATE ? vec_swap(vec_load(g->state[i])) : vec_set1(0);
	vec_store_rows(mac, n, state);
}

#ifdef SEAL_NAME
void SEAL_NAME(struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	struct seal_group group;

	memset(group.of, 0, sizeof group.of);
	for (uint32_t i = 0; i < n; i += LANES) {
		if (n - i <= SEAL_LANES / 2)
			SEAL_EIGHT(&group, job + i, n - i, mac + i);
		else
			seal_jobs(&group, job + i, n - i < LANES ? n - i : LANES, mac + i);
	}
	hr_erase(&group, sizeof group);
}
#else
void SEAL_FINISH(struct seal_group *group, uint32_t block, uint32_t last)
{
	seal_blocks(group, block, last, NULL);
}

void SEAL_EIGHT(struct seal_group *group, struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	seal_jobs(group, job, n, mac);
}
#endif
