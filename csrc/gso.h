/* SPDX-License-Identifier: Apache-2.0
 *
 * gso.h: segmentation offload in software. Cut the large TCP or UDP segment that the kernel hands over with a virtio-net
 * header into packets, and put packets of one flow together again into one segment. No system calls; every length is checked.
 */
#ifndef HEADRACE_GSO_H
#define HEADRACE_GSO_H

#include "headrace.h"

enum hr_gso_limit {
	HR_GSO_SEGMENTS = 64, /* out of one read; the device is told so by gso_max_segs */
	HR_GSO_BYTES = 65535, /* of one coalesced IP packet */
	HR_GSO_HEADERS = 128, /* IPv4 with options 60 + TCP with options 60, rounded up */
	HR_MERGE_TABLE = 256  /* flows that are remembered within one batch */
};

/* The header in front of every packet of a TUN with IFF_VNET_HDR: struct virtio_net_hdr, legacy layout, host byte order. */
struct hr_vnet {
	uint8_t flags;	      /* enum hr_vnet_flag */
	uint8_t type;	      /* enum hr_vnet_type */
	uint16_t hdr_len;     /* link to transport headers: a hint */
	uint16_t gso_size;    /* transport payload of one segment */
	uint16_t csum_start;  /* where the transport header begins */
	uint16_t csum_offset; /* of the checksum in it */
};

enum hr_vnet_flag { HR_VNET_NEEDS_CSUM = 1 };
enum hr_vnet_type { HR_VNET_NONE = 0, HR_VNET_TCPV4 = 1, HR_VNET_TCPV6 = 4, HR_VNET_UDP_L4 = 5, HR_VNET_ECN = 0x80 };

/* Ones' complement arithmetic (RFC 1071) on 16-bit words in memory order: independent of the processor's byte order. Sums may
 * be added; a piece of odd length must be the last. */
uint64_t hr_sum(const uint8_t *data, size_t len);
uint64_t hr_sum_copy(uint8_t *to, const uint8_t *from, size_t len); /* copies on the way; the two do not overlap */
uint16_t hr_sum_fold(uint64_t sum);				    /* to 16 bits, not inverted */

/* HR_OK if this is one whole IPv4 or IPv6 packet of at most len octets, of which `held` can be looked at; its true length goes
 * to *total. Else HR_DROP_TUN_MALFORMED. */
enum hr_status hr_ip_whole(const uint8_t *packet, uint32_t held, uint32_t len, uint32_t *total);

/* Complete the checksum of a packet that is not segmented. HR_OK or HR_DROP_GSO_MALFORMED. */
enum hr_status hr_gso_complete(const struct hr_vnet *vnet, uint8_t *packet, uint32_t len);

/* One large segment, as read: `held` octets at `packet` (the first slot), the others at `rest`, in front of which `cap` octets
 * may be written. */
struct hr_gso_read {
	uint8_t *packet;
	uint8_t *rest;
	uint32_t len;	 /* of both */
	uint32_t held;	 /* min(len, cap) */
	uint32_t cap;	 /* room for a packet in a slot */
	uint32_t stride; /* slot i begins at packet + i * stride */
};

/* Cut it: segment i lies in slot i, complete with checksums, and is len[i] long. The number of segments, 1 to HR_GSO_SEGMENTS,
 * or 0 with the reason in *why: HR_DROP_TUN_MALFORMED, HR_DROP_GSO_MALFORMED, HR_DROP_TOO_BIG (a segment exceeds cap). */
uint32_t hr_gso_split(const struct hr_vnet *vnet, const struct hr_gso_read *read, uint32_t len[HR_GSO_SEGMENTS],
		      enum hr_status *why);

/* What becomes one write: packets of one flow in order, chained by hr_merge.next. */
struct hr_run {
	uint32_t bytes; /* IP packet that the run makes: first header and all payloads */
	uint32_t next_seq;
	uint16_t first, last; /* descriptors */
	uint16_t count;
	uint16_t size;	 /* payload of every packet but the last */
	uint8_t thoff;	 /* where the transport header begins */
	uint8_t hlen;	 /* all headers */
	uint8_t type;	 /* enum hr_vnet_type */
	uint8_t open;	 /* more may follow */
	uint8_t checked; /* the first packet's checksums were found right */
	uint8_t push;	 /* a later packet carries PSH */
};

struct hr_merge {
	uint32_t runs;
	struct hr_run run[HR_BATCH_MAX];
	uint16_t next[HR_BATCH_MAX];	/* descriptor that follows in the same run */
	uint16_t table[HR_MERGE_TABLE]; /* flow hash: run + 1, 0 = none */
};

enum hr_merge_what { HR_MERGE_NOTHING = 0, HR_MERGE_TCP = 1, HR_MERGE_UDP = 2 };

/* Plan the writes for the IP packets (HR_OK, HR_KIND_IP) of a batch that came out of decap. A packet is only put behind
 * another if both have right checksums, because the kernel takes the sum of a coalesced segment on trust. */
void hr_merge_plan(struct hr_merge *merge, const struct hr_batch *batch, uint32_t what);

/* Turn the first packet's headers into those of the whole run, and fill in the header for the kernel. */
void hr_merge_head(const struct hr_run *run, uint8_t *packet, struct hr_vnet *vnet);

#endif
