/* SPDX-License-Identifier: Apache-2.0
 *
 * io_tun.c: the TUN's side of a worker: one readv() for one packet or one large segment, one writev() for one run.
 *
 * A slot of the arena, as it is read into (virtio header and rest lie elsewhere):
 *
 *   | HR_HEADROOM | packet, up to cap | HR_TAILROOM |
 */
#include "io.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ICMP_QUOTE = 1280 }; /* longest answer, and so more than it quotes (RFC 4443 section 2.4) */

/* Slots are whole cache lines, and not a multiple of a page apart, which would put all headers on the same cache sets. */
static uint32_t stride_of(uint16_t mtu)
{
	uint32_t stride = (HR_HEADROOM + (uint32_t)mtu + HR_TAILROOM + 63) & ~63u;
	return stride % 1024 ? stride : stride + 64;
}

uint64_t hr_tun_memory(uint16_t mtu, uint64_t *arena)
{
	*arena = (uint64_t)stride_of(mtu) * HR_TUN_SLOTS;
	return *arena + ((uint64_t)mtu + 63) / 64 * 64 + HR_TUN_REST;
}

void hr_tun_init(struct hr_tun *tun, int fd, uint8_t flags, uint16_t mtu, uint8_t *memory, struct hr_dp *dp,
		 struct hr_io_stats *stats)
{
	memset(tun, 0, sizeof *tun);
	tun->fd = fd;
	tun->flags = flags;
	if (flags & HR_TUN_VNET)
		tun->what = (flags & HR_TUN_USO) ? HR_MERGE_TCP | HR_MERGE_UDP : HR_MERGE_TCP;
	tun->cap = mtu;
	tun->stride = stride_of(mtu);
	tun->slots = memory;
	tun->rest = memory + (size_t)tun->stride * HR_TUN_SLOTS + ((size_t)mtu + 63) / 64 * 64;
	tun->dp = dp;
	tun->stats = stats;
}

/* --- in ---------------------------------------------------------------------------------------------------------------- */

static int write_one(struct hr_tun *tun, uint8_t *packet, uint32_t len)
{
	struct hr_vnet vnet = {0};
	struct iovec iov[2] = {{&vnet, sizeof vnet}, {packet, len}};
	int skip = (tun->flags & HR_TUN_VNET) ? 0 : 1;
	hr_io_add(tun->stats, HR_IO_TUN_WRITES, 1);
	return writev(tun->fd, iov + skip, 2 - skip) < 0 ? errno : 0;
}

/* Send the ICMP answer to a packet that is larger than mtu, if there may be one. */
static void answer(struct hr_tun *tun, const uint8_t *packet, uint32_t len, uint32_t mtu)
{
	uint8_t reply[ICMP_QUOTE];
	if (tun->answers == 0)
		return;
	uint32_t n = hr_ip_too_big(packet, len, mtu, reply, sizeof reply);
	if (n == 0)
		return;
	tun->answers--;
	int error = write_one(tun, reply, n);
	if (error)
		hr_io_error(tun->stats, error);
	else
		hr_io_add(tun->stats, HR_IO_ICMP, 1);
}

static void describe(const struct hr_tun *tun, struct hr_desc *desc, uint32_t slot, uint32_t len)
{
	uint32_t tail = tun->stride - HR_HEADROOM - len;
	*desc = (struct hr_desc){
	    .off = slot * tun->stride + HR_HEADROOM,
	    .len = len,
	    .room_head = HR_HEADROOM,
	    .room_tail = (uint16_t)(tail < 0xffff ? tail : 0xffff),
	    .status = HR_PENDING,
	    .kind = HR_KIND_IP,
	    .sa = HR_NONE,
	    .session = HR_NONE,
	    .peer = HR_NONE,
	};
}

/* One packet, or one large segment, that was read into slot n: the number of packets it became. */
static uint32_t take(struct hr_tun *tun, const struct hr_vnet *vnet, uint32_t total, struct hr_desc *desc, uint32_t slot)
{
	uint8_t *packet = tun->slots + (size_t)slot * tun->stride + HR_HEADROOM;
	uint32_t held = total < tun->cap ? total : tun->cap;
	enum hr_status why;

	if (vnet->type == HR_VNET_NONE) {
		uint32_t len = 0;
		why = hr_ip_whole(packet, held, total, &len);
		if (why == HR_OK && len > tun->cap)
			why = HR_DROP_TOO_BIG;
		if (why == HR_OK)
			why = hr_gso_complete(vnet, packet, len);
		if (why == HR_OK) {
			describe(tun, desc, slot, len);
			return 1;
		}
	} else {
		uint32_t len[HR_GSO_SEGMENTS];
		struct hr_gso_read in = {packet, tun->rest, total, held, tun->cap, tun->stride};
		uint32_t n = hr_gso_split(vnet, &in, len, &why);
		for (uint32_t i = 0; i < n; i++)
			describe(tun, &desc[i], slot + i, len[i]);
		if (n) {
			hr_io_add(tun->stats, HR_IO_TUN_GSO_READS, 1);
			return n;
		}
	}
	hr_io_lost(tun->dp, why, 1, total);
	/* Somebody has raised the device's MTU above what this engine was told. Only the packet's beginning is at hand, but an
	 * answer quotes no more. */
	uint32_t whole = 0;
	if (why == HR_DROP_TOO_BIG && held >= ICMP_QUOTE && hr_ip_whole(packet, held, total, &whole) == HR_OK)
		answer(tun, packet, whole, tun->cap);
	return 0;
}

uint32_t hr_tun_receive(struct hr_tun *tun, struct hr_desc *desc, uint32_t most)
{
	uint32_t n = 0, reads = 0;
	uint32_t each = (tun->flags & HR_TUN_VNET) ? HR_GSO_SEGMENTS : 1;
	struct hr_vnet vnet = {0};

	while (tun->fd >= 0 && n + each <= most && reads < most) {
		struct iovec iov[3] = {
		    {&vnet, sizeof vnet},
		    {tun->slots + (size_t)n * tun->stride + HR_HEADROOM, tun->cap},
		    {tun->rest, HR_TUN_REST},
		};
		uint32_t skip = (tun->flags & HR_TUN_VNET) ? 0 : 1;
		ssize_t got = readv(tun->fd, iov + skip, 3 - (int)skip);
		if (got < 0) {
			if (errno == EBADFD || errno == EBADF)
				tun->fd = -1; /* the device was deleted */
			if (errno != EAGAIN && errno != EINTR)
				hr_io_error(tun->stats, errno);
			break;
		}
		reads++;
		size_t front = skip ? 0 : sizeof vnet;
		if ((size_t)got < front)
			hr_io_lost(tun->dp, HR_DROP_TUN_MALFORMED, 1, (uint64_t)got);
		else
			n += take(tun, &vnet, (uint32_t)((size_t)got - front), desc + n, n);
	}
	hr_io_add(tun->stats, HR_IO_TUN_READS, reads);
	hr_io_add(tun->stats, HR_IO_TUN_PACKETS_IN, n);
	return n;
}

uint8_t *hr_tun_letter(const struct hr_tun *tun, uint32_t n)
{
	return tun->slots + (size_t)(HR_BATCH_MAX + HR_TUN_PIECES + n) * tun->stride + HR_HEADROOM;
}

void hr_tun_letter_describe(const struct hr_tun *tun, struct hr_desc *desc, uint32_t n, uint32_t len)
{
	describe(tun, desc, HR_BATCH_MAX + HR_TUN_PIECES + n, len);
}

/* RFC 6040 section 4.1 (normal mode), RFC 2983: the class octet is IPv4's second, and bits 4 to 11 of an IPv6 header. */
void hr_tun_classes(const struct hr_batch *batch, uint8_t tos, uint8_t *classes)
{
	const uint8_t mask = tos == HR_TOS_ALL ? 0xff : tos == HR_TOS_ECN ? 3 : 0;

	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *d = &batch->desc[i];
		const uint8_t *p = batch->arena + d->off;
		uint8_t class = 0;
		if (d->kind == HR_KIND_IP && d->len >= 2)
			class = (uint8_t)(p[0] >> 4 == 4 ? p[1] : p[0] << 4 | p[1] >> 4);
		classes[i] = class & mask;
	}
}

/* Fragments of one packet, as far as there are slots for all of them. */
static void cut(struct hr_tun *tun, const uint8_t *packet, uint32_t len, uint32_t mtu, struct hr_batch *pieces)
{
	uint32_t at = 0, n = pieces->n;
	for (; n < HR_TUN_PIECES; n++) {
		uint32_t slot = HR_BATCH_MAX + n;
		uint8_t *to = tun->slots + (size_t)slot * tun->stride + HR_HEADROOM;
		uint32_t size = hr_ip_fragment(packet, len, mtu, &at, to, tun->cap);
		if (size == 0) {
			pieces->n = n;
			return;
		}
		describe(tun, &pieces->desc[n], slot, size);
	}
	/* No slot is left to see whether that was the last: better none of them than a part. */
}

/* The segments of one read have the same sender and receiver: one answer does for all. */
static int same_pair(const uint8_t *a, const uint8_t *b)
{
	return a[0] == b[0] && (a[0] >> 4 == 4 ? memcmp(a + 12, b + 12, 8) == 0 : memcmp(a + 8, b + 8, 32) == 0);
}

void hr_tun_too_big(struct hr_tun *tun, const struct hr_batch *batch, struct hr_batch *pieces)
{
	const uint8_t *told = NULL;

	pieces->n = 0;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *d = &batch->desc[i];
		if (d->status != HR_DROP_TOO_BIG || d->kind != HR_KIND_IP)
			continue;
		const uint8_t *packet = batch->arena + d->off;
		uint32_t mtu = d->seq < tun->cap ? (uint32_t)d->seq : tun->cap;
		if (hr_ip_may_fragment(packet, d->len)) {
			cut(tun, packet, d->len, mtu, pieces);
		} else if (!told || !same_pair(told, packet)) {
			answer(tun, packet, d->len, mtu);
			told = packet;
		}
	}
}

/* --- out --------------------------------------------------------------------------------------------------------------- */

static void lose(struct hr_tun *tun, struct hr_batch *batch, const struct hr_run *run)
{
	uint32_t i = run->first;
	for (uint32_t k = 0; k < run->count; k++, i = tun->merge.next[i]) {
		batch->desc[i].status = HR_DROP_TUN_WRITE;
		hr_io_lost(tun->dp, HR_DROP_TUN_WRITE, 1, batch->desc[i].len);
	}
}

/* 0, or the errno. */
static int write_run(struct hr_tun *tun, const struct hr_batch *batch, const struct hr_run *run)
{
	struct hr_vnet vnet;
	struct iovec iov[1 + HR_GSO_SEGMENTS];
	uint32_t i = run->first, pieces = 0;

	if (tun->flags & HR_TUN_VNET)
		iov[pieces++] = (struct iovec){&vnet, sizeof vnet};
	hr_merge_head(run, batch->arena + batch->desc[i].off, &vnet);
	iov[pieces++] = (struct iovec){batch->arena + batch->desc[i].off, batch->desc[i].len};
	for (uint32_t k = 1; k < run->count; k++) {
		i = tun->merge.next[i];
		iov[pieces++] = (struct iovec){batch->arena + batch->desc[i].off + run->hlen, batch->desc[i].len - run->hlen};
	}
	hr_io_add(tun->stats, HR_IO_TUN_WRITES, 1);
	ssize_t done;
	do
		done = writev(tun->fd, iov, (int)pieces);
	while (done < 0 && errno == EINTR);
	return done < 0 ? errno : 0;
}

void hr_tun_send(struct hr_tun *tun, struct hr_batch *batch)
{
	int dead = tun->fd < 0;

	hr_merge_plan(&tun->merge, batch, tun->what);
	for (uint32_t r = 0; r < tun->merge.runs; r++) {
		const struct hr_run *run = &tun->merge.run[r];
		int error = dead ? EIO : write_run(tun, batch, run);
		if (error == 0) {
			hr_io_add(tun->stats, HR_IO_TUN_PACKETS_OUT, run->count);
			hr_io_add(tun->stats, HR_IO_TUN_GSO_WRITES, run->count > 1);
			continue;
		}
		lose(tun, batch, run);
		if (dead)
			continue;
		hr_io_error(tun->stats, error);
		if (error == EINVAL && run->count > 1)
			tun->what &= (uint8_t) ~(run->type == HR_VNET_UDP_L4 ? HR_MERGE_UDP : HR_MERGE_TCP);
		dead = error == EIO || error == EBADFD; /* down: the others of this batch would fare no better */
	}
}
