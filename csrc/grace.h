/* SPDX-License-Identifier: Apache-2.0
 *
 * grace.h: how records are taken away while others use them.
 *
 * Readers (hr_encap, hr_decap) take no lock: they follow published pointers. A writer takes a record out of every table, waits
 * until each reader that was inside at that moment has left, and only then wipes and frees it: when hr_sa_remove() returns, the
 * keys are gone. A reader is inside for one batch, so the wait is short.
 *
 * Each reader has a turn that is odd while it is inside. Publishing a pointer, loading it, and entering are sequentially
 * consistent operations, so either the reader sees the pointer gone, or the writer sees the reader inside.
 */
#ifndef HEADRACE_GRACE_H
#define HEADRACE_GRACE_H

#include "batch.h"

enum { HR_READERS = 128 }; /* calls that can be inside at the same time; more wait for their turn */

/* One at a time uses it between enter and leave. The counters are its own, so that counting needs no locked instruction. */
struct hr_reader {
	_Alignas(64) _Atomic uint64_t turn;
	struct hr_work *work; /* made by the first who enters */
	_Atomic uint64_t packets[HR_STATUS_COUNT];
	_Atomic uint64_t bytes[HR_STATUS_COUNT];
};

struct hr_grace {
	struct hr_reader reader[HR_READERS];
};

/* NULL if there is no memory for the working set. */
struct hr_reader *hr_grace_enter(struct hr_grace *grace);
void hr_grace_leave(struct hr_reader *reader);

/* Returns when every reader that was inside has left. Serialised by the caller. */
void hr_grace_wait(struct hr_grace *grace);

void hr_grace_free(struct hr_grace *grace);

static inline void hr_count(struct hr_reader *reader, uint32_t status, uint64_t packets, uint64_t bytes)
{
	atomic_store_explicit(&reader->packets[status], hr_read(&reader->packets[status]) + packets, memory_order_relaxed);
	atomic_store_explicit(&reader->bytes[status], hr_read(&reader->bytes[status]) + bytes, memory_order_relaxed);
}

/* A short wait for somebody who works on another processor, or was interrupted on this one. */
struct hr_patience {
	uint32_t rounds;
};

void hr_be_patient(struct hr_patience *patience);

#endif
