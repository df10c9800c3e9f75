/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_gcm_vaes512.c: AES-GCM for ESP with 512-bit VAES and VPCLMULQDQ.
 *
 * Everything is laid out in slots of sixteen octets, four to a vector, so that the counter of a slot is its number and what
 * GHASH sees in it stands in its place, with no shifting between the two:
 *
 *     slot       0      1       2     3     4    ...   m + 1   m + 2        m text blocks, the last perhaps short
 *     counter    -      1       2     3     4    ...   m + 1     -          counter 1 makes the pad of the tag
 *     GHASH      0     AAD     c_0   c_1   c_2   ...  c_m-1  lengths
 *
 * Slot 2 is the text's beginning, so vector j covers the packet from text - 32 + 64 j; masks keep what is not text untouched. A
 * packet goes through in blocks of eight vectors, their products with H^32 to H^1 summed up and reduced once; the last block
 * has one to eight vectors and ends with the lengths, and its powers end with H^1 there.
 *
 * VAESENC can go to two pipes, VPCLMULQDQ to one of them only, for two cycles: a vector costs 14 cycles if both kinds are in
 * flight all the time. So a block is encrypted while the one before it is hashed, and decrypted while it is hashed itself; if
 * the ICV of a long packet turns out wrong, the same stream is added once more, and no plaintext stays behind. Short packets
 * overlap by themselves: each is a straight line of instructions, and the processor has two or three of them in flight.
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "target.h"

HR_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,aes,bmi2")
#include <immintrin.h>

enum { BLOCK_VECTORS = 8, BLOCK_SLOTS = 4 * BLOCK_VECTORS };

/* One packet. */
struct gcm {
	const struct hr_esp_key *key;
	__m512i nonce;	/* in every slot, counter 0 */
	uint8_t *base;	/* where slot 0 would be: text - 32. Never touched in the first two slots */
	uint32_t text;	/* octets */
	uint32_t slots; /* 3 + blocks of text */
	uint32_t vectors;
	uint32_t seq_hi;
	uint32_t rounds;
	uint64_t
	    head; /* SPI, sequence number: read before a masked store lies over them, or the load would have to wait for it */
};

/* Sums of products: 64-bit halves low x low, high x high, and the two mixed ones together. */
struct sums {
	__m512i low, middle, high;
};

/* Slots of a block's vectors as counters: big endian, and the low eight bits of the counter are the top ones of the last word.
 */
#define STEP(n) 0, 0, 0, (uint32_t)(n) << 24
#define STEPS(n)                                                                                                               \
	{                                                                                                                      \
		STEP(4 * (n)), STEP(4 * (n) + 1), STEP(4 * (n) + 2), STEP(4 * (n) + 3)                                         \
	}
_Alignas(64) static const uint32_t counter_steps[BLOCK_VECTORS][16] = {STEPS(0), STEPS(1), STEPS(2), STEPS(3),
								       STEPS(4), STEPS(5), STEPS(6), STEPS(7)};
#undef STEPS
#undef STEP

HR_INLINE void gcm_begin(struct gcm *g, const struct hr_esp_job *job)
{
	uint64_t iv;
	uint32_t salt;

	g->key = job->key;
	memcpy(&iv, job->packet + 8, 8);
	memcpy(&salt, job->key->salt, 4);
	g->nonce = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)(iv >> 32), (long long)(salt | iv << 32)));
	g->base = job->packet - 16;
	g->text = job->len - 16;
	g->slots = 3 + (g->text + 15) / 16;
	g->vectors = (g->slots + 3) / 4;
	g->seq_hi = job->seq_hi;
	g->rounds = job->key->rounds;
	memcpy(&g->head, job->packet, 8);
	g->head = __builtin_bswap64(g->head);
}

/* Which octets of a vector are text: all of vectors between the first and the last two. */
HR_INLINE __mmask64 text_mask(const struct gcm *g, uint32_t j)
{
	const uint32_t end = 32 + g->text, left = end > 64 * j ? end - 64 * j : 0;
	return _bzhi_u64(j == 0 ? 0xffffffff00000000ULL : ~0ULL, left > 64 ? 64 : left);
}

/* Octets of every slot reversed: the number that ghash.h works with. */
HR_INLINE __m512i reversed(__m512i x)
{
	return _mm512_shuffle_epi8(x,
				   _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

/* Slot 1 of the packet's first vector. */
HR_INLINE __m512i with_aad(const struct gcm *g, __m512i x)
{
	const uint64_t head = g->head;
	if (!g->key->esn)
		return _mm512_mask_set1_epi64(x, 0x08, (long long)head);
	x = _mm512_mask_set1_epi64(x, 0x08, (long long)((head & 0xffffffff00000000ULL) | g->seq_hi));
	return _mm512_mask_set1_epi64(x, 0x04, (long long)(head << 32));
}

/* The last slot of the packet's last vector. */
HR_INLINE __m512i with_lengths(const struct gcm *g, __m512i x)
{
	const uint32_t at = 2 * ((g->slots - 1) % 4);
	x = _mm512_mask_set1_epi64(x, (__mmask8)(1u << at), (long long)g->text * 8);
	return _mm512_mask_set1_epi64(x, (__mmask8)(2u << at), g->key->esn ? 96 : 64);
}

HR_INLINE void multiply_add(struct sums *s, __m512i x, __m512i power, const int first)
{
	const __m512i low = _mm512_clmulepi64_epi128(x, power, 0x00), high = _mm512_clmulepi64_epi128(x, power, 0x11);
	const __m512i m1 = _mm512_clmulepi64_epi128(x, power, 0x01), m2 = _mm512_clmulepi64_epi128(x, power, 0x10);
	s->low = first ? low : _mm512_xor_si512(s->low, low);
	s->high = first ? high : _mm512_xor_si512(s->high, high);
	s->middle = first ? _mm512_xor_si512(m1, m2) : _mm512_ternarylogic_epi64(s->middle, m1, m2, 0x96);
}

/* Reduce in each slot, then add the four up: the running hash, in slot 0. The low half of a product is cancelled by multiples
 * of the polynomial 64 bits at a time: one multiplication by its bits 121, 126, 127 and one exchange of halves each (ghash.h).
 */
HR_INLINE __m128i reduce(const struct sums *s)
{
	const __m512i polynomial = _mm512_set1_epi64((long long)0xc200000000000000ULL);
	const __m512i a = _mm512_clmulepi64_epi128(s->low, polynomial, 0x00);
	const __m512i t = _mm512_ternarylogic_epi64(_mm512_shuffle_epi32(s->low, 0x4e), a, s->middle, 0x96);
	const __m512i b = _mm512_clmulepi64_epi128(t, polynomial, 0x00);
	const __m512i y = _mm512_ternarylogic_epi64(_mm512_shuffle_epi32(t, 0x4e), b, s->high, 0x96);
	const __m256i y2 = _mm256_xor_si256(_mm512_castsi512_si256(y), _mm512_extracti64x4_epi64(y, 1));
	return _mm_xor_si128(_mm256_castsi256_si128(y2), _mm256_extracti128_si256(y2, 1));
}

/* A round key in every slot; read where it is needed, as eleven to fifteen of them would take all registers. */
HR_INLINE __m512i round_key(const struct gcm *g, uint32_t r)
{
	const struct hr_esp_key *key = g->key;
	__asm__("" : "+r"(key));
	return _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)key->aes.encrypt[r]));
}

/* Hash vector v of the whole block that begins with vector `from`: ciphertext, as it lies in the packet. */
HR_INLINE void hash_vector(const struct gcm *g, struct sums *sums, __m128i hash, uint32_t from, const uint32_t v)
{
	const uint8_t *at = g->base + 64 * (uint64_t)(from + v);
	const int masked = v == 0 || v == BLOCK_VECTORS - 1;
	__m512i x = reversed(masked ? _mm512_maskz_loadu_epi8(text_mask(g, from + v), at) : _mm512_loadu_si512(at));
	if (v == 0 && from == 0)
		x = with_aad(g, x);
	if (v == 0)
		x = _mm512_xor_si512(x, _mm512_zextsi128_si512(hash));
	multiply_add(sums, x, _mm512_load_si512(g->key->aes.power[4 * v]), v == 1);
}

/* Vector number `turn` in the order of hashing: the first vector comes last, as it alone waits for the hash of what was before.
 */
#define TURN(turn) (((turn) + 1) % BLOCK_VECTORS)

HR_INLINE void one_round(const struct gcm *g, __m512i stream[BLOCK_VECTORS], const uint32_t vectors, const uint32_t r)
{
	const __m512i key = round_key(g, r);
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		stream[v] = _mm512_aesenc_epi128(stream[v], key);
}

/* The key stream of `vectors` vectors from vector `from` on, a multiple of BLOCK_VECTORS; with `sums`, and between its rounds,
 * the hash of the block that begins with vector `hashed`. */
HR_INLINE void key_stream(const struct gcm *g, __m512i stream[BLOCK_VECTORS], uint32_t from, const uint32_t vectors,
			  struct sums *sums, __m128i hash, uint32_t hashed)
{
	const __m512i counter = _mm512_mask_set1_epi32(g->nonce, 0x8888, (int)__builtin_bswap32(4 * from));
	__m512i key = round_key(g, 0);

	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++) /* (counter or step) xor key; a block never carries out of its eight bits */
		stream[v] = _mm512_ternarylogic_epi64(counter, _mm512_load_si512(counter_steps[v]), key, 0x56);
	HR_UNROLL
	for (uint32_t r = 1; r < 10; r++) {
		one_round(g, stream, vectors, r);
		if (sums != NULL && r <= BLOCK_VECTORS)
			hash_vector(g, sums, hash, hashed, TURN(r - 1));
	}
	if (g->rounds > 10) {
		one_round(g, stream, vectors, 10);
		one_round(g, stream, vectors, 11);
		if (g->rounds > 12) {
			one_round(g, stream, vectors, 12);
			one_round(g, stream, vectors, 13);
		}
	}
	key = round_key(g, g->rounds);
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		stream[v] = _mm512_aesenclast_epi128(stream[v], key);
}

/* Exclusive or of the key stream into eight vectors, full but for the first two slots of the packet and, when only the lengths
 * are left behind, the end of the last. */
HR_INLINE void add_stream(const struct gcm *g, const __m512i stream[BLOCK_VECTORS], uint32_t from)
{
	HR_UNROLL
	for (uint32_t v = 0; v < BLOCK_VECTORS; v++) {
		uint8_t *at = g->base + 64 * (uint64_t)(from + v);
		if (v == 0 || v == BLOCK_VECTORS - 1) {
			const __mmask64 mask = text_mask(g, from + v);
			_mm512_mask_storeu_epi8(at, mask, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, at), stream[v]));
		} else {
			_mm512_storeu_si512(at, _mm512_xor_si512(_mm512_loadu_si512(at), stream[v]));
		}
	}
}

enum direction { SEAL, OPEN };

/* The last block, of `vectors` vectors; `only`: it is the first one, too. Sealing, the block before it is hashed on the way.
 * Opening, the text is decrypted if the ICV is right: 1; else it is left alone: 0. */
HR_INLINE uint32_t last_block(const struct gcm *g, uint32_t from, const int only, __m128i hash, const uint32_t vectors,
			      __m128i tag_pad, const enum direction direction)
{
	__m512i stream[BLOCK_VECTORS], text[BLOCK_VECTORS];
	__mmask64 mask[BLOCK_VECTORS];
	struct sums sums;
	uint8_t *at = g->base + 64 * (uint64_t)from, *icv = g->base + 32 + g->text;
	/* slot i of the block counts slots - 4 from - i from the end, and its power has that exponent */
	const uint8_t(*power)[16] = g->key->aes.power + HR_GHASH_POWERS - (g->slots - 4 * from);

	if (direction == SEAL && !only) {
		key_stream(g, stream, from, vectors, &sums, hash, from - BLOCK_VECTORS);
		hash = reduce(&sums);
	} else {
		key_stream(g, stream, from, vectors, NULL, hash, 0);
	}
	if (only)
		tag_pad = _mm512_extracti32x4_epi32(stream[0], 1);
	HR_UNROLL
	for (uint32_t turn = 0; turn < vectors; turn++) {
		const uint32_t v = only ? turn : (turn + 1) % vectors;
		const int masked = (only && v == 0) || v + 2 >= vectors; /* the text ends in one of the last two */
		__m512i cipher, x;

		mask[v] = masked ? text_mask(g, only ? v : from + v) : ~0ULL;
		text[v] = masked ? _mm512_maskz_loadu_epi8(mask[v], at + 64 * v) : _mm512_loadu_si512(at + 64 * v);
		cipher = direction == SEAL ? _mm512_xor_si512(text[v], stream[v]) : text[v];
		if (direction == SEAL && masked) {
			cipher = _mm512_maskz_mov_epi8(mask[v], cipher);
			_mm512_mask_storeu_epi8(at + 64 * v, mask[v], cipher);
		} else if (direction == SEAL) {
			_mm512_storeu_si512(at + 64 * v, cipher);
		}
		x = reversed(cipher);
		if (v == vectors - 1)
			x = with_lengths(g, x);
		if (only && v == 0)
			x = with_aad(g, x);
		else if (v == 0)
			x = _mm512_xor_si512(x, _mm512_zextsi128_si512(hash));
		/* behind the last slot there is nothing, and what the powers are there does not matter */
		multiply_add(&sums, x, _mm512_loadu_si512(power[4 * v]), turn == 0);
	}
	const __m128i number = reduce(&sums);
	const __m128i tag = _mm_xor_si128(_mm512_castsi512_si128(reversed(_mm512_castsi128_si512(number))), tag_pad);
	if (direction == SEAL) {
		_mm_storeu_si128((__m128i *)icv, tag);
		return 1;
	}
	const __m128i difference = _mm_xor_si128(tag, _mm_loadu_si128((const __m128i *)icv));
	if (!_mm_testz_si128(difference, difference))
		return 0;
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		_mm512_mask_storeu_epi8(at + 64 * v, mask[v], _mm512_xor_si512(text[v], stream[v]));
	return 1;
}

HR_INLINE uint32_t long_packet(const struct gcm *g, const enum direction direction)
{
	__m512i stream[BLOCK_VECTORS];
	__m128i hash = _mm_setzero_si128(), tag_pad = hash;
	uint32_t from = 0, ok;

	if (direction == SEAL) {
		key_stream(g, stream, 0, BLOCK_VECTORS, NULL, hash, 0);
		tag_pad = _mm512_extracti32x4_epi32(stream[0], 1);
		add_stream(g, stream, 0);
		for (from = BLOCK_VECTORS; g->vectors - from > BLOCK_VECTORS; from += BLOCK_VECTORS) {
			struct sums sums;
			key_stream(g, stream, from, BLOCK_VECTORS, &sums, hash, from - BLOCK_VECTORS);
			add_stream(g, stream, from);
			hash = reduce(&sums);
		}
	} else {
		do {
			struct sums sums;
			key_stream(g, stream, from, BLOCK_VECTORS, &sums, hash, from);
			if (from == 0)
				tag_pad = _mm512_extracti32x4_epi32(stream[0], 1);
			add_stream(g, stream, from);
			hash = reduce(&sums);
			from += BLOCK_VECTORS;
		} while (g->vectors - from > BLOCK_VECTORS);
	}
#define LAST(n)                                                                                                                \
	case n:                                                                                                                \
		ok = last_block(g, from, 0, hash, n, tag_pad, direction);                                                      \
		break
	switch (g->vectors - from) {
		LAST(1);
		LAST(2);
		LAST(3);
		LAST(4);
		LAST(5);
		LAST(6);
		LAST(7);
	default:
		ok = last_block(g, from, 0, hash, 8, tag_pad, direction);
		break;
	}
#undef LAST
	if (direction == OPEN && !ok) { /* forged: the stream once more, and the text is what it was */
		for (uint32_t done = 0; done < from; done += BLOCK_VECTORS) {
			key_stream(g, stream, done, BLOCK_VECTORS, NULL, hash, 0);
			add_stream(g, stream, done);
		}
	}
	return ok;
}

HR_INLINE void packets(struct hr_esp_job *const job[], uint32_t n, const enum direction direction)
{
	const __m128i none = _mm_setzero_si128();

	for (uint32_t i = 0; i < n; i++) {
		struct gcm g;
		uint32_t ok;

		gcm_begin(&g, job[i]);
#define ONLY(n)                                                                                                                \
	case n:                                                                                                                \
		ok = last_block(&g, 0, 1, none, n, none, direction);                                                           \
		break
		switch (g.vectors) {
			ONLY(1);
			ONLY(2);
			ONLY(3);
			ONLY(4);
			ONLY(5);
			ONLY(6);
			ONLY(7);
			ONLY(8);
		default:
			ok = long_packet(&g, direction);
			break;
		}
#undef ONLY
		if (direction == OPEN)
			job[i]->ok = ok;
	}
}

void hr_aes_gcm_seal_vaes512(struct hr_esp_job *const job[], uint32_t n)
{
	packets(job, n, SEAL);
}

void hr_aes_gcm_open_vaes512(struct hr_esp_job *const job[], uint32_t n)
{
	packets(job, n, OPEN);
}

HR_TARGET_END
#endif
