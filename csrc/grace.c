/* SPDX-License-Identifier: Apache-2.0
 *
 * grace.c: see grace.h.
 */
#include "grace.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "wipe.h"

enum {
	SPINS = 64,   /* then give the processor away: the other may need it */
	YIELDS = 1024 /* then sleep */
};

void hr_be_patient(struct hr_patience *patience)
{
	const uint32_t round = patience->rounds++;

	if (round < SPINS) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	} else if (round < YIELDS) {
		sched_yield();
	} else {
		const struct timespec nap = {0, 50000};
		nanosleep(&nap, NULL);
	}
}

/* Where a thread begins to look: threads find their own reader again, with its working set warm in their cache. */
static uint32_t first_choice(void)
{
	static _Atomic uint32_t ticket;
	static _Thread_local uint32_t mine;

	if (mine == 0)
		mine = atomic_fetch_add_explicit(&ticket, 1, memory_order_relaxed) % HR_READERS + 1;
	return mine - 1;
}

struct hr_reader *hr_grace_enter(struct hr_grace *grace)
{
	struct hr_patience patience = {0};

	for (uint32_t r = first_choice();; r = (r + 1) % HR_READERS) {
		struct hr_reader *const reader = &grace->reader[r];
		uint64_t turn = atomic_load_explicit(&reader->turn, memory_order_relaxed);
		if ((turn & 1) == 0 && atomic_compare_exchange_strong(&reader->turn, &turn, turn + 1)) {
			if (reader->work == NULL) {
				reader->work = aligned_alloc(64, (sizeof *reader->work + 63) / 64 * 64);
				if (reader->work == NULL) {
					hr_grace_leave(reader);
					return NULL;
				}
				reader->work->reader = reader;
				reader->work->self = r + 1;
			}
			return reader;
		}
		hr_be_patient(&patience);
	}
}

void hr_grace_leave(struct hr_reader *reader)
{
	atomic_store_explicit(&reader->turn, atomic_load_explicit(&reader->turn, memory_order_relaxed) + 1,
			      memory_order_release);
}

void hr_grace_wait(struct hr_grace *grace)
{
	for (uint32_t r = 0; r < HR_READERS; r++) {
		const uint64_t turn = atomic_load(&grace->reader[r].turn);
		struct hr_patience patience = {0};
		while ((turn & 1) != 0 && atomic_load(&grace->reader[r].turn) == turn)
			hr_be_patient(&patience);
	}
}

void hr_grace_free(struct hr_grace *grace)
{
	for (uint32_t r = 0; r < HR_READERS; r++) {
		if (grace->reader[r].work != NULL)
			hr_erase(grace->reader[r].work, sizeof *grace->reader[r].work);
		free(grace->reader[r].work);
		grace->reader[r].work = NULL;
	}
}
