/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_gcm_aesni.c: AES-GCM for ESP with AES-NI and PCLMULQDQ, a packet at a time.
 *
 * Counter mode takes eight blocks at once. Sealing, the hash of the eight before runs between the rounds. Opening, the whole
 * hash comes first: nothing is decrypted that does not verify. Eight products share one reduction (ghash.h).
 */
#include "../cpu.h"

#if HR_X86
#include "../ct.h"
#include "../wipe.h"
#include "target.h"

HR_TARGET_BEGIN("aes,pclmul,sse4.1,ssse3")
#include <immintrin.h>

enum { WIDE = 8, GROUP = 16 * WIDE };

HR_INLINE __m128i load(const void *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

HR_INLINE void store(void *p, __m128i x)
{
	_mm_storeu_si128((__m128i *)p, x);
}

/* Octets in reverse: a block as the number of ghash.h, and a counter block with its counter in the lowest word. */
HR_INLINE __m128i reversed(__m128i x)
{
	return _mm_shuffle_epi8(x, _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f));
}

/* --- GHASH --------------------------------------------------------------------------------------------------------- */

/* A sum of products of 255 bits: low + middle x^64 + high x^128. */
struct sum {
	__m128i low, middle, high;
};

HR_INLINE struct sum nothing(void)
{
	return (struct sum){_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
}

HR_INLINE void add_product(struct sum *sum, __m128i x, __m128i h)
{
	sum->low = _mm_xor_si128(sum->low, _mm_clmulepi64_si128(x, h, 0x00));
	sum->high = _mm_xor_si128(sum->high, _mm_clmulepi64_si128(x, h, 0x11));
	sum->middle = _mm_xor_si128(sum->middle, _mm_clmulepi64_si128(x, h, 0x01));
	sum->middle = _mm_xor_si128(sum->middle, _mm_clmulepi64_si128(x, h, 0x10));
}

/* From below, 64 bits a step: x^121 + x^126 + x^127 above the word that vanishes, and the word itself 128 places up. */
HR_INLINE __m128i reduce(const struct sum *sum)
{
	const __m128i polynomial = _mm_set_epi64x(0, (long long)0xc200000000000000);
	__m128i low = _mm_xor_si128(sum->low, _mm_slli_si128(sum->middle, 8));
	const __m128i high = _mm_xor_si128(sum->high, _mm_srli_si128(sum->middle, 8));

	for (int i = 0; i < 2; i++)
		low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, polynomial, 0x00));
	return _mm_xor_si128(low, high);
}

/* Block i of a group; y, which waits for the result of the group before, joins the first. */
HR_INLINE void add_block(struct sum *sum, const struct hr_esp_key *key, const uint8_t *text, const uint32_t i, __m128i y)
{
	__m128i x = reversed(load(text + 16 * i));
	if (i == 0)
		x = _mm_xor_si128(x, y);
	add_product(sum, x, load(key->aes.power[HR_GHASH_POWERS - WIDE + i]));
}

HR_INLINE __m128i hash_group(const struct hr_esp_key *key, const uint8_t *text, __m128i y)
{
	struct sum sum = nothing();

	HR_UNROLL
	for (uint32_t i = WIDE; i-- > 0;)
		add_block(&sum, key, text, i, y);
	return reduce(&sum);
}

static __m128i hash_aad(const struct hr_esp_job *job)
{
	struct sum sum = nothing();
	uint32_t spi, seq;

	memcpy(&spi, job->packet, 4);
	memcpy(&seq, job->packet + 4, 4);
	const __m128i aad = job->key->esn ? _mm_set_epi32(0, (int)seq, (int)__builtin_bswap32(job->seq_hi), (int)spi)
					  : _mm_set_epi32(0, 0, (int)seq, (int)spi);
	add_product(&sum, reversed(aad), load(job->key->aes.power[HR_GHASH_POWERS - 1]));
	return reduce(&sum);
}

/* The last octets of the text, fewer than a group, and the lengths; returns the hash as a block. */
static __m128i hash_end(const struct hr_esp_job *job, const uint8_t *text, uint32_t left, __m128i y)
{
	const uint8_t(*power)[16] = job->key->aes.power + (HR_GHASH_POWERS - 1 - (left + 15) / 16);
	struct sum sum = nothing();

	for (; left >= 16; left -= 16, text += 16) {
		add_product(&sum, _mm_xor_si128(reversed(load(text)), y), load(*power++));
		y = _mm_setzero_si128();
	}
	if (left != 0) {
		uint8_t block[16] = {0};
		memcpy(block, text, left);
		add_product(&sum, _mm_xor_si128(reversed(load(block)), y), load(*power++));
		y = _mm_setzero_si128();
	}
	const __m128i lengths = _mm_set_epi64x(job->key->esn ? 96 : 64, (long long)((uint64_t)(job->len - 16) * 8));
	add_product(&sum, _mm_xor_si128(lengths, y), load(*power));
	return reversed(reduce(&sum));
}

/* --- counter mode -------------------------------------------------------------------------------------------------- */

/* Counter blocks counter, counter + 1, ... encrypted. With `hashed`, a group of ciphertext goes into sum between the rounds. */
HR_INLINE void make_stream(__m128i *stream, const uint32_t count, const struct hr_esp_key *key, const uint32_t rounds,
			   __m128i counter, const uint8_t *hashed, struct sum *sum, __m128i y)
{
	__m128i round_key = load(key->aes.encrypt[0]);

	HR_UNROLL
	for (uint32_t v = 0; v < count; v++)
		stream[v] = _mm_xor_si128(reversed(_mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, (int)v))), round_key);
	HR_UNROLL
	for (uint32_t r = 1; r < rounds; r++) {
		round_key = load(key->aes.encrypt[r]);
		HR_UNROLL
		for (uint32_t v = 0; v < count; v++)
			stream[v] = _mm_aesenc_si128(stream[v], round_key);
		if (hashed != NULL && r <= WIDE)
			add_block(sum, key, hashed, WIDE - r, y);
	}
	round_key = load(key->aes.encrypt[rounds]);
	HR_UNROLL
	for (uint32_t v = 0; v < count; v++)
		stream[v] = _mm_aesenclast_si128(stream[v], round_key);
}

HR_INLINE void crypt_group(uint8_t *text, const struct hr_esp_key *key, const uint32_t rounds, __m128i *counter,
			   const uint8_t *hashed, struct sum *sum, __m128i y)
{
	__m128i stream[WIDE];

	make_stream(stream, WIDE, key, rounds, *counter, hashed, sum, y);
	*counter = _mm_add_epi32(*counter, _mm_set_epi32(0, 0, 0, WIDE));
	HR_UNROLL
	for (uint32_t v = 0; v < WIDE; v++)
		store(text + 16 * v, _mm_xor_si128(load(text + 16 * v), stream[v]));
}

/* Fewer octets than a group. */
HR_INLINE void crypt_end(uint8_t *text, uint32_t left, const struct hr_esp_key *key, const uint32_t rounds, __m128i counter)
{
	__m128i stream[WIDE];
	uint32_t v = 0;

	if (left == 0)
		return;
	if (left > 64)
		make_stream(stream, WIDE, key, rounds, counter, NULL, NULL, counter);
	else
		make_stream(stream, WIDE / 2, key, rounds, counter, NULL, NULL, counter);
	for (; left >= 16; left -= 16, text += 16, v++)
		store(text, _mm_xor_si128(load(text), stream[v]));
	if (left != 0) {
		uint8_t block[16] = {0};
		memcpy(block, text, left);
		store(block, _mm_xor_si128(load(block), stream[v]));
		memcpy(text, block, left);
	}
	hr_erase(stream, sizeof stream);
}

/* Counter 1, whose block covers the hash; octets reversed. */
HR_INLINE __m128i first_counter(const struct hr_esp_job *job)
{
	uint32_t salt, iv[2];

	memcpy(&salt, job->key->salt, 4);
	memcpy(iv, job->packet + 8, 8);
	return reversed(_mm_set_epi32(0x01000000, (int)iv[1], (int)iv[0], (int)salt));
}

/* --- packets ------------------------------------------------------------------------------------------------------- */

HR_INLINE void seal(const struct hr_esp_job *job, const uint32_t rounds)
{
	const struct hr_esp_key *key = job->key;
	uint8_t *text = job->packet + 16;
	uint32_t left = job->len - 16;
	__m128i counter = first_counter(job), y = hash_aad(job), pad;
	struct sum sum;

	make_stream(&pad, 1, key, rounds, counter, NULL, NULL, y);
	counter = _mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, 1));
	if (left >= GROUP) {
		crypt_group(text, key, rounds, &counter, NULL, NULL, y);
		for (text += GROUP, left -= GROUP; left >= GROUP; text += GROUP, left -= GROUP) {
			sum = nothing();
			crypt_group(text, key, rounds, &counter, text - GROUP, &sum, y);
			y = reduce(&sum);
		}
		y = hash_group(key, text - GROUP, y);
	}
	crypt_end(text, left, key, rounds, counter);
	store(job->packet + job->len, _mm_xor_si128(hash_end(job, text, left, y), pad));
}

HR_INLINE void open(struct hr_esp_job *job, const uint32_t rounds)
{
	const struct hr_esp_key *key = job->key;
	uint8_t *text = job->packet + 16, icv[16];
	uint32_t left = job->len - 16;
	__m128i counter = first_counter(job), y = hash_aad(job), pad;

	make_stream(&pad, 1, key, rounds, counter, NULL, NULL, y);
	for (; left >= GROUP; text += GROUP, left -= GROUP)
		y = hash_group(key, text, y);
	store(icv, _mm_xor_si128(hash_end(job, text, left, y), pad));
	job->ok = hr_ct_equal(icv, job->packet + job->len, 16);
	hr_erase(icv, sizeof icv); /* the right ICV of a forged packet */
	if (!job->ok)
		return;
	text = job->packet + 16;
	counter = _mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, 1));
	for (left = job->len - 16; left >= GROUP; text += GROUP, left -= GROUP)
		crypt_group(text, key, rounds, &counter, NULL, NULL, y);
	crypt_end(text, left, key, rounds, counter);
}

void hr_aes_gcm_seal_aesni(struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (job[i]->key->rounds == 10)
			seal(job[i], 10);
		else if (job[i]->key->rounds == 14)
			seal(job[i], 14);
		else
			seal(job[i], 12);
	}
}

void hr_aes_gcm_open_aesni(struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (job[i]->key->rounds == 10)
			open(job[i], 10);
		else if (job[i]->key->rounds == 14)
			open(job[i], 14);
		else
			open(job[i], 12);
	}
}

HR_TARGET_END
#endif
