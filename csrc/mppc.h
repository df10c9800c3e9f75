/* SPDX-License-Identifier: Apache-2.0
 *
 * mppc.h: Microsoft's PPP compression (RFC 2118), one direction of one session.
 *
 * Both ends keep the last 8,192 octets of what was sent. A frame is appended to them and sent as literals and copies:
 *
 *     literal 00..7f   0 and 7 bits          literal 80..ff   10 and the lower 7 bits
 *     copy             distance, then length
 *       distance 0..63      1111 and 6 bits        length 3                0
 *                64..319    1110 and 8 bits               2^k..2^(k+1)-1   k - 1 ones, 0, k bits (k = 2 .. 12)
 *                320..8191  110 and 13 bits
 *
 * the most significant bit first, the last octet filled up with zeros. A frame never wraps around the history: where it does
 * not fit, it goes to the front (B). What would not become smaller is sent as it is and is no part of the history, which both
 * ends then give up (A on the next packet).
 */
#ifndef HEADRACE_MPPC_H
#define HEADRACE_MPPC_H

#include <stdint.h>

enum { HR_MPPC_HISTORY = 8192, HR_MPPC_HASHES = 4096 };

/* The upper bits of the two octets in front of the data; the lower 12 are the coherency count, which is the caller's. */
enum hr_mppc_bits {
	HR_MPPC_FLUSHED = 0x8000,   /* A: the history begins anew with this packet */
	HR_MPPC_FRONT = 0x4000,	    /* B: this packet is at the front of the history */
	HR_MPPC_COMPRESSED = 0x2000 /* C */
};

/* All zeros is a fresh one. Its fields belong to mppc.c. */
struct hr_mppc_sender {
	uint32_t used;	  /* octets of the history */
	uint32_t started; /* 0: A is due on the next packet */
	uint8_t history[HR_MPPC_HISTORY];
	uint16_t newest[HR_MPPC_HASHES]; /* place + 1 of the last three octets with that hash; 0: none */
	uint16_t older[HR_MPPC_HISTORY]; /* [place]: the one before, likewise */
};

struct hr_mppc_receiver {
	uint32_t used;
	uint32_t written; /* octets of the history that hold something: more than used after a return to the front */
	uint32_t started; /* 0: all is lost until A */
	uint8_t history[HR_MPPC_HISTORY];
};

enum hr_mppc_result {
	HR_MPPC_OK = 0,
	HR_MPPC_MALFORMED = 1, /* no compressed frame is like that; the receiver waits for A, a Reset-Request is due */
	HR_MPPC_LOST = 2,      /* waiting for A */
	HR_MPPC_TOO_LONG = 3   /* the frame does not fit the room, or the history; the receiver waits for A */
};

/* Compress a frame (protocol field and information) into out, which must not overlap it. Returns the bits for the packet's
 * header. With HR_MPPC_COMPRESSED *out_len octets were written, fewer than len and at most room; else the frame is to be sent
 * as it is, and out is undefined. Time is bounded by len. */
uint32_t hr_mppc_compress(struct hr_mppc_sender *sender, const uint8_t *frame, uint32_t len, uint8_t *out, uint32_t room,
			  uint32_t *out_len);
/* The peer asked for a reset: A on the next packet. */
void hr_mppc_reset(struct hr_mppc_sender *sender);

/* The frame of a packet with these header bits, into out, which must not overlap in; enum hr_mppc_result. Writes at most room
 * octets, whatever comes in. */
enum hr_mppc_result hr_mppc_expand(struct hr_mppc_receiver *receiver, uint32_t bits, const uint8_t *in, uint32_t len,
				   uint8_t *out, uint32_t room, uint32_t *out_len);
/* A packet is missing: nothing more until A. */
void hr_mppc_lose(struct hr_mppc_receiver *receiver);

#endif
