/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.h: where a session's packets may go.
 */
#ifndef HEADRACE_FILTER_H
#define HEADRACE_FILTER_H

#include "batch.h"

/* 1 if these rules can be worked with, else 0. */
int hr_filter_valid(const struct hr_filter_rule *rules, uint32_t n);

/* 1 if a packet may pass, else 0. It is whole: `len` octets with an IPv4 or IPv6 header that claims as many. */
int hr_filter_allows(const struct hr_filter_rule *rules, uint32_t n, const uint8_t *packet, uint32_t len,
		     uint32_t ppp_protocol);

#endif
