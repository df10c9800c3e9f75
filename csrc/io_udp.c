/* SPDX-License-Identifier: Apache-2.0
 *
 * io_udp.c: inbox and outbox, the sockets' side of a worker.
 *
 * Inbox: one recvmmsg() fills up to 64 buffers. With UDP GRO a buffer holds a run of packets of one size from one sender:
 *
 *   | packet 0 | packet 1 | ... | packet n-1 |   control message UDP_GRO: the size
 *
 * each of which becomes a descriptor where it lies. Outbox: the reverse. Neighbouring descriptors of one size to one remote
 * become one message of many pieces with a control message UDP_SEGMENT; the last may be shorter.
 */
#include "io.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	GSO_PACKETS = 64,	   /* UDP_MAX_SEGMENTS of older kernels */
	GSO_PAUSE_NS = 1000000000, /* how long a narrow path is remembered */
	FULL_MESSAGE = 16384,	   /* a mean above it says that GRO is at work */
	FEW_MESSAGES = 8
};

void hr_io_error(struct hr_io_stats *stats, int error)
{
	switch (error) {
	case EAGAIN:
		hr_io_add(stats, HR_IO_EAGAIN, 1);
		break;
	case ENOBUFS:
	case ENOMEM:
		hr_io_add(stats, HR_IO_ENOBUFS, 1);
		break;
	case EMSGSIZE:
		hr_io_add(stats, HR_IO_EMSGSIZE, 1);
		break;
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENODEV:
	case EIO: /* a TUN that is down */
		hr_io_add(stats, HR_IO_ENETDOWN, 1);
		break;
	default:
		hr_io_add(stats, HR_IO_OTHER_ERRNO, 1);
	}
}

/* --- inbox ------------------------------------------------------------------------------------------------------------ */

void hr_inbox_init(struct hr_inbox *inbox, uint8_t *memory)
{
	memset(inbox, 0, sizeof *inbox);
	inbox->memory = memory;
	inbox->vlen = HR_INBOX_MESSAGES;
	for (uint32_t i = 0; i < HR_INBOX_MESSAGES; i++) {
		inbox->iov[i] = (struct iovec){memory + (size_t)i * HR_INBOX_STRIDE, HR_INBOX_MESSAGE};
		inbox->message[i].msg_hdr = (struct msghdr){
		    .msg_name = &inbox->name[i],
		    .msg_iov = &inbox->iov[i],
		    .msg_iovlen = 1,
		    .msg_control = &inbox->control[i],
		};
	}
}

uint32_t hr_inbox_receive(struct hr_inbox *inbox, int fd, uint8_t kind, uint8_t listener, struct hr_io_stats *stats, int *error)
{
	for (uint32_t i = 0; i < inbox->vlen; i++) {
		inbox->message[i].msg_hdr.msg_namelen = sizeof inbox->name[i];
		inbox->message[i].msg_hdr.msg_controllen = sizeof inbox->control[i];
	}
	inbox->kind = kind;
	inbox->listener = listener;
	inbox->n = inbox->at = inbox->offset = inbox->segment = inbox->runs = 0;
	hr_io_add(stats, HR_IO_SOCKET_READS, 1);
	int n = recvmmsg(fd, inbox->message, inbox->vlen, MSG_DONTWAIT, NULL);
	if (n < 0) {
		*error = errno;
		if (*error != EINTR)
			hr_io_error(stats, *error);
		return 0;
	}
	*error = 0;
	inbox->n = (uint32_t)n;
	/* What is in flight in one round should fit the cache: 8 full messages are as much as 64 packets with a long way to go.
	 */
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < inbox->n; i++)
		bytes += inbox->message[i].msg_len;
	if (inbox->n)
		inbox->vlen = bytes / inbox->n > FULL_MESSAGE ? FEW_MESSAGES : HR_INBOX_MESSAGES;
	hr_io_add(stats, HR_IO_RX_BYTES, bytes);
	return inbox->n;
}

/* Sender, segment size and ECN of message `at`. */
static void open_message(struct hr_inbox *inbox)
{
	struct msghdr *header = &inbox->message[inbox->at].msg_hdr;
	union hr_name *name = &inbox->name[inbox->at];

	if (inbox->kind == HR_KIND_RAW4 || inbox->kind == HR_KIND_RAW6)
		hr_raw_name(name);
	inbox->remote = (struct hr_endpoint){0};
	if (header->msg_namelen >= sizeof name->in && name->any.sa_family == AF_INET) {
		inbox->remote.family = 4;
		inbox->remote.port = ntohs(name->in.sin_port);
		memcpy(inbox->remote.addr, &name->in.sin_addr, 4);
	} else if (header->msg_namelen >= sizeof name->in6 && name->any.sa_family == AF_INET6) {
		inbox->remote.family = 6;
		inbox->remote.port = ntohs(name->in6.sin6_port);
		memcpy(inbox->remote.addr, &name->in6.sin6_addr, 16);
	}

	inbox->segment = inbox->message[inbox->at].msg_len;
	inbox->ecn = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		int value = 0;
		size_t len = c->cmsg_len - CMSG_LEN(0);
		if (c->cmsg_len < CMSG_LEN(1))
			continue;
		memcpy(&value, CMSG_DATA(c), len < sizeof value ? len : sizeof value);
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && value > 0)
			inbox->segment = (uint32_t)value;
		else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			inbox->ecn = CMSG_DATA(c)[0] & 3;
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
			inbox->ecn = (uint8_t)value & 3;
	}
	inbox->runs += inbox->segment < inbox->message[inbox->at].msg_len;
}

uint32_t hr_inbox_describe(struct hr_inbox *inbox, struct hr_desc *desc, uint32_t room, uint32_t *cut)
{
	uint32_t n = 0;

	*cut = 0;
	while (n < room && inbox->at < inbox->n) {
		uint32_t len = inbox->message[inbox->at].msg_len;
		if (inbox->offset == 0) {
			if (inbox->message[inbox->at].msg_hdr.msg_flags & MSG_TRUNC) {
				++*cut;
				inbox->at++;
				continue;
			}
			open_message(inbox);
		}
		uint32_t left = len - inbox->offset;
		uint32_t size = inbox->segment < left ? inbox->segment : left;
		uint32_t start = (uint32_t)(inbox->at * (uint32_t)HR_INBOX_STRIDE + inbox->offset);
		uint32_t end = inbox->offset + size == len ? (inbox->at + 1) * (uint32_t)HR_INBOX_STRIDE : start + size;
		uint32_t tail = end - start - size;
		desc[n++] = (struct hr_desc){
		    .off = start,
		    .len = size,
		    .room_tail = (uint16_t)(tail < 4096 ? tail : 4096),
		    .status = HR_PENDING,
		    .kind = inbox->kind,
		    .flags = inbox->ecn == 3 ? HR_FLAG_ECN_CE : 0,
		    .listener = inbox->listener,
		    .sa = HR_NONE,
		    .session = HR_NONE,
		    .peer = HR_NONE,
		    .remote = inbox->remote,
		};
		inbox->offset += size;
		if (inbox->offset >= len) {
			inbox->at++;
			inbox->offset = 0;
		}
	}
	return n;
}

/* --- outbox ----------------------------------------------------------------------------------------------------------- */

void hr_outbox_init(struct hr_outbox *outbox, struct hr_dp *dp, const struct hr_listener *listener, uint32_t listeners,
		    uint8_t gso, struct hr_io_stats *stats)
{
	memset(outbox, 0, sizeof *outbox);
	outbox->listener = listener;
	outbox->listeners = listeners;
	outbox->dp = dp;
	outbox->gso = gso;
	outbox->stats = stats;
	outbox->blocked = -1;
}

static int socket_of(const struct hr_outbox *outbox, const struct hr_desc *desc)
{
	if (desc->listener >= outbox->listeners)
		return -1;
	const struct hr_listener *listener = &outbox->listener[desc->listener];
	if (desc->remote.family != listener->family)
		return -1;
	switch (desc->kind) {
	case HR_KIND_SEND_UDP4500:
		return listener->udp4500;
	case HR_KIND_SEND_RAW:
		return listener->raw;
	case HR_KIND_SEND_UDP1701:
		return listener->udp1701;
	default:
		return -1;
	}
}

static socklen_t name_of(const struct hr_desc *desc, union hr_name *name)
{
	socklen_t len;
	memset(name, 0, sizeof *name);
	if (desc->remote.family == 6) {
		name->in6.sin6_family = AF_INET6;
		name->in6.sin6_port = htons(desc->remote.port);
		memcpy(&name->in6.sin6_addr, desc->remote.addr, 16);
		len = sizeof name->in6;
	} else {
		name->in.sin_family = AF_INET;
		name->in.sin_port = htons(desc->remote.port);
		memcpy(&name->in.sin_addr, desc->remote.addr, 4);
		len = sizeof name->in;
	}
	if (desc->kind == HR_KIND_SEND_RAW)
		hr_raw_name(name);
	return len;
}

static void refuse(struct hr_outbox *outbox, struct hr_desc *desc)
{
	desc->status = HR_DROP_SOCKET;
	hr_io_lost(outbox->dp, HR_DROP_SOCKET, 1, desc->len);
}

static int same_remote(const struct hr_desc *a, const struct hr_desc *b)
{
	return a->kind == b->kind && a->listener == b->listener && memcmp(&a->remote, &b->remote, sizeof a->remote) == 0;
}

static uint8_t class_of(const struct hr_outbox *outbox, uint32_t i)
{
	return outbox->classes ? outbox->classes[i] : 0;
}

/* Put one more control message behind those that are there. */
static void control(struct msghdr *header, union hr_control *memory, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)(memory->octets + header->msg_controllen);

	*c = (struct cmsghdr){.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(len)};
	memcpy(CMSG_DATA(c), value, len);
	header->msg_control = memory;
	header->msg_controllen += CMSG_SPACE(len);
}

/* Make one message that begins with descriptor i, which is to be sent; the descriptor behind the message. */
static uint32_t collect(struct hr_outbox *outbox, const struct hr_batch *batch, uint32_t i, uint64_t now_ns)
{
	const struct hr_desc *head = &batch->desc[i];
	uint32_t m = outbox->n++;
	struct msghdr *header = &outbox->message[m].msg_hdr;
	uint32_t size = head->len, bytes = 0, pieces = 0, next = i;
	uint32_t most = 1;

	if (outbox->gso && head->kind == HR_KIND_SEND_UDP4500 && size > 0 && head->remote.port != 0 &&
	    (size <= outbox->limit[head->listener] || now_ns >= outbox->until[head->listener]))
		most = GSO_PACKETS;
	outbox->first[m] = (uint16_t)i;
	struct iovec *iov = &outbox->iov[outbox->packets];
	for (; next < batch->n && pieces < most; next++) {
		const struct hr_desc *d = &batch->desc[next];
		if (d->status != HR_OK)
			continue;
		if (pieces && (d->len > size || bytes + d->len > HR_OUTBOX_BYTES || !same_remote(head, d) ||
			       class_of(outbox, next) != class_of(outbox, i)))
			break;
		iov[pieces++] = (struct iovec){batch->arena + d->off, d->len};
		bytes += d->len;
		if (d->len < size) {
			next++;
			break;
		}
	}
	outbox->packets += pieces;
	*header = (struct msghdr){.msg_name = &outbox->name[m], .msg_iov = iov, .msg_iovlen = pieces};
	header->msg_namelen = name_of(head, &outbox->name[m]);
	if (pieces > 1) {
		uint16_t segment = (uint16_t)size;
		control(header, &outbox->control[m], IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
	}
	const int class = class_of(outbox, i);
	if (class)
		control(header, &outbox->control[m], head->remote.family == 6 ? IPPROTO_IPV6 : IPPROTO_IP,
			head->remote.family == 6 ? IPV6_TCLASS : IP_TOS, &class, sizeof class);
	return next;
}

static void count_sent(struct hr_outbox *outbox, uint32_t from, uint32_t to)
{
	uint64_t packets = 0, bytes = 0, gso = 0;
	for (uint32_t m = from; m < to; m++) {
		packets += outbox->message[m].msg_hdr.msg_iovlen;
		bytes += outbox->message[m].msg_len;
		gso += outbox->message[m].msg_hdr.msg_iovlen > 1;
	}
	hr_io_add(outbox->stats, HR_IO_TX_PACKETS, packets);
	hr_io_add(outbox->stats, HR_IO_TX_BYTES, bytes);
	hr_io_add(outbox->stats, HR_IO_SOCKET_GSO_WRITES, gso);
}

enum verdict { AGAIN, FULL, ALONE, LOST };

/* What to do about the message that sendmmsg() stopped at. */
static enum verdict judge(struct hr_outbox *outbox, const struct hr_desc *head, int error, int is_run, uint64_t now_ns)
{
	if (error == EINTR)
		return AGAIN;
	hr_io_error(outbox->stats, error);
	/* A raw socket whose buffer is full says so in its own way. */
	if (error == EAGAIN || (error == ENOBUFS && head->kind == HR_KIND_SEND_RAW))
		return FULL;
	/* An ICMP error that belongs to an earlier packet: reported once, this one was not looked at. */
	if (error == ECONNREFUSED)
		return AGAIN;
	if (!is_run || (error != EMSGSIZE && error != EINVAL && error != EIO && error != EOPNOTSUPP))
		return LOST;
	/* A segment with its headers is larger than the path (older kernels: EINVAL), or kernel or interface cannot do it at
	 * all. */
	outbox->limit[head->listener] = error == EMSGSIZE || error == EINVAL ? head->len - 1 : 0;
	outbox->until[head->listener] = now_ns + GSO_PAUSE_NS;
	return ALONE;
}

/* Send the messages that were collected, all through one socket. The descriptor to go on with: `next` when all were dealt with.
 */
static uint32_t flush(struct hr_outbox *outbox, struct hr_batch *batch, int fd, uint32_t next, uint64_t now_ns)
{
	uint32_t done = 0, refused = 0;

	outbox->first[outbox->n] = (uint16_t)next;
	while (done < outbox->n) {
		hr_io_add(outbox->stats, HR_IO_SOCKET_WRITES, 1);
		int sent = sendmmsg(fd, outbox->message + done, outbox->n - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			count_sent(outbox, done, done + (uint32_t)sent);
			done += (uint32_t)sent;
			refused = 0;
			continue;
		}
		uint32_t i = outbox->first[done];
		struct hr_desc *head = &batch->desc[i];
		enum verdict verdict = judge(outbox, head, errno, outbox->message[done].msg_hdr.msg_iovlen > 1, now_ns);
		if (verdict == AGAIN && ++refused > 4)
			verdict = LOST;
		if (verdict == AGAIN)
			continue;
		if (verdict == FULL)
			outbox->blocked = fd;
		if (verdict == FULL || verdict == ALONE) {
			/* The caller collects again from here, in the second case without GSO. */
			next = i;
			break;
		}
		for (; i < outbox->first[done + 1]; i++)
			if (batch->desc[i].status == HR_OK)
				refuse(outbox, &batch->desc[i]);
		done++;
		refused = 0;
	}
	outbox->n = outbox->packets = 0;
	return next;
}

uint32_t hr_outbox_send(struct hr_outbox *outbox, struct hr_batch *batch, uint32_t from, uint64_t now_ns)
{
	outbox->blocked = -1;
	for (uint32_t i = from; i < batch->n;) {
		int fd = -1;
		/* Collect while it is the same socket. */
		while (i < batch->n) {
			struct hr_desc *d = &batch->desc[i];
			if (d->status != HR_OK) {
				i++;
				continue;
			}
			int its = socket_of(outbox, d);
			if (its < 0) {
				refuse(outbox, d);
				i++;
				continue;
			}
			if (fd >= 0 && its != fd)
				break;
			fd = its;
			i = collect(outbox, batch, i, now_ns);
		}
		if (outbox->n)
			i = flush(outbox, batch, fd, i, now_ns);
		if (outbox->blocked >= 0)
			return i;
	}
	return batch->n;
}

void hr_outbox_drop(struct hr_outbox *outbox, struct hr_batch *batch, uint32_t from)
{
	for (uint32_t i = from; i < batch->n; i++)
		if (batch->desc[i].status == HR_OK && socket_of(outbox, &batch->desc[i]) == outbox->blocked)
			refuse(outbox, &batch->desc[i]);
	outbox->blocked = -1;
}

void hr_outbox_abandon(struct hr_outbox *outbox, struct hr_batch *batch, uint32_t from)
{
	for (uint32_t i = from; i < batch->n; i++)
		if (batch->desc[i].status == HR_OK)
			refuse(outbox, &batch->desc[i]);
}
