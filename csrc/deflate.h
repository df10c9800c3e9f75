/* SPDX-License-Identifier: Apache-2.0
 *
 * deflate.h: PPP Deflate (RFC 1979), one direction of one session, on the system's zlib.
 *
 *     00fd | sequence number (16 bits) | raw deflate data, flushed at its end, without the last four octets 00 00 ff ff
 *
 * What is compressed is the protocol field, in one octet where it fits, and the information. A frame that would not become
 * smaller goes in its own form, has a number all the same, and both ends take it into their history.
 *
 * zlib is found when the first session wants it (dlopen), so the library needs nothing but libc to build, to link and to run;
 * where there is none, hr_deflate_available() says so and CCP refuses the option. That is on the hot path and in C, unlike a
 * way through the control plane, which would cost a wake-up, a copy and the interpreter for every packet.
 */
#ifndef HEADRACE_DEFLATE_H
#define HEADRACE_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

enum {
	HR_DEFLATE_HEADER = 2,
	HR_DEFLATE_WINDOW_LEAST = 9, /* RFC 1979 knows 8 as well; zlib has no raw stream with it */
	HR_DEFLATE_WINDOW_MOST = 15
};

/* The stream of zlib.h, whose layout zlib checks by its size. */
struct hr_z {
	const uint8_t *next_in;
	unsigned int avail_in;
	unsigned long total_in;
	uint8_t *next_out;
	unsigned int avail_out;
	unsigned long total_out;
	const char *msg;
	void *state;
	void *(*zalloc)(void *opaque, unsigned int items, unsigned int size);
	void (*zfree)(void *opaque, void *address);
	void *opaque;
	int data_type;
	unsigned long adler;
	unsigned long reserved;
};

struct hr_deflate {
	struct hr_z z;
	uint16_t number; /* of the next frame */
};

enum hr_deflate_result {
	HR_DEFLATE_OK = 0,
	HR_DEFLATE_MALFORMED = 1, /* no deflate data, or more output than there is room for */
	HR_DEFLATE_GAP = 2	  /* a frame is missing */
};

/* 0, HR_E_ARGUMENT (window), HR_E_UNSUPPORTED (no zlib on this machine), HR_E_MEMORY. */
int hr_deflate_open(struct hr_deflate *d, uint32_t outbound, uint32_t window);
void hr_deflate_close(struct hr_deflate *d, uint32_t outbound); /* wipes all that zlib had */
void hr_deflate_reset(struct hr_deflate *d, uint32_t outbound);

/* Compress a frame into out, which has room octets: header and data; 0 if it is to be sent in its own form. Either way it has
 * used up a number and is in the history. */
uint32_t hr_deflate_compress(struct hr_deflate *d, const uint8_t *frame, uint32_t len, uint8_t *out, uint32_t room);
/* Expand a frame from behind its header into out: at most room octets, whatever comes in. */
enum hr_deflate_result hr_deflate_expand(struct hr_deflate *d, uint16_t number, const uint8_t *in, uint32_t len, uint8_t *out,
					 uint32_t room, uint32_t *out_len);
/* A frame came in its own form. */
enum hr_deflate_result hr_deflate_note(struct hr_deflate *d, const uint8_t *frame, uint32_t len);

#endif
