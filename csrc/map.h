/* SPDX-License-Identifier: Apache-2.0
 *
 * map.h: number -> record, looked up without a lock while one writer changes it.
 *
 * Open addressing, linear probing, at most half full by its sizing, so a lookup is one or two cache lines however many records
 * there are. A removed entry leaves a tombstone, because moving its successors up would hide them from a reader on its way.
 * When tombstones take a quarter of the table, the writer fills the spare one and publishes it.
 *
 * The keys are ours to assign (SPIs, tunnel ids, leases), so no adversary can make them collide. A reader may meet an entry
 * that is being given to another key: whoever looks up must compare the record's own key with the one asked for.
 */
#ifndef HEADRACE_MAP_H
#define HEADRACE_MAP_H

#include <stdatomic.h>
#include <stdint.h>

#include "grace.h"

struct hr_map_entry {
	_Atomic uint64_t key; /* HR_MAP_USED | key, or HR_MAP_FREE, HR_MAP_GONE */
	_Atomic(void *) record;
};

#define HR_MAP_USED (UINT64_C(1) << 63)

struct hr_map {
	_Atomic(struct hr_map_entry *) table;
	struct hr_map_entry *spare;
	uint32_t mask;
	uint32_t shift;
	uint32_t used; /* entries and tombstones */
};

/* For up to `max` records. 0 or HR_E_MEMORY. */
int hr_map_init(struct hr_map *map, uint32_t max);
void hr_map_free(struct hr_map *map);

/* The writer's. Keys have 63 bits; put refuses one that is there already with HR_E_EXISTS. */
int hr_map_put(struct hr_map *map, struct hr_grace *grace, uint64_t key, void *record);
void hr_map_remove(struct hr_map *map, uint64_t key);

static inline uint32_t hr_map_slot(const struct hr_map *map, uint64_t key)
{
	return (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> map->shift); /* Fibonacci hashing: 2^64 / golden ratio */
}

static inline void hr_map_prefetch(struct hr_map *map, uint64_t key)
{
	__builtin_prefetch(&atomic_load(&map->table)[hr_map_slot(map, key)]);
}

/* The record, or NULL. */
static inline void *hr_map_get(struct hr_map *map, uint64_t key)
{
	struct hr_map_entry *const table = atomic_load(&map->table);

	for (uint32_t slot = hr_map_slot(map, key);; slot = (slot + 1) & map->mask) {
		const uint64_t found = atomic_load(&table[slot].key);
		if (found == (HR_MAP_USED | key))
			return atomic_load(&table[slot].record);
		if (found == 0)
			return NULL;
	}
}

#endif
