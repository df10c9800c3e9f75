/* SPDX-License-Identifier: Apache-2.0
 *
 * esp.c: Encapsulating Security Payload, transport mode (RFC 4303).
 *
 *   0                   1                   2                   3
 *  +---------------------------------------------------------------+
 *  |              Security Parameters Index, never 0               |
 *  +---------------------------------------------------------------+
 *  |                Sequence number (its lower half)               |
 *  +---------------------------------------------------------------+
 *  |           Initialisation vector: 0, 8 or 16 octets            |
 *  +---------------------------------------------------------------+
 *  |  Payload                                                      |  the text: a multiple
 *  |               +-----------------------+-----------+-----------+  of the cipher's block
 *  |               |  Padding: 1, 2, 3 ... |  pad len  | next head |  and of 4
 *  +---------------------------------------------------------------+
 *  |        Integrity check value: 12, 16, 24 or 32 octets         |
 *  +---------------------------------------------------------------+
 *
 * Volume limits count octets from the SPI to the end of the ICV.
 */
#include "esp.h"

#include "stages.h"
#include "tables.h"

enum {
	NEXT_UDP = 17,
	NEXT_NONE = 59 /* RFC 4303 section 2.6: a dummy packet */
};

/* --- limits, both ways --- */

static void tell_soft_limit(struct hr_work *work, struct hr_sa *sa, uint64_t packets, uint64_t bytes, uint64_t seq)
{
	if (packets >= sa->soft_packets || bytes >= sa->soft_bytes || seq >= sa->seq_soft)
		hr_event_post(work, HR_EXC_SOFT_LIMIT, sa->index, sa->serial, &sa->soft_told);
}

/* --- decap --- */

/* An IKE message that lacks its marker looks like ESP under an SPI that is the first half of a cookie. It can still be told
 * from ESP: version 1.0, and a length field that is right. */
static int is_ike_without_marker(const struct hr_desc *d, const uint8_t *p)
{
	return d->kind == HR_KIND_UDP4500 && d->len >= 28 && p[17] == 0x10 && hr_get32(p + 24) == d->len;
}

static enum hr_status check_length(const struct hr_desc *d, const struct hr_esp_key *key)
{
	const uint32_t around = HR_ESP_HEADER + key->iv_len + key->icv_len;

	if (d->len <= around)
		return HR_DROP_ESP_SHORT;
	return ((d->len - around) & (key->block - 1u)) == 0 ? HR_PENDING : HR_DROP_ESP_LENGTH;
}

void hr_esp_lookup(struct hr_work *work)
{
	struct hr_map *const map = &work->dp->spi;
	struct hr_sa *sa = NULL;
	uint32_t known = 0; /* the SPI that sa belongs to */

	for (uint32_t k = 0; k < work->alive_n; k++) {
		const struct hr_desc *const d = &work->desc[work->alive[k]];
		if (d->kind != HR_KIND_UDP1701 && d->len >= HR_ESP_HEADER)
			hr_map_prefetch(map, hr_get32(hr_data(work, d)));
	}
	for (uint32_t k = 0; k < work->alive_n; k++) {
		const uint32_t i = work->alive[k];
		struct hr_desc *const d = &work->desc[i];
		const uint8_t *const p = hr_data(work, d);

		if (d->kind == HR_KIND_UDP1701)
			continue;
		if (d->len < HR_ESP_HEADER) {
			hr_end(work, d, HR_DROP_ESP_SHORT);
			continue;
		}
		const uint32_t spi = hr_get32(p);
		if (spi != known) {
			sa = hr_map_get(map, spi);
			known = spi;
			if (sa != NULL)
				__builtin_prefetch(&sa->replay);
		}
		if (sa == NULL || sa->spi != spi) {
			hr_end(work, d, is_ike_without_marker(d, p) ? HR_DROP_NATT_MARKER : HR_DROP_ESP_SPI);
			continue;
		}
		d->sa = sa->index;
		d->peer = sa->peer->index;
		work->sa[i] = sa;
		work->peer[i] = sa->peer;
		const enum hr_status status = check_length(d, &sa->key);
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}

void hr_esp_replay_check(struct hr_work *work)
{
	for (uint32_t k = 0; k < work->alive_n; k++) {
		const uint32_t i = work->alive[k];
		struct hr_desc *const d = &work->desc[i];
		struct hr_sa *const sa = work->sa[i];

		if (sa == NULL)
			continue;
		const uint32_t low = hr_get32(hr_data(work, d) + 4);
		d->seq = sa->esn ? hr_replay_whole(&sa->replay, low) : low;
		if (hr_replay_seen(&sa->replay, d->seq)) {
			hr_add(&sa->replayed, 1);
			hr_end(work, d, HR_DROP_ESP_REPLAY);
		}
	}
}

void hr_esp_decrypt(struct hr_work *work)
{
	uint32_t jobs = 0;

	for (uint32_t k = 0; k < work->alive_n; k++) {
		const uint32_t i = work->alive[k];
		const struct hr_desc *const d = &work->desc[i];
		const struct hr_sa *const sa = work->sa[i];

		if (sa == NULL)
			continue;
		struct hr_esp_job *const job = &work->esp[jobs];
		job->key = &sa->key;
		job->packet = hr_data(work, d);
		job->len = d->len - sa->key.icv_len;
		job->seq_hi = (uint32_t)(d->seq >> 32);
		job->seq = d->seq;
		job->ok = 0;
		work->esp_of[jobs++] = (uint16_t)i;
	}
	hr_esp_open(work->esp, jobs);
	for (uint32_t j = 0; j < jobs; j++) {
		if (work->esp[j].ok == 1)
			continue;
		const uint32_t i = work->esp_of[j];
		hr_add(&work->sa[i]->auth_failed, 1);
		hr_end(work, &work->desc[i], HR_DROP_ESP_AUTH);
	}
}

/* What one SA got in a row of packets. */
struct tally {
	struct hr_sa *sa;
	uint64_t packets;
	uint64_t bytes;
	uint64_t top;
};

static void settle(struct hr_work *work, const struct tally *tally)
{
	struct hr_sa *const sa = tally->sa;

	hr_add(&sa->packets, tally->packets);
	hr_add(&sa->bytes, tally->bytes);
	hr_note(&sa->last_ns, work->now);
	tell_soft_limit(work, sa, hr_read(&sa->packets), hr_read(&sa->bytes), tally->top);
}

/* One packet, under the lock of the SA's window. */
static enum hr_status accept(struct hr_work *work, struct tally *tally, struct hr_desc *d, uint32_t i)
{
	struct hr_sa *const sa = tally->sa;
	const enum hr_replay_verdict verdict = hr_replay_accept(&sa->replay, d->seq);

	if (verdict == HR_REPLAY_SEEN) {
		hr_add(&sa->replayed, 1);
		return HR_DROP_ESP_REPLAY;
	}
	if (hr_read(&sa->bytes) + tally->bytes + d->len > sa->hard_bytes)
		return HR_DROP_SA_EXPIRED;
	if (atomic_load_explicit(&sa->used, memory_order_relaxed) == 0 && atomic_exchange(&sa->used, 1) == 0)
		d->flags |= HR_FLAG_FIRST;
	work->newest[i] = verdict == HR_REPLAY_NEWEST;
	tally->packets++;
	tally->bytes += d->len;
	tally->top = d->seq > tally->top ? d->seq : tally->top;
	return HR_PENDING;
}

void hr_esp_replay_accept(struct hr_work *work)
{
	for (uint32_t k = 0; k < work->alive_n;) {
		struct tally tally = {work->sa[work->alive[k]], 0, 0, 0};
		if (tally.sa == NULL) {
			k++;
			continue;
		}
		hr_replay_lock(&tally.sa->replay);
		for (; k < work->alive_n && work->sa[work->alive[k]] == tally.sa; k++) {
			const uint32_t i = work->alive[k];
			struct hr_desc *const d = &work->desc[i];
			const enum hr_status status = accept(work, &tally, d, i);
			if (status != HR_PENDING)
				hr_end(work, d, status);
		}
		hr_replay_unlock(&tally.sa->replay);
		settle(work, &tally);
	}
}

/* The whole padding is looked at, whatever it is: how long this takes depends on its length alone. */
static int padding_valid(const uint8_t *padding, uint32_t len)
{
	uint32_t difference = 0;

	for (uint32_t n = 0; n < len; n++)
		difference |= (uint32_t)(padding[n] ^ (n + 1));
	return difference == 0;
}

static enum hr_status strip_trailer(struct hr_work *work, struct hr_desc *d, const struct hr_esp_key *key)
{
	hr_pull(d, HR_ESP_HEADER + key->iv_len);
	hr_trim(d, d->len - key->icv_len);

	const uint8_t *const text = hr_data(work, d);
	const uint32_t padding = text[d->len - 2], next = text[d->len - 1];
	if (padding + HR_ESP_TRAILER > d->len || !padding_valid(text + d->len - HR_ESP_TRAILER - padding, padding))
		return HR_DROP_ESP_PADDING;
	hr_trim(d, d->len - HR_ESP_TRAILER - padding);
	if (next == NEXT_NONE)
		return HR_DUMMY;
	return next == NEXT_UDP ? HR_PENDING : HR_DROP_ESP_NEXT_HEADER;
}

void hr_esp_trailer(struct hr_work *work)
{
	for (uint32_t k = 0; k < work->alive_n; k++) {
		const uint32_t i = work->alive[k];
		struct hr_desc *const d = &work->desc[i];

		if (work->sa[i] == NULL)
			continue;
		const enum hr_status status = strip_trailer(work, d, &work->sa[i]->key);
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}

/* --- encap --- */

/* Write everything around the payload but IV and ICV, whose places it leaves. The room was checked (route.c). */
static void wrap(struct hr_work *work, struct hr_desc *d, const struct hr_sa *sa, struct hr_esp_job *job)
{
	const struct hr_esp_key *const key = &sa->key;
	const uint32_t padding = (0u - (d->len + HR_ESP_TRAILER)) & (key->block - 1u);
	uint8_t *tail = hr_data(work, d) + d->len;

	for (uint32_t n = 1; n <= padding; n++)
		*tail++ = (uint8_t)n;
	*tail++ = (uint8_t)padding;
	*tail = NEXT_UDP;
	d->len += padding + HR_ESP_TRAILER + key->icv_len;
	d->room_tail = (uint16_t)(d->room_tail - (padding + HR_ESP_TRAILER + key->icv_len));

	uint8_t *const head = hr_push(work, d, HR_ESP_HEADER + key->iv_len);
	hr_put32(head, sa->spi);
	hr_put32(head + 4, (uint32_t)d->seq);
	job->key = key;
	job->packet = head;
	job->len = d->len - key->icv_len;
	job->seq_hi = (uint32_t)(d->seq >> 32);
	job->seq = d->seq;
	job->ok = 0;
}

static uint32_t wrapped_len(uint32_t len, const struct hr_esp_key *key)
{
	return HR_ESP_HEADER + key->iv_len + ((len + HR_ESP_TRAILER + key->block - 1u) & ~(key->block - 1u)) + key->icv_len;
}

/* A row of packets of one SA draws its numbers in one step. Two threads on one SA get ranges that do not overlap. Whoever finds
 * the numbers used up draws none, so the counter ends at most a few batches behind the last and never wraps. */
static uint32_t number_row(struct hr_work *work, struct hr_sa *sa, uint32_t from, uint32_t to, uint32_t jobs)
{
	const uint32_t n = to - from;
	uint64_t octets = 0;

	for (uint32_t k = from; k < to; k++)
		octets += wrapped_len(work->desc[work->alive[k]].len, &sa->key);
	const int spent = hr_read(&sa->seq) >= sa->seq_last;
	const int expired = hr_read(&sa->bytes) >= sa->hard_bytes;
	const uint64_t seq = spent || expired ? 0 : atomic_fetch_add_explicit(&sa->seq, n, memory_order_relaxed);
	uint64_t bytes = spent || expired ? 0 : atomic_fetch_add_explicit(&sa->bytes, octets, memory_order_relaxed);
	uint64_t sent = 0, unsent = 0;

	for (uint32_t k = from; k < to; k++) {
		const uint32_t i = work->alive[k];
		struct hr_desc *const d = &work->desc[i];
		const uint32_t len = wrapped_len(d->len, &sa->key);
		const uint64_t number = seq + 1 + (k - from);
		if (spent || number > sa->seq_last) {
			hr_end(work, d, HR_DROP_ESP_SEQ_EXHAUSTED);
			unsent += len;
		} else if (expired || bytes + len > sa->hard_bytes) {
			hr_end(work, d, HR_DROP_SA_EXPIRED);
			unsent += len;
		} else {
			bytes += len;
			sent++;
			d->seq = number;
			wrap(work, d, sa, &work->esp[jobs++]);
		}
	}
	if (!spent && !expired) {
		if (unsent != 0)
			atomic_fetch_sub_explicit(&sa->bytes, unsent, memory_order_relaxed);
		if (sent != 0) {
			hr_add(&sa->packets, sent);
			hr_note(&sa->last_ns, work->now);
			atomic_store_explicit(&sa->used, 1, memory_order_relaxed);
		}
		tell_soft_limit(work, sa, hr_read(&sa->packets), bytes, seq + n);
	}
	return jobs;
}

void hr_esp_number(struct hr_work *work)
{
	uint32_t jobs = 0;

	for (uint32_t k = 0; k < work->alive_n;) {
		struct hr_sa *const sa = work->sa[work->alive[k]];
		const uint32_t from = k;
		while (k < work->alive_n && work->sa[work->alive[k]] == sa)
			k++;
		if (sa != NULL)
			jobs = number_row(work, sa, from, k, jobs);
	}
	work->jobs = jobs;
}

void hr_esp_encrypt(struct hr_work *work)
{
	hr_esp_seal(work->esp, work->jobs);
}
