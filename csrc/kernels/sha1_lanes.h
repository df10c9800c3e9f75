/* SPDX-License-Identifier: Apache-2.0
 *
 * sha1_lanes.h: one step of SHA-1 (FIPS 180-4 section 6.1.2) in all lanes, over the vectors of a lanes*.h.
 */
#ifndef HEADRACE_KERNELS_SHA1_LANES_H
#define HEADRACE_KERNELS_SHA1_LANES_H

#define HASH_STATE 5
#define HASH_BIG_ENDIAN 1

/* Word i of the message schedule, made in place of word i - 16. */
#define SCHEDULE(i)                                                                                                            \
	(w[(i)&15] = vec_rol(vec_xor(vec_xor3(w[(i)&15], w[((i) + 2) & 15], w[((i) + 8) & 15]), w[((i) + 13) & 15]), 1))
#define MESSAGE(i) ((i) < 16 ? w[(i)&15] : SCHEDULE(i))

#define STEP(i, f, a, b, c, d, e)                                                                                              \
	e = vec_add(vec_add(vec_add(e, vec_add(MESSAGE(i), k)), f(b, c, d)), vec_rol(a, 5));                                   \
	b = vec_rol(b, 30)
#define STEPS5(i, f)                                                                                                           \
	STEP(i, f, a, b, c, d, e);                                                                                             \
	STEP((i) + 1, f, e, a, b, c, d);                                                                                       \
	STEP((i) + 2, f, d, e, a, b, c);                                                                                       \
	STEP((i) + 3, f, c, d, e, a, b);                                                                                       \
	STEP((i) + 4, f, b, c, d, e, a)
#define STEPS20(i, f, constant)                                                                                                \
	k = vec_set1(constant);                                                                                                \
	STEPS5(i, f);                                                                                                          \
	STEPS5((i) + 5, f);                                                                                                    \
	STEPS5((i) + 10, f);                                                                                                   \
	STEPS5((i) + 15, f)

/* w: the words of the block, host order; changed. Lanes outside the mask keep their state. */
HR_INLINE void hash_compress(vec state[HASH_STATE], vec w[16], lane_mask mask)
{
	vec a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], k;

	STEPS20(0, vec_choose, 0x5a827999u);
	STEPS20(20, vec_xor3, 0x6ed9eba1u);
	STEPS20(40, vec_majority, 0x8f1bbcdcu);
	STEPS20(60, vec_xor3, 0xca62c1d6u);
	state[0] = vec_add_masked(state[0], mask, a);
	state[1] = vec_add_masked(state[1], mask, b);
	state[2] = vec_add_masked(state[2], mask, c);
	state[3] = vec_add_masked(state[3], mask, d);
	state[4] = vec_add_masked(state[4], mask, e);
}

#undef SCHEDULE
#undef MESSAGE
#undef STEP
#undef STEPS5
#undef STEPS20
#endif
