/* SPDX-License-Identifier: Apache-2.0
 *
 * hmac_shani.h: HMAC with SHA-NI, two packets side by side: one alone waits for the latency of its rounds half the time. For
 * SHA-1 and SHA-256, whose states are two vectors each. Included inside HR_TARGET_BEGIN, after immintrin.h.
 */
#ifndef HEADRACE_KERNELS_HMAC_SHANI_H
#define HEADRACE_KERNELS_HMAC_SHANI_H

enum { STREAMS = 2 };
enum phase { PHASE_IDLE, PHASE_PACKET, PHASE_TAIL, PHASE_OUTER };

/* One packet in progress. */
struct stream {
	__m128i state[2];
	const uint8_t *at; /* next block */
	uint32_t blocks;   /* to go in this phase */
	enum phase phase;
	const struct hr_esp_job *job;
	uint8_t *mac;
	uint8_t tail[128];
};

/* What differs by hash. */
struct hash {
	uint32_t digest_len;
	void (*load)(__m128i state[2], const uint32_t *words);
	void (*store)(uint8_t *digest, const __m128i state[2]);
	/* `blocks` blocks in each of the first `count` streams given */
	void (*run)(struct stream *const stream[], uint32_t count, uint32_t blocks);
};

/* Go on to the next phase that has blocks. Returns 0 when there is no further packet. */
HR_INLINE int advance(struct stream *stream, const struct hash *hash, struct hr_esp_job *const job[], uint32_t n,
		      uint32_t *next, uint8_t mac[][HR_MAC_STRIDE])
{
	while (stream->blocks == 0) {
		switch (stream->phase) {
		case PHASE_PACKET:
			stream->phase = PHASE_TAIL;
			stream->blocks = hr_hmac_tail(stream->tail, stream->job, 64, 0);
			stream->at = stream->tail;
			break;
		case PHASE_TAIL:
			stream->phase = PHASE_OUTER;
			memset(stream->tail, 0, 64);
			hash->store(stream->tail, stream->state);
			stream->tail[hash->digest_len] = 0x80;
			stream->tail[62] = (uint8_t)((64 + hash->digest_len) * 8 >> 8);
			stream->tail[63] = (uint8_t)((64 + hash->digest_len) * 8);
			hash->load(stream->state, stream->job->key->hmac.w32[1]);
			stream->at = stream->tail;
			stream->blocks = 1;
			break;
		case PHASE_OUTER:
			hash->store(stream->mac, stream->state);
			stream->phase = PHASE_IDLE;
			break;
		case PHASE_IDLE:
			if (*next == n)
				return 0;
			stream->phase = PHASE_PACKET;
			stream->job = job[*next];
			stream->mac = mac[(*next)++];
			stream->at = stream->job->packet;
			stream->blocks = hr_hmac_whole(stream->job, 64);
			hash->load(stream->state, stream->job->key->hmac.w32[0]);
			break;
		}
	}
	return 1;
}

HR_INLINE void hmac_all(const struct hash *hash, struct hr_esp_job *const job[], uint32_t n, uint8_t mac[][HR_MAC_STRIDE])
{
	struct stream streams[STREAMS];
	uint32_t next = 0;

	for (uint32_t s = 0; s < STREAMS; s++) {
		streams[s].phase = PHASE_IDLE;
		streams[s].blocks = 0;
	}
	for (;;) {
		struct stream *busy[STREAMS];
		uint32_t count = 0, blocks = UINT32_MAX;
		for (uint32_t s = 0; s < STREAMS; s++) {
			if (!advance(&streams[s], hash, job, n, &next, mac))
				continue;
			busy[count++] = &streams[s];
			blocks = streams[s].blocks < blocks ? streams[s].blocks : blocks;
		}
		if (count == 0)
			break;
		hash->run(busy, count, blocks);
		for (uint32_t s = 0; s < count; s++) {
			busy[s]->at += 64 * (size_t)blocks;
			busy[s]->blocks -= blocks;
		}
	}
	hr_erase(streams, sizeof streams);
}

#endif
