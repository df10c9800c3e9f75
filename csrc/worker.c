/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c: the loop.
 *
 *   wait -> for each source that is ready, one bounded turn:
 *     a socket:  recvmmsg -> hr_decap -> IP packets to the TUN, exceptions to the rings
 *     the TUN:   reads    -> hr_encap -> packets to the sockets, too-big answers to the TUN
 *     the relay: packets that other workers read and this one sends, the same way
 *
 * A turn takes what one recvmmsg() or one batch holds; epoll is level-triggered, so the next round continues, and no source
 * starves another. When a socket is full the worker stops reading the TUN, keeps what it has encapsulated, and goes on
 * receiving: the TUN's own queue fills, and the kernel's queueing discipline decides what is lost.
 */
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	PAUSE_NS = 20000000, /* a socket that has no room for so long loses what was meant for it */
	FRUITLESS_MAX = 100, /* wake-ups by an error that reading does not clear: the source is given up */
	SECOND_NS = 1000000000,
	RELAY_SLOTS = 4096,	/* KiB that wait for a worker */
	ICMP_SECOND = 200,	/* too-big answers in a second */
	HR_EXPAND_STRIDE = 1792 /* octets for one expanded frame: the usual MRU, what must be accepted, and headers */
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void hr_bell_ring(struct hr_bell *bell)
{
	if (bell->fd < 0 || !atomic_exchange_explicit(&bell->armed, 0, memory_order_acq_rel))
		return;
	uint64_t one = 1;
	/* It fails only if the counter is about to overflow: then the reader was told long ago. */
	if (write(bell->fd, &one, sizeof one) < 0)
		return;
}

/* --- sources ----------------------------------------------------------------------------------------------------------- */

static int watch(struct hr_worker *w, struct hr_source *source, int op, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(source - w->source)};
	return epoll_ctl(w->epoll, op, source->fd, &event);
}

static int add_source(struct hr_worker *w, int fd, uint8_t what, uint8_t kind, uint8_t listener)
{
	if (fd < 0)
		return 0;
	struct hr_source *source = &w->source[w->sources++];
	*source = (struct hr_source){.fd = fd, .what = what, .kind = kind, .listener = listener};
	return watch(w, source, EPOLL_CTL_ADD, EPOLLIN);
}

static void give_up(struct hr_worker *w, struct hr_source *source)
{
	struct epoll_event none = {0};
	epoll_ctl(w->epoll, EPOLL_CTL_DEL, source->fd, &none);
	source->fd = -1;
}

static struct hr_source *find_source(struct hr_worker *w, int fd)
{
	for (uint32_t i = 0; i < w->sources; i++)
		if (w->source[i].fd == fd && fd >= 0)
			return &w->source[i];
	return NULL;
}

/* --- exceptions -------------------------------------------------------------------------------------------------------- */

static uint32_t origin_of(const struct hr_desc *desc, enum hr_trust trust)
{
	uint64_t x = desc->peer;
	if (trust == HR_ANYBODY) {
		uint64_t part[2];
		memcpy(part, desc->remote.addr, sizeof part);
		/* A /64 is one origin: its owner has all the addresses in it. */
		x = part[0] ^ (desc->remote.family == 4 ? part[1] : 0);
	}
	return (uint32_t)((x * 0x9e3779b97f4a7c15u) >> 40);
}

/* Hand over what is for the control plane. */
static void exceptions(struct hr_worker *w, const struct hr_batch *batch)
{
	uint32_t pushed = 0;
	for (uint32_t i = 0; i < batch->n; i++) {
		const struct hr_desc *d = &batch->desc[i];
		if (d->status < HR_EXC_IKE || d->status > HR_EXC_CLEAR_L2TP)
			continue;
		enum hr_trust trust = d->status == HR_EXC_IKE || d->status == HR_EXC_CLEAR_L2TP ? HR_ANYBODY : HR_PROVEN;
		if (hr_ring_push(&w->ring[trust], d, batch->arena + d->off, origin_of(d, trust), w->stamp)) {
			w->stamp++;
			pushed++;
		} else {
			hr_io_lost(w->dp, HR_DROP_EXCEPTION_RING, 1, d->len);
		}
	}
	hr_io_add(&w->stats, HR_IO_EXCEPTIONS, pushed);
	if (pushed || hr_io_events_wait(w->dp))
		hr_bell_ring(w->bell);
}

/* --- packets for other workers ------------------------------------------------------------------------------------------ */

static int hand_over(struct hr_worker *w, uint32_t to, const struct hr_desc *desc, const uint8_t *packet)
{
	struct hr_desc letter = {.len = desc->len, .kind = HR_KIND_IP};
	const uint8_t *at = packet + (packet[0] >> 4 == 4 ? 16 : 24);
	uint32_t origin;

	memcpy(&origin, at, sizeof origin);
	if (desc->len <= w->tun.cap && hr_relay_put(&w->all[to].relay, &letter, packet, (origin * 0x9e3779b1u) >> 16))
		return 1;
	hr_io_lost(w->dp, HR_DROP_WORKER_RING, 1, desc->len);
	return 0;
}

static void tell(struct hr_worker *w, const uint8_t *told)
{
	for (uint32_t k = 0; k < w->config.workers; k++)
		if (told[k])
			hr_relay_tell(&w->all[k].relay);
}

/* What was read from the TUN for peers that others send to leaves the batch; the order of the rest stays. */
static void to_their_homes(struct hr_worker *w)
{
	uint8_t told[HR_WORKERS_MAX] = {0};
	uint32_t n = 0, gone = 0;

	hr_homes(w->dp, &w->tx, w->index, w->config.workers, 0, w->homes);
	for (uint32_t i = 0; i < w->tx.n; i++) {
		const uint32_t home = w->homes[i];
		if (home == w->index) {
			w->tx.desc[n++] = w->tx.desc[i];
			continue;
		}
		gone += (uint32_t)hand_over(w, home, &w->tx.desc[i], w->tx.arena + w->tx.desc[i].off);
		told[home] = 1;
	}
	w->tx.n = n;
	tell(w, told);
	hr_io_add(&w->stats, HR_IO_HANDED_OVER, gone);
}

/* One hop less (RFC 1812 section 5.3.1; the checksum by RFC 1624). 0: it may not go further, and the host is to say so. */
static int count_hop(uint8_t *packet)
{
	uint8_t *const ttl = packet + (packet[0] >> 4 == 4 ? 8 : 7);

	if (*ttl <= 1)
		return 0;
	--*ttl;
	if (packet[0] >> 4 == 4) {
		uint32_t sum = (uint32_t)(packet[10] << 8 | packet[11]) + 0x0100;
		sum += sum >> 16;
		packet[10] = (uint8_t)(sum >> 8);
		packet[11] = (uint8_t)sum;
	}
	return 1;
}

/* What came from one session and is for another goes to whoever sends there. Such packets do not go on to the TUN. */
static void to_other_sessions(struct hr_worker *w)
{
	uint8_t told[HR_WORKERS_MAX] = {0};
	uint32_t gone = 0;

	hr_homes(w->dp, &w->rx, w->index, w->config.workers, 1, w->homes);
	for (uint32_t i = 0; i < w->rx.n; i++) {
		struct hr_desc *d = &w->rx.desc[i];
		if (w->homes[i] == HR_HOME_NONE || !count_hop(w->rx.arena + d->off))
			continue;
		gone += (uint32_t)hand_over(w, w->homes[i], d, w->rx.arena + d->off);
		d->status = HR_PENDING; /* nobody's any more */
		told[w->homes[i]] = 1;
	}
	tell(w, told);
	hr_io_add(&w->stats, HR_IO_DIRECT, gone);
}

/* --- sockets to TUN ---------------------------------------------------------------------------------------------------- */

static void from_socket(struct hr_worker *w, struct hr_source *source, uint32_t events)
{
	int error = 0;
	hr_inbox_receive(&w->inbox, source->fd, source->kind, source->listener, &w->stats, &error);
	if (error && error != EINTR && (events & (EPOLLERR | EPOLLHUP))) {
		char discard[64];
		struct iovec iov = {discard, sizeof discard};
		struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
		/* Errors queue up apart when somebody set IP_RECVERR; each also keeps the socket ready. */
		if (recvmsg(source->fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0 && ++source->fruitless > FRUITLESS_MAX)
			give_up(w, source);
		return;
	}
	source->fruitless = 0;
	for (;;) {
		uint32_t cut;
		w->rx.n = hr_inbox_describe(&w->inbox, w->rx.desc, w->config.batch, &cut);
		if (cut)
			hr_io_lost(w->dp, HR_DROP_ROOM, cut, (uint64_t)cut * HR_INBOX_MESSAGE);
		hr_io_add(&w->stats, HR_IO_RX_PACKETS, w->rx.n + cut);
		if (w->rx.n == 0)
			break;
		if (hr_decap(w->dp, &w->rx, now_ns()) != 0)
			continue; /* a descriptor that it refuses would be our own mistake; nothing of the batch is used */
		if (w->config.direct)
			to_other_sessions(w);
		hr_tun_send(&w->tun, &w->rx);
		exceptions(w, &w->rx);
	}
	hr_io_add(&w->stats, HR_IO_SOCKET_GSO_READS, w->inbox.runs);
}

/* --- TUN to sockets ---------------------------------------------------------------------------------------------------- */

static struct hr_source *tun_source(struct hr_worker *w)
{
	for (uint32_t i = 0; i < w->sources; i++)
		if (w->source[i].what == HR_SOURCE_TUN)
			return &w->source[i];
	return NULL;
}

/* Send from descriptor `from` on; pause the TUN if a socket is full, wake it up again if that is over. */
static void to_sockets(struct hr_worker *w, uint32_t from, uint64_t now)
{
	struct hr_source *tun = tun_source(w);
	uint32_t next = hr_outbox_send(&w->outbox, &w->tx, from, now);
	if (next < w->tx.n) {
		struct hr_source *full = find_source(w, w->outbox.blocked);
		if (!w->deadline_ns) {
			hr_io_add(&w->stats, HR_IO_PAUSED, 1);
			if (tun && tun->fd >= 0)
				watch(w, tun, EPOLL_CTL_MOD, 0);
		}
		if (full)
			watch(w, full, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
		if (!w->deadline_ns || next > w->pending)
			w->deadline_ns = now + PAUSE_NS;
		w->pending = next;
	} else if (w->deadline_ns) {
		w->deadline_ns = 0;
		if (tun && tun->fd >= 0)
			watch(w, tun, EPOLL_CTL_MOD, EPOLLIN);
		if (w->relay.wake >= 0)
			hr_relay_tell(&w->relay);
	}
}

/* Paused: the socket has room again, or has had none for too long. */
static void resume(struct hr_worker *w, int late)
{
	struct hr_source *full = find_source(w, w->outbox.blocked);
	if (full)
		watch(w, full, EPOLL_CTL_MOD, EPOLLIN);
	if (late)
		hr_outbox_drop(&w->outbox, &w->tx, w->pending);
	to_sockets(w, w->pending, now_ns());
}

/* For what is not kept: a full socket costs it. */
static void send_or_drop(struct hr_worker *w, struct hr_batch *batch, const uint8_t *classes, uint64_t now)
{
	w->outbox.classes = classes;
	for (uint32_t next = 0; (next = hr_outbox_send(&w->outbox, batch, next, now)) < batch->n;)
		hr_outbox_drop(&w->outbox, batch, next);
	w->outbox.classes = w->classes;
}

static void send_pieces(struct hr_worker *w, const struct hr_batch *batch, uint64_t now)
{
	uint8_t classes[HR_TUN_PIECES];

	hr_tun_too_big(&w->tun, batch, &w->pieces);
	hr_tun_classes(&w->pieces, w->config.tos, classes);
	if (w->pieces.n && hr_encap(w->dp, &w->pieces, now) == 0)
		send_or_drop(w, &w->pieces, classes, now);
}

static void from_tun(struct hr_worker *w, struct hr_source *source, uint32_t events)
{
	if (w->deadline_ns) /* ready by an error while paused */
		return;
	uint64_t now = now_ns();
	if (now - w->second_ns >= SECOND_NS) {
		w->second_ns = now;
		w->tun.answers = ICMP_SECOND;
	}
	w->tx.n = hr_tun_receive(&w->tun, w->tx.desc, w->config.batch < HR_GSO_SEGMENTS ? HR_GSO_SEGMENTS : w->config.batch);
	if (w->tx.n == 0) {
		if (w->tun.fd < 0 || ((events & (EPOLLERR | EPOLLHUP)) && ++source->fruitless > FRUITLESS_MAX))
			give_up(w, source);
		return;
	}
	source->fruitless = 0;
	if (w->config.workers > 1)
		to_their_homes(w);
	hr_tun_classes(&w->tx, w->config.tos, w->classes);
	if (hr_encap(w->dp, &w->tx, now) != 0)
		return;
	send_pieces(w, &w->tx, now);
	to_sockets(w, 0, now);
	if (hr_io_events_wait(w->dp))
		hr_bell_ring(w->bell);
}

/* Letters wait while a socket is full: the relay fills, and what does not fit is lost there. */
static void from_relay(struct hr_worker *w)
{
	struct hr_batch *letters = &w->letters;
	hr_relay_heard(&w->relay);
	if (w->deadline_ns) /* to_sockets() comes back to them */
		return;
	uint64_t now = now_ns();
	for (letters->n = 0; letters->n < HR_TUN_LETTERS; letters->n++) {
		struct hr_desc *d = &letters->desc[letters->n];
		if (!hr_relay_take(&w->relay, d, hr_tun_letter(&w->tun, letters->n), w->tun.cap))
			break;
		hr_tun_letter_describe(&w->tun, d, letters->n, d->len);
	}
	if (letters->n == HR_TUN_LETTERS)
		hr_relay_tell(&w->relay); /* there may be more: after the others' turn */
	hr_tun_classes(letters, w->config.tos, w->few_classes);
	if (letters->n == 0 || hr_encap(w->dp, letters, now) != 0)
		return;
	send_pieces(w, letters, now);
	send_or_drop(w, letters, w->few_classes, now);
}

/* --- the thread --------------------------------------------------------------------------------------------------------- */

static void *run(void *argument)
{
	struct hr_worker *w = argument;
	struct epoll_event event[HR_SOURCES_MAX];

	for (int stop = 0; !stop;) {
		int timeout = -1;
		if (w->deadline_ns) {
			uint64_t now = now_ns();
			timeout = now < w->deadline_ns ? (int)((w->deadline_ns - now) / 1000000) + 1 : 0;
		}
		int n = epoll_wait(w->epoll, event, HR_SOURCES_MAX, timeout);
		hr_io_add(&w->stats, HR_IO_ROUNDS, 1);
		for (int i = 0; i < n; i++) {
			struct hr_source *source = &w->source[event[i].data.u32];
			if (source->fd < 0)
				continue;
			if (source->what == HR_SOURCE_STOP) {
				stop = 1;
			} else if (source->what == HR_SOURCE_TUN) {
				from_tun(w, source, event[i].events);
			} else if (source->what == HR_SOURCE_RELAY) {
				from_relay(w);
			} else {
				if ((event[i].events & EPOLLOUT) && w->deadline_ns)
					resume(w, 0);
				if (event[i].events & ~(uint32_t)EPOLLOUT)
					from_socket(w, source, event[i].events);
			}
		}
		if (w->deadline_ns && now_ns() >= w->deadline_ns)
			resume(w, 1);
	}
	if (w->deadline_ns)
		hr_outbox_abandon(&w->outbox, &w->tx, w->pending);
	close(w->epoll);
	w->epoll = -1;
	atomic_store_explicit(&w->running, 0, memory_order_release);
	return NULL;
}

int hr_worker_init(struct hr_worker *w, struct hr_dp *dp, const struct hr_engine_config *config,
		   const struct hr_worker_config *own, uint32_t index, struct hr_bell *bell)
{
	memset(w, 0, sizeof *w);
	w->dp = dp;
	w->config = *config;
	w->own = *own;
	w->index = index;
	w->bell = bell;
	w->epoll = -1;
	w->relay.wake = -1;

	uint64_t spare = (uint64_t)HR_BATCH_MAX * HR_EXPAND_STRIDE; /* touched only where there is compression */
	uint64_t inbox = (uint64_t)HR_INBOX_MESSAGES * HR_INBOX_STRIDE, arena = 0;
	uint64_t tun = hr_tun_memory(config->mtu, &arena);
	w->memory_len = inbox + spare + tun;
	void *memory = mmap(NULL, w->memory_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return HR_E_MEMORY;
	w->memory = memory;
	w->rx = (struct hr_batch){
	    .arena = w->memory, .arena_len = inbox + spare, .desc = w->rx_desc, .spare_off = inbox, .spare_len = spare};
	w->tx = (struct hr_batch){.arena = w->memory + inbox + spare, .arena_len = arena, .desc = w->tx_desc};
	w->pieces = (struct hr_batch){.arena = w->tx.arena, .arena_len = arena, .desc = w->pieces_desc};
	w->letters = (struct hr_batch){.arena = w->tx.arena, .arena_len = arena, .desc = w->letters_desc};
	if (config->workers > 1 || config->direct) {
		int error = hr_relay_init(&w->relay, RELAY_SLOTS);
		if (error) {
			hr_worker_free(w);
			return error;
		}
	}
	for (int t = 0; t < HR_TRUSTS; t++) {
		int error = hr_ring_init(&w->ring[t], config->exception_slots);
		if (error) {
			hr_worker_free(w);
			return error;
		}
	}
	return 0;
}

void hr_worker_free(struct hr_worker *w)
{
	for (int t = 0; t < HR_TRUSTS; t++)
		hr_ring_free(&w->ring[t]);
	hr_relay_free(&w->relay);
	if (w->memory) {
		/* Decrypted packets are in there. */
		hr_wipe(w->memory, w->memory_len);
		munmap(w->memory, w->memory_len);
	}
	w->memory = NULL;
}

static int open_sources(struct hr_worker *w)
{
	w->sources = 0;
	int bad = add_source(w, w->stop, HR_SOURCE_STOP, 0, 0);
	bad |= add_source(w, w->own.tun, HR_SOURCE_TUN, 0, 0);
	bad |= add_source(w, w->relay.wake, HR_SOURCE_RELAY, 0, 0);
	for (uint8_t i = 0; i < w->config.listeners; i++) {
		const struct hr_listener *l = &w->own.listener[i];
		bad |= add_source(w, l->udp4500, HR_SOURCE_SOCKET, HR_KIND_UDP4500, i);
		bad |= add_source(w, l->raw, HR_SOURCE_SOCKET, l->family == 6 ? HR_KIND_RAW6 : HR_KIND_RAW4, i);
		bad |= add_source(w, l->udp1701, HR_SOURCE_SOCKET, HR_KIND_UDP1701, i);
	}
	return bad;
}

int hr_worker_start(struct hr_worker *w, int stop)
{
	w->stop = stop;
	w->deadline_ns = 0;
	w->pending = 0;
	hr_inbox_init(&w->inbox, w->rx.arena);
	hr_outbox_init(&w->outbox, w->dp, w->own.listener, w->config.listeners, w->config.udp_gso, &w->stats);
	w->outbox.classes = w->classes;
	hr_tun_init(&w->tun, w->own.tun, w->config.tun_vnet_hdr, w->config.mtu, w->tx.arena, w->dp, &w->stats);

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		return HR_E_SYSTEM;
	if (open_sources(w) != 0) {
		int error = errno;
		close(w->epoll);
		w->epoll = -1;
		errno = error;
		return HR_E_SYSTEM;
	}

	pthread_attr_t attr;
	pthread_attr_init(&attr);
	if (w->own.cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((size_t)w->own.cpu % CPU_SETSIZE, &set);
		pthread_attr_setaffinity_np(&attr, sizeof set, &set);
	}
	/* Signals are the control plane's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_store_explicit(&w->running, 1, memory_order_release);
	int error = pthread_create(&w->thread, &attr, run, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (error) {
		atomic_store_explicit(&w->running, 0, memory_order_release);
		close(w->epoll);
		w->epoll = -1;
		errno = error;
		return HR_E_SYSTEM;
	}
	char name[16];
	snprintf(name, sizeof name, "headrace-%u", (unsigned)(w->index % 1000));
	pthread_setname_np(w->thread, name);
	return 0;
}

void hr_worker_join(struct hr_worker *w)
{
	pthread_join(w->thread, NULL);
}
