/* SPDX-License-Identifier: Apache-2.0
 *
 * relay.c: a ring with a lock for its producers, and a bell.
 */
#include "relay.h"

#include <sys/eventfd.h>
#include <unistd.h>

int hr_relay_init(struct hr_relay *relay, uint32_t slots)
{
	int error = hr_ring_init(&relay->ring, slots);

	relay->wake = -1;
	atomic_init(&relay->told, 0);
	if (error)
		return error;
	pthread_mutex_init(&relay->lock, NULL);
	relay->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (relay->wake >= 0)
		return 0;
	hr_ring_free(&relay->ring);
	pthread_mutex_destroy(&relay->lock);
	return HR_E_SYSTEM;
}

void hr_relay_free(struct hr_relay *relay)
{
	if (relay->wake < 0)
		return;
	close(relay->wake);
	relay->wake = -1;
	hr_ring_free(&relay->ring);
	pthread_mutex_destroy(&relay->lock);
}

int hr_relay_put(struct hr_relay *relay, const struct hr_desc *desc, const uint8_t *packet, uint32_t origin)
{
	pthread_mutex_lock(&relay->lock);
	const int done = hr_ring_push(&relay->ring, desc, packet, origin, 0);
	pthread_mutex_unlock(&relay->lock);
	return done;
}

void hr_relay_tell(struct hr_relay *relay)
{
	const uint64_t one = 1;

	if (atomic_exchange_explicit(&relay->told, 1, memory_order_acq_rel))
		return;
	/* It fails only if the counter is about to overflow: then the owner was told long ago. */
	if (write(relay->wake, &one, sizeof one) < 0)
		return;
}

void hr_relay_heard(struct hr_relay *relay)
{
	uint64_t count;

	if (read(relay->wake, &count, sizeof count) < 0)
		count = 0;
	atomic_exchange_explicit(&relay->told, 0, memory_order_acq_rel);
}

int hr_relay_take(struct hr_relay *relay, struct hr_desc *desc, uint8_t *to, uint32_t room)
{
	for (;;) {
		const int got = hr_ring_pop(&relay->ring, desc, to, room);
		if (got >= 0)
			return got;
		hr_ring_skip(&relay->ring); /* longer than a slot: nobody puts such a one in */
	}
}
