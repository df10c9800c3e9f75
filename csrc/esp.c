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

/* --- sums and limits, both ways: under the SA's lock, for a row of its packets at a time --- */

struct tally {
	struct hr_sa *sa;
	uint64_t packets; /* of the SA, and so on: read at the beginning, written back at the end */
	uint64_t bytes;
	uint64_t top; /* highest number of this row */
};

static struct tally open_tally(struct hr_sa *sa)
{
	hr_sa_lock(sa);
	const struct tally tally = {sa, hr_read(&sa->packets), hr_read(&sa->bytes), 0};

	return tally;
}

/* 1, and the packet is counted, if it is within the hard limit. */
static int affordable(struct tally *tally, uint32_t len)
{
	if (tally->bytes + len > tally->sa->hard_bytes)
		return 0;
	tally->packets++;
	tally->bytes += len;
	return 1;
}

static void close_tally(struct hr_work *work, const struct tally *tally)
{
	struct hr_sa *const sa = tally->sa;

	if (tally->packets != hr_read(&sa->packets))
		hr_note(&sa->last_ns, work->now);
	hr_write(&sa->packets, tally->packets);
	hr_write(&sa->bytes, tally->bytes);
	hr_sa_unlock(sa);
	if (tally->packets >= sa->soft_packets || tally->bytes >= sa->soft_bytes || tally->top >= sa->seq_soft)
		hr_event_post(work, HR_EXC_SOFT_LIMIT, sa->index, sa->serial, &sa->soft_told);
}

/* --- decap --- */

/* An IKE message that lacks its marker looks like ESP under an SPI that is the first half of a cookie. It can still be told
 * from ESP: version 1.0, and a length field that is right. */
static int is_ike_without_marker(const struct hr_desc *d, const uint8_t *p, uint32_t len)
{
	return d->kind == HR_KIND_UDP4500 && len >= 28 && p[17] == 0x10 && hr_get32(p + 24) == len;
}

static enum hr_status check_length(uint32_t len, const struct hr_esp_key *key)
{
	const uint32_t around = HR_ESP_HEADER + key->iv_len + key->icv_len;

	if (len <= around)
		return HR_DROP_ESP_SHORT;
	return ((len - around) & (key->block - 1u)) == 0 ? HR_PENDING : HR_DROP_ESP_LENGTH;
}

enum { AHEAD = 8 }; /* packets from whose SPI the entry of the table is fetched in advance */

void hr_esp_lookup(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	struct hr_map *const map = &work->dp->spi;
	struct hr_sa *sa = NULL;
	uint32_t known = 0; /* the SPI that sa belongs to */

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		const uint8_t *const p = alive.packet[i].data;

		if (k + AHEAD < alive.n && alive.packet[alive.at[k + AHEAD]].len >= HR_ESP_HEADER) {
			const uint32_t later = hr_get32(alive.packet[alive.at[k + AHEAD]].data);
			if (later != known)
				hr_map_prefetch(map, later);
		}
		if (d->kind == HR_KIND_UDP1701)
			continue;
		if (alive.packet[i].len < HR_ESP_HEADER) {
			hr_end(work, d, HR_DROP_ESP_SHORT);
			continue;
		}
		const uint32_t spi = hr_get32(p);
		if (spi != known) {
			sa = hr_map_get(map, spi);
			known = spi;
			if (sa != NULL) {
				__builtin_prefetch(&sa->seq);
				__builtin_prefetch(&sa->replay);
			}
		}
		if (sa == NULL || sa->spi != spi) {
			const int ike = is_ike_without_marker(d, p, alive.packet[i].len);
			hr_end(work, d, ike ? HR_DROP_NATT_MARKER : HR_DROP_ESP_SPI);
			continue;
		}
		d->sa = sa->index;
		d->peer = sa->peer->index;
		work->packet[i].sa = sa;
		work->packet[i].peer = sa->peer;
		const enum hr_status status = check_length(alive.packet[i].len, &sa->key);
		if (status != HR_PENDING)
			hr_end(work, d, status);
	}
}

/* What is surely late is not worth the cryptography. All others are verified, and decrypted if they pass. */
void hr_esp_decrypt(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	uint32_t jobs = 0;

	for (uint32_t k = 0; k < alive.n; k++) {
		const uint32_t i = alive.at[k];
		struct hr_desc *const d = &alive.desc[i];
		struct hr_sa *const sa = work->packet[i].sa;

		if (sa == NULL)
			continue;
		uint8_t *const p = alive.packet[i].data;
		const uint32_t low = hr_get32(p + 4);
		const uint64_t seq = sa->esn ? hr_replay_whole(&sa->replay, low) : low;
		d->seq = seq;
		if (hr_replay_seen(&sa->replay, seq)) {
			hr_add(&sa->replayed, 1);
			hr_end(work, d, HR_DROP_ESP_REPLAY);
			continue;
		}
		const uint32_t sealed = alive.packet[i].len - sa->key.icv_len;
		const struct hr_esp_job job = {&sa->key, p, sealed, (uint32_t)(seq >> 32), seq, 0, 0};
		work->esp[jobs] = job;
		work->esp_of[jobs++] = (uint16_t)i;
	}
	work->jobs = jobs;
	hr_esp_open(work->esp, jobs);
}

/* A mask over the first n octets of a word, 0 to 8, as it lies in memory. */
static uint64_t low_octets(uint32_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return n == 0 ? 0 : UINT64_MAX >> (64 - 8 * n);
#else
	return n == 0 ? 0 : UINT64_MAX << (64 - 8 * n);
#endif
}

/* 1, 2, 3 ...: what padding looks like. */
static const uint8_t counting[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* The whole padding is looked at, whatever it is: how long this takes depends on its length alone. Up to 16 octets, which is
 * all that a block cipher needs, it is two words; what follows it in the packet, trailer and ICV, is at least 14 octets long
 * and masked out. */
static int padding_valid(const uint8_t *padding, uint32_t len)
{
	uint64_t have[2], want[2];
	uint32_t difference = 0;

	if (len >= 2 && len <= 16) {
		memcpy(have, padding, 16);
		memcpy(want, counting, 16);
		const uint64_t first = low_octets(len < 8 ? len : 8), second = low_octets(len < 8 ? 0 : len - 8);
		return (((have[0] ^ want[0]) & first) | ((have[1] ^ want[1]) & second)) == 0;
	}
	for (uint32_t n = 0; n < len; n++)
		difference |= (uint32_t)(padding[n] ^ (n + 1));
	return difference == 0;
}

static enum hr_status strip_trailer(struct hr_work *work, uint32_t i, const struct hr_esp_key *key)
{
	const uint32_t head = HR_ESP_HEADER + key->iv_len, len = work->packet[i].len - head - key->icv_len;
	const uint8_t *const text = work->packet[i].data + head;
	const uint32_t padding = text[len - 2], next = text[len - 1];

	if (padding + HR_ESP_TRAILER > len || !padding_valid(text + len - HR_ESP_TRAILER - padding, padding))
		return HR_DROP_ESP_PADDING;
	work->packet[i].data += head;
	work->packet[i].len = len - HR_ESP_TRAILER - padding;
	if (next == NEXT_NONE)
		return HR_DUMMY;
	return next == NEXT_UDP ? HR_PENDING : HR_DROP_ESP_NEXT_HEADER;
}

/* One packet, under the lock of its SA. */
static enum hr_status accept(struct hr_work *work, struct tally *tally, struct hr_desc *d, uint32_t i)
{
	struct hr_sa *const sa = tally->sa;
	const enum hr_replay_verdict verdict = hr_replay_accept(&sa->replay, d->seq);

	if (verdict == HR_REPLAY_SEEN) {
		hr_add(&sa->replayed, 1);
		return HR_DROP_ESP_REPLAY;
	}
	if (!affordable(tally, work->packet[i].len))
		return HR_DROP_SA_EXPIRED;
	if (tally->packets == 1)
		d->flags |= HR_FLAG_FIRST;
	work->packet[i].newest = verdict == HR_REPLAY_NEWEST;
	tally->top = d->seq > tally->top ? d->seq : tally->top;
	return strip_trailer(work, i, &sa->key);
}

/* Of what verified, each number is marked and let through once; then the trailer. */
void hr_esp_accept(struct hr_work *work)
{
	struct hr_desc *const desc = work->desc;
	const uint32_t jobs = work->jobs;

	for (uint32_t j = 0; j < jobs;) {
		struct tally tally = open_tally(work->packet[work->esp_of[j]].sa);
		for (; j < jobs && work->packet[work->esp_of[j]].sa == tally.sa; j++) {
			const uint32_t i = work->esp_of[j];
			enum hr_status status = HR_DROP_ESP_AUTH;
			if (work->esp[j].ok == 1)
				status = accept(work, &tally, &desc[i], i);
			else
				hr_add(&tally.sa->auth_failed, 1);
			if (status != HR_PENDING)
				hr_end(work, &desc[i], status);
		}
		close_tally(work, &tally);
	}
}

/* --- encap --- */

/* Write everything around the payload but IV and ICV, whose places it leaves. The room was checked (route.c). */
static void wrap(struct hr_work *work, uint32_t i, uint64_t seq, const struct hr_sa *sa, struct hr_esp_job *job)
{
	const struct hr_esp_key *const key = &sa->key;
	const uint32_t len = work->packet[i].len, padding = (0u - (len + HR_ESP_TRAILER)) & (key->block - 1u);
	const uint32_t before = HR_ESP_HEADER + key->iv_len, sealed = before + len + padding + HR_ESP_TRAILER;
	uint8_t *const tail = work->packet[i].data + len, *const head = work->packet[i].data - before;

	memcpy(tail, counting, 16); /* more than the padding at times, but never more than trailer and ICV have room for */
	tail[padding] = (uint8_t)padding;
	tail[padding + 1] = NEXT_UDP;
	hr_put32(head, sa->spi);
	hr_put32(head + 4, (uint32_t)seq);
	work->packet[i].data = head;
	work->packet[i].len = sealed + key->icv_len;
	const struct hr_esp_job made = {key, head, sealed, (uint32_t)(seq >> 32), seq, 0, 0};
	*job = made;
}

static uint32_t wrapped_len(uint32_t len, const struct hr_esp_key *key)
{
	return HR_ESP_HEADER + key->iv_len + ((len + HR_ESP_TRAILER + key->block - 1u) & ~(key->block - 1u)) + key->icv_len;
}

/* A row of packets of one SA takes its numbers under the lock, so two threads on one SA never draw the same. */
static uint32_t number_row(struct hr_work *work, struct hr_sa *sa, const uint16_t *at, uint32_t n, uint32_t jobs)
{
	struct tally tally = open_tally(sa);
	uint64_t seq = hr_read(&sa->seq);

	for (uint32_t k = 0; k < n; k++) {
		struct hr_desc *const d = &work->desc[at[k]];
		if (seq >= sa->seq_last) {
			hr_end(work, d, HR_DROP_ESP_SEQ_EXHAUSTED);
		} else if (!affordable(&tally, wrapped_len(work->packet[at[k]].len, &sa->key))) {
			hr_end(work, d, HR_DROP_SA_EXPIRED);
		} else {
			d->seq = ++seq;
			wrap(work, at[k], seq, sa, &work->esp[jobs++]);
		}
	}
	hr_write(&sa->seq, seq);
	tally.top = seq;
	close_tally(work, &tally);
	return jobs;
}

void hr_esp_number(struct hr_work *work)
{
	const struct hr_list alive = hr_alive(work);
	uint32_t jobs = 0;

	for (uint32_t k = 0; k < alive.n;) {
		struct hr_sa *const sa = work->packet[alive.at[k]].sa;
		const uint32_t from = k;
		while (k < alive.n && work->packet[alive.at[k]].sa == sa)
			k++;
		if (sa != NULL)
			jobs = number_row(work, sa, alive.at + from, k - from, jobs);
	}
	work->jobs = jobs;
}

void hr_esp_encrypt(struct hr_work *work)
{
	hr_esp_seal(work->esp, work->jobs);
}
