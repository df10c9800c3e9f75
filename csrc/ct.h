/* SPDX-License-Identifier: Apache-2.0
 *
 * ct.h: comparing and selecting in a time that does not depend on the values.
 */
#ifndef HEADRACE_CT_H
#define HEADRACE_CT_H

#include <stddef.h>
#include <stdint.h>

/* Hide a value from the optimiser, so that it cannot turn masks back into branches. */
static inline uint32_t hr_ct_hide(uint32_t value)
{
	__asm__ __volatile__("" : "+r"(value));
	return value;
}

/* 1 if the octets are the same, else 0. */
static inline uint32_t hr_ct_equal(const void *a, const void *b, size_t len)
{
	const uint8_t *x = (const uint8_t *)a;
	const uint8_t *y = (const uint8_t *)b;
	uint32_t difference = 0;
	for (size_t i = 0; i < len; i++)
		difference |= (uint32_t)(x[i] ^ y[i]);
	return (hr_ct_hide(difference) - 1u) >> 31;
}

static inline uint32_t hr_ct_equal64(uint64_t a, uint64_t b)
{
	uint64_t difference = a ^ b;
	__asm__ __volatile__("" : "+r"(difference));
	return (uint32_t)(1 ^ ((difference | (0 - difference)) >> 63));
}

/* a if choice is 1, b if it is 0. */
static inline uint32_t hr_ct_select(uint32_t choice, uint32_t a, uint32_t b)
{
	const uint32_t mask = 0u - hr_ct_hide(choice);
	return b ^ (mask & (a ^ b));
}

#endif
