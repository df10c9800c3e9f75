/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.c: the workers of one data plane as one thing: start, stop, numbers, and the two ways between them and the control
 * plane (exceptions up, control packets down). All of it runs on the control plane's threads, one at a time under one lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker.h"

_Static_assert(sizeof(struct hr_engine_stats) == HR_IO_COUNTERS * sizeof(uint64_t), "enum hr_io_counter and its struct differ");
_Static_assert(offsetof(struct hr_engine_stats, icmp) == HR_IO_ICMP * sizeof(uint64_t), "enum hr_io_counter is out of order");

enum { FLOOD = 65536 }; /* octets waiting in a ring from which on arrival order no longer counts, but fairness */

struct hr_engine {
	struct hr_dp *dp;
	struct hr_engine_config config;
	struct hr_worker *worker;
	struct hr_bell bell;
	int stop;      /* eventfd; -1: not running */
	uint32_t turn; /* worker whose rings are looked at first */
	pthread_mutex_t lock;
	struct hr_io_stats stats; /* of hr_engine_send() */
	struct hr_outbox outbox;
};

static int config_sound(const struct hr_engine_config *c, const struct hr_worker_config *workers)
{
	if (c->workers < 1 || c->workers > HR_WORKERS_MAX || c->listeners > HR_LISTENERS_MAX)
		return 0;
	if (c->tos > HR_TOS_ALL)
		return 0;
	if (c->batch < 1 || c->batch > HR_BATCH_MAX || c->mtu < 128 || c->exception_slots > 1u << 20)
		return 0;
	for (uint32_t i = 0; i < c->workers; i++)
		for (uint32_t j = 0; j < c->listeners; j++)
			if (workers[i].listener[j].family != 4 && workers[i].listener[j].family != 6)
				return 0;
	return 1;
}

struct hr_engine *hr_engine_new(struct hr_dp *dp, const struct hr_engine_config *config, const struct hr_worker_config *workers)
{
	if (!dp || !config_sound(config, workers)) {
		errno = EINVAL;
		return NULL;
	}
	struct hr_engine *engine = aligned_alloc(64, (sizeof *engine + 63) / 64 * 64);
	if (!engine)
		return NULL;
	memset(engine, 0, sizeof *engine);
	engine->dp = dp;
	engine->config = *config;
	engine->stop = -1;
	engine->bell.fd = config->event_fd;
	atomic_store(&engine->bell.armed, 1);
	pthread_mutex_init(&engine->lock, NULL);
	engine->worker = aligned_alloc(64, sizeof *engine->worker * config->workers);
	uint32_t made = 0;
	while (engine->worker && made < config->workers &&
	       hr_worker_init(&engine->worker[made], dp, config, &workers[made], made, &engine->bell) == 0)
		made++;
	if (made == config->workers) {
		for (uint32_t i = 0; i < made; i++)
			engine->worker[i].all = engine->worker;
		return engine;
	}
	engine->config.workers = made;
	hr_engine_free(engine);
	errno = ENOMEM;
	return NULL;
}

void hr_engine_free(struct hr_engine *engine)
{
	if (!engine)
		return;
	hr_engine_stop(engine);
	for (uint32_t i = 0; engine->worker && i < engine->config.workers; i++)
		hr_worker_free(&engine->worker[i]);
	free(engine->worker);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
}

/* Under the lock. */
static void end_workers(struct hr_engine *engine, uint32_t started)
{
	uint64_t one = 1;
	/* The counter is 0, so this cannot block; it stays readable for all until it is closed. */
	if (started && write(engine->stop, &one, sizeof one) < 0)
		abort(); /* the eventfd is gone: some other code closed descriptors that it does not own */
	for (uint32_t i = 0; i < started; i++)
		hr_worker_join(&engine->worker[i]);
	close(engine->stop);
	engine->stop = -1;
}

int hr_engine_start(struct hr_engine *engine)
{
	int error = 0;
	pthread_mutex_lock(&engine->lock);
	if (engine->stop >= 0)
		error = HR_E_EXISTS;
	else if ((engine->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		error = HR_E_SYSTEM;
	if (!error) {
		hr_outbox_init(&engine->outbox, engine->dp, engine->worker[0].own.listener, engine->config.listeners,
			       engine->config.udp_gso, &engine->stats);
		uint32_t i = 0;
		while (i < engine->config.workers && (error = hr_worker_start(&engine->worker[i], engine->stop)) == 0)
			i++;
		if (error) {
			int reason = errno;
			end_workers(engine, i);
			errno = reason;
		}
	}
	pthread_mutex_unlock(&engine->lock);
	return error;
}

int hr_engine_stop(struct hr_engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	if (engine->stop >= 0)
		end_workers(engine, engine->config.workers);
	pthread_mutex_unlock(&engine->lock);
	return 0;
}

int hr_engine_alive(struct hr_engine *engine)
{
	int alive = 0;
	for (uint32_t i = 0; i < engine->config.workers; i++)
		alive += atomic_load_explicit(&engine->worker[i].running, memory_order_acquire);
	return alive;
}

/* --- exceptions up ------------------------------------------------------------------------------------------------------ */

/* Of one worker's rings, the one to take from: what arrived first, as long as neither is flooded; else by turns. NULL: empty.
 */
static struct hr_ring *next_ring(struct hr_worker *worker, uint32_t turn)
{
	struct hr_ring *a = &worker->ring[HR_PROVEN], *b = &worker->ring[HR_ANYBODY];
	uint64_t stamp_a, stamp_b;
	int has_a = hr_ring_peek(a, &stamp_a), has_b = hr_ring_peek(b, &stamp_b);
	if (!has_a || !has_b)
		return has_a ? a : has_b ? b : NULL;
	if (hr_ring_backlog(a) > FLOOD || hr_ring_backlog(b) > FLOOD)
		return turn % 2 ? b : a;
	return stamp_a < stamp_b ? a : b;
}

/* Fill the batch from *used on; 1 if it is full. */
static int drain(struct hr_engine *engine, struct hr_batch *batch, uint32_t slot_size, uint64_t *used)
{
	for (uint32_t idle = 0, turn = 0; idle < engine->config.workers; turn++) {
		struct hr_ring *ring =
		    next_ring(&engine->worker[engine->turn++ % engine->config.workers], turn / engine->config.workers);
		if (!ring) {
			idle++;
			continue;
		}
		idle = 0;
		if (batch->n >= HR_BATCH_MAX)
			return 1;
		struct hr_desc *desc = &batch->desc[batch->n];
		uint64_t left = batch->arena_len - *used;
		int got = hr_ring_pop(ring, desc, batch->arena + *used, (uint32_t)(left < slot_size ? left : slot_size));
		if (got < 0 && desc->len <= slot_size)
			return 1;
		if (got < 0) {
			hr_ring_skip(ring);
			hr_io_lost(engine->dp, HR_DROP_EXCEPTION_RING, 1, desc->len);
			continue;
		}
		desc->off = (uint32_t)*used;
		desc->room_head = desc->room_tail = 0;
		*used += desc->len;
		batch->n++;
	}
	return 0;
}

/* Events carry no octets: descriptors of length 0 that say which record is meant. The whole event is in what it stands for. */
static void events(struct hr_engine *engine, struct hr_batch *batch)
{
	struct hr_dp_event event[64];
	int n;
	while (batch->n + 64 <= HR_BATCH_MAX && (n = hr_dp_events(engine->dp, event, 64)) > 0)
		for (int i = 0; i < n; i++)
			batch->desc[batch->n++] = (struct hr_desc){
			    .status = (uint8_t)event[i].type,
			    .sa = event[i].sa,
			    .session = event[i].session,
			    .peer = event[i].peer,
			    .cookie = (uint32_t)event[i].cookie,
			    .remote = event[i].remote,
			    .seq = event[i].seq,
			};
}

int hr_engine_exceptions(struct hr_engine *engine, struct hr_batch *batch, uint32_t slot_size)
{
	uint64_t used = 0;
	if (slot_size == 0 || batch->arena_len < slot_size || batch->arena_len > UINT32_MAX)
		return HR_E_ARGUMENT;
	batch->n = 0;
	pthread_mutex_lock(&engine->lock);
	events(engine, batch);
	int full = drain(engine, batch, slot_size, &used);
	if (!full) {
		/* Nothing was left. Whoever adds something from here on rings; what was added just before is taken now. */
		atomic_exchange_explicit(&engine->bell.armed, 1, memory_order_acq_rel);
		full = drain(engine, batch, slot_size, &used);
	}
	if (full || hr_io_events_wait(engine->dp)) {
		/* More waits than fits: see to it that the reader is called again. */
		atomic_store_explicit(&engine->bell.armed, 1, memory_order_release);
		hr_bell_ring(&engine->bell);
	}
	pthread_mutex_unlock(&engine->lock);
	return (int)batch->n;
}

/* --- control packets down ----------------------------------------------------------------------------------------------- */

int hr_engine_send(struct hr_engine *engine, struct hr_batch *batch, uint64_t now_ns)
{
	pthread_mutex_lock(&engine->lock);
	int error = engine->stop < 0 ? HR_E_ARGUMENT : hr_encap(engine->dp, batch, now_ns);
	if (!error) {
		uint32_t next = 0;
		/* A full socket costs what was meant for it: control messages are repeated by their protocols. */
		while ((next = hr_outbox_send(&engine->outbox, batch, next, now_ns)) < batch->n)
			hr_outbox_drop(&engine->outbox, batch, next);
	}
	pthread_mutex_unlock(&engine->lock);
	return error;
}

void hr_engine_stats(struct hr_engine *engine, struct hr_engine_stats *stats)
{
	uint64_t sum[HR_IO_COUNTERS];
	for (uint32_t c = 0; c < HR_IO_COUNTERS; c++) {
		sum[c] = atomic_load_explicit(&engine->stats.count[c], memory_order_relaxed);
		for (uint32_t i = 0; i < engine->config.workers; i++)
			sum[c] += atomic_load_explicit(&engine->worker[i].stats.count[c], memory_order_relaxed);
	}
	memcpy(stats, sum, sizeof *stats);
}
