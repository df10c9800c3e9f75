/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu.c: detect the processor, choose the kernels, test them. The only place with an `if` about instruction sets.
 */
#include "cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if HR_X86
#include <cpuid.h>
#endif

struct hr_kernels hr_kernel;

static const char *const level_names[HR_LEVEL_COUNT] = {"portable", "aesni", "avx2", "avx512"};

/* The names of hr_kernel_name(), and where the slots lie. */
static const struct slot {
	const char *label;
	size_t offset;
} slots[] = {
    {"aes-cbc-encrypt", offsetof(struct hr_kernels, aes_cbc_encrypt)},
    {"aes-cbc-decrypt", offsetof(struct hr_kernels, aes_cbc_decrypt)},
    {"des-cbc-encrypt", offsetof(struct hr_kernels, des_cbc_encrypt)},
    {"des-cbc-decrypt", offsetof(struct hr_kernels, des_cbc_decrypt)},
    {"aes-gcm-seal", offsetof(struct hr_kernels, aes_gcm_seal)},
    {"aes-gcm-open", offsetof(struct hr_kernels, aes_gcm_open)},
    {"hmac-md5", offsetof(struct hr_kernels, hmac_md5)},
    {"hmac-sha1", offsetof(struct hr_kernels, hmac_sha1)},
    {"hmac-sha256", offsetof(struct hr_kernels, hmac_sha256)},
    {"hmac-sha512", offsetof(struct hr_kernels, hmac_sha512)},
    {"cbc128-sha1-seal", offsetof(struct hr_kernels, cbc128_sha1_seal)},
    {"cbc256-sha1-seal", offsetof(struct hr_kernels, cbc256_sha1_seal)},
    {"cbc128-sha256-seal", offsetof(struct hr_kernels, cbc128_sha256_seal)},
    {"cbc256-sha256-seal", offsetof(struct hr_kernels, cbc256_sha256_seal)},
    {"rc4", offsetof(struct hr_kernels, rc4)},
    {"mppe-rekey", offsetof(struct hr_kernels, mppe_rekey)},
    {"fcs16", offsetof(struct hr_kernels, fcs16)},
    {"stuff", offsetof(struct hr_kernels, stuff)},
    {"unstuff", offsetof(struct hr_kernels, unstuff)},
};
enum { SLOTS = sizeof slots / sizeof slots[0] };

/* From worst to best: a row whose level and features are there replaces the slots that it names. */
static const struct row {
	enum hr_level level;
	uint32_t features;
	struct hr_kernels kernels;
} rows[] = {
    {HR_LEVEL_PORTABLE,
     0,
     {
	 .aes_cbc_encrypt = {"bitslice", hr_aes_cbc_encrypt_portable},
	 .aes_cbc_decrypt = {"bitslice", hr_aes_cbc_decrypt_portable},
	 .des_cbc_encrypt = {"bitslice", hr_des_cbc_encrypt_portable},
	 .des_cbc_decrypt = {"bitslice", hr_des_cbc_decrypt_portable},
	 .aes_gcm_seal = {"bitslice", hr_aes_gcm_seal_portable},
	 .aes_gcm_open = {"bitslice", hr_aes_gcm_open_portable},
	 .hmac_md5 = {"scalar", hr_hmac_md5_portable},
	 .hmac_sha1 = {"scalar", hr_hmac_sha1_portable},
	 .hmac_sha256 = {"scalar", hr_hmac_sha256_portable},
	 .hmac_sha512 = {"scalar", hr_hmac_sha512_portable},
	 .rc4 = {"scalar", hr_rc4_portable},
	 .mppe_rekey = {"scalar", hr_mppe_rekey_portable},
	 .fcs16 = {"tables", hr_fcs16_portable},
	 .stuff = {"scalar", hr_stuff_portable},
	 .unstuff = {"scalar", hr_unstuff_portable},
     }},
#if HR_X86
    {HR_LEVEL_AESNI,
     0,
     {
	 .aes_cbc_encrypt = {"aesni x8", hr_aes_cbc_encrypt_aesni},
	 .aes_cbc_decrypt = {"aesni", hr_aes_cbc_decrypt_aesni},
	 .aes_gcm_seal = {"aesni", hr_aes_gcm_seal_aesni},
	 .aes_gcm_open = {"aesni", hr_aes_gcm_open_aesni},
	 .fcs16 = {"pclmulqdq", hr_fcs16_clmul},
     }},
    {HR_LEVEL_AESNI,
     HR_FEATURE_SHA,
     {
	 .hmac_sha1 = {"sha-ni x2", hr_hmac_sha1_shani},
	 .hmac_sha256 = {"sha-ni x2", hr_hmac_sha256_shani},
	 .mppe_rekey = {"sha-ni", hr_mppe_rekey_shani},
     }},
    {HR_LEVEL_AVX2,
     0,
     {
	 .des_cbc_encrypt = {"bitslice256", hr_des_cbc_encrypt_avx2},
	 .des_cbc_decrypt = {"bitslice256", hr_des_cbc_decrypt_avx2},
	 .rc4 = {"avx2 x32", hr_rc4_avx2},
	 .stuff = {"avx2", hr_stuff_avx2},
	 .unstuff = {"avx2", hr_unstuff_avx2},
     }},
    {HR_LEVEL_AVX512,
     0,
     {
	 .aes_cbc_encrypt = {"vaes512 x16", hr_aes_cbc_encrypt_vaes512},
	 .aes_cbc_decrypt = {"vaes512", hr_aes_cbc_decrypt_vaes512},
	 .aes_gcm_seal = {"vaes512", hr_aes_gcm_seal_vaes512},
	 .aes_gcm_open = {"vaes512", hr_aes_gcm_open_vaes512},
	 .hmac_sha1 = {"avx512 x16", hr_hmac_sha1_avx512},
	 .hmac_sha256 = {"avx512 x16", hr_hmac_sha256_avx512},
	 .cbc128_sha1_seal = {"vaes512 x16", hr_cbc128_sha1_seal_vaes512},
	 .cbc256_sha1_seal = {"vaes512 x16", hr_cbc256_sha1_seal_vaes512},
	 .cbc128_sha256_seal = {"vaes512 x16", hr_cbc128_sha256_seal_vaes512},
	 .cbc256_sha256_seal = {"vaes512 x16", hr_cbc256_sha256_seal_vaes512},
     }},
    {HR_LEVEL_AVX512,
     HR_FEATURE_GFNI,
     {
	 .des_cbc_encrypt = {"byteslice512", hr_des_cbc_encrypt_avx512},
	 .des_cbc_decrypt = {"byteslice512", hr_des_cbc_decrypt_avx512},
     }},
    {HR_LEVEL_AVX512,
     0,
     {
	 .stuff = {"vbmi2", hr_stuff_avx512},
	 .unstuff = {"vbmi2", hr_unstuff_avx512},
     }},
    {HR_LEVEL_AVX2,
     HR_FEATURE_SHA,
     {
	 .mppe_rekey = {"avx2 x32, sha-ni", hr_mppe_rekey_avx2},
     }},
    {HR_LEVEL_AVX512,
     HR_FEATURE_SHA,
     {
	 .mppe_rekey = {"avx512 x32", hr_mppe_rekey_avx512},
     }},
#endif
};

/* A slot's two members through their common beginning, for tables of slots of different types. */
struct any_slot {
	const char *name;
	void (*run)(void);
};

static enum hr_level detected_level;
static uint32_t detected_features;
static enum hr_level chosen_level;
static int ready; /* kernels are chosen and tested */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char levels_text[64];
static char slot_text[SLOTS][64];

#if HR_X86
__attribute__((target("xsave"))) static uint64_t vector_state(void)
{
	return (uint64_t)__builtin_ia32_xgetbv(0);
}

/* What the processor has and the system saves on a task switch (XCR0: bits 1, 2 for YMM; 5, 6, 7 for ZMM). */
static void detect(void)
{
	unsigned a = 0, b1 = 0, c1 = 0, d1 = 0, b7 = 0, c7 = 0, d7 = 0;

	detected_level = HR_LEVEL_PORTABLE;
	detected_features = 0;
	if (!__get_cpuid(1, &a, &b1, &c1, &d1))
		return;
	if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
		b7 = c7 = 0;
	const unsigned aesni = bit_SSSE3 | bit_SSE4_1 | bit_AES | bit_PCLMUL;
	if ((c1 & aesni) != aesni)
		return;
	detected_level = HR_LEVEL_AESNI;
	if (b7 & bit_SHA)
		detected_features |= HR_FEATURE_SHA;
	if (c7 & bit_GFNI)
		detected_features |= HR_FEATURE_GFNI;
	const uint64_t state = (c1 & bit_OSXSAVE) ? vector_state() : 0;
	const unsigned avx2 = bit_AVX2 | bit_BMI2;
	if ((state & 0x06) != 0x06 || !(c1 & bit_AVX) || (b7 & avx2) != avx2)
		return;
	detected_level = HR_LEVEL_AVX2;
	const unsigned vector_aes = bit_VAES | bit_VPCLMULQDQ;
	if ((c7 & vector_aes) != vector_aes)
		return;
	detected_features |= HR_FEATURE_VAES;
	const unsigned avx512_b = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
	const unsigned avx512_c = bit_AVX512VBMI | bit_AVX512VBMI2;
	if ((state & 0xe6) != 0xe6 || (b7 & avx512_b) != avx512_b || (c7 & avx512_c) != avx512_c)
		return;
	detected_level = HR_LEVEL_AVX512;
}
#else
static void detect(void)
{
	detected_level = HR_LEVEL_PORTABLE;
	detected_features = 0;
}
#endif

static void choose(enum hr_level level)
{
	memset(&hr_kernel, 0, sizeof hr_kernel);
	for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
		if (rows[r].level > level || (rows[r].features & ~detected_features) != 0)
			continue;
		for (size_t s = 0; s < SLOTS; s++) {
			struct any_slot row_slot;
			memcpy(&row_slot, (const uint8_t *)&rows[r].kernels + slots[s].offset, sizeof row_slot);
			if (row_slot.run != NULL)
				memcpy((uint8_t *)&hr_kernel + slots[s].offset, &row_slot, sizeof row_slot);
		}
	}
	for (size_t s = 0; s < SLOTS; s++) {
		struct any_slot slot;
		memcpy(&slot, (const uint8_t *)&hr_kernel + slots[s].offset, sizeof slot);
		snprintf(slot_text[s], sizeof slot_text[s], "%s: %s", slots[s].label, slot.name ? slot.name : "in two passes");
	}
	chosen_level = level;
}

static int init_locked(const char *name)
{
	enum hr_level level;

	detect();
	level = detected_level;
	if (name != NULL && name[0] != '\0') {
		for (level = HR_LEVEL_PORTABLE; level < HR_LEVEL_COUNT; level++) {
			if (strcmp(name, level_names[level]) == 0)
				break;
		}
		if (level > detected_level) /* unknown, or this processor lacks it */
			return HR_E_UNSUPPORTED;
	}
	ready = 0;
	choose(level);
	const int error = hr_selftest();
	ready = error == 0;
	return error;
}

int hr_init(void)
{
	pthread_mutex_lock(&lock);
	const int error = ready ? 0 : init_locked(getenv("HEADRACE_CPU"));
	pthread_mutex_unlock(&lock);
	return error;
}

int hr_init_level(const char *level)
{
	pthread_mutex_lock(&lock);
	const int error = init_locked(level != NULL ? level : getenv("HEADRACE_CPU"));
	pthread_mutex_unlock(&lock);
	return error;
}

const char *hr_cpu_level(void)
{
	return level_names[chosen_level];
}

const char *hr_cpu_levels(void)
{
	pthread_mutex_lock(&lock);
	if (levels_text[0] == '\0') {
		detect();
		size_t used = 0;
		for (enum hr_level level = HR_LEVEL_PORTABLE; level <= detected_level; level++)
			used += (size_t)snprintf(levels_text + used, sizeof levels_text - used, "%s%s", used ? " " : "",
						 level_names[level]);
	}
	pthread_mutex_unlock(&lock);
	return levels_text;
}

const char *hr_kernel_name(uint32_t index)
{
	return index < SLOTS ? slot_text[index] : NULL;
}
