/* SPDX-License-Identifier: Apache-2.0
 *
 * mppe.c: Microsoft Point-to-Point Encryption (RFC 3078), keys by RFC 3079.
 *
 *  +-------------------------------+-+-+-+-+-----------------------+------------------------------
 *  |  PPP protocol 00fd            |A|B|C|D|  coherency count      |  RC4 of protocol, information
 *  +-------------------------------+-+-+-+-+-----------------------+------------------------------
 *   A flushed, B and C are MPPC's, D encrypted
 *
 * Compression (ccp.c) works here too, since it has the same order and the same header: MPPC before the encryption, with or
 * without it, or Deflate in place of both. Where MPPC is on, the peer is one that follows the RFC: no Linux kernel has it.
 *
 * Stateless: a new key before every packet, the first included; A on all. A receiver changes its key once for every count that
 * it misses. Stateful: RC4 runs on from packet to packet; a new key before every flag packet, whose count ends in ff.
 *
 * Two readings of stateful mode are in the field. They differ in what an A on a packet that is no flag packet does to the key:
 * RFC 3078 and FreeBSD start RC4 anew with the key they have, Linux changes the key first; and Linux demands A on every flag
 * packet.
 *  - Sending, both are served: A goes on flag packets and nowhere else. A peer that asks for a reset gets one by moving
 *    the count on to the next flag packet, where everybody changes the key exactly once. The first packet has no A: Linux
 *    would change the key.
 *  - Receiving, the habit is found out by trying: the plaintext is an IP packet under one of the keys only, and its header
 *    checksum says which. The same search repairs a Linux peer whose answer to a Reset-Request was lost: it has changed
 *    its key for each of them.
 *
 * Every direction of a session has a lock, for its packets must be worked in order. A pass takes all the locks that it needs
 * before it computes, so that the keys of many sessions are derived side by side. It waits for a lock only while it holds none,
 * and puts off the packets of sessions whose lock it did not get: two passes never wait for each other.
 */
#include "mppe.h"

#include "ppp.h"
#include "tables.h"
#include "wipe.h"

enum {
	HEADER = 2,
	COUNTS = HR_MPPE_COUNT + 1,
	HALF = COUNTS / 2,
	SLACK = 64,	/* how far a peer with several processors may disagree with itself about the order of packets */
	RESETS_MAX = 8, /* answers to Reset-Requests that may have been lost and are searched for */
	NOTED_LAST = 0x3fff,
	PROBE = 2 + 60 /* protocol and the longest IPv4 header: enough to judge a plaintext by */
};

/* One change of key is about as dear as decrypting a small packet, and a lost packet costs one without being sent: a peer that
 * skips counts makes us work. So many a second, and so many at once: a burst of losses twice the size of the whole count. */
#define STEP_NS UINT64_C(15000)
#define STEP_BURST_NS (2 * COUNTS * STEP_NS)

#define RESET_AGAIN_NS UINT64_C(1000000000)

static uint32_t count_add(uint32_t count, uint32_t by)
{
	return (count + by) & HR_MPPE_COUNT;
}

static int is_flag(uint32_t count)
{
	return (count & 0xff) == 0xff;
}

/* How many flag packets there are among n counts from `from` on. */
static uint32_t flags_among(uint32_t from, uint32_t n)
{
	return ((from & 0xff) + n) >> 8;
}

/* --- the lock --- */

int hr_mppe_trylock(struct hr_mppe *mppe, uint32_t self)
{
	uint32_t nobody = 0;

	return atomic_compare_exchange_strong_explicit(&mppe->owner, &nobody, self, memory_order_acquire, memory_order_relaxed);
}

void hr_mppe_lock(struct hr_mppe *mppe, uint32_t self)
{
	struct hr_patience patience = {0};

	while (!hr_mppe_trylock(mppe, self))
		hr_be_patient(&patience);
}

void hr_mppe_unlock(struct hr_mppe *mppe)
{
	atomic_store_explicit(&mppe->owner, 0, memory_order_release);
}

/* --- keys --- */

static struct hr_mppe_rekey_job rekey_job(struct hr_mppe *mppe, uint8_t *current, uint32_t initial)
{
	const struct hr_mppe_rekey_job job = {mppe->start, current, mppe->key_len, mppe->bits, initial};

	return job;
}

/* Change a key n times, by itself. */
static void change_key(struct hr_mppe *mppe, uint8_t *current, uint32_t n)
{
	const struct hr_mppe_rekey_job job = rekey_job(mppe, current, 0);

	while (n-- > 0)
		hr_mppe_rekey(&job, 1);
}

static void restart_rc4(struct hr_mppe *mppe)
{
	hr_rc4_init(&mppe->rc4, mppe->current, mppe->key_len);
}

/* --- the control plane's side --- */

static void clear(struct hr_mppe *mppe)
{
	atomic_store(&mppe->mode, HR_MPPE_CLOSED);
	hr_erase(mppe->start, sizeof mppe->start);
	hr_erase(mppe->current, sizeof mppe->current);
	hr_erase(&mppe->rc4, sizeof mppe->rc4);
	mppe->count = 0;
	mppe->bits = mppe->key_len = 0;
	mppe->flush = mppe->waiting = mppe->habit = mppe->resets = 0;
	mppe->esp_serial = 0;
	mppe->esp_seq = mppe->reset_ns = 0;
	atomic_store(&mppe->step_clock, 0);
	hr_ccp_free(mppe->ccp);
	mppe->ccp = NULL;
	mppe->compressed = mppe->bare = 0;
}

static uint32_t mode_of(const struct hr_mppe_config *config)
{
	if (config->bits == 0)
		return HR_MPPE_PLAIN;
	return config->stateless ? HR_MPPE_STATELESS : HR_MPPE_STATEFUL;
}

static void start(struct hr_mppe *mppe, const struct hr_mppe_config *config, struct hr_ccp *ccp)
{
	const uint32_t from = config->resume ? config->key_count : 0;
	const uint32_t ahead = (uint32_t)(config->count - from) & HR_MPPE_COUNT;

	clear(mppe);
	mppe->ccp = ccp;
	mppe->compressed = ccp != NULL;
	mppe->bare = config->compression == HR_COMPRESS_DEFLATE;
	if (ccp != NULL)
		mppe->habit = HR_HABIT_KEEPS;
	if (config->bits == 0) {
		mppe->count = config->count;
		mppe->flush = mppe->waiting = config->resume || config->count != 0;
		atomic_store(&mppe->mode, HR_MPPE_PLAIN);
		return;
	}
	mppe->bits = config->bits;
	mppe->key_len = config->bits == 128 ? 16 : 8;
	memcpy(mppe->start, config->start_key, mppe->key_len);
	if (config->resume) {
		memcpy(mppe->current, config->session_key, mppe->key_len);
	} else {
		const struct hr_mppe_rekey_job job = rekey_job(mppe, mppe->current, 1);
		hr_mppe_rekey(&job, 1);
	}
	change_key(mppe, mppe->current, config->stateless ? ahead : flags_among(from, ahead));
	mppe->count = config->count;
	if (!config->stateless) {
		/* where RC4 stood is not known any more, unless this is the beginning */
		mppe->flush = mppe->waiting = config->resume || config->count != 0;
		restart_rc4(mppe);
	}
	atomic_store(&mppe->mode, mode_of(config));
}

int hr_mppe_open(struct hr_mppe *mppe, const struct hr_mppe_config *config)
{
	const int close = config->bits == 0 && config->compression == HR_COMPRESS_NONE;
	struct hr_ccp *ccp = NULL;
	int error = 0;

	if (config->bits != 0 && config->bits != 40 && config->bits != 56 && config->bits != 128)
		return HR_E_ARGUMENT;
	if (config->count >= COUNTS || config->key_count >= COUNTS)
		return HR_E_ARGUMENT;
	if (config->compression != HR_COMPRESS_NONE)
		ccp = hr_ccp_new(config, &error);
	if (error != 0)
		return error;
	hr_mppe_lock(mppe, HR_OWNER_WRITER);
	if (close)
		clear(mppe);
	else
		start(mppe, config, ccp);
	hr_mppe_unlock(mppe);
	return 0;
}

void hr_mppe_export(struct hr_mppe *mppe, struct hr_mppe_config *config)
{
	memset(config, 0, sizeof *config);
	hr_mppe_lock(mppe, HR_OWNER_WRITER);
	if (mppe->ccp != NULL && mppe->ccp->method == HR_COMPRESS_MPPC)
		config->compression = HR_COMPRESS_MPPC;
	if (atomic_load(&mppe->mode) == HR_MPPE_PLAIN && config->compression != HR_COMPRESS_NONE) {
		config->resume = 1;
		config->stateless = mppe->ccp->restart;
		config->count = config->key_count = mppe->count;
	} else if (mppe->bits != 0) {
		config->bits = mppe->bits;
		config->stateless = atomic_load(&mppe->mode) == HR_MPPE_STATELESS;
		config->resume = 1;
		config->count = config->key_count = mppe->count;
		memcpy(config->start_key, mppe->start, mppe->key_len);
		memcpy(config->session_key, mppe->current, mppe->key_len);
	}
	hr_mppe_unlock(mppe);
}

void hr_mppe_flush(struct hr_mppe *mppe)
{
	hr_mppe_lock(mppe, HR_OWNER_WRITER);
	mppe->flush = 1;
	hr_mppe_unlock(mppe);
}

void hr_mppe_wipe(struct hr_mppe *mppe)
{
	clear(mppe);
}

/* --- a pass --- */

/* Decide about one packet, under the lock: 1 if it is to be worked, 0 if it has ended. Sets work->header, and work->steps in
 * stateless mode; in stateful mode it leaves the stream where the packet begins. */
typedef int admit_fn(struct hr_work *work, struct hr_mppe *mppe, uint32_t i);

typedef void after_fn(struct hr_work *work, uint32_t i);

struct direction {
	size_t offset; /* of the struct hr_mppe in the session */
	admit_fn *stateless;
	admit_fn *stateful;
	admit_fn *plain; /* all of it: there is nothing to encrypt */
	after_fn *after; /* what is left to do when RC4 has run; NULL: nothing */
};

static void finish(struct hr_work *work, const struct direction *direction, uint32_t jobs)
{
	for (uint32_t k = 0; direction->after != NULL && k < jobs; k++)
		direction->after(work, work->worked[k]);
}

/* Take the locks of the sessions of work->todo[0 .. n), as many as come without waiting for one while holding another, and
 * chain their packets behind them. The sessions that are held go to work->held, how many to *held; what was put off goes to the
 * front of work->todo, in order, and how many that are is returned. */
static uint32_t gather(struct hr_work *work, uint32_t n, const struct direction *direction, uint32_t *held)
{
	uint32_t left = 0;

	*held = 0;
	for (uint32_t k = 0; k < n; k++) {
		const uint16_t i = work->todo[k];
		struct hr_mppe *const mppe = (struct hr_mppe *)(void *)((uint8_t *)work->packet[i].session + direction->offset);

		if (atomic_load_explicit(&mppe->owner, memory_order_relaxed) == work->self) {
			work->packet[mppe->last].next = i;
		} else {
			uint32_t before = 0; /* one packet that waits makes all behind it wait: they must stay in order */
			while (before < left && work->packet[work->todo[before]].session != work->packet[i].session)
				before++;
			const int mine = before == left && hr_mppe_trylock(mppe, work->self);
			if (!mine && *held != 0) {
				work->todo[left++] = i;
				continue;
			}
			if (!mine)
				hr_mppe_lock(mppe, work->self);
			work->held[(*held)++] = mppe;
			mppe->first = i;
		}
		mppe->last = i;
		work->packet[i].next = HR_CHAIN_END;
	}
	return left;
}

/* Stateless: let every packet of the chain be decided about, and take those that ended out of it. */
static void admit_chain(struct hr_work *work, struct hr_mppe *mppe, admit_fn *admit)
{
	for (uint16_t *link = &mppe->first; *link != HR_CHAIN_END;) {
		const uint32_t i = *link;
		if (admit(work, mppe, i))
			link = &work->packet[i].next;
		else
			*link = work->packet[i].next;
	}
}

static int drop(struct hr_work *work, uint32_t i, enum hr_status status)
{
	hr_end(work, &work->desc[i], status);
	return 0;
}

/* The direction was closed while the packets were on their way to it. */
static int refuse(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	(void)mppe;
	hr_end(work, &work->desc[i], HR_DROP_MPPE_NOT_OPEN);
	return 0;
}

static struct hr_rc4_job rc4_job(struct hr_work *work, uint32_t i)
{
	const struct hr_rc4_job job = {NULL, 0, work->packet[i].len, work->packet[i].data, NULL};

	return job;
}

/* Stateless: in each round every chain changes its key once; a packet whose changes are made has its key. Then all packets of
 * all sessions are encrypted or decrypted at once. */
static void run_keys(struct hr_work *work, uint32_t active, const struct direction *direction)
{
	uint32_t jobs = 0;

	while (active != 0) {
		hr_mppe_rekey(work->rekey, active);
		for (uint32_t a = active; a-- > 0;) {
			struct hr_mppe *const mppe = work->active[a];
			const uint32_t i = mppe->first;
			if (--work->packet[i].steps != 0)
				continue;
			memcpy(work->key[jobs], mppe->current, sizeof work->key[0]);
			work->rc4[jobs] = rc4_job(work, i);
			work->rc4[jobs].key = work->key[jobs];
			work->rc4[jobs].key_len = mppe->key_len;
			work->worked[jobs++] = (uint16_t)i;
			mppe->first = work->packet[i].next;
			if (mppe->first == HR_CHAIN_END) {
				work->active[a] = work->active[--active];
				work->rekey[a] = work->rekey[active];
			}
		}
	}
	hr_rc4_batch(work->rc4, jobs);
	hr_erase(work->key, jobs * sizeof work->key[0]);
	finish(work, direction, jobs);
}

/* Stateful: in each round every stream works its next packet. */
static void run_streams(struct hr_work *work, uint32_t active, const struct direction *direction)
{
	uint32_t jobs;

	do {
		jobs = 0;
		for (uint32_t a = 0; a < active; a++) {
			struct hr_mppe *const mppe = work->active[a];
			while (mppe->first != HR_CHAIN_END) {
				const uint32_t i = mppe->first;
				mppe->first = work->packet[i].next;
				if (!direction->stateful(work, mppe, i))
					continue;
				work->worked[jobs] = (uint16_t)i;
				work->rc4[jobs] = rc4_job(work, i);
				work->rc4[jobs++].state = &mppe->rc4;
				break;
			}
		}
		hr_rc4_batch(work->rc4, jobs);
		finish(work, direction, jobs);
	} while (jobs != 0);
}

/* Compression alone: one packet after the other. */
static void run_plain(struct hr_work *work, struct hr_mppe *mppe, admit_fn *plain)
{
	for (uint32_t i = mppe->first; i != HR_CHAIN_END; i = work->packet[i].next)
		plain(work, mppe, i);
}

/* Work the packets of work->todo[0 .. n). */
static void run(struct hr_work *work, uint32_t n, const struct direction *direction)
{
	while (n != 0) {
		uint32_t held, keys = 0, streams = 0;

		n = gather(work, n, direction, &held);
		for (uint32_t h = 0; h < held; h++) {
			struct hr_mppe *const mppe = work->held[h];
			const uint32_t mode = atomic_load_explicit(&mppe->mode, memory_order_relaxed);
			if (mode == HR_MPPE_STATEFUL)
				continue;
			if (mode == HR_MPPE_PLAIN) {
				run_plain(work, mppe, direction->plain);
				continue;
			}
			admit_chain(work, mppe, mode == HR_MPPE_STATELESS ? direction->stateless : refuse);
			if (mppe->first == HR_CHAIN_END)
				continue;
			work->rekey[keys] = rekey_job(mppe, mppe->current, 0);
			work->active[keys++] = mppe;
		}
		run_keys(work, keys, direction);
		for (uint32_t h = 0; h < held; h++) {
			if (atomic_load_explicit(&work->held[h]->mode, memory_order_relaxed) == HR_MPPE_STATEFUL)
				work->active[streams++] = work->held[h];
		}
		run_streams(work, streams, direction);
		for (uint32_t h = 0; h < held; h++)
			hr_mppe_unlock(work->held[h]);
	}
}

/* --- encrypt --- */

static int number_stateless(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	work->packet[i].encrypt = HR_CCP_WRAP;
	work->packet[i].header = HR_MPPE_FLUSHED | HR_MPPE_ENCRYPTED | mppe->count;
	if (mppe->ccp != NULL)
		work->packet[i].header |= hr_ccp_mppc_compress(work, mppe->ccp, i);
	work->packet[i].steps = 1;
	mppe->count = (uint16_t)count_add(mppe->count, 1);
	return 1;
}

static int number_stateful(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	const uint32_t count = mppe->flush ? mppe->count | 0xffu : mppe->count;

	work->packet[i].encrypt = HR_CCP_WRAP;
	work->packet[i].header = HR_MPPE_ENCRYPTED | count;
	if (mppe->ccp != NULL) { /* a history that begins anew has its A, and a flag packet begins one */
		if (is_flag(count))
			hr_ccp_flush(mppe->ccp);
		work->packet[i].header |= hr_ccp_mppc_compress(work, mppe->ccp, i);
	}
	if (is_flag(count)) {
		change_key(mppe, mppe->current, 1);
		work->packet[i].header |= HR_MPPE_FLUSHED;
	}
	if (work->packet[i].header & HR_MPPE_FLUSHED)
		restart_rc4(mppe);
	mppe->flush = 0;
	mppe->count = (uint16_t)count_add(count, 1);
	return 1;
}

/* MPPC without encryption (RFC 2118): the same header and count, and A only where the history begins anew. */
static int number_plain(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	if (work->packet[i].plan->policy == HR_MPPE_REQUIRED) /* it was encrypted when this was looked at before the lock */
		return drop(work, i, HR_DROP_MPPE_NOT_OPEN);
	work->packet[i].encrypt = HR_CCP_WRAP;
	if (mppe->ccp->method == HR_COMPRESS_DEFLATE) {
		const int shorter = hr_ccp_deflate_compress(work, mppe->ccp, i);
		work->packet[i].encrypt = shorter ? HR_CCP_DEFLATE : HR_CCP_BARE;
		return 1;
	}
	if (mppe->flush)
		hr_ccp_flush(mppe->ccp);
	mppe->flush = 0;
	work->packet[i].header = mppe->count | hr_ccp_mppc_compress(work, mppe->ccp, i);
	mppe->count = (uint16_t)count_add(mppe->count, 1);
	return 1;
}

static const struct direction outbound = {offsetof(struct hr_session, mppe_out), number_stateless, number_stateful,
					  number_plain, NULL};

int hr_mppe_wanted(const struct hr_session *session, const struct hr_plan *plan)
{
	const uint32_t mode = atomic_load_explicit(&session->mppe_out.mode, memory_order_relaxed);

	if (mode == HR_MPPE_STATELESS || mode == HR_MPPE_STATEFUL)
		return plan->policy == HR_MPPE_NEVER ? HR_CCP_NOTHING : HR_CCP_WRAP;
	if (plan->policy == HR_MPPE_REQUIRED)
		return -1;
	if (mode != HR_MPPE_PLAIN)
		return HR_CCP_NOTHING;
	return session->mppe_out.bare ? HR_CCP_DEFLATE : HR_CCP_WRAP;
}

void hr_mppe_encrypt(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	uint32_t n = 0;

	if (work->encrypted == 0)
		return;
	for (uint32_t k = 0; k < alive.n; k++) {
		if (work->packet[alive.at[k]].encrypt)
			work->todo[n++] = alive.at[k];
	}
	run(work, n, &outbound);
	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		if (!work->packet[i].encrypt || alive.desc[i].status != HR_PENDING)
			continue;
		if (work->packet[i].encrypt == HR_CCP_WRAP)
			hr_put16(hr_push(work, i, HEADER), work->packet[i].header);
		if (work->packet[i].encrypt != HR_CCP_BARE)
			hr_ppp_push_protocol(work, i, work->packet[i].plan, HR_PPP_MPPE);
		if (!work->packet[i].plan->acfc)
			hr_ppp_push_address(work, i);
	}
}

/* --- decrypt --- */

/* Whether a packet whose count is `ahead` of the one expected is newer than what came before, rather than older by the rest of
 * the circle. ESP's numbers know: a packet that ESP sent earlier is not newer, and one that it sent later may have as many
 * counts missing before it as numbers are. Without them (in clear, or just after a rekey) half of the circle is ahead. */
static int is_newer(const struct hr_work *work, const struct hr_mppe *mppe, uint32_t i, uint32_t ahead)
{
	const struct hr_sa *const sa = work->packet[i].sa;
	const uint64_t seq = work->desc[i].seq;

	if (sa != NULL && mppe->esp_serial == 0) /* the first packet: there is none that it could be older than */
		return 1;
	if (sa == NULL || sa->serial != mppe->esp_serial)
		return ahead < HALF;
	if (seq < mppe->esp_seq)
		return ahead <= SLACK;
	return ahead < HALF || ahead <= seq - mppe->esp_seq + SLACK;
}

static void remember(const struct hr_work *work, struct hr_mppe *mppe, uint32_t i, uint32_t count)
{
	const struct hr_sa *const sa = work->packet[i].sa;
	const uint64_t seq = work->desc[i].seq;

	if (sa != NULL && (sa->serial != mppe->esp_serial || seq > mppe->esp_seq)) {
		mppe->esp_serial = sa->serial;
		mppe->esp_seq = seq;
	}
	mppe->count = (uint16_t)count_add(count, 1);
}

static int affordable(const struct hr_work *work, struct hr_mppe *mppe, uint32_t changes)
{
	return changes == 0 || hr_rate_pass(&mppe->step_clock, work->now, changes * STEP_NS, STEP_BURST_NS);
}

static int admit_stateless(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	const uint32_t count = work->packet[i].header & HR_MPPE_COUNT;
	const uint32_t ahead = count_add(count, (uint32_t)COUNTS - mppe->count);

	if ((work->packet[i].header & HR_MPPE_FLUSHED) == 0)
		return drop(work, i, HR_DROP_MPPE_HEADER);
	if (!is_newer(work, mppe, i, ahead))
		return drop(work, i, HR_DROP_MPPE_STALE);
	if (!affordable(work, mppe, ahead))
		return drop(work, i, HR_DROP_MPPE_LOST);
	work->packet[i].steps = (uint16_t)(ahead + 1);
	work->desc[i].flags |= HR_FLAG_MPPE;
	remember(work, mppe, i, count);
	return 1;
}

/* Nothing can be read until the peer begins anew. Ask it to, once a second at most. */
static int ask(struct hr_work *work, struct hr_mppe *mppe, uint32_t i, enum hr_status status)
{
	struct hr_session *const session = work->packet[i].session;

	if (mppe->resets == 0 || work->now - mppe->reset_ns >= RESET_AGAIN_NS) {
		mppe->resets = (uint8_t)(mppe->resets + (mppe->resets < RESETS_MAX));
		mppe->reset_ns = work->now;
		hr_event_post(work, HR_EXC_MPPE_RESET, session->index, session->serial, &session->mppe_reset);
	}
	return drop(work, i, status);
}

static int lose(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	mppe->waiting = 1;
	return ask(work, mppe, i, HR_DROP_MPPE_LOST);
}

/* Whether this is the beginning of an IP packet of `len` octets with its protocol field. */
static int plausible(const uint8_t *p, uint32_t len)
{
	const uint32_t field = p[0] & 1 ? 1 : 2;

	if (len < field + 20)
		return 0;
	const uint32_t protocol = field == 1 ? p[0] : hr_get16(p);
	const uint8_t *const ip = p + field;
	const uint32_t left = len - field;
	if (protocol == HR_PPP_IPV6)
		return left >= 40 && ip[0] >> 4 == 6 && hr_get16(ip + 4) + 40u == left;
	const uint32_t header = (ip[0] & 15u) * 4;
	if (protocol != HR_PPP_IPV4 || ip[0] >> 4 != 4 || header < 20 || header > left || hr_get16(ip + 2) > left)
		return 0;
	uint32_t sum = 0;
	for (uint32_t at = 0; at < header; at += 2)
		sum += hr_get16(ip + at);
	return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

/* The number of key changes from `least` to `most` under which the packet makes sense, or -1. */
static int search(struct hr_mppe *mppe, const uint8_t *data, uint32_t len, uint32_t least, uint32_t most)
{
	struct hr_rc4_state rc4;
	uint8_t key[16], text[PROBE];
	int found = -1;

	memcpy(key, mppe->current, sizeof key);
	change_key(mppe, key, least);
	for (uint32_t changes = least; found < 0 && changes <= most; changes++) {
		const struct hr_rc4_job job = {NULL, 0, len < PROBE ? len : PROBE, text, &rc4};
		hr_rc4_init(&rc4, key, mppe->key_len);
		memcpy(text, data, job.len);
		hr_rc4_batch(&job, 1);
		if (plausible(text, len))
			found = (int)changes;
		change_key(mppe, key, 1);
	}
	hr_erase(&rc4, sizeof rc4);
	hr_erase(key, sizeof key);
	hr_erase(text, sizeof text);
	return found;
}

/* How many key changes a packet with A asks for, or -1 if that cannot be told. `sure` are those that the flag packets since the
 * last good one made, itself included; the others depend on the peer's habit. */
static int changes_of_flush(struct hr_work *work, struct hr_mppe *mppe, uint32_t i, uint32_t sure, int flag)
{
	uint32_t least = sure, most = sure;

	if (mppe->habit != HR_HABIT_KEEPS) {
		const uint32_t lost = mppe->resets; /* each may have been answered by a packet that did not arrive */
		if (flag) {
			most += lost;
		} else {
			least += mppe->habit == HR_HABIT_CHANGES;
			most += lost > 1 ? lost : 1;
		}
	}
	if (!affordable(work, mppe, most))
		return -1;
	if (least == most)
		return (int)sure + (int)(least - sure);
	const int changes = search(mppe, work->packet[i].data, work->packet[i].len, least, most);
	if (changes >= 0 && !flag)
		mppe->habit = (uint32_t)changes == sure ? HR_HABIT_KEEPS : HR_HABIT_CHANGES;
	if (changes < 0 && mppe->resets == 0) /* nobody asked for it: by the RFC, and Linux does not do that */
		return (int)sure;
	return changes;
}

static int admit_stateful(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	const uint32_t count = work->packet[i].header & HR_MPPE_COUNT;
	const uint32_t ahead = count_add(count, (uint32_t)COUNTS - mppe->count);

	if (!is_newer(work, mppe, i, ahead))
		return drop(work, i, HR_DROP_MPPE_STALE);
	if ((work->packet[i].header & HR_MPPE_FLUSHED) == 0) {
		if (mppe->waiting || ahead != 0)
			return lose(work, mppe, i);
		if (is_flag(count)) {
			change_key(mppe, mppe->current, 1);
			restart_rc4(mppe);
		}
	} else {
		const uint32_t sure = flags_among(mppe->count, ahead) + (uint32_t)is_flag(count);
		const int changes = changes_of_flush(work, mppe, i, sure, is_flag(count));
		if (changes < 0)
			return lose(work, mppe, i);
		change_key(mppe, mppe->current, (uint32_t)changes);
		restart_rc4(mppe);
		mppe->waiting = mppe->resets = 0;
	}
	work->desc[i].flags |= HR_FLAG_MPPE;
	remember(work, mppe, i, count);
	return 1;
}

/* MPPC without encryption: what its header says of the history goes for the count, too. */
static int admit_mppc(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	const uint32_t count = work->packet[i].header & HR_MPPE_COUNT;
	const uint32_t ahead = count_add(count, (uint32_t)COUNTS - mppe->count);

	if (!is_newer(work, mppe, i, ahead))
		return drop(work, i, HR_DROP_MPPE_STALE);
	if (work->packet[i].header & HR_MPPE_FLUSHED)
		mppe->waiting = mppe->resets = 0;
	else if (mppe->waiting || ahead != 0)
		return lose(work, mppe, i);
	remember(work, mppe, i, count);
	return 1;
}

/* Deflate, and what is to be known of what passes by it. */
static enum hr_status inflate(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	const struct hr_packet *const packet = &work->packet[i];

	if (work->desc[i].ppp_proto == HR_PPP_MPPE)
		return hr_ccp_deflate_expand(work, mppe->ccp, i);
	if (work->desc[i].ppp_proto != HR_PPP_CCP)
		return hr_ccp_deflate_note(work, mppe->ccp, i);
	if (packet->len >= 2)
		hr_ccp_reset_passes(mppe->ccp, packet->data[0], packet->data[1], 0);
	return HR_PENDING;
}

/* The history is of no use any more, in stateful mode. */
static void expand(struct hr_work *work, uint32_t i)
{
	struct hr_mppe *const mppe = &work->packet[i].session->mppe_in;

	if (mppe->ccp == NULL)
		return;
	const enum hr_status status = hr_ccp_mppc_expand(work, mppe->ccp, i);
	if (status == HR_PENDING)
		return;
	if (mppe->ccp->restart || status == HR_DROP_ROOM) {
		drop(work, i, status);
		return;
	}
	mppe->waiting = 1;
	ask(work, mppe, i, status);
}

static int admit_plain(struct hr_work *work, struct hr_mppe *mppe, uint32_t i)
{
	if (mppe->ccp->method == HR_COMPRESS_DEFLATE) {
		const enum hr_status status = inflate(work, mppe, i);
		if (status == HR_DROP_ROOM)
			return drop(work, i, status);
		if (status != HR_PENDING)
			return ask(work, mppe, i, status);
		if (!mppe->ccp->waiting)
			mppe->resets = 0;
		return 1;
	}
	if (work->desc[i].ppp_proto != HR_PPP_MPPE || !admit_mppc(work, mppe, i))
		return 0;
	expand(work, i);
	return 1;
}

static const struct direction inbound = {offsetof(struct hr_session, mppe_in), admit_stateless, admit_stateful, admit_plain,
					 expand};

/* What of the two octets in front may be set, by the mode; MPPC's own bits only where it was negotiated. */
static enum hr_status check_header(const struct hr_work *work, uint32_t i)
{
	const struct hr_session *const session = work->packet[i].session;
	const uint32_t mode = atomic_load_explicit(&session->mppe_in.mode, memory_order_relaxed);
	const int plain = mode == HR_MPPE_PLAIN;

	if (mode == HR_MPPE_CLOSED || (work->packet[i].plan->policy == HR_MPPE_NEVER && !plain))
		return HR_DROP_MPPE_NOT_OPEN;
	if (work->packet[i].len <= HEADER)
		return HR_DROP_MPPE_HEADER;
	if (plain && session->mppe_in.bare)
		return HR_PENDING;
	const uint32_t bits = hr_get16(work->packet[i].data);
	if (((bits & HR_MPPE_ENCRYPTED) != 0) == plain)
		return HR_DROP_MPPE_HEADER;
	return (bits & HR_MPPE_COMPRESSED) == 0 || session->mppe_in.compressed ? HR_PENDING : HR_DROP_MPPE_HEADER;
}

/* Deflate takes note of what goes by it: frames in their own form, which are in the history as well (RFC 1979: protocols up to
 * 3fff), and CCP's resets. */
static int passes_by(const struct hr_session *session, uint32_t protocol)
{
	return session->mppe_in.bare && (protocol == HR_PPP_CCP || protocol <= NOTED_LAST) &&
	       atomic_load_explicit(&session->mppe_in.mode, memory_order_relaxed) == HR_MPPE_PLAIN;
}

void hr_mppe_decrypt(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	uint32_t n = 0;

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint16_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		if (d->ppp_proto != HR_PPP_MPPE) {
			if (passes_by(work->packet[i].session, d->ppp_proto))
				work->todo[n++] = i;
			continue;
		}
		const enum hr_status status = check_header(work, i);
		if (status != HR_PENDING) {
			hr_end(work, d, status);
			continue;
		}
		work->packet[i].header = hr_get16(alive.packet[i].data);
		hr_pull(work, i, HEADER);
		work->packet[i].encrypt = 1;
		work->todo[n++] = i;
	}
	if (n != 0)
		run(work, n, &inbound);
}

void hr_mppe_says(struct hr_session *session, const uint8_t *packet, uint32_t len)
{
	struct hr_mppe *const direction[2] = {&session->mppe_in, &session->mppe_out};

	if (len < 2 || (packet[0] != HR_CCP_RESET_REQUEST && packet[0] != HR_CCP_RESET_ACK))
		return;
	for (uint32_t n = 0; n < 2; n++) {
		hr_mppe_lock(direction[n], HR_OWNER_WRITER);
		if (direction[n]->ccp != NULL)
			hr_ccp_reset_passes(direction[n]->ccp, packet[0], packet[1], 1);
		hr_mppe_unlock(direction[n]);
	}
}
