/* SPDX-License-Identifier: Apache-2.0
 *
 * sha256_lanes.h: one step of SHA-256 (FIPS 180-4 section 6.2.2) in all lanes, over the vectors of a lanes*.h.
 */
#ifndef HEADRACE_KERNELS_SHA256_LANES_H
#define HEADRACE_KERNELS_SHA256_LANES_H

#include "hash_constants.h"

#define HASH_STATE 8
#define HASH_BIG_ENDIAN 1

#define SMALL(x, r1, r2, s) vec_xor3(vec_ror(x, r1), vec_ror(x, r2), vec_shr(x, s))
#define LARGE(x, r1, r2, r3) vec_xor3(vec_ror(x, r1), vec_ror(x, r2), vec_ror(x, r3))

/* Word i of the message schedule, made in place of word i - 16. */
#define SCHEDULE(i)                                                                                                            \
	(w[(i)&15] = vec_add(vec_add(w[(i)&15], SMALL(w[((i) + 1) & 15], 7, 18, 3)),                                           \
			     vec_add(w[((i) + 9) & 15], SMALL(w[((i) + 14) & 15], 17, 19, 10))))
#define MESSAGE(i) ((i) < 16 ? w[(i)&15] : SCHEDULE(i))

#define STEP(i, a, b, c, d, e, f, g, h)                                                                                        \
	h = vec_add(vec_add(h, vec_set1(hr_sha256_constant[i])), MESSAGE(i));                                                  \
	h = vec_add(vec_add(h, vec_choose(e, f, g)), LARGE(e, 6, 11, 25));                                                     \
	d = vec_add(d, h);                                                                                                     \
	h = vec_add(vec_add(h, vec_majority(a, b, c)), LARGE(a, 2, 13, 22))
#define STEPS8(i)                                                                                                              \
	STEP(i, a, b, c, d, e, f, g, h);                                                                                       \
	STEP((i) + 1, h, a, b, c, d, e, f, g);                                                                                 \
	STEP((i) + 2, g, h, a, b, c, d, e, f);                                                                                 \
	STEP((i) + 3, f, g, h, a, b, c, d, e);                                                                                 \
	STEP((i) + 4, e, f, g, h, a, b, c, d);                                                                                 \
	STEP((i) + 5, d, e, f, g, h, a, b, c);                                                                                 \
	STEP((i) + 6, c, d, e, f, g, h, a, b);                                                                                 \
	STEP((i) + 7, b, c, d, e, f, g, h, a)

/* w: the words of the block, host order; changed. Lanes outside the mask keep their state. */
HR_INLINE void hash_compress(vec state[HASH_STATE], vec w[16], lane_mask mask)
{
	vec a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];

	STEPS8(0);
	STEPS8(8);
	STEPS8(16);
	STEPS8(24);
	STEPS8(32);
	STEPS8(40);
	STEPS8(48);
	STEPS8(56);
	state[0] = vec_add_masked(state[0], mask, a);
	state[1] = vec_add_masked(state[1], mask, b);
	state[2] = vec_add_masked(state[2], mask, c);
	state[3] = vec_add_masked(state[3], mask, d);
	state[4] = vec_add_masked(state[4], mask, e);
	state[5] = vec_add_masked(state[5], mask, f);
	state[6] = vec_add_masked(state[6], mask, g);
	state[7] = vec_add_masked(state[7], mask, h);
}

#undef SMALL
#undef LARGE
#undef SCHEDULE
#undef MESSAGE
#undef STEP
#undef STEPS8
#endif
