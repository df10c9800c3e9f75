/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c: a single-producer, single-consumer ring of records of different length. A record lies in one piece:
 *
 *   | length of the record | origin | stamp | descriptor | data | padding to 64 octets |
 *
 * Where the end of the memory is too near, a record with origin SKIP fills it.
 */
#include "ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "wipe.h"

enum { ALIGN = 64, SKIP = 0xffffffff };

struct record {
	uint32_t size; /* of all, a multiple of ALIGN */
	uint32_t origin;
	uint64_t stamp;
	struct hr_desc desc;
};

int hr_ring_init(struct hr_ring *ring, uint32_t slots)
{
	uint64_t size = HR_RING_LEAST;
	while (size < (uint64_t)slots * HR_RING_SLOT)
		size *= 2;
	memset(ring, 0, sizeof *ring);
	/* Mapped, not allocated: pages that no flood ever reaches cost nothing. */
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return HR_E_MEMORY;
	ring->memory = memory;
	ring->size = size;
	return 0;
}

void hr_ring_free(struct hr_ring *ring)
{
	if (ring->memory)
		munmap(ring->memory, ring->size);
	ring->memory = NULL;
}

int hr_ring_push(struct hr_ring *ring, const struct hr_desc *desc, const uint8_t *data, uint32_t origin, uint64_t stamp)
{
	uint64_t size = (sizeof(struct record) + desc->len + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	uint32_t share = origin % HR_RING_SHARES;
	uint64_t mine = ring->pushed[share] - atomic_load_explicit(&ring->popped[share], memory_order_relaxed);
	if (size > ring->size / 16 || mine + size > ring->size / 4)
		return 0;

	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	uint64_t at = head & (ring->size - 1);
	uint64_t gap = ring->size - at < size ? ring->size - at : 0;
	if (head + gap + size - tail > ring->size)
		return 0;
	if (gap) {
		/* A gap is a multiple of ALIGN, so size and origin always fit. */
		uint32_t skip[2] = {(uint32_t)gap, SKIP};
		memcpy(ring->memory + at, skip, sizeof skip);
		head += gap;
		at = 0;
	}
	struct record record = {.size = (uint32_t)size, .origin = share, .stamp = stamp, .desc = *desc};
	memcpy(ring->memory + at, &record, sizeof record);
	memcpy(ring->memory + at + sizeof record, data, desc->len);
	ring->pushed[share] += size;
	atomic_store_explicit(&ring->head, head + size, memory_order_release);
	return 1;
}

/* Find the oldest record; 0 if there is none. */
static int oldest(struct hr_ring *ring, struct record *record, uint64_t *tail)
{
	*tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	for (;;) {
		if (*tail == atomic_load_explicit(&ring->head, memory_order_acquire))
			return 0;
		const uint8_t *at = ring->memory + (*tail & (ring->size - 1));
		memcpy(record, at, 2 * sizeof(uint32_t));
		if (record->origin != SKIP) {
			memcpy(record, at, sizeof *record);
			return 1;
		}
		*tail += record->size;
		atomic_store_explicit(&ring->tail, *tail, memory_order_release);
	}
}

static void advance(struct hr_ring *ring, const struct record *record, uint64_t tail)
{
	/* There may have been a password in it. */
	hr_erase(ring->memory + (tail & (ring->size - 1)) + sizeof *record, record->size - sizeof *record);
	uint64_t popped = atomic_load_explicit(&ring->popped[record->origin], memory_order_relaxed);
	atomic_store_explicit(&ring->popped[record->origin], popped + record->size, memory_order_relaxed);
	atomic_store_explicit(&ring->tail, tail + record->size, memory_order_release);
}

int hr_ring_pop(struct hr_ring *ring, struct hr_desc *desc, uint8_t *to, uint32_t room)
{
	struct record record;
	uint64_t tail;
	if (!oldest(ring, &record, &tail))
		return 0;
	*desc = record.desc;
	if (record.desc.len > room)
		return -1;
	memcpy(to, ring->memory + (tail & (ring->size - 1)) + sizeof record, record.desc.len);
	advance(ring, &record, tail);
	return 1;
}

void hr_ring_skip(struct hr_ring *ring)
{
	struct record record;
	uint64_t tail;
	if (oldest(ring, &record, &tail))
		advance(ring, &record, tail);
}

int hr_ring_peek(struct hr_ring *ring, uint64_t *stamp)
{
	struct record record;
	uint64_t tail;
	if (!oldest(ring, &record, &tail))
		return 0;
	*stamp = record.stamp;
	return 1;
}

uint64_t hr_ring_backlog(struct hr_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	return atomic_load_explicit(&ring->head, memory_order_acquire) - tail;
}
