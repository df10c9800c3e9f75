/* SPDX-License-Identifier: Apache-2.0
 *
 * des_circuits.c: search small boolean circuits for the eight S-boxes of DES, and print them as csrc/kernels/des_sbox.h.
 *
 * A circuit is a list of gates over the six input bits (AND, OR, XOR, AND-NOT, NOT). Each value is kept as the 64-bit truth
 * table it computes, so "does gate g compute the wanted function where it matters" is one XOR and one AND. The search is the
 * published one of M. Kwan, "Reducing the gate count of bitslice DES" (2000), restarted with random choices:
 *
 *   want(target, mask): find an existing value that agrees with target under mask; else one that needs one more gate; else
 *   two more gates; else split by an unused input bit b, target = f ^ (b & g): f must agree where b is 0, g must make up the
 *   difference where b is 1; both with smaller masks, which are easier to please. The forms with NOT b and OR are tried as well.
 *
 *   cc -O3 -march=native -o des_circuits des_circuits.c && ./des_circuits SECONDS [SEED] > ../csrc/kernels/des_sbox.h
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INPUTS = 6, MAX_GATES = 96 };
enum op { OP_IN, OP_NOT, OP_AND, OP_OR, OP_XOR, OP_ANDN /* a & ~b */ };

struct gate {
	uint64_t table;
	uint8_t op, a, b;
};

struct circuit {
	int n; /* inputs included */
	struct gate gate[MAX_GATES];
	int out[4];
};

/* FIPS 46-3, rows of 16. */
static const uint8_t sbox[8][64] = {
	{14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
	 4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13},
	{15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
	 0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9},
	{10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
	 13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12},
	{7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
	 10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14},
	{2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
	 4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3},
	{12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
	 9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13},
	{4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
	 1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12},
	{13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
	 7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11},
};

static uint64_t rng = 1;
static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 33) % below);
}

static uint64_t apply(int op, uint64_t a, uint64_t b)
{
	switch (op) {
	case OP_NOT:
		return ~a;
	case OP_AND:
		return a & b;
	case OP_OR:
		return a | b;
	case OP_XOR:
		return a ^ b;
	default:
		return a & ~b;
	}
}

static int add(struct circuit *c, int op, int a, int b)
{
	c->gate[c->n] = (struct gate){apply(op, c->gate[a].table, c->gate[b].table), (uint8_t)op, (uint8_t)a, (uint8_t)b};
	return c->n++;
}

static int find(const struct circuit *c, uint64_t t, uint64_t m)
{
	for (int g = 0; g < c->n; g++)
		if (((c->gate[g].table ^ t) & m) == 0)
			return g;
	return -1;
}

/* One gate more. */
static int find1(struct circuit *c, uint64_t t, uint64_t m)
{
	const int n = c->n;
	for (int a = 0; a < n; a++) {
		const uint64_t x = c->gate[a].table;
		if (((~x ^ t) & m) == 0)
			return add(c, OP_NOT, a, a);
	}
	const int shift = (int)rnd((uint32_t)n);
	for (int i = 0; i < n; i++) {
		const int a = (i + shift) % n;
		const uint64_t x = c->gate[a].table;
		const int may_or = (x & ~t & m) == 0, may_and = (~x & t & m) == 0;
		for (int b = 0; b < n; b++) {
			const uint64_t y = c->gate[b].table;
			if (((x ^ y ^ t) & m) == 0)
				return add(c, OP_XOR, a, b);
			if (may_or && (((x | y) ^ t) & m) == 0)
				return add(c, OP_OR, a, b);
			if (may_and && (((x & y) ^ t) & m) == 0)
				return add(c, OP_AND, a, b);
			if (may_and && (((x & ~y) ^ t) & m) == 0)
				return add(c, OP_ANDN, a, b);
		}
	}
	return -1;
}

/* Two gates more. */
static int find2(struct circuit *c, uint64_t t, uint64_t m)
{
	const int n = c->n;
	const int shift = (int)rnd((uint32_t)n);
	for (int i = 0; i < n; i++) {
		const int a = (i + shift) % n;
		for (int b = 0; b < n; b++) {
			for (int op = OP_AND; op <= OP_ANDN; op++) {
				if (op != OP_ANDN && b <= a)
					continue;
				const uint64_t h = apply(op, c->gate[a].table, c->gate[b].table);
				if (((~h ^ t) & m) == 0) {
					const int g = add(c, op, a, b);
					return add(c, OP_NOT, g, g);
				}
				const int may_or = (h & ~t & m) == 0, may_and = (~h & t & m) == 0, may_sub = (h & t & m) == 0;
				for (int d = 0; d < n; d++) {
					const uint64_t y = c->gate[d].table;
					int second = 0;
					if (((h ^ y ^ t) & m) == 0)
						second = OP_XOR;
					else if (may_or && (((h | y) ^ t) & m) == 0)
						second = OP_OR;
					else if (may_and && (((h & y) ^ t) & m) == 0)
						second = OP_AND;
					else if (may_and && (((h & ~y) ^ t) & m) == 0) {
						const int g = add(c, op, a, b);
						return add(c, OP_ANDN, g, d);
					} else if (may_sub && (((y & ~h) ^ t) & m) == 0) {
						const int g = add(c, op, a, b);
						return add(c, OP_ANDN, d, g);
					}
					if (second) {
						const int g = add(c, op, a, b);
						return add(c, second, g, d);
					}
				}
			}
		}
	}
	return -1;
}

static int width_at[INPUTS + 1] = {2, 2, 2, 2, 2, 2, 2};

/* Returns the gate or -1 if more than `limit` values would be needed in all. used: inputs already split by. */
static int want(struct circuit *c, uint64_t t, uint64_t m, int used, int depth, int limit)
{
	int g = find(c, t, m);
	if (g >= 0)
		return g;
	if (c->n + 1 > limit)
		return -1;
	g = find1(c, t, m);
	if (g >= 0)
		return g;
	if (c->n + 2 > limit)
		return -1;
	g = find2(c, t, m);
	if (g >= 0)
		return g;
	if (c->n + 3 > limit)
		return -1;
	struct circuit best;
	int best_gate = -1;
	best.n = 0;
	for (int attempt = 0; attempt < width_at[depth]; attempt++) {
		int bit;
		if (used == (1 << INPUTS) - 1)
			return -1;
		do
			bit = (int)rnd(INPUTS);
		while (used & (1 << bit));
		const uint64_t x = c->gate[bit].table;
		struct circuit work = *c;
		const int form = (int)rnd(3);
		const uint64_t first_mask = form == 0 ? m & ~x : m & x;
		const uint64_t first_target = form == 2 ? ~t : t;
		const int f = want(&work, first_target, first_mask, used | 1 << bit, depth + 1, limit - 2);
		if (f < 0)
			continue;
		const uint64_t rest = work.gate[f].table ^ t;
		const uint64_t rest_mask = form == 0 ? m & x : m & ~x;
		const int r = want(&work, rest, rest_mask, used | 1 << bit, depth + 1, limit - 2);
		if (r < 0)
			continue;
		int h;
		if (form == 0)
			h = add(&work, OP_AND, r, bit);
		else if (form == 1)
			h = add(&work, OP_ANDN, r, bit);
		else
			h = add(&work, OP_OR, r, bit);
		const int top = add(&work, OP_XOR, f, h);
		if (((work.gate[top].table ^ t) & m) != 0)
			abort();
		if (best_gate < 0 || work.n < best.n) {
			best = work;
			best_gate = top;
			limit = work.n - 1;
		}
	}
	if (best_gate >= 0)
		*c = best;
	return best_gate;
}

static void begin(struct circuit *c)
{
	memset(c, 0, sizeof *c);
	c->n = INPUTS;
	for (int i = 0; i < INPUTS; i++)
		for (int v = 0; v < 64; v++) /* input 0 is the most significant bit, as FIPS 46 numbers them */
			if (v >> (5 - i) & 1)
				c->gate[i].table |= 1ULL << v;
}

static uint64_t wanted(int box, int out)
{
	uint64_t t = 0;
	for (int v = 0; v < 64; v++) {
		const int row = (v >> 4 & 2) | (v & 1), column = v >> 1 & 15;
		if (sbox[box][row * 16 + column] >> (3 - out) & 1)
			t |= 1ULL << v;
	}
	return t;
}

static void print(const struct circuit *c, int box)
{
	char name[MAX_GATES][8];
	printf("/* %d gates. */\nstatic inline void sbox%d(word x0, word x1, word x2, word x3, word x4, word x5, word *o0, word *o1, word *o2, word *o3)\n{\n", c->n - INPUTS, box + 1);
	for (int g = 0; g < c->n; g++) {
		snprintf(name[g], sizeof name[g], g < INPUTS ? "x%d" : "t%d", g < INPUTS ? g : g - INPUTS);
		if (g < INPUTS)
			continue;
		const struct gate *q = &c->gate[g];
		printf("\tconst word %s = ", name[g]);
		if (q->op == OP_NOT)
			printf("~%s;\n", name[q->a]);
		else if (q->op == OP_ANDN)
			printf("%s & ~%s;\n", name[q->a], name[q->b]);
		else
			printf("%s %c %s;\n", name[q->a], q->op == OP_AND ? '&' : q->op == OP_OR ? '|' : '^', name[q->b]);
	}
	for (int o = 0; o < 4; o++)
		printf("\t*o%d ^= %s;\n", o, name[c->out[o]]);
	printf("}\n\n");
}

int main(int argc, char **argv)
{
	const double seconds = argc > 1 ? atof(argv[1]) : 10;
	rng = argc > 2 ? strtoull(argv[2], NULL, 0) * 0x9e3779b97f4a7c15ULL | 1 : 1;
	const int only = argc > 3 && argv[3][0] ? atoi(argv[3]) - 1 : -1;
	if (argc > 4) for (int i = 0; i < INPUTS && argv[4][i]; i++) width_at[i] = argv[4][i] - '0';
	int total = 0;
	for (int box = 0; box < 8; box++) {
		if (only >= 0 && box != only)
			continue;
		struct circuit best;
		int best_n = MAX_GATES - 2;
		const clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
		long tries = 0;
		while (clock() < end) {
			struct circuit c;
			begin(&c);
			int order[4] = {0, 1, 2, 3}, ok = 1;
			for (int i = 3; i > 0; i--) {
				const int j = (int)rnd((uint32_t)i + 1), k = order[i];
				order[i] = order[j];
				order[j] = k;
			}
			tries++;
			for (int i = 0; i < 4 && ok; i++) {
				/* an output costs at least some gates: do not run after hopeless beginnings */
				const int limit = best_n - 1 - (3 - i) * 5;
				const int g = want(&c, wanted(box, order[i]), ~0ULL, 0, 0, limit);
				ok = g >= 0;
				if (ok)
					c.out[order[i]] = g;
			}
			if (ok && c.n < best_n) {
				best_n = c.n;
				best = c;
				fprintf(stderr, "S%d: %d gates after %ld tries\n", box + 1, best_n - INPUTS, tries);
			}
		}
		total += best_n - INPUTS;
		print(&best, box);
	}
	fprintf(stderr, "sum %d\n", total);
	return 0;
}
