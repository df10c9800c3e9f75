/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe.h: one direction of MPPE on one session (RFC 3078), and the stages of it.
 */
#ifndef HEADRACE_MPPE_H
#define HEADRACE_MPPE_H

#include "grace.h"

/* The two octets in front of the ciphertext. */
enum {
	HR_MPPE_FLUSHED = 0x8000,    /* A: the key starts afresh with this packet */
	HR_MPPE_COMPRESSED = 0x6000, /* B, C: MPPC's */
	HR_MPPE_ENCRYPTED = 0x1000,  /* D */
	HR_MPPE_COUNT = 0x0fff
};

enum hr_mppe_mode {
	HR_MPPE_CLOSED = 0,
	HR_MPPE_STATELESS = 1,
	HR_MPPE_STATEFUL = 2,
	HR_MPPE_PLAIN = 3 /* compression without encryption */
};

/* What a peer does to its key when it sets A on a packet that is no flag packet. */
enum hr_mppe_habit {
	HR_HABIT_UNKNOWN = 0,
	HR_HABIT_KEEPS = 1,  /* RFC 3078, FreeBSD: RC4 begins anew with the key it had */
	HR_HABIT_CHANGES = 2 /* Linux: a new key for every A */
};

struct hr_mppe {
	_Atomic uint32_t owner; /* who holds the lock: number of a reader + 1, or HR_OWNER_WRITER; 0 = nobody */
	_Atomic uint32_t mode;	/* enum hr_mppe_mode; read without the lock */
	uint16_t count;		/* of the next packet */
	uint8_t bits;
	uint8_t key_len;
	uint8_t flush;		    /* outbound, stateful: the peer asked for a reset */
	uint8_t waiting;	    /* inbound, stateful: all is lost until A */
	uint8_t habit;		    /* inbound, stateful */
	uint8_t resets;		    /* inbound, stateful: asked for since the last good packet */
	_Atomic uint8_t compressed; /* the same as ccp != NULL, read without the lock, ... */
	_Atomic uint8_t bare;	    /* ... and that its method is Deflate */
	uint16_t first, last;	    /* packets of this pass, while the lock is held */
	uint32_t esp_serial;	    /* inbound: the SA and number that carried the last packet */
	uint64_t esp_seq;
	uint64_t reset_ns;	     /* when a reset was last asked for */
	_Atomic uint64_t step_clock; /* key changes that losses cost are limited (rate.h) */
	uint8_t start[16];
	uint8_t current[16];
	struct hr_rc4_state rc4; /* stateful */
	struct hr_ccp *ccp;	 /* compression; NULL: none. Belongs to whoever holds the lock */
};

#define HR_OWNER_WRITER UINT32_MAX

void hr_mppe_lock(struct hr_mppe *mppe, uint32_t self);
int hr_mppe_trylock(struct hr_mppe *mppe, uint32_t self);
void hr_mppe_unlock(struct hr_mppe *mppe);

/* The control plane's. Take the lock themselves. */
int hr_mppe_open(struct hr_mppe *mppe, const struct hr_mppe_config *config);
void hr_mppe_export(struct hr_mppe *mppe, struct hr_mppe_config *config);
void hr_mppe_flush(struct hr_mppe *mppe);
void hr_mppe_wipe(struct hr_mppe *mppe);

/* What is to be done with a packet of this session: enum hr_ccp_work, or -1 if it must be encrypted but cannot. */
int hr_mppe_wanted(const struct hr_session *session, const struct hr_plan *plan);

/* A CCP packet of ours is about to be sent: what it says of resets counts from here on. */
void hr_mppe_says(struct hr_session *session, const uint8_t *packet, uint32_t len);

hr_stage hr_mppe_encrypt; /* of those marked so: protocol field and information become a whole MPPE, MPPC or Deflate frame */
hr_stage hr_mppe_decrypt; /* off covers the MPPE header before, the frame's protocol field afterwards */

#endif
