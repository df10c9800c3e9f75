/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu.h: what this processor can do, and the table of chosen kernels. Nothing outside cpu.c asks about instruction sets.
 *
 * A kernel is one function of one algorithm at one level. To add one: a slot here if the algorithm is new, a line in `slots`
 * for its label, and its row in `rows` of cpu.c.
 */
#ifndef HEADRACE_CPU_H
#define HEADRACE_CPU_H

#include "crypt.h"
#include "kernels/aes_cbc.h"
#include "kernels/aes_gcm.h"
#include "kernels/des_cbc.h"
#include "kernels/cbc_hmac.h"
#include "kernels/hdlc.h"
#include "kernels/hmac.h"
#include "kernels/mppe_rekey.h"
#include "kernels/rc4.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#define HR_X86 1
#else
#define HR_X86 0
#endif

/* Each level has all of the one before it. */
enum hr_level {
	HR_LEVEL_PORTABLE, /* C only */
	HR_LEVEL_AESNI,	   /* SSSE3, SSE4.1, AES, PCLMULQDQ: Westmere (2010), Jaguar (2013) */
	HR_LEVEL_AVX2,	   /* AVX2, BMI2: Haswell (2013), Zen (2017) */
	HR_LEVEL_AVX512,   /* F, BW, DQ, VL, VBMI, VBMI2, VAES, VPCLMULQDQ: Ice Lake (2019), Zen 4 (2022) */
	HR_LEVEL_COUNT
};

/* What a processor may have beside its level. */
enum hr_feature {
	HR_FEATURE_SHA = 1,  /* SHA-NI */
	HR_FEATURE_VAES = 2, /* with 256-bit vectors */
	HR_FEATURE_GFNI = 4
};

struct hr_kernels {
	struct {
		const char *name;
		hr_cbc_fn *run;
	} aes_cbc_encrypt, aes_cbc_decrypt, des_cbc_encrypt, des_cbc_decrypt;
	struct {
		const char *name;
		hr_gcm_fn *run;
	} aes_gcm_seal, aes_gcm_open;
	struct {
		const char *name;
		hr_hmac_fn *run;
	} hmac_md5, hmac_sha1, hmac_sha256, hmac_sha512;
	struct { /* encryption and HMAC in one pass; NULL: first the one, then the other */
		const char *name;
		hr_hmac_fn *run;
	} cbc128_sha1_seal, cbc256_sha1_seal, cbc128_sha256_seal, cbc256_sha256_seal;
	struct {
		const char *name;
		hr_rc4_fn *run;
	} rc4;
	struct {
		const char *name;
		hr_rekey_fn *run;
	} mppe_rekey;
	struct {
		const char *name;
		hr_fcs16_fn *run;
	} fcs16;
	struct {
		const char *name;
		hr_stuff_fn *run;
	} stuff;
	struct {
		const char *name;
		hr_unstuff_fn *run;
	} unstuff;
};

/* The chosen kernels: filled by hr_init(), constant afterwards. */
extern struct hr_kernels hr_kernel;

/* Run every chosen kernel against known answers (selftest.c). 0 or HR_E_SELFTEST. */
int hr_selftest(void);
int hr_selftest_mppe(void); /* part of it (selftest_mppe.c) */

#endif
