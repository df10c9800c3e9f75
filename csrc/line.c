/* SPDX-License-Identifier: Apache-2.0
 *
 * line.c: sessions whose PPP frames go over a line of their own (hdlc.c puts them on it), not in L2TP.
 */
#include "stages.h"
#include "tables.h"

enum { PROTOCOL_ROOM = 2 }; /* a frame for the control plane gets its protocol field back in full */

void hr_line_enter(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		struct hr_desc *const d = &alive.desc[alive.at[k]];
		struct hr_packet *const packet = &alive.packet[alive.at[k]];
		struct hr_session *const session = hr_pool_get(&work->dp->sessions, d->session);

		if (session == NULL || d->room_head < PROTOCOL_ROOM) {
			hr_end(work, d, session == NULL ? HR_DROP_L2TP_SESSION : HR_DROP_ROOM);
			continue;
		}
		packet->session = session;
		packet->peer = session->peer;
		packet->plan = atomic_load(&session->plan);
		d->peer = session->peer->index;
		d->flags = 0;
		hr_note(&session->rx.last_ns, work->now);
	}
}

void hr_line_leave(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		struct hr_desc *const d = &alive.desc[alive.at[k]];

		hr_note(&alive.packet[alive.at[k]].session->tx.last_ns, work->now);
		d->kind = HR_KIND_PPP;
		hr_end(work, d, HR_OK);
	}
}
