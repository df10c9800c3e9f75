/* SPDX-License-Identifier: Apache-2.0
 *
 * ppp.c: PPP frames as L2TP carries them: no flag, no escapes, no check sequence (RFC 1661, RFC 1662, RFC 2661 section 5.3).
 *
 *  +---------------+---------------+-------------------------------+-------------
 *  |  address ff   |  control 03   |  protocol: 1 octet if odd     |  information
 *  +---------------+---------------+-------------------------------+-------------
 *   left out with ACFC              one octet with PFC (its high octet is 0)
 *
 * Both short forms are taken at any time, whatever was negotiated: they cannot be mistaken for anything else. An address
 * without its control is a form that is never negotiated, and the protocols of Van Jacobson compression are for sessions that
 * have it. Numbers that are no protocol at all go to the control plane like every unknown one (RFC 1661 section 2).
 */
#include "ppp.h"

#include "stages.h"
#include "tables.h"

enum { LCP = 0xc021, DESTINATION6 = 24 };

/* Forms of IPv4 packets that only a session has which negotiated them. */
static int is_vj(uint32_t protocol)
{
	return protocol == HR_VJ_COMPRESSED || protocol == HR_VJ_UNCOMPRESSED;
}

static int has_vj(const struct hr_session *session)
{
	return atomic_load_explicit(&session->vj_in, memory_order_relaxed) != NULL;
}

/* --- decap --- */

/* Take the protocol field off. 0 if there is none. */
static int pull_protocol(struct hr_work *work, uint32_t i, uint32_t *protocol)
{
	const uint8_t *const p = work->packet[i].data;

	if (work->packet[i].len >= 1 && (p[0] & 1) != 0) {
		*protocol = p[0];
		hr_pull(work, i, 1);
		return 1;
	}
	if (work->packet[i].len < 2)
		return 0;
	*protocol = hr_get16(p);
	hr_pull(work, i, 2);
	return 1;
}

void hr_ppp_outer(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const uint8_t *const p = alive.packet[i].data;
		uint32_t protocol;

		const int has_address = alive.packet[i].len >= 2 && p[0] == HR_PPP_ADDRESS;
		if (has_address)
			hr_pull(work, i, 2);
		if (!pull_protocol(work, i, &protocol)) {
			hr_end(work, d, HR_DROP_PPP_SHORT);
			continue;
		}
		if ((has_address && p[1] != HR_PPP_CONTROL) || (is_vj(protocol) && !has_vj(work->packet[i].session))) {
			hr_end(work, d, HR_DROP_PPP_HEADER);
			continue;
		}
		d->ppp_proto = (uint16_t)protocol;
	}
}

/* For the control plane: the frame from its protocol field on, in full form. What stood in front of the information field was
 * at least an L2TP header, so there is a place for it. */
static void hand_up(struct hr_work *work, struct hr_desc *d, uint32_t i)
{
	hr_put16(hr_push(work, i, 2), d->ppp_proto);
	d->kind = HR_KIND_PPP;
	hr_end(work, d, HR_EXC_PPP);
}

/* User data passes if its network protocol is open, and if it was encrypted where it has to be: always with the policy
 * "required", and once the peer's direction of MPPE is open also with "when open". */
static enum hr_status check_user_data(const struct hr_session *session, const struct hr_plan *plan, const struct hr_desc *d)
{
	const uint32_t mode = atomic_load_explicit(&session->mppe_in.mode, memory_order_relaxed);

	if (d->ppp_proto != HR_PPP_IPV6 ? !plan->open4 : !plan->open6)
		return HR_DROP_PPP_NOT_OPEN;
	if ((d->flags & HR_FLAG_MPPE) != 0 || plan->policy == HR_MPPE_NEVER)
		return HR_PENDING;
	if (plan->policy == HR_MPPE_REQUIRED || mode == HR_MPPE_STATELESS || mode == HR_MPPE_STATEFUL)
		return HR_DROP_MPPE_CLEARTEXT;
	return HR_PENDING;
}

/* IPv6 that stays on its link (RFC 4007: fe80::/10, ff01::/16, ff02::/16) is between the two ends of it: router and neighbour
 * discovery, DHCPv6. The gateway's end of every session is in the control plane, no packet of these is ever routed. */
static int stays_on_link(const struct hr_packet *packet)
{
	const uint8_t *const to = packet->data + DESTINATION6;

	if (packet->len < DESTINATION6 + 16)
		return 0;
	return (to[0] == 0xff && (to[1] & 15) <= 2) || (to[0] == 0xfe && (to[1] & 0xc0) == 0x80);
}

/* A frame that came out of MPPE or was expanded has another protocol field inside. Whatever it says there goes up if it is not
 * user data: garbage is how the control plane learns that the keys differ. */
void hr_ppp_inner(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];

		if (work->packet[i].encrypt) {
			uint32_t protocol;
			if (!pull_protocol(work, i, &protocol)) {
				hr_end(work, d, HR_DROP_PPP_SHORT);
				continue;
			}
			d->ppp_proto = (uint16_t)protocol;
		}
		const int vj = is_vj(d->ppp_proto) && has_vj(work->packet[i].session);
		if (d->ppp_proto != HR_PPP_IPV4 && d->ppp_proto != HR_PPP_IPV6 && !vj) {
			hand_up(work, d, i);
			continue;
		}
		enum hr_status status = check_user_data(work->packet[i].session, work->packet[i].plan, d);
		if (status == HR_PENDING && vj)
			status = hr_vj_restore(work, d, i);
		if (status != HR_PENDING)
			hr_end(work, d, status);
		else if (d->ppp_proto == HR_PPP_IPV6 && stays_on_link(&work->packet[i]))
			hand_up(work, d, i);
	}
}

/* --- encap --- */

/* A frame of the control plane brings its protocol along. LCP always has the full form, so that it is understood when both
 * sides begin anew (RFC 1661 section 6.6). Of what MPPE will encrypt, the protocol goes inside; mppe.c writes the frame around
 * it. */
void hr_ppp_frame(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const struct hr_plan *const plan = work->packet[i].plan;

		if (plan == NULL) /* L2TP control */
			continue;
		if (d->kind == HR_KIND_IP)
			hr_ppp_push_protocol(work, i, plan, d->ppp_proto);
		if (!work->packet[i].encrypt && (!plan->acfc || d->ppp_proto == LCP))
			hr_ppp_push_address(work, i);
	}
}
