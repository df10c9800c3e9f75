/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_lanes.h: HMAC over ESP packets, one packet a lane: the part that is the same for every hash and vector width.
 *
 * Include after a lanes*.h (vectors) and a *_lanes.h (hash_compress(), HASH_STATE, HASH_BIG_ENDIAN). A group of as many packets
 * as there are lanes goes through in step:
 *
 *     whole blocks       read from the packets; they come sorted, so the lanes that end early are the last ones
 *     tail, 1 or 2       built in registers: the rest of the packet by masked loads, padding by comparing word positions
 *     outer block        the inner digests are where the outer hash wants its words: nothing moves
 *
 * When half of the lanes or fewer still have whole blocks, hash_narrow() goes on with those at less cost.
 */
#ifndef HEADRACE_KERNELS_HMAC_LANES_H
#define HEADRACE_KERNELS_HMAC_LANES_H

#include "../crypt.h"
#include "hmac.h"

enum {
	WORD = sizeof(lane_word),
	BLOCK = 16 * WORD,
	LENGTH_WORD = HASH_BIG_ENDIAN ? 15 : 14, /* MD5: the lower half of the length comes first */
	NO_WORD = 255
};
#define END_MARK (HASH_BIG_ENDIAN ? (lane_word)0x80 << (8 * (WORD - 1)) : (lane_word)0x80)

HR_INLINE vec message_order(vec x)
{
	return HASH_BIG_ENDIAN ? vec_swap(x) : x;
}

/* The padding of one tail block: blocks are numbered from 0, words of block b are 16 b to 16 b + 15. */
struct tail {
	lane_word words[LANES];	 /* message words in the tail */
	lane_word esn_at[LANES]; /* where the upper half of the sequence number goes, or NO_WORD */
	lane_word seq_hi[LANES];
	lane_word mark_at[LANES]; /* where the mark of the end goes */
	lane_word bits[LANES];	  /* length of the message */
	lane_mask two;		  /* lanes with two blocks */
};

static inline void plan_tail(struct tail *tail, struct hr_esp_job *const job[LANES], const uint8_t *rest[LANES])
{
	tail->two = 0;
	for (uint32_t i = 0; i < LANES; i++) {
		const uint32_t len = job[i]->len, words = len % BLOCK / WORD, esn = job[i]->key->esn;
		rest[i] = job[i]->packet + len / BLOCK * BLOCK;
		tail->words[i] = words;
		tail->esn_at[i] = esn ? words : NO_WORD;
		tail->seq_hi[i] = HASH_BIG_ENDIAN ? job[i]->seq_hi : __builtin_bswap32(job[i]->seq_hi);
		tail->mark_at[i] = words + esn;
		tail->bits[i] = (BLOCK + len + 4 * esn) * 8;
		tail->two = (lane_mask)(tail->two | (words + esn + 3 > 16) << i);
	}
}

HR_INLINE void pad(vec w[16], const struct tail *tail, lane_word block, lane_mask last)
{
	const vec mark = vec_set1(END_MARK), esn_at = vec_load(tail->esn_at), mark_at = vec_load(tail->mark_at);
	const vec seq_hi = vec_load(tail->seq_hi);
	HR_UNROLL
	for (lane_word i = 0; i < 16; i++) {
		w[i] = vec_place(w[i], esn_at, 16 * block + i, seq_hi);
		w[i] = vec_place(w[i], mark_at, 16 * block + i, mark);
	}
	w[LENGTH_WORD] = vec_add_masked(w[LENGTH_WORD], last, vec_load(tail->bits));
}

/* Where a group stands. All phases share one copy of hash_compress(), which is most of a kernel's code. */
enum phase { WHOLE, TAIL, SECOND_TAIL, OUTER };

/* n of at most LANES jobs */
static inline void hmac_group(struct hr_esp_job *const some[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	struct hr_esp_job *job[LANES];
	const lane_word *states[LANES];
	const uint8_t *p[LANES]; /* the packets; from TAIL on what is left of them */
	uint32_t done = 0, end = 0, active = n;
	lane_mask mask = 0;
	enum phase phase = WHOLE;
	struct tail tail;
	vec state[8], outer[8], w[16];

	for (uint32_t i = 0; i < LANES; i++) {
		job[i] = some[i < n ? i : 0];
		states[i] = HASH_STATES(job[i]->key);
		p[i] = job[i]->packet;
	}
	tail.two = 0;
	const uint32_t digest_words = HASH_STATE == 8 ? some[0]->key->digest_len / WORD : HASH_STATE;
	vec_load_states(state, outer, states);

	for (;;) {
		if (phase == WHOLE && done == end) {
			for (; active > 0 && job[active - 1]->len / BLOCK == done; active--)
				p[active - 1] = job[0]->packet; /* reads on with the longest, hashes no more */
			if (active == 0) {
				phase = TAIL;
				mask = lane_first(LANES);
				plan_tail(&tail, job, p);
			} else if (active <= LANES / 2 && HASH_HAS_NARROW) {
				lane_word memory[HASH_STATE][LANES];
				HR_UNROLL
				for (int i = 0; i < HASH_STATE; i++)
					vec_store(memory[i], state[i]);
				hash_narrow(memory, job, done, active);
				HR_UNROLL
				for (int i = 0; i < HASH_STATE; i++)
					state[i] = vec_load(memory[i]);
				done = end = job[0]->len / BLOCK;
				active = 0;
				continue;
			} else {
				mask = lane_first(active);
				end = job[active - 1]->len / BLOCK;
			}
		}
		switch (phase) {
		case WHOLE:
			vec_load_block(w, p, (uint64_t)done * BLOCK);
			HR_UNROLL
			for (int i = 0; i < 16; i++)
				w[i] = message_order(w[i]);
			break;
		case TAIL:
			vec_load_part(w, p, tail.words);
			HR_UNROLL
			for (int i = 0; i < 16; i++)
				w[i] = message_order(w[i]);
			pad(w, &tail, 0, (lane_mask)~tail.two);
			break;
		case SECOND_TAIL:
			HR_UNROLL
			for (int i = 0; i < 16; i++)
				w[i] = vec_set1(0);
			pad(w, &tail, 1, tail.two);
			break;
		case OUTER:
			HR_UNROLL
			for (int i = 0; i < 16; i++)
				w[i] = i < HASH_STATE ? state[i] : vec_set1(0);
			if (digest_words < HASH_STATE) /* SHA-384 */
				w[6] = w[7] = vec_set1(0);
			HR_UNROLL
			for (uint32_t i = 4; i <= 8; i++) {
				if (i == digest_words)
					w[i] = vec_set1(END_MARK);
			}
			w[LENGTH_WORD] = vec_set1((lane_word)(BLOCK + digest_words * WORD) * 8);
			HR_UNROLL
			for (int i = 0; i < HASH_STATE; i++)
				state[i] = outer[i];
			break;
		}
		hash_compress(state, w, mask);
		if (phase == WHOLE) {
			done++;
		} else if (phase == TAIL && tail.two) {
			phase = SECOND_TAIL;
			mask = tail.two;
		} else if (phase != OUTER) {
			phase = OUTER;
			mask = lane_first(LANES);
		} else {
			break;
		}
	}
	HR_UNROLL
	for (int i = 0; i < 8; i++)
		state[i] = i < HASH_STATE ? message_order(state[i]) : vec_set1(0);
	vec_store_rows(mac, n, state);
}

#endif
