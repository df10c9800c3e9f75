/* SPDX-License-Identifier: Apache-2.0
 *
 * ccp.h: compression on one direction of a session, as CCP agreed it (RFC 1962): MPPC, alone or under MPPE, or Deflate.
 *
 * It works inside mppe.c's passes, under the lock of its direction, for its packets are to be worked in order just as MPPE's
 * are.
 */
#ifndef HEADRACE_CCP_H
#define HEADRACE_CCP_H

#include "batch.h"
#include "deflate.h"
#include "mppc.h"

enum { HR_CCP_RESET_REQUEST = 14, HR_CCP_RESET_ACK = 15 };

struct hr_ccp {
	uint8_t method; /* enum hr_compression */
	uint8_t outbound;
	uint8_t restart;  /* MPPC: every packet has a history of its own */
	uint8_t waiting;  /* Deflate, inbound: nothing more until the Reset-Ack */
	uint8_t asked;	  /* Deflate, inbound: a Reset-Request is on its way ... */
	uint8_t asked_id; /* ... with this identifier */
	union {
		struct hr_mppc_sender sender;
		struct hr_mppc_receiver receiver;
		struct hr_deflate deflate;
	};
};

/* The control plane's. NULL: *error says why. */
struct hr_ccp *hr_ccp_new(const struct hr_mppe_config *config, int *error);
void hr_ccp_free(struct hr_ccp *ccp); /* wipes; NULL is nothing */

/* --- MPPC, with the direction's lock held --- */

/* The history begins anew: A on the next packet. */
void hr_ccp_flush(struct hr_ccp *ccp);
/* Compress packet i, protocol field and information, where it lies. The bits for its header. */
uint32_t hr_ccp_mppc_compress(struct hr_work *work, struct hr_ccp *ccp, uint32_t i);
/* Expand it: HR_PENDING, or why not. */
enum hr_status hr_ccp_mppc_expand(struct hr_work *work, struct hr_ccp *ccp, uint32_t i);

/* --- Deflate, likewise --- */

/* 1: packet i has become a compressed one, header and all; 0: it stays in its own form. */
int hr_ccp_deflate_compress(struct hr_work *work, struct hr_ccp *ccp, uint32_t i);
enum hr_status hr_ccp_deflate_expand(struct hr_work *work, struct hr_ccp *ccp, uint32_t i);
/* A frame that came in its own form goes into the history. */
enum hr_status hr_ccp_deflate_note(struct hr_work *work, struct hr_ccp *ccp, uint32_t i);
/* A Reset-Request or Reset-Ack passes: `ours` tells which way. */
void hr_ccp_reset_passes(struct hr_ccp *ccp, uint32_t code, uint32_t identifier, int ours);

/* Put `len` octets in place of packet i: where it is if they fit there, else into the spare room of the batch, with `head`
 * octets of room in front. NULL if they fit nowhere; else where they are to be written. The packet's octets must not be needed
 * any more. */
uint8_t *hr_ccp_place(struct hr_work *work, uint32_t i, uint32_t len);

#endif
