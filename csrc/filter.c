/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.c: where a session's packets may go: a few rules, tried in their order.
 *
 * A packet whose ports or protocol cannot be seen (a later fragment, an extension header that hides them) must not slip through
 * a rule by that: it fits every rule that denies what it could be, and none that allows it.
 */
#include "filter.h"
#include "ppp.h"
#include "tables.h"

enum { HEADER6 = 40, EXTENSIONS_MAX = 8, HOP_BY_HOP = 0, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };

/* What a packet shows of itself. */
struct target {
	const uint8_t *address;
	uint32_t bits; /* of the address */
	uint32_t protocol;
	uint32_t port;
	int protocol_known;
	int port_known;
};

static void look4(struct target *target, const uint8_t *p, uint32_t len)
{
	const uint32_t header = (p[0] & 15u) * 4;
	const uint32_t fragment = hr_get16(p + 6) & 0x1fff;

	target->address = p + 16;
	target->bits = 32;
	target->protocol = p[9];
	target->protocol_known = 1;
	if (fragment == 0 && header + 4 <= len) {
		target->port = hr_get16(p + header + 2);
		target->port_known = 1;
	}
}

static void look6(struct target *target, const uint8_t *p, uint32_t len)
{
	uint32_t next = p[6], at = HEADER6;

	target->address = p + 24;
	target->bits = 128;
	for (uint32_t n = 0; n < EXTENSIONS_MAX; n++) {
		if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION && next != FRAGMENT) {
			target->protocol = next;
			target->protocol_known = 1;
			target->port_known = at + 4 <= len;
			target->port = target->port_known ? hr_get16(p + at + 2) : 0;
			return;
		}
		if (at + 8 > len || (next == FRAGMENT && (hr_get16(p + at + 2) & 0xfff8) != 0))
			return; /* hidden */
		const uint32_t size = next == FRAGMENT ? 8 : 8 + 8u * p[at + 1];
		next = p[at];
		at += size;
	}
}

static int same_network(const struct hr_filter_rule *rule, const struct target *target)
{
	if (rule->family == 0)
		return 1;
	if ((rule->family == 4) != (target->bits == 32))
		return 0;
	const uint32_t whole = rule->prefix / 8u, rest = rule->prefix % 8u;
	return memcmp(rule->destination, target->address, whole) == 0 &&
	       (rest == 0 || (rule->destination[whole] ^ target->address[whole]) >> (8 - rest) == 0);
}

static int fits(const struct hr_filter_rule *rule, const struct target *target)
{
	const int unknown = rule->action == HR_FILTER_DENY;

	if (!same_network(rule, target))
		return 0;
	if (rule->protocol != 0) {
		if (!target->protocol_known)
			return unknown;
		if (rule->protocol != target->protocol)
			return 0;
	}
	if (rule->first_port == 0 && rule->last_port == 65535)
		return 1;
	if (target->protocol_known && target->protocol != TCP && target->protocol != UDP)
		return 0;
	if (!target->port_known)
		return unknown;
	return rule->first_port <= target->port && target->port <= rule->last_port;
}

int hr_filter_valid(const struct hr_filter_rule *rules, uint32_t n)
{
	if (n > HR_FILTER_RULES)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t most = rules[i].family == 6 ? 128 : rules[i].family == 4 ? 32 : 0;
		if (rules[i].action > HR_FILTER_ALLOW || rules[i].prefix > most || rules[i].first_port > rules[i].last_port ||
		    (rules[i].family != 0 && most == 0))
			return 0;
	}
	return 1;
}

int hr_filter_allows(const struct hr_filter_rule *rules, uint32_t n, const uint8_t *packet, uint32_t len, uint32_t ppp_protocol)
{
	struct target target = {0};

	if (ppp_protocol == HR_PPP_IPV4)
		look4(&target, packet, len);
	else
		look6(&target, packet, len);
	for (uint32_t i = 0; i < n; i++) {
		if (fits(&rules[i], &target))
			return rules[i].action == HR_FILTER_ALLOW;
	}
	return 1;
}
