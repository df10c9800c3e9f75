/* SPDX-License-Identifier: Apache-2.0
 *
 * tables.c: making, changing and removing records. One writer at a time; see tables.h for the readers' side.
 *
 * Every change goes the same way: check everything that can fail, get the memory, then publish. So a refused change leaves
 * nothing behind, and an interrupted reader sees all of it or nothing. Removal: take out of every map and pool, wait for the
 * readers, wipe, free.
 */
#include "tables.h"
#include "filter.h"

#include <stdlib.h>

#include "wipe.h"

enum {
	RECORDS_MAX = 1 << 22,
	MRU_LEAST = 68,	    /* RFC 791: every IPv4 link carries this much */
	MRU_DEFAULT = 1500, /* RFC 1661 section 6.1 */
	MRU_MOST = 65000,   /* leaves room for our headers within 16 bits of UDP length */
	EXPAND_MOST = sizeof((struct hr_work *)NULL)->scratch,
	SPI_LEAST = 256 /* RFC 4303 section 2.1: the others are reserved */
};

/* Outbound numbers end here. With 64 bits, far enough from the end that threads which draw numbers at the same moment cannot
 * wrap. */
#define SEQ_LAST_32 UINT64_C(0xffffffff)
#define SEQ_LAST_64 UINT64_C(0xffffffff00000000)

static void *record_new(size_t size)
{
	size = (size + 63) / 64 * 64;
	void *const record = aligned_alloc(64, size);
	if (record != NULL)
		memset(record, 0, size);
	return record;
}

static void record_free(void *record, size_t size)
{
	hr_erase(record, size);
	free(record);
}

/* --- endpoints and keys --- */

void hr_place_read(const struct hr_place *place, struct hr_endpoint *endpoint)
{
	struct hr_patience patience = {0};
	uint64_t word[2];
	uint32_t tail, turn;

	for (;;) {
		turn = atomic_load_explicit(&place->turn, memory_order_acquire);
		word[0] = atomic_load_explicit(&place->word[0], memory_order_acquire);
		word[1] = atomic_load_explicit(&place->word[1], memory_order_acquire);
		tail = atomic_load_explicit(&place->tail, memory_order_acquire);
		if ((turn & 1) == 0 && atomic_load_explicit(&place->turn, memory_order_relaxed) == turn)
			break;
		hr_be_patient(&patience);
	}
	memcpy(endpoint->addr, word, 16);
	endpoint->family = (uint8_t)(tail >> 16);
	endpoint->spare = 0;
	endpoint->port = (uint16_t)tail;
}

void hr_place_write(struct hr_place *place, const struct hr_endpoint *endpoint)
{
	struct hr_patience patience = {0};
	uint64_t word[2] = {0, 0};
	uint32_t turn = atomic_load_explicit(&place->turn, memory_order_relaxed);

	while ((turn & 1) != 0 || !atomic_compare_exchange_weak_explicit(&place->turn, &turn, turn + 1, memory_order_acq_rel,
									 memory_order_relaxed)) {
		hr_be_patient(&patience);
		turn = atomic_load_explicit(&place->turn, memory_order_relaxed);
	}
	memcpy(word, endpoint->addr, endpoint->family == 6 ? 16 : 4);
	atomic_store_explicit(&place->word[0], word[0], memory_order_release);
	atomic_store_explicit(&place->word[1], word[1], memory_order_release);
	atomic_store_explicit(&place->tail, (uint32_t)endpoint->family << 16 | endpoint->port, memory_order_release);
	atomic_store_explicit(&place->turn, turn + 2, memory_order_release);
}

/* Spread the bits of x over the whole word; a step of a well-known kind of mixer (multiply, fold). */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

static uint64_t mix_address(const uint8_t address[16], uint64_t with)
{
	uint64_t word[2];

	memcpy(word, address, 16);
	return mix(mix(mix(with) + word[0]) + word[1]) >> 1; /* keys have 63 bits */
}

uint64_t hr_clear_key(const struct hr_endpoint *endpoint)
{
	uint8_t address[16] = {0};

	memcpy(address, endpoint->addr, endpoint->family == 6 ? 16 : 4);
	return mix_address(address, (uint64_t)endpoint->family << 16 | endpoint->port);
}

static void mask_prefix(uint8_t masked[16], const uint8_t address[16], uint32_t bits)
{
	memset(masked, 0, 16);
	memcpy(masked, address, bits / 8);
	if (bits % 8 != 0)
		masked[bits / 8] = (uint8_t)(address[bits / 8] & 0xff00u >> bits % 8);
}

uint64_t hr_route6_key(const uint8_t address[16], uint32_t bits)
{
	uint8_t masked[16];

	mask_prefix(masked, address, bits);
	return mix_address(masked, UINT64_C(0x600000000) + bits);
}

int hr_prefix_match(const uint8_t address[16], const uint8_t prefix[16], uint32_t bits)
{
	if (memcmp(address, prefix, bits / 8) != 0)
		return 0;
	return bits % 8 == 0 || ((address[bits / 8] ^ prefix[bits / 8]) & 0xff00u >> bits % 8 & 0xff) == 0;
}

/* --- pools --- */

static int pool_init(struct hr_pool *pool, uint32_t max)
{
	pool->record = calloc(max, sizeof *pool->record);
	pool->free = calloc(max, sizeof *pool->free);
	if (pool->record == NULL || pool->free == NULL)
		return HR_E_MEMORY;
	pool->max = max;
	pool->n_free = max;
	for (uint32_t i = 0; i < max; i++)
		pool->free[i] = i;
	return 0;
}

static void pool_free(struct hr_pool *pool)
{
	free(pool->record);
	free(pool->free);
}

/* The index that the next record gets; valid while n_free is not 0. */
static uint32_t pool_next(const struct hr_pool *pool)
{
	return pool->free[pool->head];
}

static void pool_publish(struct hr_pool *pool, void *record)
{
	const uint32_t index = pool_next(pool);

	pool->head = pool->head + 1 == pool->max ? 0 : pool->head + 1;
	pool->n_free--;
	atomic_store(&pool->record[index], record);
}

/* When nobody uses the record any more. */
static void pool_release(struct hr_pool *pool, uint32_t index)
{
	uint32_t tail = pool->head + pool->n_free;

	tail = tail >= pool->max ? tail - pool->max : tail;
	pool->free[tail] = index;
	pool->n_free++;
}

/* --- events --- */

void hr_event_post(struct hr_work *work, enum hr_status type, uint32_t index, uint32_t serial, _Atomic uint32_t *flag)
{
	struct hr_events *const events = &work->dp->events;
	uint32_t none = 0;

	if (atomic_load_explicit(flag, memory_order_relaxed) != 0 || !atomic_compare_exchange_strong(flag, &none, 1))
		return;
	pthread_mutex_lock(&events->lock);
	const uint32_t waiting = atomic_load(&events->waiting);
	if (waiting <= events->mask) {
		const struct hr_event_slot slot = {type, index, serial};
		events->slot[(events->head + waiting) & events->mask] = slot;
		atomic_store(&events->waiting, waiting + 1);
		hr_count(work->reader, type, 1, 0);
	} else {
		atomic_store(flag, 0); /* full of events of records that are gone: the next packet tries again */
	}
	pthread_mutex_unlock(&events->lock);
}

static int events_init(struct hr_events *events, uint64_t records)
{
	uint64_t size = 64;

	while (size < records)
		size *= 2;
	events->mask = (uint32_t)(size - 1);
	events->slot = calloc(size, sizeof *events->slot);
	return events->slot != NULL ? 0 : HR_E_MEMORY;
}

static int events_take(struct hr_events *events, struct hr_event_slot *slot)
{
	int taken = 0;

	pthread_mutex_lock(&events->lock);
	const uint32_t waiting = atomic_load(&events->waiting);
	if (waiting != 0) {
		*slot = events->slot[events->head & events->mask];
		events->head++;
		atomic_store(&events->waiting, waiting - 1);
		taken = 1;
	}
	pthread_mutex_unlock(&events->lock);
	return taken;
}

/* The record that a note is about, as it is now; 0 if it has gone. */
static int event_fill(struct hr_dp *dp, const struct hr_event_slot *slot, struct hr_dp_event *event)
{
	struct hr_peer *peer = NULL;

	memset(event, 0, sizeof *event);
	event->type = slot->type;
	event->sa = event->session = HR_NONE;
	if (slot->type == HR_EXC_MOVED) {
		peer = hr_pool_get(&dp->peers, slot->index);
		if (peer == NULL || peer->serial != slot->serial)
			return 0;
		atomic_store(&peer->moved, 0); /* before the endpoint is read: a move after this is told anew */
		event->cookie = hr_read(&peer->cookie);
	} else if (slot->type == HR_EXC_SOFT_LIMIT) {
		struct hr_sa *const sa = hr_pool_get(&dp->sas, slot->index);
		if (sa == NULL || sa->serial != slot->serial)
			return 0;
		atomic_store(&sa->soft_told, 2);
		peer = sa->peer;
		event->sa = sa->index;
		event->seq = sa->outbound ? hr_read(&sa->seq) : hr_read(&sa->replay.top);
		event->cookie = hr_read(&peer->cookie);
	} else {
		struct hr_session *const session = hr_pool_get(&dp->sessions, slot->index);
		if (session == NULL || session->serial != slot->serial)
			return 0;
		atomic_store(&session->mppe_reset, 0);
		peer = session->peer;
		event->session = session->index;
		event->cookie = atomic_load(&session->plan)->config.cookie;
	}
	event->peer = peer->index;
	hr_place_read(&peer->remote, &event->remote);
	return 1;
}

int hr_dp_events(struct hr_dp *dp, struct hr_dp_event *event, uint32_t max)
{
	struct hr_event_slot slot;
	uint32_t n = 0;

	if (atomic_load_explicit(&dp->events.waiting, memory_order_relaxed) == 0)
		return 0;
	pthread_mutex_lock(&dp->lock);
	while (n < max && n < INT32_MAX && events_take(&dp->events, &slot))
		n += (uint32_t)event_fill(dp, &slot, &event[n]);
	pthread_mutex_unlock(&dp->lock);
	return (int)n;
}

/* --- the data plane --- */

struct hr_dp *hr_dp_new(const struct hr_dp_config *config)
{
	if (config->max_peers - 1 >= RECORDS_MAX || config->max_sas - 1 >= RECORDS_MAX ||
	    config->max_sessions - 1 >= RECORDS_MAX || hr_init() != 0)
		return NULL;

	struct hr_dp *const dp = record_new(sizeof *dp);
	struct hr_locals *const locals = calloc(1, sizeof *locals);
	if (dp == NULL || locals == NULL) {
		free(dp);
		free(locals);
		return NULL;
	}
	dp->allow_clear = config->allow_clear_l2tp != 0;
	atomic_init(&dp->locals, locals);
	pthread_mutex_init(&dp->lock, NULL);
	pthread_mutex_init(&dp->events.lock, NULL);
	if (pool_init(&dp->peers, config->max_peers) != 0 || pool_init(&dp->sas, config->max_sas) != 0 ||
	    pool_init(&dp->sessions, config->max_sessions) != 0 || hr_map_init(&dp->spi, config->max_sas) != 0 ||
	    hr_map_init(&dp->ids, config->max_sessions) != 0 || hr_map_init(&dp->clear, config->max_peers) != 0 ||
	    hr_map_init(&dp->route4, config->max_sessions) != 0 || hr_map_init(&dp->route6, config->max_sessions) != 0 ||
	    events_init(&dp->events, (uint64_t)config->max_peers + config->max_sas + config->max_sessions) != 0) {
		hr_dp_free(dp);
		return NULL;
	}
	return dp;
}

static void free_records(struct hr_dp *dp);

void hr_dp_free(struct hr_dp *dp)
{
	if (dp == NULL)
		return;
	free_records(dp);
	hr_map_free(&dp->spi);
	hr_map_free(&dp->ids);
	hr_map_free(&dp->clear);
	hr_map_free(&dp->route4);
	hr_map_free(&dp->route6);
	pool_free(&dp->peers);
	pool_free(&dp->sas);
	pool_free(&dp->sessions);
	free(dp->events.slot);
	hr_grace_free(&dp->grace);
	free((void *)(uintptr_t)atomic_load(&dp->locals));
	pthread_mutex_destroy(&dp->lock);
	pthread_mutex_destroy(&dp->events.lock);
	record_free(dp, sizeof *dp);
}

void hr_counters(struct hr_dp *dp, uint64_t *packets, uint64_t *bytes)
{
	for (uint32_t s = 0; s < HR_STATUS_COUNT; s++) {
		packets[s] = bytes[s] = 0;
		for (uint32_t r = 0; r < HR_READERS; r++) {
			packets[s] += hr_read(&dp->grace.reader[r].packets[s]);
			bytes[s] += hr_read(&dp->grace.reader[r].bytes[s]);
		}
	}
}

static int listener_set(struct hr_dp *dp, uint32_t listener, const struct hr_endpoint *address)
{
	const struct hr_locals *const old = atomic_load(&dp->locals);
	struct hr_locals *const fresh = calloc(1, sizeof *fresh);

	if (fresh == NULL)
		return HR_E_MEMORY;
	memcpy(fresh->listener, old->listener, sizeof fresh->listener);
	fresh->listener[listener] = *address;
	for (uint32_t i = 0; i < HR_LISTENERS_MAX; i++) {
		const struct hr_endpoint *const e = &fresh->listener[i];
		if (e->family == 4)
			memcpy(fresh->v4[fresh->n4++], e->addr, 4);
		else if (e->family == 6)
			memcpy(fresh->v6[fresh->n6++], e->addr, 16);
	}
	atomic_store(&dp->locals, fresh);
	hr_grace_wait(&dp->grace);
	free((void *)(uintptr_t)old);
	return 0;
}

static int family_valid(uint8_t family)
{
	return family == 4 || family == 6;
}

int hr_dp_listener(struct hr_dp *dp, uint32_t listener, const struct hr_endpoint *address)
{
	if (listener >= HR_LISTENERS_MAX || (address->family != 0 && !family_valid(address->family)))
		return HR_E_ARGUMENT;
	pthread_mutex_lock(&dp->lock);
	const int error = listener_set(dp, listener, address);
	pthread_mutex_unlock(&dp->lock);
	return error;
}

/* --- peers --- */

/* A peer without IPsec is for data planes that were made to allow it. */
static int peer_valid(const struct hr_dp *dp, const struct hr_peer_config *config)
{
	return family_valid(config->remote.family) && config->listener < HR_LISTENERS_MAX &&
	       (!config->clear || dp->allow_clear);
}

static uint32_t peer_traits(const struct hr_peer_config *config)
{
	return config->listener | (config->udp_encap ? HR_TRAIT_UDP_ENCAP : 0u) | (config->follow ? HR_TRAIT_FOLLOW : 0u) |
	       (config->clear ? HR_TRAIT_CLEAR : 0u) | (config->remote.family == 6 ? HR_TRAIT_V6 : 0u) |
	       (uint32_t)config->l2tp_port << 16;
}

static int peer_is_clear(const struct hr_peer *peer)
{
	return (atomic_load(&peer->traits) & HR_TRAIT_CLEAR) != 0;
}

struct hr_peer *hr_clear_peer(struct hr_dp *dp, const struct hr_endpoint *endpoint)
{
	struct hr_peer *const peer = hr_map_get(&dp->clear, hr_clear_key(endpoint));
	struct hr_endpoint remote;

	if (peer == NULL)
		return NULL;
	hr_place_read(&peer->remote, &remote);
	return peer_is_clear(peer) && hr_endpoint_equal(&remote, endpoint) ? peer : NULL;
}

int hr_peer_add(struct hr_dp *dp, const struct hr_peer_config *config, uint32_t *index)
{
	if (!peer_valid(dp, config))
		return HR_E_ARGUMENT;

	struct hr_peer *const peer = record_new(sizeof *peer);
	int error = peer != NULL ? 0 : HR_E_MEMORY;

	pthread_mutex_lock(&dp->lock);
	if (error == 0 && dp->peers.n_free == 0)
		error = HR_E_FULL;
	if (error == 0) {
		peer->index = pool_next(&dp->peers);
		peer->serial = ++dp->serial;
		atomic_init(&peer->traits, peer_traits(config));
		atomic_init(&peer->cookie, config->cookie);
		hr_place_write(&peer->remote, &config->remote);
		peer->clear_key = hr_clear_key(&config->remote);
		if (config->clear)
			error = hr_map_put(&dp->clear, &dp->grace, peer->clear_key, peer);
	}
	if (error == 0) {
		*index = peer->index;
		pool_publish(&dp->peers, peer);
	}
	pthread_mutex_unlock(&dp->lock);
	if (error != 0)
		free(peer);
	return error;
}

static int peer_update(struct hr_dp *dp, struct hr_peer *peer, const struct hr_peer_config *config)
{
	const uint64_t key = hr_clear_key(&config->remote);
	const int was_clear = peer_is_clear(peer);

	if (config->clear && !(was_clear && key == peer->clear_key)) {
		const int error = hr_map_put(&dp->clear, &dp->grace, key, peer);
		if (error != 0)
			return error;
	}
	if (was_clear && !(config->clear && key == peer->clear_key))
		hr_map_remove(&dp->clear, peer->clear_key);
	peer->clear_key = key;
	hr_place_write(&peer->remote, &config->remote);
	atomic_store(&peer->traits, peer_traits(config));
	atomic_store(&peer->cookie, config->cookie);
	return 0;
}

int hr_peer_update(struct hr_dp *dp, uint32_t index, const struct hr_peer_config *config)
{
	if (!peer_valid(dp, config))
		return HR_E_ARGUMENT;
	pthread_mutex_lock(&dp->lock);
	struct hr_peer *const peer = hr_pool_get(&dp->peers, index);
	const int error = peer != NULL ? peer_update(dp, peer, config) : HR_E_MISSING;
	pthread_mutex_unlock(&dp->lock);
	return error;
}

int hr_peer_get(struct hr_dp *dp, uint32_t index, struct hr_peer_config *config)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_peer *const peer = hr_pool_get(&dp->peers, index);
	if (peer != NULL) {
		const uint32_t traits = atomic_load(&peer->traits);
		memset(config, 0, sizeof *config);
		hr_place_read(&peer->remote, &config->remote);
		config->listener = (uint8_t)traits;
		config->udp_encap = (traits & HR_TRAIT_UDP_ENCAP) != 0;
		config->follow = (traits & HR_TRAIT_FOLLOW) != 0;
		config->clear = (traits & HR_TRAIT_CLEAR) != 0;
		config->l2tp_port = (uint16_t)(traits >> 16);
		config->cookie = hr_read(&peer->cookie);
	}
	pthread_mutex_unlock(&dp->lock);
	return peer != NULL ? 0 : HR_E_MISSING;
}

/* --- SAs --- */

static int sa_valid(const struct hr_sa_config *config)
{
	const int window_valid =
	    config->replay_window >= HR_REPLAY_MIN && config->replay_window <= HR_REPLAY_MAX && config->replay_window % 32 == 0;
	const int authentic =
	    config->cipher == HR_CIPHER_AES_GCM16 ? config->auth == HR_AUTH_NONE : config->auth != HR_AUTH_NONE;

	return config->spi >= SPI_LEAST && config->outbound <= 1 && config->esn <= 1 && (config->outbound || window_valid) &&
	       authentic && config->enc_key_len <= sizeof config->enc_key && config->auth_key_len <= sizeof config->auth_key &&
	       config->seq <= (config->esn ? SEQ_LAST_64 : SEQ_LAST_32);
}

static size_t sa_size(uint32_t ring_words)
{
	return (sizeof(struct hr_sa) + ring_words * sizeof(uint64_t) + 63) / 64 * 64;
}

static void sa_free(struct hr_sa *sa)
{
	record_free(sa, sa_size(sa->ring_words));
}

static uint64_t or_never(uint64_t limit)
{
	return limit != 0 ? limit : UINT64_MAX;
}

/* A record that is complete but for its place in the tables. */
static int sa_make(const struct hr_sa_config *config, struct hr_sa **made)
{
	const uint32_t words = config->outbound ? 0 : hr_replay_words(config->replay_window);
	struct hr_sa *const sa = record_new(sa_size(words));

	if (sa == NULL)
		return HR_E_MEMORY;
	sa->ring_words = words;
	sa->config = *config;
	sa->spi = config->spi;
	sa->outbound = config->outbound;
	sa->esn = config->esn;
	sa->seq_last = config->esn ? SEQ_LAST_64 : SEQ_LAST_32;
	sa->seq_soft = sa->seq_last - sa->seq_last / 4;
	sa->hard_bytes = or_never(config->hard_bytes);
	sa->soft_bytes = or_never(config->soft_bytes);
	sa->soft_packets = or_never(config->soft_packets);
	atomic_init(&sa->seq, config->seq);
	if (!config->outbound)
		hr_replay_init(&sa->replay, config->replay_window, config->seq, sa->ring);
	const int error = hr_esp_key_init(&sa->key, config->cipher, config->auth, config->esn, config->enc_key,
					  config->enc_key_len, config->auth_key, config->auth_key_len, config->outbound);
	if (error != 0)
		sa_free(sa);
	else
		*made = sa;
	return error;
}

int hr_sa_add(struct hr_dp *dp, const struct hr_sa_config *config, uint32_t *index)
{
	struct hr_sa *sa = NULL;
	int error = sa_valid(config) ? sa_make(config, &sa) : HR_E_ARGUMENT;

	if (error != 0)
		return error;
	pthread_mutex_lock(&dp->lock);
	sa->peer = hr_pool_get(&dp->peers, config->peer);
	if (sa->peer == NULL)
		error = HR_E_MISSING;
	else if (dp->sas.n_free == 0)
		error = HR_E_FULL;
	if (error == 0) {
		sa->index = pool_next(&dp->sas);
		sa->serial = ++dp->serial;
		if (!sa->outbound)
			error = hr_map_put(&dp->spi, &dp->grace, sa->spi, sa);
	}
	if (error == 0) {
		sa->next = sa->peer->sas;
		sa->link = &sa->peer->sas;
		if (sa->next != NULL)
			sa->next->link = &sa->next;
		sa->peer->sas = sa;
		*index = sa->index;
		pool_publish(&dp->sas, sa);
	}
	pthread_mutex_unlock(&dp->lock);
	if (error != 0)
		sa_free(sa);
	return error;
}

int hr_sa_use(struct hr_dp *dp, uint32_t index)
{
	int error = HR_E_MISSING;

	pthread_mutex_lock(&dp->lock);
	struct hr_sa *const sa = hr_pool_get(&dp->sas, index);
	if (sa != NULL) {
		error = sa->outbound ? 0 : HR_E_ARGUMENT;
		if (error == 0)
			atomic_store(&sa->peer->out, sa);
	}
	pthread_mutex_unlock(&dp->lock);
	return error;
}

/* Last used or highest seen. Threads that found the numbers exhausted have drawn some that were never used. */
static uint64_t sa_seq(const struct hr_sa *sa)
{
	const uint64_t seq = sa->outbound ? hr_read(&sa->seq) : hr_read(&sa->replay.top);

	return seq < sa->seq_last ? seq : sa->seq_last;
}

int hr_sa_stats(struct hr_dp *dp, uint32_t index, struct hr_sa_stats *stats)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_sa *const sa = hr_pool_get(&dp->sas, index);
	if (sa != NULL) {
		stats->packets = hr_read(&sa->packets);
		stats->bytes = hr_read(&sa->bytes);
		stats->seq = sa_seq(sa);
		stats->replayed = hr_read(&sa->replayed);
		stats->auth_failed = hr_read(&sa->auth_failed);
		stats->last_ns = hr_read(&sa->last_ns);
	}
	pthread_mutex_unlock(&dp->lock);
	return sa != NULL ? 0 : HR_E_MISSING;
}

int hr_sa_export(struct hr_dp *dp, uint32_t index, struct hr_sa_config *config)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_sa *const sa = hr_pool_get(&dp->sas, index);
	if (sa != NULL) {
		*config = sa->config;
		config->seq = sa_seq(sa);
	}
	pthread_mutex_unlock(&dp->lock);
	return sa != NULL ? 0 : HR_E_MISSING;
}

/* Out of everything through which a stage could find it. */
static void sa_hide(struct hr_dp *dp, struct hr_sa *sa)
{
	struct hr_sa *in_use = sa;

	if (!sa->outbound)
		hr_map_remove(&dp->spi, sa->spi);
	atomic_compare_exchange_strong(&sa->peer->out, &in_use, NULL);
	atomic_store(&dp->sas.record[sa->index], NULL);
}

static void sa_bury(struct hr_dp *dp, struct hr_sa *sa)
{
	pool_release(&dp->sas, sa->index);
	hr_esp_key_wipe(&sa->key);
	sa_free(sa);
}

int hr_sa_remove(struct hr_dp *dp, uint32_t index)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_sa *const sa = hr_pool_get(&dp->sas, index);
	if (sa != NULL) {
		*sa->link = sa->next;
		if (sa->next != NULL)
			sa->next->link = sa->link;
		sa_hide(dp, sa);
		hr_grace_wait(&dp->grace);
		sa_bury(dp, sa);
	}
	pthread_mutex_unlock(&dp->lock);
	return sa != NULL ? 0 : HR_E_MISSING;
}

/* --- routes --- */

struct hr_session *hr_route4(struct hr_dp *dp, const uint8_t address[4])
{
	struct hr_session *const session = hr_map_get(&dp->route4, hr_get32(address));

	if (session != NULL && memcmp(atomic_load(&session->plan)->own4, address, 4) == 0)
		return session;
	return atomic_load(&dp->default_route);
}

/* The longest prefix first. Sessions use one or two lengths in practice, and only lengths in use are tried. */
struct hr_session *hr_route6(struct hr_dp *dp, const uint8_t address[16])
{
	for (uint32_t w = 3; w-- > 0;) {
		for (uint64_t lengths = hr_read(&dp->route6_lengths[w]); lengths != 0;) {
			const uint32_t bit = 63 - (uint32_t)__builtin_clzll(lengths);
			const uint32_t bits = w * 64 + bit;
			struct hr_session *const session = hr_map_get(&dp->route6, hr_route6_key(address, bits));
			if (session != NULL) {
				const struct hr_plan *const plan = atomic_load(&session->plan);
				if (plan->own6_len == bits && hr_prefix_match(address, plan->own6, bits))
					return session;
			}
			lengths &= ~(UINT64_C(1) << bit);
		}
	}
	return atomic_load(&dp->default_route);
}

static int has_route4(const struct hr_plan *plan)
{
	return plan != NULL && !plan->own4_any;
}

static int has_route6(const struct hr_plan *plan)
{
	return plan != NULL && plan->own6_len != 0;
}

static int same_route4(const struct hr_plan *a, const struct hr_plan *b)
{
	return has_route4(a) && has_route4(b) && memcmp(a->own4, b->own4, 4) == 0;
}

static int same_route6(const struct hr_plan *a, const struct hr_plan *b)
{
	return has_route6(a) && has_route6(b) && a->own6_len == b->own6_len && memcmp(a->own6, b->own6, 16) == 0;
}

static void route6_length(struct hr_dp *dp, uint32_t bits, int up)
{
	_Atomic uint64_t *const word = &dp->route6_lengths[bits / 64];
	const uint64_t bit = UINT64_C(1) << bits % 64;

	if (up ? dp->route6_count[bits]++ == 0 : --dp->route6_count[bits] == 0)
		atomic_fetch_xor(word, bit);
}

/* Add the routes that `fresh` has and `old` lacks: all or none. */
static int routes_add(struct hr_dp *dp, struct hr_session *session, const struct hr_plan *old, const struct hr_plan *fresh)
{
	const int add4 = has_route4(fresh) && !same_route4(old, fresh);
	int error = 0;

	if (add4)
		error = hr_map_put(&dp->route4, &dp->grace, hr_get32(fresh->own4), session);
	if (error == 0 && has_route6(fresh) && !same_route6(old, fresh)) {
		error = hr_map_put(&dp->route6, &dp->grace, hr_route6_key(fresh->own6, fresh->own6_len), session);
		if (error == 0)
			route6_length(dp, fresh->own6_len, 1);
		else if (add4)
			hr_map_remove(&dp->route4, hr_get32(fresh->own4));
	}
	return error;
}

/* Remove those that `old` has and `fresh` lacks. */
static void routes_drop(struct hr_dp *dp, const struct hr_plan *old, const struct hr_plan *fresh)
{
	if (has_route4(old) && !same_route4(old, fresh))
		hr_map_remove(&dp->route4, hr_get32(old->own4));
	if (has_route6(old) && !same_route6(old, fresh)) {
		hr_map_remove(&dp->route6, hr_route6_key(old->own6, old->own6_len));
		route6_length(dp, old->own6_len, 0);
	}
}

/* The newest session that asks for it has the default route; when it goes, any other that asks. */
static void default_route(struct hr_dp *dp, struct hr_session *session, int wanted)
{
	struct hr_session *heir = wanted ? session : NULL;

	if (!wanted && atomic_load(&dp->default_route) != session)
		return;
	for (uint32_t i = 0; heir == NULL && i < dp->sessions.max; i++) {
		struct hr_session *const other = hr_pool_get(&dp->sessions, i);
		if (other != NULL && other != session && atomic_load(&other->plan)->config.default_route)
			heir = other;
	}
	atomic_store(&dp->default_route, heir);
}

/* --- sessions --- */

static int session_valid(const struct hr_session_config *config)
{
	return config->local_tunnel != 0 && config->local_session != 0 && config->remote_tunnel != 0 &&
	       config->remote_session != 0 && config->mppe_policy <= HR_MPPE_REQUIRED && config->own6_len <= 128 &&
	       (config->send_mru == 0 || config->send_mru >= MRU_LEAST) && config->filter_n <= HR_FILTER_RULES &&
	       hr_filter_valid(config->filter, (uint32_t)config->filter_n);
}

/* A peer may send 1500 octets whatever was agreed (RFC 1661 section 6.1). */
static uint16_t expand_max(uint32_t mru)
{
	const uint32_t most = (mru < MRU_DEFAULT ? MRU_DEFAULT : mru) + 2;

	return (uint16_t)(most < EXPAND_MOST ? most : EXPAND_MOST);
}

static struct hr_plan *plan_make(const struct hr_session_config *config)
{
	static const uint8_t any4[4];
	struct hr_plan *const plan = record_new(sizeof *plan);

	if (plan == NULL)
		return NULL;
	plan->remote_tunnel = config->remote_tunnel;
	plan->remote_session = config->remote_session;
	plan->local_port = config->l2tp_local_port;
	plan->remote_port = config->l2tp_remote_port;
	plan->mru = config->send_mru == 0 ? MRU_DEFAULT : config->send_mru < MRU_MOST ? config->send_mru : MRU_MOST;
	plan->mss4 = config->mss4;
	plan->mss6 = config->mss6;
	plan->send_length = config->send_length != 0;
	plan->send_sequence = config->send_sequence != 0;
	plan->require_sequence = config->require_sequence != 0;
	plan->lns = config->lns != 0;
	plan->acfc = config->send_acfc != 0;
	plan->pfc = config->send_pfc != 0;
	plan->policy = config->mppe_policy;
	plan->open4 = config->open4 != 0;
	plan->open6 = config->open6 != 0;
	memcpy(plan->own4, config->own4, 4);
	plan->own4_any = memcmp(config->own4, any4, 4) == 0;
	mask_prefix(plan->own6, config->own6, config->own6_len);
	plan->own6_len = config->own6_len;
	plan->expand_max = expand_max(config->recv_mru);
	plan->filters = (uint8_t)config->filter_n; /* valid: at most HR_FILTER_RULES */
	plan->rate_rx = hr_rate_of(config->rate_rx);
	plan->rate_tx = hr_rate_of(config->rate_tx);
	plan->config = *config;
	return plan;
}

static int session_publish(struct hr_dp *dp, struct hr_session *session, const struct hr_plan *plan)
{
	const struct hr_session_config *const config = &plan->config;

	session->peer = hr_pool_get(&dp->peers, config->peer);
	if (session->peer == NULL)
		return HR_E_MISSING;
	if (dp->sessions.n_free == 0)
		return HR_E_FULL;
	session->index = pool_next(&dp->sessions);
	session->serial = ++dp->serial;
	session->ids = (uint32_t)hr_ids_key(config->local_tunnel, config->local_session);
	atomic_init(&session->plan, plan);
	atomic_init(&session->numbering, plan->send_sequence);

	int error = routes_add(dp, session, NULL, plan);
	if (error != 0)
		return error;
	error = hr_map_put(&dp->ids, &dp->grace, session->ids, session);
	if (error != 0) {
		routes_drop(dp, plan, NULL);
		hr_grace_wait(&dp->grace); /* a reader may have taken the route */
		return error;
	}
	if (config->default_route)
		default_route(dp, session, 1);
	session->next = session->peer->sessions;
	session->link = &session->peer->sessions;
	if (session->next != NULL)
		session->next->link = &session->next;
	session->peer->sessions = session;
	pool_publish(&dp->sessions, session);
	return 0;
}

int hr_session_add(struct hr_dp *dp, const struct hr_session_config *config, uint32_t *index)
{
	if (!session_valid(config))
		return HR_E_ARGUMENT;

	struct hr_session *const session = record_new(sizeof *session);
	struct hr_plan *const plan = plan_make(config);
	int error = session != NULL && plan != NULL ? 0 : HR_E_MEMORY;
	if (error == 0) {
		pthread_mutex_lock(&dp->lock);
		error = session_publish(dp, session, plan);
		if (error == 0)
			*index = session->index;
		pthread_mutex_unlock(&dp->lock);
	}
	if (error != 0) {
		free(session);
		free(plan);
	}
	return error;
}

static int session_update(struct hr_dp *dp, struct hr_session *session, struct hr_plan *fresh)
{
	const struct hr_plan *const old = atomic_load(&session->plan);
	const struct hr_session_config *const config = &fresh->config;

	if (config->peer != session->peer->index || hr_ids_key(config->local_tunnel, config->local_session) != session->ids)
		return HR_E_ARGUMENT;
	const int error = routes_add(dp, session, old, fresh);
	if (error != 0)
		return error;
	atomic_store(&session->plan, fresh);
	routes_drop(dp, old, fresh);
	if (config->default_route != old->config.default_route)
		default_route(dp, session, config->default_route);
	if (config->send_sequence != old->config.send_sequence)
		atomic_store(&session->numbering, fresh->send_sequence);
	hr_grace_wait(&dp->grace);
	free((void *)(uintptr_t)old);
	return 0;
}

int hr_session_update(struct hr_dp *dp, uint32_t index, const struct hr_session_config *config)
{
	if (!session_valid(config))
		return HR_E_ARGUMENT;

	struct hr_plan *const fresh = plan_make(config);
	if (fresh == NULL)
		return HR_E_MEMORY;
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	const int error = session != NULL ? session_update(dp, session, fresh) : HR_E_MISSING;
	pthread_mutex_unlock(&dp->lock);
	if (error != 0)
		free(fresh);
	return error;
}

int hr_session_mppe(struct hr_dp *dp, uint32_t index, const struct hr_mppe_config *config)
{
	if (config->outbound > 1)
		return HR_E_ARGUMENT;
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	const int error =
	    session == NULL ? HR_E_MISSING : hr_mppe_open(config->outbound ? &session->mppe_out : &session->mppe_in, config);
	pthread_mutex_unlock(&dp->lock);
	return error;
}

/* Publish a direction's state, and free the one before when nobody uses it any more. */
static void vj_replace(struct hr_dp *dp, _Atomic(struct hr_vj_state *) *place, struct hr_vj_state *fresh)
{
	struct hr_vj_state *const old = atomic_exchange(place, fresh);

	if (old == NULL && fresh != NULL)
		atomic_fetch_add(&dp->vj_sessions, 1);
	if (old == NULL)
		return;
	if (fresh == NULL)
		atomic_fetch_sub(&dp->vj_sessions, 1);
	hr_grace_wait(&dp->grace);
	record_free(old, sizeof *old);
}

int hr_session_vj(struct hr_dp *dp, uint32_t index, uint8_t outbound, uint8_t slots, uint8_t omit_slot)
{
	struct hr_vj_state *fresh = NULL;

	if (outbound > 1 || slots > HR_VJ_SLOTS)
		return HR_E_ARGUMENT;
	if (slots != 0) {
		fresh = record_new(sizeof *fresh);
		if (fresh == NULL)
			return HR_E_MEMORY;
		hr_vj_init(&fresh->vj, slots, omit_slot != 0);
	}
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	if (session != NULL)
		vj_replace(dp, outbound ? &session->vj_out : &session->vj_in, fresh);
	pthread_mutex_unlock(&dp->lock);
	if (session == NULL)
		free(fresh);
	return session != NULL ? 0 : HR_E_MISSING;
}

int hr_session_mppe_flush(struct hr_dp *dp, uint32_t index)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	if (session != NULL)
		hr_mppe_flush(&session->mppe_out);
	pthread_mutex_unlock(&dp->lock);
	return session != NULL ? 0 : HR_E_MISSING;
}

int hr_session_mppe_export(struct hr_dp *dp, uint32_t index, uint8_t outbound, struct hr_mppe_config *config)
{
	if (outbound > 1)
		return HR_E_ARGUMENT;
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	if (session != NULL) {
		hr_mppe_export(outbound ? &session->mppe_out : &session->mppe_in, config);
		config->outbound = outbound;
	}
	pthread_mutex_unlock(&dp->lock);
	return session != NULL ? 0 : HR_E_MISSING;
}

int hr_session_stats(struct hr_dp *dp, uint32_t index, struct hr_session_stats *stats)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	if (session != NULL) {
		const uint64_t rx_data = hr_read(&session->rx.data_ns), tx_data = hr_read(&session->tx.data_ns);
		stats->rx_packets = hr_read(&session->rx.packets);
		stats->rx_bytes = hr_read(&session->rx.bytes);
		stats->tx_packets = hr_read(&session->tx.packets);
		stats->tx_bytes = hr_read(&session->tx.bytes);
		stats->rx_dropped = hr_read(&session->rx.dropped);
		stats->tx_dropped = hr_read(&session->tx.dropped);
		stats->last_rx_ns = hr_read(&session->rx.last_ns);
		stats->last_tx_ns = hr_read(&session->tx.last_ns);
		stats->last_data_ns = rx_data > tx_data ? rx_data : tx_data;
	}
	pthread_mutex_unlock(&dp->lock);
	return session != NULL ? 0 : HR_E_MISSING;
}

static void session_hide(struct hr_dp *dp, struct hr_session *session)
{
	hr_map_remove(&dp->ids, session->ids);
	routes_drop(dp, atomic_load(&session->plan), NULL);
	default_route(dp, session, 0);
	atomic_store(&dp->sessions.record[session->index], NULL);
}

/* Nobody finds the session any more. */
static void vj_free(struct hr_dp *dp, _Atomic(struct hr_vj_state *) *place)
{
	struct hr_vj_state *const old = atomic_exchange(place, NULL);

	if (old == NULL)
		return;
	atomic_fetch_sub(&dp->vj_sessions, 1);
	record_free(old, sizeof *old);
}

static void session_bury(struct hr_dp *dp, struct hr_session *session)
{
	pool_release(&dp->sessions, session->index);
	hr_mppe_wipe(&session->mppe_in);
	hr_mppe_wipe(&session->mppe_out);
	vj_free(dp, &session->vj_in);
	vj_free(dp, &session->vj_out);
	free((void *)(uintptr_t)atomic_load(&session->plan));
	record_free(session, sizeof *session);
}

int hr_session_remove(struct hr_dp *dp, uint32_t index)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_session *const session = hr_pool_get(&dp->sessions, index);
	if (session != NULL) {
		*session->link = session->next;
		if (session->next != NULL)
			session->next->link = session->link;
		session_hide(dp, session);
		hr_grace_wait(&dp->grace);
		session_bury(dp, session);
	}
	pthread_mutex_unlock(&dp->lock);
	return session != NULL ? 0 : HR_E_MISSING;
}

/* --- a peer goes with all it has: one wait for everything --- */

static void peer_remove(struct hr_dp *dp, struct hr_peer *peer)
{
	if (peer_is_clear(peer))
		hr_map_remove(&dp->clear, peer->clear_key);
	for (struct hr_sa *sa = peer->sas; sa != NULL; sa = sa->next)
		sa_hide(dp, sa);
	for (struct hr_session *session = peer->sessions; session != NULL; session = session->next)
		session_hide(dp, session);
	atomic_store(&dp->peers.record[peer->index], NULL);
	hr_grace_wait(&dp->grace);

	while (peer->sas != NULL) {
		struct hr_sa *const sa = peer->sas;
		peer->sas = sa->next;
		sa_bury(dp, sa);
	}
	while (peer->sessions != NULL) {
		struct hr_session *const session = peer->sessions;
		peer->sessions = session->next;
		session_bury(dp, session);
	}
	pool_release(&dp->peers, peer->index);
	record_free(peer, sizeof *peer);
}

int hr_peer_remove(struct hr_dp *dp, uint32_t index)
{
	pthread_mutex_lock(&dp->lock);
	struct hr_peer *const peer = hr_pool_get(&dp->peers, index);
	if (peer != NULL)
		peer_remove(dp, peer);
	pthread_mutex_unlock(&dp->lock);
	return peer != NULL ? 0 : HR_E_MISSING;
}

/* hr_dp_new() may have failed half way: pools without memory have no records. Default routes need no heirs any more. */
static void free_records(struct hr_dp *dp)
{
	for (uint32_t i = 0; i < dp->sessions.max; i++) {
		struct hr_session *const session = hr_pool_get(&dp->sessions, i);
		if (session != NULL)
			session_bury(dp, session);
	}
	for (uint32_t i = 0; i < dp->sas.max; i++) {
		struct hr_sa *const sa = hr_pool_get(&dp->sas, i);
		if (sa != NULL)
			sa_bury(dp, sa);
	}
	for (uint32_t i = 0; i < dp->peers.max; i++) {
		struct hr_peer *const peer = hr_pool_get(&dp->peers, i);
		if (peer != NULL)
			record_free(peer, sizeof *peer);
	}
}
