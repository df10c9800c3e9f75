/* SPDX-License-Identifier: Apache-2.0
 *
 * relay.h: inner packets that came to one worker and that another must send: its letter box. Any worker puts in, the owner
 * takes out. Bounded like the rings (ring.h): the packets for one peer take no more than a quarter.
 */
#ifndef HEADRACE_RELAY_H
#define HEADRACE_RELAY_H

#include <pthread.h>

#include "ring.h"

struct hr_relay {
	pthread_mutex_t lock; /* of those who put in */
	struct hr_ring ring;
	int wake; /* eventfd; -1: not made */
	_Atomic int told;
};

/* 0, HR_E_MEMORY or HR_E_SYSTEM. */
int hr_relay_init(struct hr_relay *relay, uint32_t slots);
void hr_relay_free(struct hr_relay *relay);
/* 1, or 0 if there is no room. hr_relay_tell() afterwards, once for any number. */
int hr_relay_put(struct hr_relay *relay, const struct hr_desc *desc, const uint8_t *packet, uint32_t origin);
void hr_relay_tell(struct hr_relay *relay);
/* The owner's. Call hr_relay_heard() before taking out what there is: later letters ring again. */
void hr_relay_heard(struct hr_relay *relay);
int hr_relay_take(struct hr_relay *relay, struct hr_desc *desc, uint8_t *to, uint32_t room);

#endif
