/* SPDX-License-Identifier: Apache-2.0
 *
 * map.c: the writer's side of map.h.
 */
#include "map.h"

#include <stdlib.h>

enum { FREE = 0, GONE = 1 };

int hr_map_init(struct hr_map *map, uint32_t max)
{
	uint32_t bits = 4;

	while ((UINT64_C(1) << bits) < 2 * (uint64_t)max)
		bits++;
	map->mask = (uint32_t)((UINT64_C(1) << bits) - 1);
	map->shift = 64 - bits;
	map->used = 0;
	map->spare = calloc((size_t)map->mask + 1, sizeof *map->spare);
	struct hr_map_entry *const table = calloc((size_t)map->mask + 1, sizeof *table);
	atomic_init(&map->table, table);
	return map->spare != NULL && table != NULL ? 0 : HR_E_MEMORY;
}

void hr_map_free(struct hr_map *map)
{
	free(atomic_load(&map->table));
	free(map->spare);
	atomic_store(&map->table, NULL);
	map->spare = NULL;
}

/* The record first: a reader that sees the key finds it. */
static void write_entry(struct hr_map_entry *entry, uint64_t key, void *record)
{
	atomic_store(&entry->record, record);
	atomic_store(&entry->key, HR_MAP_USED | key);
}

/* Copy what is alive into the spare table and publish that; the old one is emptied when no reader is left in it. */
static void rebuild(struct hr_map *map, struct hr_grace *grace)
{
	struct hr_map_entry *const old = atomic_load(&map->table);
	struct hr_map_entry *const fresh = map->spare;

	map->used = 0;
	for (uint32_t i = 0; i <= map->mask; i++) {
		const uint64_t key = atomic_load(&old[i].key);
		if (key < HR_MAP_USED)
			continue;
		uint32_t slot = hr_map_slot(map, key & ~HR_MAP_USED);
		while (atomic_load(&fresh[slot].key) != FREE)
			slot = (slot + 1) & map->mask;
		write_entry(&fresh[slot], key & ~HR_MAP_USED, atomic_load(&old[i].record));
		map->used++;
	}
	atomic_store(&map->table, fresh);
	hr_grace_wait(grace);
	for (uint32_t i = 0; i <= map->mask; i++) {
		atomic_store_explicit(&old[i].key, FREE, memory_order_relaxed);
		atomic_store_explicit(&old[i].record, NULL, memory_order_relaxed);
	}
	map->spare = old;
}

int hr_map_put(struct hr_map *map, struct hr_grace *grace, uint64_t key, void *record)
{
	if (map->used > map->mask / 4 * 3)
		rebuild(map, grace);

	struct hr_map_entry *const table = atomic_load(&map->table);
	struct hr_map_entry *place = NULL;
	for (uint32_t slot = hr_map_slot(map, key);; slot = (slot + 1) & map->mask) {
		const uint64_t found = atomic_load(&table[slot].key);
		if (found == (HR_MAP_USED | key))
			return HR_E_EXISTS;
		if (found < HR_MAP_USED && place == NULL)
			place = &table[slot];
		if (found == FREE)
			break;
	}
	if (atomic_load(&place->key) == FREE)
		map->used++;
	write_entry(place, key, record);
	return 0;
}

void hr_map_remove(struct hr_map *map, uint64_t key)
{
	struct hr_map_entry *const table = atomic_load(&map->table);

	for (uint32_t slot = hr_map_slot(map, key);; slot = (slot + 1) & map->mask) {
		const uint64_t found = atomic_load(&table[slot].key);
		if (found == (HR_MAP_USED | key)) {
			atomic_store(&table[slot].key, GONE);
			atomic_store(&table[slot].record, NULL);
			return;
		}
		if (found == FREE)
			return;
	}
}
