/* SPDX-License-Identifier: Apache-2.0
 *
 * io.h: packets in and out of the kernel, many a system call. Used by worker.c; io_udp.c, io_raw.c and io_tun.c implement it.
 * One struct belongs to one thread. Nothing here looks into a packet further than io needs to cut, join or address it.
 */
#ifndef HEADRACE_IO_H
#define HEADRACE_IO_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "gso.h"
#include "headrace.h"

/* --- counters -------------------------------------------------------------------------------------------------------- */

/* The fields of struct hr_engine_stats, in its order (asserted in engine.c). */
enum hr_io_counter {
	HR_IO_ROUNDS,
	HR_IO_TUN_READS,
	HR_IO_TUN_WRITES,
	HR_IO_SOCKET_READS,
	HR_IO_SOCKET_WRITES,
	HR_IO_RX_PACKETS,
	HR_IO_RX_BYTES,
	HR_IO_TX_PACKETS,
	HR_IO_TX_BYTES,
	HR_IO_EXCEPTIONS,
	HR_IO_EAGAIN,
	HR_IO_ENOBUFS,
	HR_IO_EMSGSIZE,
	HR_IO_ENETDOWN,
	HR_IO_OTHER_ERRNO,
	HR_IO_TUN_GSO_READS,
	HR_IO_TUN_GSO_WRITES,
	HR_IO_SOCKET_GSO_READS,
	HR_IO_SOCKET_GSO_WRITES,
	HR_IO_TUN_PACKETS_IN,
	HR_IO_TUN_PACKETS_OUT,
	HR_IO_PAUSED,
	HR_IO_ICMP,
	HR_IO_HANDED_OVER,
	HR_IO_DIRECT,
	HR_IO_COUNTERS
};

/* One writer, any number of readers. */
struct hr_io_stats {
	_Alignas(64) _Atomic uint64_t count[HR_IO_COUNTERS];
};

static inline void hr_io_add(struct hr_io_stats *stats, enum hr_io_counter which, uint64_t n)
{
	uint64_t old = atomic_load_explicit(&stats->count[which], memory_order_relaxed);
	atomic_store_explicit(&stats->count[which], old + n, memory_order_relaxed);
}

/* Count a failed system call under its errno. */
void hr_io_error(struct hr_io_stats *stats, int error);
/* Count packets that were lost outside of hr_encap() and hr_decap(), among all others (tally.c). Any thread. */
void hr_io_lost(struct hr_dp *dp, enum hr_status status, uint64_t packets, uint64_t bytes);
/* 1: hr_dp_events() has something to say (tally.c). */
int hr_io_events_wait(struct hr_dp *dp);
/* Which of `workers` sends to the session that owns the destination of an inner packet (home.c). The first that asks for a peer
 * that nobody sends to becomes its sender, and stays it: so all sessions of a peer keep their order, whichever worker reads
 * what is meant for them. `homes` is for the packets of a whole batch: the worker, or `self` where there is no such session.
 * With `direct` the default route does not count, and HR_HOME_NONE is said instead of `self`. */
enum { HR_HOME_NONE = 0xff };
void hr_homes(struct hr_dp *dp, const struct hr_batch *batch, uint32_t self, uint32_t workers, int direct, uint8_t *homes);

/* --- sockets --------------------------------------------------------------------------------------------------------- */

enum hr_io_limit {
	HR_INBOX_MESSAGES = 64,
	HR_INBOX_MESSAGE = 65536,		      /* the largest datagram, or the largest run that GRO makes */
	HR_INBOX_STRIDE = HR_INBOX_MESSAGE + 17 * 64, /* odd in cache lines: buffers do not fall on the same cache sets */
	HR_OUTBOX_BYTES = 65487			      /* of one GSO datagram, over IPv6 */
};

union hr_name {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

union hr_control {
	struct cmsghdr align;
	uint8_t octets[CMSG_SPACE(sizeof(int)) * 2];
};

/* What one recvmmsg() brought. */
struct hr_inbox {
	uint8_t *memory;  /* HR_INBOX_MESSAGES * HR_INBOX_STRIDE */
	uint32_t vlen;	  /* messages to ask for next time: few when GRO fills them */
	uint32_t n;	  /* messages in hand */
	uint32_t at;	  /* the message to describe next */
	uint32_t offset;  /* in it */
	uint32_t segment; /* length of the packets it is made of */
	uint32_t runs;	  /* messages so far that GRO made of several packets */
	uint8_t kind, listener, ecn;
	struct hr_endpoint remote;
	struct mmsghdr message[HR_INBOX_MESSAGES];
	struct iovec iov[HR_INBOX_MESSAGES];
	union hr_name name[HR_INBOX_MESSAGES];
	union hr_control control[HR_INBOX_MESSAGES];
};

/* `memory` is HR_INBOX_MESSAGES * HR_INBOX_STRIDE octets, and the arena of the descriptors. */
void hr_inbox_init(struct hr_inbox *inbox, uint8_t *memory);
/* Receive from a socket. The number of messages, 0 if there are none or on an error, which was counted and is in *error. */
uint32_t hr_inbox_receive(struct hr_inbox *inbox, int fd, uint8_t kind, uint8_t listener, struct hr_io_stats *stats,
			  int *error);
/* Describe up to `room` packets of what is in hand, for hr_decap(), without moving them. Their number, 0 at the end. Messages
 * that the kernel cut off are counted in *cut and left out. */
uint32_t hr_inbox_describe(struct hr_inbox *inbox, struct hr_desc *desc, uint32_t room, uint32_t *cut);

/* Raw sockets know no ports (io_raw.c): none in an address to send to, and none to believe in one received from. */
void hr_raw_name(union hr_name *name);

/* Sending what hr_encap() made. */
struct hr_outbox {
	const struct hr_listener *listener;
	uint32_t listeners;
	struct hr_dp *dp;
	struct hr_io_stats *stats;
	uint8_t gso;			  /* several packets of one size in one message */
	int blocked;			  /* the socket that is full, after hr_outbox_send() stopped early */
	const uint8_t *classes;		  /* traffic class for the outer header of each descriptor; NULL: 0 for all */
	uint64_t until[HR_LISTENERS_MAX]; /* no GSO above .limit until then: the path is too narrow, the kernel fragments */
	uint32_t limit[HR_LISTENERS_MAX];
	uint32_t n;	  /* messages being collected */
	uint32_t packets; /* iov entries in use */
	struct mmsghdr message[HR_BATCH_MAX];
	struct iovec iov[HR_BATCH_MAX];
	union hr_name name[HR_BATCH_MAX];
	union hr_control control[HR_BATCH_MAX];
	uint16_t first[HR_BATCH_MAX + 1]; /* descriptor that a message begins with */
};

void hr_outbox_init(struct hr_outbox *outbox, struct hr_dp *dp, const struct hr_listener *listener, uint32_t listeners,
		    uint8_t gso, struct hr_io_stats *stats);
/* Send the packets (HR_OK, HR_KIND_SEND_*) of a batch from descriptor `from` on. batch->n when all are done; less when a socket
 * is full: call again with that number when it has room. What the kernel refuses becomes HR_DROP_SOCKET and is counted. */
uint32_t hr_outbox_send(struct hr_outbox *outbox, struct hr_batch *batch, uint32_t from, uint64_t now_ns);
/* Give up what remains from `from` on for the socket that is full; hr_outbox_abandon() for all sockets. */
void hr_outbox_drop(struct hr_outbox *outbox, struct hr_batch *batch, uint32_t from);
void hr_outbox_abandon(struct hr_outbox *outbox, struct hr_batch *batch, uint32_t from);

/* --- TUN -------------------------------------------------------------------------------------------------------------- */

enum hr_tun_flag { HR_TUN_VNET = 1, HR_TUN_USO = 2 }; /* bits of hr_engine_config.tun_vnet_hdr */

struct hr_tun {
	int fd;		  /* -1: none, or gone */
	uint8_t flags;	  /* enum hr_tun_flag */
	uint8_t what;	  /* enum hr_merge_what: what this kernel takes coalesced */
	uint32_t cap;	  /* largest packet: the MTU */
	uint32_t stride;  /* of the slots */
	uint8_t *slots;	  /* the arena: HR_TUN_SLOTS */
	uint8_t *rest;	  /* what is read beyond the first slot; cap octets in front of it are free */
	uint32_t answers; /* ICMP messages that may still be sent; the worker's to fill up */
	struct hr_dp *dp;
	struct hr_io_stats *stats;
	struct hr_merge merge;
};

enum {
	HR_TUN_REST = 65536 + 256,
	HR_TUN_PIECES = 64,   /* fragments of one batch */
	HR_TUN_LETTERS = 128, /* packets that other workers handed over */
	/* they have their own slots, behind the batch's */
	HR_TUN_SLOTS = HR_BATCH_MAX + HR_TUN_PIECES + HR_TUN_LETTERS
};

/* Octets that a TUN needs for packets of at most mtu octets; the arena comes first in them, *arena octets. */
uint64_t hr_tun_memory(uint16_t mtu, uint64_t *arena);
void hr_tun_init(struct hr_tun *tun, int fd, uint8_t flags, uint16_t mtu, uint8_t *memory, struct hr_dp *dp,
		 struct hr_io_stats *stats);
/* Read packets into slots and describe them for hr_encap(), at most `most` of at most HR_BATCH_MAX. Their number. A queue that
 * does not exist any more sets tun->fd to -1. */
uint32_t hr_tun_receive(struct hr_tun *tun, struct hr_desc *desc, uint32_t most);
/* Where the slots begin that are nobody's, and describe a packet of `len` octets in one of them. */
uint8_t *hr_tun_letter(const struct hr_tun *tun, uint32_t n);
void hr_tun_letter_describe(const struct hr_tun *tun, struct hr_desc *desc, uint32_t n, uint32_t len);
/* The traffic classes of inner packets, as far as the outer headers shall show them (enum hr_tos). */
void hr_tun_classes(const struct hr_batch *batch, uint8_t tos, uint8_t *classes);
/* Write the IP packets that came out of hr_decap(), in runs where that is possible. */
void hr_tun_send(struct hr_tun *tun, struct hr_batch *batch);
/* What hr_encap() found too big (HR_DROP_TOO_BIG): packets that may be cut are, into fragments that are described in `pieces`
 * (of the same arena, room for HR_TUN_PIECES) and go through hr_encap() again; the senders of the others are told by ICMP, as
 * long as tun->answers lasts. */
void hr_tun_too_big(struct hr_tun *tun, const struct hr_batch *batch, struct hr_batch *pieces);

#endif
