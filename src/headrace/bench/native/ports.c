/* SPDX-License-Identifier: Apache-2.0
 *
 * ports.c: how many instructions of a kind this processor starts in a cycle. Each loop has enough independent chains that only
 * the execution ports limit it; the bounds of headrace.bench.bounds are made of these figures.
 */
#include "bench.h"

#include <string.h>
#include <time.h>

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#if defined(__x86_64__)
#include <cpuid.h>

#define R4(x) x x x x
#define R16(x) R4(R4(x))

double hb_core_ghz(void)
{
	double best = 1e18;

	for (int attempt = 0; attempt < 5; attempt++) {
		uint64_t x = 0;
		const double begin = now_ns();
		for (int i = 0; i < 4000; i++)
			__asm__ volatile(R16("add $1, %0\n\t") : "+r"(x));
		const double spent = now_ns() - begin;
		best = spent < best ? spent : best;
	}
	return 4000 * 16 / best;
}

static int has_avx512(void)
{
	unsigned a, b = 0, c = 0, d;

	__builtin_cpu_init();
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	const unsigned vector = bit_VAES | bit_VPCLMULQDQ | bit_GFNI;
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vbmi") && (c & vector) == vector;
}

/* Twelve chains: more than any latency times any width here. */
#define CHAINS(op, rest)                                                                                                       \
	op " " rest "%%zmm0, %%zmm0\n\t" op " " rest "%%zmm1, %%zmm1\n\t" op " " rest "%%zmm2, %%zmm2\n\t" op " " rest         \
	   "%%zmm3, %%zmm3\n\t" op " " rest "%%zmm4, %%zmm4\n\t" op " " rest "%%zmm5, %%zmm5\n\t" op " " rest                  \
	   "%%zmm6, %%zmm6\n\t" op " " rest "%%zmm7, %%zmm7\n\t" op " " rest "%%zmm8, %%zmm8\n\t" op " " rest                  \
	   "%%zmm9, %%zmm9\n\t" op " " rest "%%zmm10, %%zmm10\n\t" op " " rest "%%zmm11, %%zmm11\n\t"

#define CLOBBERS                                                                                                               \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13"

#define VECTOR(name, op, rest)                                                                                                 \
	static void name(void)                                                                                                 \
	{                                                                                                                      \
		for (int i = 0; i < 2000; i++)                                                                                 \
			__asm__ volatile(R4(CHAINS(op, rest)) : : : CLOBBERS);                                                 \
		__asm__ volatile("vzeroupper" : : : CLOBBERS);                                                                 \
	}

VECTOR(run_add, "vpaddd", "%%zmm12, ")
VECTOR(run_ternary, "vpternlogd $0x96,", "%%zmm12, ")
VECTOR(run_rotate, "vprold $5,", "")
VECTOR(run_shuffle, "vpshufb", "%%zmm12, ")
VECTOR(run_permute, "vpermb", "%%zmm12, ")
VECTOR(run_aes, "vaesenc", "%%zmm12, ")
VECTOR(run_clmul, "vpclmulqdq $0,", "%%zmm12, ")
/* Two kinds in turns: whether they wait for the same ports. */
#define PAIR(name, op_a, rest_a, op_b, rest_b)                                                                                 \
	static void name(void)                                                                                                 \
	{                                                                                                                      \
		for (int i = 0; i < 2000; i++)                                                                                 \
			__asm__ volatile(R4(TURNS(op_a, rest_a, op_b, rest_b)) : : : CLOBBERS);                                \
		__asm__ volatile("vzeroupper" : : : CLOBBERS);                                                                 \
	}
#define TURN(op_a, rest_a, op_b, rest_b, a, b)                                                                                 \
	op_a " " rest_a "%%zmm" a ", %%zmm" a "\n\t" op_b " " rest_b "%%zmm" b ", %%zmm" b "\n\t"
#define TURNS(op_a, rest_a, op_b, rest_b)                                                                                      \
	TURN(op_a, rest_a, op_b, rest_b, "0", "6")                                                                             \
	TURN(op_a, rest_a, op_b, rest_b, "1", "7") TURN(op_a, rest_a, op_b, rest_b, "2", "8")                                  \
	    TURN(op_a, rest_a, op_b, rest_b, "3", "9") TURN(op_a, rest_a, op_b, rest_b, "4", "10")                             \
		TURN(op_a, rest_a, op_b, rest_b, "5", "11")

VECTOR(run_affine, "vgf2p8affineqb $0, %%zmm12, ", "")

PAIR(run_aes_clmul, "vaesenc", "%%zmm12, ", "vpclmulqdq $0,", "%%zmm12, ")
PAIR(run_aes_rotate, "vaesenc", "%%zmm12, ", "vprold $5,", "")
PAIR(run_rotate_shuffle, "vprold $5,", "", "vpshufb", "%%zmm12, ")
PAIR(run_clmul_shuffle, "vpclmulqdq $0,", "%%zmm12, ", "vpshufb", "%%zmm12, ")

static uint8_t place[64 * 16];

static void run_load(void)
{
	for (int i = 0; i < 2000; i++) {
		uint64_t x;
		__asm__ volatile(R4(R4("movzbl (%1), %k0\n\tmovzbl 64(%1), %k0\n\tmovzbl 128(%1), %k0\n\t"))
				 : "=&r"(x)
				 : "r"(place)
				 : "memory");
	}
}

static void run_store(void)
{
	for (int i = 0; i < 2000; i++) {
		__asm__ volatile(R4(R4("movb %b0, (%1)\n\tmovb %b0, 67(%1)\n\tmovb %b0, 139(%1)\n\t"))
				 :
				 : "q"((uint64_t)i), "r"(place)
				 : "memory");
	}
}

static const struct port {
	const char *name;
	void (*run)(void);
	int vector;
} ports[] = {
    {"add", run_add, 1},
    {"ternary", run_ternary, 1},
    {"rotate", run_rotate, 1},
    {"shuffle", run_shuffle, 1},
    {"permute", run_permute, 1},
    {"aes", run_aes, 1},
    {"clmul", run_clmul, 1},
    {"affine", run_affine, 1},
    {"aes+clmul", run_aes_clmul, 1},
    {"aes+rotate", run_aes_rotate, 1},
    {"rotate+shuffle", run_rotate_shuffle, 1},
    {"clmul+shuffle", run_clmul_shuffle, 1},
    {"load", run_load, 0},
    {"store", run_store, 0},
};
enum { PORTS = sizeof ports / sizeof ports[0], INSTRUCTIONS = 2000 * 48 };

const char *hb_port_name(uint32_t index)
{
	return index < PORTS ? ports[index].name : NULL;
}

double hb_port_rate(uint32_t index)
{
	double best = 1e18;

	if (index >= PORTS || (ports[index].vector && !has_avx512()))
		return 0;
	const double ghz = hb_core_ghz();
	for (int attempt = 0; attempt < 7; attempt++) {
		const double begin = now_ns();
		ports[index].run();
		const double spent = now_ns() - begin;
		best = spent < best ? spent : best;
	}
	return INSTRUCTIONS / (best * ghz);
}

#else

double hb_core_ghz(void)
{
	return 0;
}

const char *hb_port_name(uint32_t index)
{
	(void)index;
	return NULL;
}

double hb_port_rate(uint32_t index)
{
	(void)index;
	return 0;
}
#endif
