/* SPDX-License-Identifier: Apache-2.0
 *
 * harness.c: the part of the ESP job that is nobody's cryptography, and the clock around it.
 */
#include "bench.h"

#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { WINDOW = 1024, NEXT_UDP = 17 };

/* --- clock --- */

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#if defined(__x86_64__)
/* A read of the clock by the system costs as much as a short packet; the counter costs less, and waits for what was before. */
static uint64_t ticks(void)
{
	_mm_lfence();
	const uint64_t t = __rdtsc();
	_mm_lfence();
	return t;
}

static double ns_of_tick(void)
{
	static double known;

	if (known == 0) {
		const double begin = now_ns();
		const uint64_t first = ticks();
		while (now_ns() - begin < 2e7)
			;
		const double end = now_ns();
		known = (end - begin) / (double)(ticks() - first);
	}
	return known;
}
#else
static uint64_t ticks(void)
{
	return (uint64_t)now_ns();
}

static double ns_of_tick(void)
{
	return 1;
}
#endif

/* --- the job --- */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof v);
}

/* RFC 6479: the bit of a number is always in the same place. */
static int seen(const struct hb_sa *sa, uint32_t seq)
{
	if (seq == 0 || (seq <= sa->top && sa->top - seq >= WINDOW))
		return 1;
	return seq <= sa->top && (sa->seen[(seq >> 6) % HB_WINDOW_WORDS] >> (seq & 63) & 1);
}

static int accept(struct hb_sa *sa, uint32_t seq)
{
	if (seen(sa, seq))
		return 0;
	if (seq > sa->top) {
		uint64_t skipped = (seq >> 6) - (sa->top >> 6);
		skipped = skipped < HB_WINDOW_WORDS ? skipped : HB_WINDOW_WORDS;
		for (uint64_t w = 0; w < skipped; w++)
			sa->seen[((seq >> 6) - w) % HB_WINDOW_WORDS] = 0;
		sa->top = seq;
	}
	sa->seen[(seq >> 6) % HB_WINDOW_WORDS] |= UINT64_C(1) << (seq & 63);
	return 1;
}

static void frame(struct hb_sa *sa, struct hb_packet *p)
{
	const uint32_t header = 8u + sa->iv_len;
	const uint32_t padding = (0u - (p->payload + 2)) & (sa->block - 1u);
	uint8_t *tail = p->start + header + p->payload;

	p->seq = ++sa->seq;
	put32(p->start, HB_FIRST_SPI + p->sa);
	put32(p->start + 4, (uint32_t)p->seq);
	for (uint32_t n = 1; n <= padding; n++)
		*tail++ = (uint8_t)n;
	*tail++ = (uint8_t)padding;
	*tail = NEXT_UDP;
	p->len = header + p->payload + padding + 2;
	p->ok = 1;
}

static int lookup(const struct hb_set *set, struct hb_packet *p)
{
	const uint32_t index = get32(p->start) - HB_FIRST_SPI;

	if (index >= set->n_sas)
		return 0;
	p->sa = index;
	p->seq = get32(p->start + 4);
	p->ok = 0;
	return !seen(&set->sa[index], (uint32_t)p->seq);
}

static int trailer(const struct hb_sa *sa, const struct hb_packet *p)
{
	const uint8_t *const end = p->start + p->len - sa->icv_len;
	const uint32_t padding = end[-2];
	uint32_t difference = end[-1] ^ NEXT_UDP;

	if (padding + 2 + 8 + sa->iv_len + sa->icv_len > p->len)
		return 0;
	for (uint32_t n = 0; n < padding; n++)
		difference |= (uint32_t)(end[(int)n - 2 - (int)padding] ^ (n + 1));
	return difference == 0 && p->len - sa->icv_len - sa->iv_len - 10 - padding == p->payload;
}

static int seal(struct hb_set *set, hb_work_fn *work, void *state, struct hb_packet *packet, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		frame(&set->sa[packet[i].sa], &packet[i]);
	return work(state, packet, n) == 0;
}

static int open(struct hb_set *set, hb_work_fn *work, void *state, struct hb_packet *packet, uint32_t n)
{
	int good = 1;

	for (uint32_t i = 0; i < n; i++)
		good &= lookup(set, &packet[i]);
	good &= work(state, packet, n) == 0;
	for (uint32_t i = 0; i < n; i++) {
		struct hb_sa *const sa = &set->sa[packet[i].sa];
		good &= packet[i].ok && accept(sa, (uint32_t)packet[i].seq) && trailer(sa, &packet[i]);
	}
	return good;
}

static int mppe(hb_work_fn *work, void *state, struct hb_packet *packet, uint32_t n)
{
	if (work(state, packet, n) != 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		packet[i].start[-2] = (uint8_t)(packet[i].seq >> 8);
		packet[i].start[-1] = (uint8_t)packet[i].seq;
	}
	return 1;
}

static int pass(struct hb_set *set, hb_work_fn *work, void *state)
{
	int good = 1;

	for (uint32_t at = 0; at < set->n; at += set->batch) {
		const uint32_t n = set->n - at < set->batch ? set->n - at : set->batch;
		struct hb_packet *const packet = set->packet + at;
		if (set->kind == HB_SEAL)
			good &= seal(set, work, state, packet, n);
		else if (set->kind == HB_OPEN)
			good &= open(set, work, state, packet, n);
		else
			good &= mppe(work, state, packet, n);
	}
	return good;
}

/* Octets as they were, windows as if nothing had been received. Sequence numbers and MPPE counts go on. */
static void restore(struct hb_set *set)
{
	for (uint32_t i = 0; i < set->n; i++)
		memcpy(set->packet[i].start, set->pristine + set->packet[i].off, set->packet[i].payload + HB_AROUND);
	for (uint32_t s = 0; s < set->n_sas && set->kind == HB_OPEN; s++) {
		set->sa[s].top = 0;
		memset(set->sa[s].seen, 0, sizeof set->sa[s].seen);
	}
}

uint32_t hb_run(struct hb_set *set, void *work, void *state, double budget, uint32_t least, uint32_t most, double *ns)
{
	const double tick = ns_of_tick(), begin = now_ns();
	uint32_t done = 0;

	while (done < most && (done < least || now_ns() - begin < budget)) {
		restore(set);
		const uint64_t from = ticks();
		const int good = pass(set, (hb_work_fn *)work, state);
		const uint64_t to = ticks();
		if (!good)
			return 0;
		ns[done++] = (double)(to - from) * tick;
	}
	return done;
}

/* --- headrace's pipeline --- */

typedef int pipeline_fn(struct hr_dp *dp, struct hr_batch *batch, uint64_t now);

static double piece(pipeline_fn *call, struct hr_dp *dp, struct hr_batch *batch, struct hr_desc *desc, uint32_t n,
		    uint32_t step, uint64_t now, double tick)
{
	int error = 0;
	const uint64_t from = ticks();

	for (uint32_t at = 0; at < n; at += step) {
		batch->desc = desc + at;
		batch->n = n - at < step ? n - at : step;
		error |= call(dp, batch, now);
	}
	const uint64_t to = ticks();
	if (error != 0)
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		if (desc[i].status != HR_OK)
			return -1;
	}
	return (double)(to - from) * tick;
}

uint32_t hb_pipeline(struct hr_dp *out, struct hr_dp *in, void *encap, void *decap, struct hb_set *set,
		     struct hr_desc *pristine, struct hr_endpoint *from, double budget, uint32_t least, uint32_t most,
		     double *ns)
{
	static struct hr_desc desc[HB_PACKETS];
	struct hr_batch batch = {.arena = set->arena, .arena_len = set->arena_len};
	const double tick = ns_of_tick(), begin = now_ns();
	const uint32_t n = set->n;
	uint32_t done = 0;

	if (n > HB_PACKETS)
		return 0;
	while (done < most && (done < least || now_ns() - begin < budget)) {
		const uint64_t now = (uint64_t)now_ns();
		for (uint32_t i = 0; i < n; i++)
			memcpy(set->arena + pristine[i].off, set->pristine + pristine[i].off, pristine[i].len);
		memcpy(desc, pristine, n * sizeof desc[0]);
		const double there = piece((pipeline_fn *)encap, out, &batch, desc, n, set->batch, now, tick);
		for (uint32_t i = 0; i < n; i++) {
			desc[i].kind = HR_KIND_UDP4500;
			desc[i].flags = 0;
			desc[i].remote = *from;
			desc[i].peer = desc[i].session = desc[i].sa = HR_NONE;
		}
		const double back = there < 0 ? -1 : piece((pipeline_fn *)decap, in, &batch, desc, n, set->batch, now, tick);
		if (there < 0 || back < 0)
			return 0;
		for (uint32_t i = 0; i < n; i++) {
			if (desc[i].len != pristine[i].len)
				return 0;
		}
		ns[done] = there;
		ns[most + done++] = back;
	}
	return done;
}
