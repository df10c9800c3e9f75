/* SPDX-License-Identifier: Apache-2.0
 *
 * peer_ipsec_mb.c: Intel's Multi-Buffer Crypto for IPsec, in every way that its documentation offers for such work: bursts
 * through the job queue, single jobs, the synchronous bursts of cipher and hash, the direct functions of GCM; with the manager
 * of every architecture that this processor can run; never with the checks of parameters. The caller takes the fastest for each
 * case.
 */
#include "bench.h"

#include <intel-ipsec-mb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARCHS = 3, METHODS = 3, IVS = 2, WAYS = ARCHS * METHODS * IVS };

enum method { BURST, JOB, DIRECT }; /* direct: synchronous bursts, or the functions of GCM */
enum iv { IV_CHAIN, IV_COUNTER };   /* a longer CBC under IV 0; or all IVs of the batch by one AES-CTR before */

struct sa {
	DECLARE_ALIGNED(uint32_t encrypt[15 * 4], 64);
	DECLARE_ALIGNED(uint32_t decrypt[15 * 4], 64);
	DECLARE_ALIGNED(struct gcm_key_data gcm, 64);
	DECLARE_ALIGNED(uint64_t des[3][16], 64);
	const void *des_keys[3];
	DECLARE_ALIGNED(uint8_t ipad[64], 64);
	DECLARE_ALIGNED(uint8_t opad[64], 64);
	uint8_t iv_secret[16];
};

struct state {
	DECLARE_ALIGNED(uint8_t tag[HB_PACKETS][64], 64);
	DECLARE_ALIGNED(uint8_t iv[HB_PACKETS][16], 64);
	DECLARE_ALIGNED(uint32_t iv_key[15 * 4], 64);
	uint8_t iv_counter[16];
	struct gcm_context_data gcm;
	IMB_JOB own[HB_PACKETS]; /* of the synchronous bursts */
	IMB_MGR *mgr;
	const struct hb_set *set;
	struct sa *sa;
	enum method method;
	enum iv ivs;
};

static const char *const arch_names[ARCHS] = {"avx512", "avx2", "sse"};

const char *hb_peer_version(void)
{
	return imb_get_version_str();
}

static int is_gcm(const struct hb_set *set)
{
	return set->sa[0].cipher == HR_CIPHER_AES_GCM16;
}

/* What the synchronous bursts can do. */
static int has_direct(const struct hb_sa *sa)
{
	if (sa->cipher == HR_CIPHER_AES_GCM16)
		return 1;
	return sa->cipher == HR_CIPHER_AES_CBC && sa->auth != HR_AUTH_HMAC_MD5_96;
}

const char *hb_peer_way(struct hb_set *set, uint32_t way)
{
	static const char *const methods[METHODS] = {"burst", "job", "cipher and hash bursts"};
	static const char *const ivs[IVS] = {"", ", IVs by counter"};
	static char text[80];
	const uint32_t arch = way / (METHODS * IVS), method = way / IVS % METHODS, iv = way % IVS;
	const struct hb_sa *const sa = &set->sa[0];

	if (way >= WAYS)
		return NULL;
	if (set->kind == HB_MPPE || sa->cipher == HR_CIPHER_NULL || (method == DIRECT && !has_direct(sa)))
		return "";
	if (iv == IV_COUNTER && (set->kind == HB_OPEN || is_gcm(set)))
		return "";
	snprintf(text, sizeof text, "%s %s%s", arch_names[arch], method == DIRECT && is_gcm(set) ? "direct" : methods[method],
		 ivs[iv]);
	return text;
}

/* --- keys --- */

static IMB_MGR *make_manager(uint32_t arch)
{
	static const uint64_t need[ARCHS] = {IMB_CPUFLAGS_AVX512, IMB_CPUFLAGS_AVX2, IMB_CPUFLAGS_SSE};
	IMB_MGR *const mgr = alloc_mb_mgr(0);

	if (mgr == NULL)
		return NULL;
	if ((mgr->features & need[arch]) != need[arch]) {
		free_mb_mgr(mgr);
		return NULL;
	}
	if (arch == 0)
		init_mb_mgr_avx512(mgr);
	else if (arch == 1)
		init_mb_mgr_avx2(mgr);
	else
		init_mb_mgr_sse(mgr);
	return mgr;
}

static void hash_block(IMB_MGR *mgr, uint8_t auth, const uint8_t *block, uint8_t *out)
{
	switch (auth) {
	case HR_AUTH_HMAC_MD5_96:
		IMB_MD5_ONE_BLOCK(mgr, block, out);
		break;
	case HR_AUTH_HMAC_SHA1_96:
		IMB_SHA1_ONE_BLOCK(mgr, block, out);
		break;
	case HR_AUTH_HMAC_SHA2_384_192:
		IMB_SHA384_ONE_BLOCK(mgr, block, out);
		break;
	case HR_AUTH_HMAC_SHA2_512_256:
		IMB_SHA512_ONE_BLOCK(mgr, block, out);
		break;
	default:
		IMB_SHA256_ONE_BLOCK(mgr, block, out);
		break;
	}
}

static void keys(IMB_MGR *mgr, struct sa *own, const struct hb_sa *sa, uint32_t index)
{
	for (int side = 0; side < 2 && sa->auth != HR_AUTH_NONE; side++) {
		uint8_t pad[128];
		memset(pad, side == 0 ? 0x36 : 0x5c, sizeof pad);
		for (uint32_t i = 0; i < sa->auth_len; i++)
			pad[i] ^= sa->auth_key[i];
		hash_block(mgr, sa->auth, pad, side == 0 ? own->ipad : own->opad);
	}
	for (uint32_t i = 0; i < sizeof own->iv_secret; i++)
		own->iv_secret[i] = (uint8_t)(index * 31 + i * 7 + 1);
	switch (sa->cipher) {
	case HR_CIPHER_AES_CBC:
		if (sa->enc_len == 16)
			IMB_AES_KEYEXP_128(mgr, sa->enc_key, own->encrypt, own->decrypt);
		else if (sa->enc_len == 24)
			IMB_AES_KEYEXP_192(mgr, sa->enc_key, own->encrypt, own->decrypt);
		else
			IMB_AES_KEYEXP_256(mgr, sa->enc_key, own->encrypt, own->decrypt);
		break;
	case HR_CIPHER_AES_GCM16:
		if (sa->enc_len == 20)
			IMB_AES128_GCM_PRE(mgr, sa->enc_key, &own->gcm);
		else if (sa->enc_len == 28)
			IMB_AES192_GCM_PRE(mgr, sa->enc_key, &own->gcm);
		else
			IMB_AES256_GCM_PRE(mgr, sa->enc_key, &own->gcm);
		break;
	default:
		for (int k = 0; k < 3; k++) {
			des_key_schedule(own->des[k], sa->enc_key + (sa->enc_len == 24 ? 8 * k : 0));
			own->des_keys[k] = own->des[k];
		}
		break;
	}
}

/* --- jobs --- */

static IMB_HASH_ALG hash_of(uint8_t auth)
{
	switch (auth) {
	case HR_AUTH_HMAC_MD5_96:
		return IMB_AUTH_MD5;
	case HR_AUTH_HMAC_SHA1_96:
		return IMB_AUTH_HMAC_SHA_1;
	case HR_AUTH_HMAC_SHA2_384_192:
		return IMB_AUTH_HMAC_SHA_384;
	case HR_AUTH_HMAC_SHA2_512_256:
		return IMB_AUTH_HMAC_SHA_512;
	default:
		return IMB_AUTH_HMAC_SHA_256;
	}
}

static void fill_cbc(struct state *state, IMB_JOB *job, const struct hb_packet *p, uint32_t i)
{
	static const uint8_t zero[16];
	const struct hb_sa *const sa = &state->set->sa[p->sa];
	const struct sa *const own = &state->sa[p->sa];
	const int seal = state->set->kind == HB_SEAL;
	const uint32_t chain = seal && state->ivs == IV_CHAIN;
	const uint32_t from = 8u + (chain ? 0u : sa->iv_len), end = seal ? p->len : p->len - sa->icv_len;
	const int des = sa->cipher != HR_CIPHER_AES_CBC;

	job->enc_keys = !des ? own->encrypt : sa->enc_len == 8 ? (const void *)own->des[0] : own->des_keys;
	job->dec_keys = des ? job->enc_keys : own->decrypt;
	job->key_len_in_bytes = sa->enc_len;
	job->src = p->start;
	job->dst = p->start + from;
	job->cipher_start_src_offset_in_bytes = from;
	job->msg_len_to_cipher_in_bytes = end - from;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = end;
	job->iv = chain ? zero : p->start + 8;
	job->iv_len_in_bytes = sa->iv_len;
	job->auth_tag_output = seal ? p->start + end : state->tag[i];
	job->auth_tag_output_len_in_bytes = sa->icv_len;
	job->u.HMAC._hashed_auth_key_xor_ipad = own->ipad;
	job->u.HMAC._hashed_auth_key_xor_opad = own->opad;
	job->cipher_mode = des ? (sa->cipher == HR_CIPHER_3DES_CBC ? IMB_CIPHER_DES3 : IMB_CIPHER_DES) : IMB_CIPHER_CBC;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->hash_alg = hash_of(sa->auth);
}

static void fill_gcm(struct state *state, IMB_JOB *job, const struct hb_packet *p, uint32_t i)
{
	const struct hb_sa *const sa = &state->set->sa[p->sa];
	const int seal = state->set->kind == HB_SEAL;
	const uint32_t end = seal ? p->len : p->len - 16;

	job->enc_keys = job->dec_keys = &state->sa[p->sa].gcm;
	job->key_len_in_bytes = sa->enc_len - 4u;
	job->src = p->start;
	job->dst = p->start + 16;
	job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = 16;
	job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = end - 16;
	job->iv = state->iv[i];
	job->iv_len_in_bytes = 12;
	job->auth_tag_output = seal ? p->start + end : state->tag[i];
	job->auth_tag_output_len_in_bytes = 16;
	job->u.GCM.aad = p->start;
	job->u.GCM.aad_len_in_bytes = 8;
	job->cipher_mode = IMB_CIPHER_GCM;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->hash_alg = IMB_AUTH_AES_GMAC;
}

static void fill(struct state *state, IMB_JOB *job, const struct hb_packet *p, uint32_t i)
{
	if (is_gcm(state->set))
		fill_gcm(state, job, p, i);
	else
		fill_cbc(state, job, p, i);
	job->user_data = NULL;
}

/* --- IVs --- */

static void make_ivs(struct state *state, struct hb_packet *packet, uint32_t n)
{
	const struct hb_set *const set = state->set;

	if (is_gcm(set)) {
		for (uint32_t i = 0; i < n; i++) {
			const struct hb_sa *const sa = &set->sa[packet[i].sa];
			const uint64_t seq = __builtin_bswap64(packet[i].seq);
			if (set->kind == HB_SEAL)
				memcpy(packet[i].start + 8, &seq, 8);
			memcpy(state->iv[i], sa->enc_key + sa->enc_len - 4, 4);
			memcpy(state->iv[i] + 4, packet[i].start + 8, 8);
		}
		return;
	}
	if (set->kind == HB_OPEN)
		return;
	if (state->ivs == IV_CHAIN) {
		for (uint32_t i = 0; i < n; i++) {
			const struct sa *const own = &state->sa[packet[i].sa];
			uint64_t low;
			memcpy(&low, own->iv_secret, 8);
			low ^= packet[i].seq;
			memcpy(packet[i].start + 8, &low, 8);
			if (set->sa[packet[i].sa].iv_len == 16)
				memcpy(packet[i].start + 16, own->iv_secret + 8, 8);
		}
		return;
	}
	IMB_JOB *const job = IMB_GET_NEXT_JOB(state->mgr);
	uint64_t count;
	memcpy(&count, state->iv_counter, 8);
	count++;
	memcpy(state->iv_counter, &count, 8);
	job->enc_keys = job->dec_keys = state->iv_key;
	job->key_len_in_bytes = 16;
	job->src = job->dst = state->iv[0];
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = (uint64_t)n * 16;
	job->iv = state->iv_counter;
	job->iv_len_in_bytes = 16;
	job->cipher_mode = IMB_CIPHER_CNTR;
	job->cipher_direction = IMB_DIR_ENCRYPT;
	job->chain_order = IMB_ORDER_CIPHER_HASH;
	job->hash_alg = IMB_AUTH_NULL;
	if (IMB_SUBMIT_JOB_NOCHECK(state->mgr) == NULL) {
		while (IMB_FLUSH_JOB(state->mgr) != NULL)
			;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (set->sa[packet[i].sa].iv_len == 16)
			memcpy(packet[i].start + 8, state->iv[i], 16);
		else
			memcpy(packet[i].start + 8, state->iv[i], 8);
	}
}

/* --- the three methods: how many jobs were completed --- */

static uint32_t count_done(IMB_JOB *const *job, uint32_t n)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < n; i++)
		done += job[i]->status == IMB_STATUS_COMPLETED;
	return done;
}

/* Version 1.3 loses count of its ring of 256 when jobs are in it on both sides of the ring's end (it divides a negative
 * difference as an unsigned number). So the ring is entered at its beginning and emptied before its end; 240 are fifteen times
 * all lanes. */
enum { BURST_MOST = 240 };

static uint32_t run_burst(struct state *state, struct hb_packet *packet, uint32_t n)
{
	IMB_JOB *job[IMB_MAX_BURST_SIZE];
	uint32_t done = 0;

	for (uint32_t from = 0, to; from < n; from = to) {
		to = n - from < BURST_MOST ? n : from + BURST_MOST;
		if (state->mgr->earliest_job < 0)
			state->mgr->next_job = 0;
		for (uint32_t at = from, got; at < to; at += got) {
			got = IMB_GET_NEXT_BURST(state->mgr, to - at < IMB_MAX_BURST_SIZE ? to - at : IMB_MAX_BURST_SIZE, job);
			if (got == 0)
				return 0;
			for (uint32_t i = 0; i < got; i++)
				fill(state, job[i], &packet[at + i], at + i);
			done += count_done(job, IMB_SUBMIT_BURST_NOCHECK(state->mgr, got, job));
		}
		for (uint32_t got = 1; got > 0;) {
			got = IMB_FLUSH_BURST(state->mgr, IMB_MAX_BURST_SIZE, job);
			done += count_done(job, got);
		}
	}
	return done;
}

static uint32_t run_jobs(struct state *state, struct hb_packet *packet, uint32_t n)
{
	uint32_t done = 0;
	IMB_JOB *job;

	for (uint32_t i = 0; i < n; i++) {
		fill(state, IMB_GET_NEXT_JOB(state->mgr), &packet[i], i);
		for (job = IMB_SUBMIT_JOB_NOCHECK(state->mgr); job != NULL; job = IMB_GET_COMPLETED_JOB(state->mgr))
			done += job->status == IMB_STATUS_COMPLETED;
	}
	while ((job = IMB_FLUSH_JOB(state->mgr)) != NULL)
		done += job->status == IMB_STATUS_COMPLETED;
	return done;
}

static uint32_t run_gcm(struct state *state, struct hb_packet *packet, uint32_t n)
{
	const int seal = state->set->kind == HB_SEAL;

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t key = state->set->sa[packet[i].sa].enc_len;
		const struct gcm_key_data *const gcm = &state->sa[packet[i].sa].gcm;
		uint8_t *const p = packet[i].start, *const text = p + 16, *const nonce = state->iv[i];
		const uint64_t len = packet[i].len - (seal ? 16 : 32);
		IMB_MGR *const mgr = state->mgr;
		if (seal && key == 20)
			IMB_AES128_GCM_ENC(mgr, gcm, &state->gcm, text, text, len, nonce, p, 8, text + len, 16);
		else if (seal && key == 28)
			IMB_AES192_GCM_ENC(mgr, gcm, &state->gcm, text, text, len, nonce, p, 8, text + len, 16);
		else if (seal)
			IMB_AES256_GCM_ENC(mgr, gcm, &state->gcm, text, text, len, nonce, p, 8, text + len, 16);
		else if (key == 20)
			IMB_AES128_GCM_DEC(mgr, gcm, &state->gcm, text, text, len, nonce, p, 8, state->tag[i], 16);
		else if (key == 28)
			IMB_AES192_GCM_DEC(mgr, gcm, &state->gcm, text, text, len, nonce, p, 8, state->tag[i], 16);
		else
			IMB_AES256_GCM_DEC(mgr, gcm, &state->gcm, text, text, len, nonce, p, 8, state->tag[i], 16);
	}
	return n;
}

static uint32_t run_direct(struct state *state, struct hb_packet *packet, uint32_t n)
{
	const struct hb_sa *const sa = &state->set->sa[0];
	const IMB_KEY_SIZE_BYTES size = (IMB_KEY_SIZE_BYTES)sa->enc_len;
	const int seal = state->set->kind == HB_SEAL;
	uint32_t done = 0, hashed = 0;

	if (is_gcm(state->set))
		return run_gcm(state, packet, n);
	for (uint32_t i = 0; i < n; i++)
		fill(state, &state->own[i], &packet[i], i);
	for (uint32_t at = 0; at < n; at += IMB_MAX_BURST_SIZE) {
		const uint32_t step = n - at < IMB_MAX_BURST_SIZE ? n - at : IMB_MAX_BURST_SIZE;
		IMB_JOB *const job = state->own + at;
		if (seal)
			done += IMB_SUBMIT_CIPHER_BURST_NOCHECK(state->mgr, job, step, IMB_CIPHER_CBC, IMB_DIR_ENCRYPT, size);
		hashed += IMB_SUBMIT_HASH_BURST_NOCHECK(state->mgr, job, step, hash_of(sa->auth));
		if (!seal)
			done += IMB_SUBMIT_CIPHER_BURST_NOCHECK(state->mgr, job, step, IMB_CIPHER_CBC, IMB_DIR_DECRYPT, size);
	}
	return done < hashed ? done : hashed;
}

static int tags_equal(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint64_t x, y;
	uint32_t z, w;

	if (len == 12) {
		memcpy(&x, a, 8);
		memcpy(&y, b, 8);
		memcpy(&z, a + 8, 4);
		memcpy(&w, b + 8, 4);
		return ((x ^ y) | (z ^ w)) == 0;
	}
	uint64_t difference = 0;
	for (uint32_t i = 0; i < len; i += 8) {
		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		difference |= x ^ y;
	}
	return difference == 0;
}

static int work(void *state_, struct hb_packet *packet, uint32_t n)
{
	struct state *const state = (struct state *)state_;
	uint32_t done;

	make_ivs(state, packet, n);
	if (state->method == BURST)
		done = run_burst(state, packet, n);
	else if (state->method == JOB)
		done = run_jobs(state, packet, n);
	else
		done = run_direct(state, packet, n);
	for (uint32_t i = 0; i < n && state->set->kind == HB_OPEN; i++) {
		const uint32_t icv_len = state->set->sa[packet[i].sa].icv_len;
		packet[i].ok = tags_equal(state->tag[i], packet[i].start + packet[i].len - icv_len, icv_len);
	}
	return done != n;
}

void *hb_peer_work(void)
{
	return (void *)work;
}

void hb_peer_free(void *state)
{
	struct state *const own = (struct state *)state;

	if (own == NULL)
		return;
	if (own->mgr != NULL)
		free_mb_mgr(own->mgr);
	free(own->sa);
	free(own);
}

static void *make_aligned(size_t size)
{
	void *const memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

	if (memory != NULL)
		memset(memory, 0, size);
	return memory;
}

void *hb_peer_new(struct hb_set *set, uint32_t way)
{
	static const uint8_t iv_key[16] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
	DECLARE_ALIGNED(uint32_t unused[15 * 4], 64);
	struct state *const own = (struct state *)make_aligned(sizeof *own);

	if (own == NULL)
		return NULL;
	own->set = set;
	own->method = (enum method)(way / IVS % METHODS);
	own->ivs = (enum iv)(way % IVS);
	own->mgr = make_manager(way / (METHODS * IVS));
	own->sa = (struct sa *)make_aligned(set->n_sas * sizeof *own->sa);
	if (own->mgr == NULL || own->sa == NULL) {
		hb_peer_free(own);
		return NULL;
	}
	for (uint32_t s = 0; s < set->n_sas; s++)
		keys(own->mgr, &own->sa[s], &set->sa[s], s);
	IMB_AES_KEYEXP_128(own->mgr, iv_key, own->iv_key, unused);
	return own;
}
