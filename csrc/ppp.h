/* SPDX-License-Identifier: Apache-2.0
 *
 * ppp.h: protocol numbers and frame headers that more than one room knows.
 */
#ifndef HEADRACE_PPP_H
#define HEADRACE_PPP_H

#include "tables.h"

enum {
	HR_PPP_ADDRESS = 0xff,
	HR_PPP_CONTROL = 0x03,
	HR_PPP_IPV4 = 0x0021,
	HR_PPP_IPV6 = 0x0057,
	HR_PPP_MPPE = 0x00fd,
	HR_PPP_CCP = 0x80fd,
	HR_PPP_ENCRYPTED_FIRST = 0x0021, /* RFC 3078 section 3.1: only these are encrypted */
	HR_PPP_ENCRYPTED_LAST = 0x00fa
};

/* Put a protocol field, and address and control, in front of a packet in the forms that the peer takes. */
static inline void hr_ppp_push_protocol(struct hr_work *work, uint32_t i, const struct hr_plan *plan, uint32_t protocol)
{
	if (plan->pfc && protocol < 0x100)
		hr_push(work, i, 1)[0] = (uint8_t)protocol;
	else
		hr_put16(hr_push(work, i, 2), protocol);
}

static inline void hr_ppp_push_address(struct hr_work *work, uint32_t i)
{
	hr_put16(hr_push(work, i, 2), HR_PPP_ADDRESS << 8 | HR_PPP_CONTROL);
}

/* vj_stage.c: make the IPv4 packet of a frame in one of the forms of RFC 1144. HR_PENDING, or why there is none. */
enum hr_status hr_vj_restore(struct hr_work *work, struct hr_desc *d, uint32_t i);

#endif
