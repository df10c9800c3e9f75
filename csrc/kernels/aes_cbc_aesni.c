/* SPDX-License-Identifier: Apache-2.0
 *
 * aes_cbc_aesni.c: AES-CBC with AES-NI.
 *
 * Encryption: a packet is one serial chain, so eight packets run side by side: enough to fill two units of a latency of four.
 * Every lane has its own key, so each AESENC reads its round key from memory. Decryption: eight blocks of one packet at a time.
 */
#include "../cpu.h"

#if HR_X86
#include "../wipe.h"
#include "target.h"

HR_TARGET_BEGIN("aes,sse4.1,ssse3")
#include <immintrin.h>

enum { LANES = 8, ROUND_KEYS = 15 };

/* Up to eight packets in progress. */
struct lanes {
	_Alignas(64) uint8_t key[ROUND_KEYS][LANES][16];
	_Alignas(64) uint8_t chain[LANES][16]; /* the last block that left each lane */
	uint8_t *at[LANES];		       /* next block */
	uint32_t left[LANES];		       /* blocks to go; 0: the lane is empty */
	const struct hr_esp_key *of[LANES];    /* whose round keys are in key */
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

/* Lane `from` goes on as lane `to`, which is empty. */
static void move(struct lanes *lanes, uint32_t to, uint32_t from)
{
	set_key(lanes, to, lanes->of[from]);
	memcpy(lanes->chain[to], lanes->chain[from], 16);
	lanes->at[to] = lanes->at[from];
	lanes->left[to] = lanes->left[from];
	lanes->left[from] = 0;
}

/* `blocks` blocks in each of the first `count` lanes. */
HR_INLINE void run(struct lanes *lanes, const uint32_t count, const uint32_t rounds, size_t blocks)
{
	__m128i chain[LANES];
	uint8_t *at[LANES];

	HR_UNROLL
	for (uint32_t v = 0; v < count; v++) {
		chain[v] = _mm_load_si128((const __m128i *)lanes->chain[v]);
		at[v] = lanes->at[v];
	}
	for (size_t offset = 0; offset < 16 * blocks; offset += 16) {
		const __m128i *key = (const __m128i *)lanes->key;
		__asm__("" : "+r"(key)); /* or the compiler keeps round keys in registers that it does not have */
		HR_UNROLL
		for (uint32_t v = 0; v < count; v++) {
			chain[v] = _mm_xor_si128(chain[v], _mm_loadu_si128((const __m128i *)(at[v] + offset)));
			chain[v] = _mm_xor_si128(chain[v], key[v]);
		}
		HR_UNROLL
		for (uint32_t r = 1; r < rounds; r++) {
			HR_UNROLL
			for (uint32_t v = 0; v < count; v++)
				chain[v] = _mm_aesenc_si128(chain[v], key[LANES * r + v]);
		}
		HR_UNROLL
		for (uint32_t v = 0; v < count; v++) {
			chain[v] = _mm_aesenclast_si128(chain[v], key[LANES * rounds + v]);
			_mm_storeu_si128((__m128i *)(at[v] + offset), chain[v]);
		}
	}
	HR_UNROLL
	for (uint32_t v = 0; v < count; v++) {
		_mm_store_si128((__m128i *)lanes->chain[v], chain[v]);
		lanes->at[v] = at[v] + 16 * blocks;
		lanes->left[v] -= (uint32_t)blocks;
	}
}

HR_INLINE void run_by_count(struct lanes *lanes, uint32_t count, const uint32_t rounds, size_t blocks)
{
	if (count == LANES)
		run(lanes, LANES, rounds, blocks);
	else if (count >= 4)
		run(lanes, 4, rounds, blocks);
	else if (count >= 2)
		run(lanes, 2, rounds, blocks);
	else
		run(lanes, 1, rounds, blocks);
}

/* Jobs of one number of rounds. When nothing is left to start, the packets that remain move together. */
static void encrypt(struct lanes *lanes, struct hr_esp_job *const job[], uint32_t n)
{
	const uint32_t rounds = job[0]->key->rounds;
	uint32_t next = 0;

	memset(lanes->left, 0, sizeof lanes->left);
	for (;;) {
		uint32_t busy = 0, count;
		for (uint32_t lane = 0; lane < LANES; lane++) {
			while (lanes->left[lane] == 0 && next < n)
				start(lanes, lane, job[next++]);
			if (lanes->left[lane] == 0)
				continue;
			if (busy != lane)
				move(lanes, busy, lane);
			busy++;
		}
		if (busy == 0)
			return;
		count = busy == LANES ? LANES : busy >= 4 ? 4 : busy >= 2 ? 2 : 1;
		uint32_t blocks = UINT32_MAX;
		for (uint32_t lane = 0; lane < count; lane++)
			blocks = lanes->left[lane] < blocks ? lanes->left[lane] : blocks;
		if (rounds == 10)
			run_by_count(lanes, count, 10, blocks);
		else if (rounds == 14)
			run_by_count(lanes, count, 14, blocks);
		else
			run_by_count(lanes, count, 12, blocks);
	}
}

void hr_aes_cbc_encrypt_aesni(struct hr_esp_job *const job[], uint32_t n)
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

/* `count` blocks where they lie; returns the last ciphertext block, the next call's chain. */
HR_INLINE __m128i decrypt_blocks(uint8_t *text, const uint8_t key[ROUND_KEYS][16], const uint32_t rounds,
				 const __m128i previous, const uint32_t count)
{
	__m128i plain[8], round_key = _mm_loadu_si128((const __m128i *)key[0]);

	HR_UNROLL
	for (uint32_t v = 0; v < count; v++)
		plain[v] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(text + 16 * v)), round_key);
	HR_UNROLL
	for (uint32_t r = 1; r < rounds; r++) {
		round_key = _mm_loadu_si128((const __m128i *)key[r]);
		HR_UNROLL
		for (uint32_t v = 0; v < count; v++)
			plain[v] = _mm_aesdec_si128(plain[v], round_key);
	}
	round_key = _mm_loadu_si128((const __m128i *)key[rounds]);
	const __m128i last = _mm_loadu_si128((const __m128i *)(text + 16 * (count - 1)));
	HR_UNROLL
	for (uint32_t v = count; v-- > 1;) { /* the last first: the block before it is still ciphertext */
		plain[v] = _mm_aesdeclast_si128(plain[v], round_key);
		const __m128i before = _mm_loadu_si128((const __m128i *)(text + 16 * (v - 1)));
		_mm_storeu_si128((__m128i *)(text + 16 * v), _mm_xor_si128(plain[v], before));
	}
	plain[0] = _mm_aesdeclast_si128(plain[0], round_key);
	_mm_storeu_si128((__m128i *)text, _mm_xor_si128(plain[0], previous));
	return last;
}

HR_INLINE void decrypt_packet(const struct hr_esp_job *job, const uint32_t rounds)
{
	const uint8_t(*key)[16] = job->key->aes.decrypt;
	__m128i previous = _mm_loadu_si128((const __m128i *)(job->packet + 8));
	uint8_t *text = job->packet + 24;
	uint32_t blocks = job->len < 24 ? 0 : (job->len - 24) / 16;

	for (; blocks >= 8; blocks -= 8, text += 128)
		previous = decrypt_blocks(text, key, rounds, previous, 8);
	if (blocks >= 4) {
		previous = decrypt_blocks(text, key, rounds, previous, 4);
		blocks -= 4;
		text += 64;
	}
	if (blocks >= 2) {
		previous = decrypt_blocks(text, key, rounds, previous, 2);
		blocks -= 2;
		text += 32;
	}
	if (blocks != 0)
		decrypt_blocks(text, key, rounds, previous, 1);
}

void hr_aes_cbc_decrypt_aesni(struct hr_esp_job *const job[], uint32_t n)
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
