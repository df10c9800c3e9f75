/* SPDX-License-Identifier: Apache-2.0
 *
 * home.c: which worker sends to which peer.
 *
 * What is sent to one peer must be numbered and encrypted in the order in which it goes out: MPPE's coherency count knows no
 * going back, and a small replay window little of it. So every peer has one worker that sends to it, its home. The kernel's
 * steering brings most packets there at once; those that it brings elsewhere (the other address family, another prefix of the
 * peer's, a queue that was added) are handed over. What arrives is sorted by the kernel, by the peer's address.
 */
#include "io.h"
#include "tables.h"

static struct hr_session *owner(struct hr_dp *dp, const uint8_t *packet, uint32_t len, int direct)
{
	struct hr_session *session = NULL;

	if (len >= 20 && packet[0] >> 4 == 4)
		session = hr_route4(dp, packet + 16);
	else if (len >= 40 && packet[0] >> 4 == 6)
		session = hr_route6(dp, packet + 24);
	return direct && session == atomic_load(&dp->default_route) ? NULL : session;
}

static uint8_t home_of(struct hr_peer *peer, uint32_t self, uint32_t workers)
{
	uint32_t home = atomic_load_explicit(&peer->home, memory_order_relaxed);

	/* More than there are: of an engine that was here before. */
	while (home == 0 || home > workers)
		if (atomic_compare_exchange_weak_explicit(&peer->home, &home, self + 1, memory_order_relaxed,
							  memory_order_relaxed))
			return (uint8_t)self;
	return (uint8_t)(home - 1);
}

static int same_destination(const uint8_t *a, const uint8_t *b)
{
	return a[0] >> 4 == b[0] >> 4 && (a[0] >> 4 == 4 ? memcmp(a + 16, b + 16, 4) == 0 : memcmp(a + 24, b + 24, 16) == 0);
}

void hr_homes(struct hr_dp *dp, const struct hr_batch *batch, uint32_t self, uint32_t workers, int direct, uint8_t *homes)
{
	struct hr_reader *const reader = hr_grace_enter(&dp->grace);
	const uint8_t *before = NULL;
	uint8_t home = HR_HOME_NONE;

	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *const d = &batch->desc[i];
		const uint8_t *const packet = batch->arena + d->off;

		homes[i] = direct ? (uint8_t)HR_HOME_NONE : (uint8_t)self;
		if (reader == NULL || d->kind != HR_KIND_IP || d->status != (direct ? HR_OK : HR_PENDING) || d->len < 20 ||
		    (packet[0] >> 4 == 6 && d->len < 40))
			continue;
		if (before == NULL || !same_destination(before, packet)) {
			struct hr_session *const session = owner(dp, packet, d->len, direct);
			home = session != NULL ? home_of(session->peer, self, workers) : (uint8_t)HR_HOME_NONE;
			before = packet;
		}
		if (home != HR_HOME_NONE)
			homes[i] = home;
	}
	if (reader != NULL)
		hr_grace_leave(reader);
}
