/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_cbc_vaes512.c: AES-CBC with 512-bit VAES.
 *
 * Encryption: a packet is one serial chain, so sixteen packets run side by side, four to a vector. Every lane has its own key,
 * so each round reads one vector of round keys a vector of packets: that load, not VAESENC, sets the pace (one 64-octet load a
 * cycle; with one key for all, in registers, six vectors would reach 0.153 cycles per octet). Decryption: four blocks of one
 * packet to a vector; short packets overlap by themselves.
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "target.h"

HR_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,vaes,aes,bmi2")
#include <immintrin.h>

enum { VECTORS_MAX = 4, LANES_MAX = 4 * VECTORS_MAX, ROUND_KEYS = 15 };

/* Up to sixteen packets in progress. */
struct lanes {
	_Alignas(64) uint8_t key[ROUND_KEYS][LANES_MAX][16];
	_Alignas(64) uint8_t chain[LANES_MAX][16]; /* the last block that left each lane */
	uint8_t *at[LANES_MAX];			   /* next block */
	uint32_t left[LANES_MAX];		   /* blocks to go; 0: the lane is empty */
	const struct hr_esp_key *of[LANES_MAX];	   /* whose round keys are in key */
};

static void set_key(struct lanes *lanes, uint32_t lane, const struct hr_esp_key *key)
{
	if (lanes->of[lane] == key)
		return;
	lanes->of[lane] = key;
	for (uint32_t r = 0; r <= key->rounds; r++)
		_mm_store_si128((__m128i *)lanes->key[r][lane], _mm_loadu_si128((const __m128i *)key->aes.encrypt[r]));
}

static void start(struct lanes *lanes, uint32_t lane, const struct hr_esp_job *job)
{
	set_key(lanes, lane, job->key);
	_mm_store_si128((__m128i *)lanes->chain[lane], _mm_setzero_si128());
	lanes->at[lane] = job->packet + 8;
	lanes->left[lane] = (job->len - 8) / 16;
}

/* An empty lane does what lane `from` does: the same blocks to the same places. */
static void mirror(struct lanes *lanes, uint32_t lane, uint32_t from)
{
	set_key(lanes, lane, lanes->of[from]);
	memcpy(lanes->chain[lane], lanes->chain[from], 16);
	lanes->at[lane] = lanes->at[from];
}

/* Four rows of four 128-bit blocks become four columns; its own inverse. */
HR_INLINE void transpose(__m512i x[4])
{
	const __m512i low01 = _mm512_shuffle_i32x4(x[0], x[1], 0x44), high01 = _mm512_shuffle_i32x4(x[0], x[1], 0xee);
	const __m512i low23 = _mm512_shuffle_i32x4(x[2], x[3], 0x44), high23 = _mm512_shuffle_i32x4(x[2], x[3], 0xee);
	x[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
	x[1] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
	x[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
	x[3] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
}

/* One block in each lane of `vectors` vectors: chain becomes its encryption. */
HR_INLINE void step(const struct lanes *lanes, __m512i *chain, __m512i text[][4], const uint32_t column, const uint32_t vectors,
		    const uint32_t rounds)
{
	const __m512i *key = (const __m512i *)lanes->key;

	__asm__("" : "+r"(key)); /* or the compiler keeps 44 round keys in registers that it does not have */
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		chain[v] = _mm512_ternarylogic_epi64(chain[v], text[v][column], key[v], 0x96);
	HR_UNROLL
	for (uint32_t r = 1; r < rounds; r++) {
		HR_UNROLL
		for (uint32_t v = 0; v < vectors; v++)
			chain[v] = _mm512_aesenc_epi128(chain[v], key[VECTORS_MAX * r + v]);
	}
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		text[v][column] = chain[v] = _mm512_aesenclast_epi128(chain[v], key[VECTORS_MAX * rounds + v]);
}

/* `blocks` blocks in each lane of `vectors` vectors. Packets are read and written 64 octets at a time: slots of an arena lie at
 * a power of two, so their cache lines push each other out, and each should be touched once only. */
HR_INLINE void run(struct lanes *lanes, const uint32_t vectors, const uint32_t rounds, size_t blocks)
{
	__m512i chain[VECTORS_MAX], text[VECTORS_MAX][4];
	uint8_t *const *const at = lanes->at;
	size_t offset = 0;

	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		chain[v] = _mm512_load_si512(lanes->chain[4 * v]);
	for (; blocks >= 4; blocks -= 4, offset += 64) {
		HR_UNROLL
		for (uint32_t v = 0; v < vectors; v++) {
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				text[v][i] = _mm512_loadu_si512(at[4 * v + i] + offset);
			transpose(text[v]);
		}
		HR_UNROLL
		for (uint32_t column = 0; column < 4; column++)
			step(lanes, chain, text, column, vectors, rounds);
		HR_UNROLL
		for (uint32_t v = 0; v < vectors; v++) {
			transpose(text[v]);
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				_mm512_storeu_si512(at[4 * v + i] + offset, text[v][i]);
		}
	}
	if (blocks > 0) {
		const __mmask8 mask = (__mmask8)((1u << (2 * blocks)) - 1);
		HR_UNROLL
		for (uint32_t v = 0; v < vectors; v++) {
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				text[v][i] = _mm512_maskz_loadu_epi64(mask, at[4 * v + i] + offset);
			transpose(text[v]);
		}
		step(lanes, chain, text, 0, vectors, rounds);
		if (blocks > 1)
			step(lanes, chain, text, 1, vectors, rounds);
		if (blocks > 2)
			step(lanes, chain, text, 2, vectors, rounds);
		HR_UNROLL
		for (uint32_t v = 0; v < vectors; v++) {
			transpose(text[v]);
			HR_UNROLL
			for (uint32_t i = 0; i < 4; i++)
				_mm512_mask_storeu_epi64(at[4 * v + i] + offset, mask, text[v][i]);
		}
	}
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++)
		_mm512_store_si512(lanes->chain[4 * v], chain[v]);
}

static void run_by_rounds(struct lanes *lanes, uint32_t vectors, uint32_t rounds, size_t blocks)
{
#define CASES(n)                                                                                                               \
	if (rounds == 10)                                                                                                      \
		run(lanes, n, 10, blocks);                                                                                     \
	else if (rounds == 14)                                                                                                 \
		run(lanes, n, 14, blocks);                                                                                     \
	else                                                                                                                   \
		run(lanes, n, 12, blocks)
	if (vectors == 4) {
		CASES(4);
	} else {
		CASES(2);
	}
#undef CASES
}

/* Jobs of one number of rounds. */
static void encrypt(struct lanes *lanes, struct hr_esp_job *const job[], uint32_t n)
{
	const uint32_t vectors = n > 8 ? 4 : 2, rounds = job[0]->key->rounds;
	const uint32_t count = 4 * vectors;
	uint32_t next = 0;

	memset(lanes->left, 0, sizeof lanes->left);
	for (;;) {
		uint32_t blocks = UINT32_MAX, busy = LANES_MAX;
		for (uint32_t lane = 0; lane < count; lane++) {
			while (lanes->left[lane] == 0 && next < n)
				start(lanes, lane, job[next++]);
			if (lanes->left[lane] != 0) {
				busy = lane;
				blocks = lanes->left[lane] < blocks ? lanes->left[lane] : blocks;
			}
		}
		if (busy == LANES_MAX)
			return;
		for (uint32_t lane = 0; lane < count; lane++) {
			if (lanes->left[lane] == 0)
				mirror(lanes, lane, busy);
		}
		run_by_rounds(lanes, vectors, rounds, blocks);
		for (uint32_t lane = 0; lane < count; lane++) {
			lanes->at[lane] += 16 * (size_t)blocks;
			lanes->left[lane] -= lanes->left[lane] == 0 ? 0 : blocks;
		}
	}
}

void hr_aes_cbc_encrypt_vaes512(struct hr_esp_job *const job[], uint32_t n)
{
	struct lanes lanes;

	memset(lanes.of, 0, sizeof lanes.of);
	while (n > 0) {
		uint32_t take = 1;
		while (take < n && job[take]->key->rounds == job[0]->key->rounds)
			take++;
		encrypt(&lanes, job, take);
		job += take;
		n -= take;
	}
	hr_erase(&lanes, sizeof lanes);
}

/* Four blocks each in `vectors` vectors; returns the last ciphertext block(s) for the next call's chain. */
HR_INLINE __m512i decrypt_vectors(uint8_t *text, const __m512i *key, const uint32_t rounds, __m512i previous,
				  const uint32_t vectors)
{
	__m512i cipher[8], plain[8];

	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++) {
		cipher[v] = _mm512_loadu_si512(text + 64 * v);
		plain[v] = _mm512_xor_si512(cipher[v], key[0]);
	}
	HR_UNROLL
	for (uint32_t r = 1; r < rounds; r++) {
		HR_UNROLL
		for (uint32_t v = 0; v < vectors; v++)
			plain[v] = _mm512_aesdec_epi128(plain[v], key[r]);
	}
	HR_UNROLL
	for (uint32_t v = 0; v < vectors; v++) {
		plain[v] = _mm512_aesdeclast_epi128(plain[v], key[rounds]);
		const __m512i chain = _mm512_alignr_epi64(cipher[v], v == 0 ? previous : cipher[v == 0 ? 0 : v - 1], 6);
		_mm512_storeu_si512(text + 64 * v, _mm512_xor_si512(plain[v], chain));
	}
	return cipher[vectors - 1];
}

HR_INLINE void decrypt_packet(const struct hr_esp_job *job, const uint32_t rounds)
{
	__m512i key[ROUND_KEYS], previous;
	uint8_t *text = job->packet + 24;
	uint32_t blocks = job->len < 24 ? 0 : (job->len - 24) / 16;

	HR_UNROLL
	for (uint32_t r = 0; r <= rounds; r++)
		key[r] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)job->key->aes.decrypt[r]));
	/* only its last block counts */
	previous = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(job->packet + 8)));
	for (; blocks >= 32; blocks -= 32, text += 512)
		previous = decrypt_vectors(text, key, rounds, previous, 8);
	if (blocks >= 16) {
		previous = decrypt_vectors(text, key, rounds, previous, 4);
		blocks -= 16;
		text += 256;
	}
	for (; blocks >= 4; blocks -= 4, text += 64)
		previous = decrypt_vectors(text, key, rounds, previous, 1);
	if (blocks > 0) {
		const __mmask8 mask = (__mmask8)((1u << (2 * blocks)) - 1);
		const __m512i cipher = _mm512_maskz_loadu_epi64(mask, text);
		__m512i plain = _mm512_xor_si512(cipher, key[0]);
		HR_UNROLL
		for (uint32_t r = 1; r < rounds; r++)
			plain = _mm512_aesdec_epi128(plain, key[r]);
		plain = _mm512_aesdeclast_epi128(plain, key[rounds]);
		_mm512_mask_storeu_epi64(text, mask, _mm512_xor_si512(plain, _mm512_alignr_epi64(cipher, previous, 6)));
	}
}

void hr_aes_cbc_decrypt_vaes512(struct hr_esp_job *const job[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (job[i]->key->rounds == 10)
			decrypt_packet(job[i], 10);
		else if (job[i]->key->rounds == 14)
			decrypt_packet(job[i], 14);
		else
			decrypt_packet(job[i], 12);
	}
}

HR_TARGET_END
#endif
