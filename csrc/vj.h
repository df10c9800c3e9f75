/* SPDX-License-Identifier: Apache-2.0
 *
 * vj.h: Van Jacobson's compression of TCP/IP headers (RFC 1144), one direction of one session.
 *
 * Both ends keep the last header of a few connections. A packet whose header differs from it in the usual ways only goes as
 *
 *     +-+-+-+-+-+-+-+-+----------------+-----------------+-------------------------------------------------
 *     |0|C|I|P|S|A|W|U| slot, if C     | TCP checksum    | urgent (U), window (W), ack (A), sequence (S), id (I)
 *     +-+-+-+-+-+-+-+-+----------------+-----------------+-------------------------------------------------
 *
 * each difference in one octet, or as 0 and two octets. S, W, U together mean both sequence and ack moved by the data of the
 * packet before, S, A, W, U that the sequence alone did; an id without I moved by one. Any other TCP packet goes whole, with
 * the slot in place of IP's protocol number, and both ends take its header; what is not plain TCP goes as ordinary IP.
 *
 * A lost packet makes the next differences wrong. The receiver checks TCP's own checksum, which crosses unchanged, so that
 * nothing it has pieced together wrongly is ever delivered, and forgets the slot: the sender's retransmission goes whole.
 */
#ifndef HEADRACE_VJ_H
#define HEADRACE_VJ_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	HR_VJ_SLOTS = 16,   /* RFC 1144's own number, and all that pppd accepts */
	HR_VJ_HEADER = 120, /* IP and TCP headers, options and all */
	HR_VJ_GROWTH = 120  /* octets that expanding can add, at most */
};

enum hr_vj_form { HR_VJ_IP = 0x0021, HR_VJ_COMPRESSED = 0x002d, HR_VJ_UNCOMPRESSED = 0x002f }; /* PPP protocol numbers */

struct hr_vj_slot {
	uint16_t len; /* of the header; 0: none is known */
	uint16_t spare;
	uint32_t used; /* sender: when, by the count of its packets */
	uint8_t header[HR_VJ_HEADER];
};

struct hr_vj {
	uint32_t slots;
	uint32_t omit_slot; /* sender: the peer takes packets without a slot if it is that of the packet before */
	uint32_t last;	    /* slot of the last packet, or HR_VJ_SLOTS */
	uint32_t clock;	    /* sender */
	uint8_t latest;	    /* sender: where to look first */
	uint8_t tossing;    /* receiver: nothing without a slot number is believed */
	uint8_t spare[2];
	struct hr_vj_slot slot[HR_VJ_SLOTS];
};

/* slots: 1 to HR_VJ_SLOTS. */
void hr_vj_init(struct hr_vj *vj, uint32_t slots, uint32_t omit_slot);

/* Compress the header of a whole IPv4 packet in place: *packet and *len move to what is to be sent. */
enum hr_vj_form hr_vj_compress(struct hr_vj *vj, uint8_t **packet, uint32_t *len);

enum hr_vj_result {
	HR_VJ_OK = 0,
	HR_VJ_MALFORMED = 1, /* no packet is like that */
	HR_VJ_LOST = 2	     /* it builds on a header that is not known, or the checksum says on a wrong one */
};

/* Expand what came as `form` (HR_VJ_COMPRESSED or HR_VJ_UNCOMPRESSED). The payload stays where it is; the header, of
 * *header_len octets, is to be put in front of the *payload_len octets at *payload. Writes nothing but header (HR_VJ_HEADER
 * octets). */
enum hr_vj_result hr_vj_expand(struct hr_vj *vj, enum hr_vj_form form, const uint8_t *in, uint32_t len, uint8_t *header,
			       uint32_t *header_len, const uint8_t **payload, uint32_t *payload_len);

/* One direction of a session as the stages use it (vj_stage.c). */
struct hr_vj_state {
	_Atomic uint32_t lock;
	struct hr_vj vj;
};

#endif
