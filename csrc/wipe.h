/* SPDX-License-Identifier: Apache-2.0
 *
 * wipe.h: erasing that the compiler cannot remove.
 */
#ifndef HEADRACE_WIPE_H
#define HEADRACE_WIPE_H

#include <stddef.h>
#include <string.h>

/* Overwrite with zeros. The empty statement claims to read the memory, so the stores before it have a reader. */
static inline void hr_erase(void *memory, size_t len)
{
	if (len != 0) {
		memset(memory, 0, len);
		__asm__ __volatile__("" : : "r"(memory) : "memory");
	}
}

#endif
