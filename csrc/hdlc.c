/* SPDX-License-Identifier: Apache-2.0
 *
 * hdlc.c: PPP frames to octets of a serial line and back (RFC 1662), on top of the chosen kernels.
 */
#include "hdlc.h"

#include "cpu.h"

enum { FCS_BEGIN = 0xffff, FCS_GOOD = 0xf0b8 };

size_t hr_hdlc_encode(uint8_t *out, const uint8_t *frame, size_t len, uint32_t accm, int open)
{
	const uint16_t fcs = (uint16_t)~hr_kernel.fcs16.run(FCS_BEGIN, frame, len);
	const uint8_t tail[HR_HDLC_FCS_LEN] = {(uint8_t)fcs, (uint8_t)(fcs >> 8)};
	uint8_t *at = out;

	if (open)
		*at++ = HR_HDLC_FLAG;
	at += hr_kernel.stuff.run(at, frame, len, accm);
	at += hr_stuff_portable(at, tail, sizeof tail, accm);
	*at++ = HR_HDLC_FLAG;
	return (size_t)(at - out);
}

/* A flag has come: the length of the frame behind us without FCS if it is good, else 0. */
static size_t end_frame(struct hr_hdlc_receiver *r, const uint8_t *frame)
{
	const uint32_t len = r->len;
	const int skipped = r->skipping, aborted = r->escaped;

	r->len = 0;
	r->escaped = 0;
	r->skipping = 0;
	if (skipped)
		return 0; /* counted when it began */
	if (aborted) {
		r->aborts++;
		return 0;
	}
	if (len < HR_HDLC_FRAME_MIN) {
		r->runts += len != 0; /* one flag may close a frame and open the next, and idle lines send flags */
		return 0;
	}
	if (hr_kernel.fcs16.run(FCS_BEGIN, frame, len) != FCS_GOOD) {
		r->bad_fcs++;
		return 0;
	}
	r->good++;
	return len - HR_HDLC_FCS_LEN;
}

size_t hr_hdlc_decode(struct hr_hdlc_receiver *r, uint8_t *frame, const uint8_t *in, size_t len, size_t *used)
{
	size_t at = 0;

	while (at < len) {
		if (in[at] == HR_HDLC_FLAG) {
			at++;
			const size_t done = end_frame(r, frame);
			if (done != 0) {
				*used = at;
				return done;
			}
			continue;
		}
		/* No more octets at a time than there is room for: an octet in is at most an octet out. */
		const size_t space = r->room - r->len;
		if (space == 0 && !r->skipping) {
			r->too_long++;
			r->skipping = 1;
		}
		if (r->skipping) {
			r->len = 0;
			r->escaped = 0;
			while (at < len && in[at] != HR_HDLC_FLAG)
				at++;
			continue;
		}
		size_t taken;
		r->len += (uint32_t)hr_kernel.unstuff.run(frame + r->len, in + at, len - at < space ? len - at : space, r->accm,
							  &r->escaped, &taken);
		at += taken;
	}
	*used = at;
	return 0;
}
