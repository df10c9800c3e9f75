/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.c: refusing descriptors before anything touches the arena.
 */
#include "batch.h"

/* What a descriptor may touch: payload and both rooms. */
struct extent {
	uint64_t begin;
	uint64_t end;
	uint32_t index;
};

static int refuse(struct hr_batch *batch, uint32_t index)
{
	batch->bad_index = index;
	return HR_E_DESCRIPTOR;
}

/* Heapsort by begin: in place, no recursion, no worst case. */
static void sift(struct extent *heap, uint32_t root, uint32_t n)
{
	for (uint32_t child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && heap[child + 1].begin > heap[child].begin)
			child++;
		if (heap[root].begin >= heap[child].begin)
			return;
		const struct extent swap = heap[root];
		heap[root] = heap[child];
		heap[child] = swap;
	}
}

static void sort(struct extent *heap, uint32_t n)
{
	for (uint32_t root = n / 2; root-- > 0;)
		sift(heap, root, n);
	for (uint32_t end = n; end-- > 1;) {
		const struct extent swap = heap[0];
		heap[0] = heap[end];
		heap[end] = swap;
		sift(heap, 0, end);
	}
}

/* Slots normally come in rising order, and then this is not called. The jobs of the ESP stage are not in use yet: their memory
 * holds the extents. */
_Static_assert(sizeof(struct extent) <= sizeof(struct hr_esp_job), "extents fit where the jobs will be");

static int check_disjoint(struct hr_batch *batch, struct hr_work *work)
{
	struct extent *const extent = (struct extent *)(void *)work->esp;
	uint32_t n = 0;

	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		const struct extent e = {d->off - (uint64_t)d->room_head, (uint64_t)d->off + d->len + d->room_tail, i};
		if (e.begin < e.end)
			extent[n++] = e;
	}
	sort(extent, n);
	for (uint32_t k = 1; k < n; k++) {
		if (extent[k].begin < extent[k - 1].end) {
			const uint32_t a = extent[k].index, b = extent[k - 1].index;
			return refuse(batch, a > b ? a : b);
		}
	}
	return 0;
}

int hr_batch_check(struct hr_batch *batch, uint32_t kinds, struct hr_work *work)
{
	uint64_t end = 0;
	int rising = 1;

	if (batch->n > HR_BATCH_MAX || (batch->n != 0 && (batch->arena == NULL || batch->desc == NULL)))
		return HR_E_ARGUMENT;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		if (d->room_head > d->off || d->len > HR_PACKET_MAX || d->kind > 31 || (kinds >> d->kind & 1u) == 0)
			return refuse(batch, i);
		const uint64_t begin = d->off - (uint64_t)d->room_head;
		const uint64_t finish = (uint64_t)d->off + d->len + d->room_tail;
		if (finish > batch->arena_len)
			return refuse(batch, i);
		rising &= begin >= end;
		end = finish;
	}
	if (batch->spare_len != 0 &&
	    (batch->spare_off > batch->arena_len || batch->spare_len > batch->arena_len - batch->spare_off))
		return HR_E_ARGUMENT;
	return rising ? 0 : check_disjoint(batch, work);
}
