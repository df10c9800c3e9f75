/* SPDX-License-Identifier: Apache-2.0
 *
 * des_bitslice.h: DES as a boolean circuit, a template for the portable and the AVX2 kernel.
 *
 * A computer word is taken as a row of independent one-bit machines, the lanes. A block of 64 bits lies in 64 words, bit i of
 * every lane's block in word i; so the permutations of DES are only a matter of which word is named, an S-box is a list of
 * some sixty AND, OR, XOR (des_sbox.h), and there is no lookup and no branch that could depend on data: constant time by
 * construction. The price is the turn from blocks to bits and back, a 64 x 64 bit matrix transposition.
 *
 * Encrypting, a lane is a packet, because CBC is serial in a packet; a lane whose packet has ended takes the next one at once,
 * so mixed lengths leave no lane idle before the last packets. Decrypting, a lane is a block of any packet.
 *
 * Before including, define:
 *   word           the type: uint64_t, or a vector of them
 *   WORDS          how many uint64_t it has
 *   ENCRYPT_NAME, DECRYPT_NAME  the functions to make
 */
#include <stdint.h>
#include <string.h>

#include "../crypt.h"
#include "../wipe.h"
#include "des_sbox.h"
#include "des_rounds.h"

enum { LANES = 64 * WORDS };

/* 64 words, seen as bits of all lanes or as the lanes' blocks. */
union slice {
	word bit[64];
	uint64_t block[LANES];
};

struct machine {
	union slice text;
	word key[3][DES_KEY_WORDS];
	const struct hr_des_key *lane_key[LANES];
};

static inline uint64_t load_be(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(v) : v;
}

static inline void store_be(uint8_t *p, uint64_t v)
{
	v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(v) : v;
	memcpy(p, &v, sizeof v);
}

/* Turn WORDS matrices of 64 x 64 bits at once: exchange the off-diagonal quarters, then within each quarter, and so on. */
static void transpose(word *m)
{
	uint64_t low = 0x00000000ffffffffULL;
	for (int half = 32; half != 0; half >>= 1, low ^= low << half) {
		for (int i = 0; i < 64; i = ((i | half) + 1) & ~half) {
			const word t = ((m[i] >> half) ^ m[i | half]) & low;
			m[i] ^= t << half;
			m[i | half] ^= t;
		}
	}
}

/* Every lane's block through the cipher. */
static void cipher(struct machine *m, uint32_t count, int decrypt)
{
	word half[2][32];

	transpose(m->text.bit);
	for (int i = 0; i < 32; i++) {
		half[0][i] = m->text.bit[des_initial[0][i]];
		half[1][i] = m->text.bit[des_initial[1][i]];
	}
	const int left = passes(half, m->key, count, decrypt);
	for (int i = 0; i < 32; i++) {
		m->text.bit[des_initial[0][i]] = half[left][i];
		m->text.bit[des_initial[1][i]] = half[left ^ 1][i];
	}
	transpose(m->text.bit);
	hr_erase(half, sizeof half);
}

/* Turn the keys that lie in the lanes. */
static void turn_keys(struct machine *m, uint32_t count)
{
	union slice raw;

	for (uint32_t p = 0; p < count; p++) {
		for (int lane = 0; lane < LANES; lane++)
			raw.block[lane] = m->lane_key[lane]->octets[p];
		transpose(raw.bit);
		for (int half = 0; half < 2; half++) {
			word *const to = m->key[p] + 56 * half;
			for (int i = 0; i < 28; i++)
				to[i] = to[28 + i] = raw.bit[des_key_half[half][i]];
		}
	}
	hr_erase(&raw, sizeof raw);
}

void ENCRYPT_NAME(struct hr_esp_job *const job[], uint32_t n)
{
	struct machine m;
	uint8_t *at[LANES];
	const uint8_t *end[LANES];
	uint64_t chain[LANES];
	uint32_t next = 0;

	if (n == 0)
		return;
	const uint32_t count = job[0]->key->des.passes;
	for (int lane = 0; lane < LANES; lane++) {
		at[lane] = NULL;
		m.lane_key[lane] = &job[0]->key->des;
		m.text.block[lane] = 0;
	}
	for (;;) {
		int busy = 0;
		int fresh = next == 0;
		for (int lane = 0; lane < LANES; lane++) {
			if (at[lane] == NULL && next < n) {
				fresh |= m.lane_key[lane] != &job[next]->key->des;
				m.lane_key[lane] = &job[next]->key->des;
				at[lane] = job[next]->packet + 8;
				end[lane] = job[next]->packet + job[next]->len;
				chain[lane] = 0;
				next++;
			}
			if (at[lane] == NULL)
				continue;
			m.text.block[lane] = chain[lane] ^ load_be(at[lane]);
			busy++;
		}
		if (busy == 0)
			break;
		if (fresh)
			turn_keys(&m, count);
		cipher(&m, count, 0);
		for (int lane = 0; lane < LANES; lane++) {
			if (at[lane] == NULL)
				continue;
			chain[lane] = m.text.block[lane];
			store_be(at[lane], chain[lane]);
			at[lane] += 8;
			if (at[lane] == end[lane])
				at[lane] = NULL;
		}
	}
	hr_erase(&m, sizeof m);
	hr_erase(chain, sizeof chain);
}

void DECRYPT_NAME(struct hr_esp_job *const job[], uint32_t n)
{
	struct machine m;
	uint8_t *at[LANES];
	uint64_t previous[LANES];
	uint32_t current = 0, done = 0; /* packet, and octets of its text done */
	uint64_t chain = 0;

	if (n == 0)
		return;
	const uint32_t count = job[0]->key->des.passes;
	int turned = 0; /* keys of a former round are in place */
	for (int lane = 0; lane < LANES; lane++)
		m.lane_key[lane] = &job[0]->key->des;
	for (;;) {
		int lanes = 0;
		int fresh = !turned;
		while (lanes < LANES && current < n) {
			const struct hr_esp_job *const j = job[current];
			if (16 + done >= j->len) {
				current++;
				done = 0;
				continue;
			}
			at[lanes] = j->packet + 16 + done;
			previous[lanes] = done == 0 ? load_be(j->packet + 8) : chain;
			chain = load_be(at[lanes]);
			m.text.block[lanes] = chain;
			fresh |= m.lane_key[lanes] != &j->key->des;
			m.lane_key[lanes] = &j->key->des;
			done += 8;
			lanes++;
		}
		if (lanes == 0)
			break;
		for (int lane = lanes; lane < LANES; lane++)
			m.text.block[lane] = 0;
		if (fresh)
			turn_keys(&m, count);
		turned = 1;
		cipher(&m, count, 1);
		for (int lane = 0; lane < lanes; lane++)
			store_be(at[lane], m.text.block[lane] ^ previous[lane]);
	}
	hr_erase(&m, sizeof m);
}
