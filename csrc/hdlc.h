/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc.h: PPP in HDLC-like framing (RFC 1662) for ptys and serial lines: flag, octet stuffing, FCS-16.
 *
 *     7e | frame, stuffed: ff 03 (unless compressed away), protocol, information | FCS, stuffed, low octet first | 7e
 *
 * 7e and 7d, and the control characters that the peer's map (ACCM) names, go as 7d and the octet with bit 5 turned over.
 */
#ifndef HEADRACE_HDLC_H
#define HEADRACE_HDLC_H

#include <stddef.h>
#include <stdint.h>

enum {
	HR_HDLC_FLAG = 0x7e,
	HR_HDLC_ESCAPE = 0x7d,
	HR_HDLC_FCS_LEN = 2,
	HR_HDLC_FRAME_MIN = 4, /* shorter ones are noise: address, control, and as much again (RFC 1662 section 3.3) */
	HR_HDLC_SLACK = 64     /* octets that kernels may write behind what they say they wrote */
};

/* Octets of output that a frame of len octets may need, slack included. */
static inline size_t hr_hdlc_room(size_t len)
{
	return 2 * (len + HR_HDLC_FCS_LEN) + 2 + HR_HDLC_SLACK;
}

/* Frame len octets from `frame` into out, which has hr_hdlc_room(len) octets and does not overlap it. `open`: begin with a
 * flag, as after idle time; every frame ends with one. Returns the octets that are to be sent. */
size_t hr_hdlc_encode(uint8_t *out, const uint8_t *frame, size_t len, uint32_t accm, int open);

/* One direction of a line. Set room and accm, zeros elsewhere. */
struct hr_hdlc_receiver {
	uint32_t room;	  /* longest frame with its FCS: MRU and 6 */
	uint32_t accm;	  /* control characters that only the line can have put in: dropped unless escaped */
	uint32_t len;	  /* of the frame so far */
	uint8_t escaped;  /* the octet before was an escape */
	uint8_t skipping; /* what comes until the next flag is lost */
	uint8_t spare[2];
	uint64_t good, bad_fcs, runts, aborts, too_long; /* frames */
};

/* Take in octets from the line until a good frame is whole; frame has room + HR_HDLC_SLACK octets and is kept from call to
 * call. Returns its length without FCS, or 0: the input is used up. *used octets of in were taken. */
size_t hr_hdlc_decode(struct hr_hdlc_receiver *receiver, uint8_t *frame, const uint8_t *in, size_t len, size_t *used);

#endif
