/* SPDX-License-Identifier: Apache-2.0
 *
 * tally.c: what the workers need of the tables: one place in the list of losses, and whether events wait.
 */
#include "io.h"
#include "tables.h"

void hr_io_lost(struct hr_dp *dp, enum hr_status status, uint64_t packets, uint64_t bytes)
{
	struct hr_reader *reader = hr_grace_enter(&dp->grace);
	if (!reader)
		return; /* no memory for a working set: then no batch was worked on either */
	hr_count(reader, status, packets, bytes);
	hr_grace_leave(reader);
}

int hr_io_events_wait(struct hr_dp *dp)
{
	return atomic_load_explicit(&dp->events.waiting, memory_order_relaxed) != 0;
}
