/* SPDX-License-Identifier: Apache-2.0
 *
 * des_byteslice.h: DES over the octets of wide registers, a template for one width (AVX-512 VBMI and GFNI).
 *
 * The 48 bits that go into the eight S-boxes are eight octets of six bits, and one register holds the same octet of LANES
 * blocks. An S-box is then one VPERMB with the table of 64 octets in a register or at a fixed address: a lookup inside the
 * register file, without an address that depends on data, hence in constant time.
 *
 * What would be dear is moving the bits from where an S-box leaves them to where the next round wants them (P, then E). But the
 * places of the six bits within an octet are ours to choose, on both sides. In tools/des_network.py they are chosen such that
 *   - the lookup of an S-box gives one octet with all its outgoing bits, two of them twice, as E wants, each at the place where
 *     its target has it (that this can be done is a theorem of Koenig's: a bipartite graph in which every node has six
 *     edges can be coloured with six colours; a colour is a place), and
 *   - the bits of one place run to the eight S-boxes through a butterfly: three layers of exchanging bits between two
 * registers. So P and E together cost 24 ternary operations, and a round of all lanes costs eight lookups, those 24, and eight
 * ternary exclusive-ors of the network's output, the other half, and the subkey.
 *
 * The halves are kept with E applied (E is linear, so it passes through the exclusive-or), and keyed: with z(t+1) = z(t-1) ^
 * F(z(t) ^ k(t)) the register holds y(t) = z(t) ^ k(t), so that y(t+1) = y(t-1) ^ F'(y(t)) ^ [k(t-1) ^ k(t+1)]. The bracket is
 * the entry of the prepared key, and no operation is spent on keying the lookups. An entry more at each end and between passes:
 *
 *     entry 17p          k(1) of pass p, and k(16) of the pass before
 *     entry 17p + t      k(t-1) ^ k(t+1), t = 1 .. 16, with k(0) = k(17) = 0
 *     entry 17 * passes  k(16) of the last
 *
 * The initial permutation is the transposition of a block's 8 x 8 bits: one GF2P8AFFINEQB with the data as the matrix. It is
 * done where the blocks are turned into registers (des_cbc_avx512.c); here h[2r] and h[2r + 1] are octet r of the right and of
 * the left half, bit i of it being the half's bit 8r + i.
 *
 * Before including, define: LANES, and vec, LOOKUP(box, index), EXCHANGE(mask, x, y), XOR(a, b), XOR3(a, b, c),
 * AFFINE(a, matrix), LOAD(p), SHARED(u32) for that width.
 */
#define DES_PASTE_(a, b) a##b
#define DES_PASTE(a, b) DES_PASTE_(a, b)
#define CIPHER DES_PASTE(cipher_, LANES)
#define ROUND DES_PASTE(round_, LANES)
#define KEY DES_PASTE(key_, LANES)

/* One register of a prepared key: with a shared key four copies of an octet stand for all lanes, else there is one a lane. */
static inline __attribute__((always_inline)) vec KEY(const uint8_t *entry, int shared, int box)
{
	if (shared) {
		uint32_t copies;
		memcpy(&copies, entry + 4 * box, sizeof copies);
		return SHARED(copies);
	}
	return LOAD(entry + 64 * box);
}

/* The order of the statements is what keeps all of this in 32 registers: 16 of halves, 8 of lookups, 6 of masks, 1 in between.
 */
static inline __attribute__((always_inline)) void ROUND(vec to[8], const vec from[8], const uint8_t *entry, int shared)
{
	static const int end[8] = DES_END;
	vec b[8];

#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		b[i] = LOOKUP(i, from[i]);
	DES_NETWORK(b)
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		to[i] = XOR3(to[i], b[end[i]], KEY(entry, shared, i));
}

/* All lanes' blocks through the cipher. */
static inline __attribute__((always_inline)) void CIPHER(vec h[8], const uint8_t *key, int shared, uint32_t passes)
{
	const vec right[4] = {h[0], h[2], h[4], h[6]}, left[4] = {h[1], h[3], h[5], h[7]};
	const uint32_t size = shared ? 32 : 8 * 64; /* of an entry */
	vec a[8], b[8], end[8];

	DES_SPREAD(left, a)
	DES_SPREAD(right, b)
	for (uint32_t p = 0; p < passes; p++) {
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
			b[i] = XOR(b[i], KEY(key, shared, i));
		key += size;
		for (const uint8_t *const stop = key + 16 * size; key != stop; key += 2 * size) {
			ROUND(a, b, key, shared);
			ROUND(b, a, key + size, shared);
		}
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++) { /* no exchange of the halves in the last round */
			const vec last = b[i];
			b[i] = a[i];
			a[i] = last;
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		b[i] = XOR(b[i], KEY(key, shared, i));
	DES_GATHER(a, end)
	DES_GATHER(b, end + 4)
#pragma GCC unroll 4
	for (int r = 0; r < 4; r++) {
		h[2 * r] = end[4 + r];
		h[2 * r + 1] = end[r];
	}
}

#undef DES_PASTE_
#undef DES_PASTE
#undef CIPHER
#undef ROUND
#undef KEY
