/* SPDX-License-Identifier: Apache-2.0
 *
 * crypt.c: ESP cryptography of a batch. Sorts the jobs so that each call of a kernel gets one algorithm and the longest packets
 * first, and joins ciphers and MACs: encrypt then MAC, verify then decrypt (RFC 4303 sections 3.3.2 and 3.4.4).
 */
#include "crypt.h"

#include <errno.h>
#include <sys/random.h>

#include "cpu.h"
#include "ct.h"
#include "kernels/aes_bitslice.h"
#include "kernels/aes_key.h"
#include "kernels/ghash.h"
#include "kernels/hash_constants.h"
#include "wipe.h"

void hr_wipe(void *memory, size_t len)
{
	hr_erase(memory, len);
}

/* --- keys ---------------------------------------------------------------------------------------------------------- */

/* Sizes by transform: RFC 2403, 2404, 2405, 2451, 3602, 4106, 4868. */
static const struct cipher_sizes {
	uint8_t block, iv_len;
	uint8_t key_len[3]; /* those allowed, 0 = none */
} cipher_sizes[] = {
    [HR_CIPHER_NULL] = {4, 0, {0}},
    [HR_CIPHER_DES_CBC] = {8, 8, {8}},
    [HR_CIPHER_3DES_CBC] = {8, 8, {24}},
    [HR_CIPHER_AES_CBC] = {16, 16, {16, 24, 32}},
    [HR_CIPHER_AES_GCM16] = {4, 8, {20, 28, 36}},
};

static const struct auth_sizes {
	uint8_t key_len, icv_len, digest_len, block;
} auth_sizes[] = {
    [HR_AUTH_NONE] = {0, 0, 0, 0},
    [HR_AUTH_HMAC_MD5_96] = {16, 12, 16, 64},
    [HR_AUTH_HMAC_SHA1_96] = {20, 12, 20, 64},
    [HR_AUTH_HMAC_SHA2_256_128] = {32, 16, 32, 64},
    [HR_AUTH_HMAC_SHA2_384_192] = {48, 24, 48, 128},
    [HR_AUTH_HMAC_SHA2_512_256] = {64, 32, 64, 128},
    [HR_AUTH_HMAC_SHA2_256_96] = {32, 12, 32, 64},
};
enum { CIPHERS = sizeof cipher_sizes / sizeof cipher_sizes[0], AUTHS = sizeof auth_sizes / sizeof auth_sizes[0] };

/* The states behind key xor ipad and key xor opad. No transform has a key longer than its hash's block. */
static void hmac_states(struct hr_esp_key *key, const uint8_t *auth_key, const struct auth_sizes *sizes)
{
	for (int side = 0; side < 2; side++) {
		uint8_t block[128];
		uint32_t *w32 = key->hmac.w32[side];
		uint64_t *w64 = key->hmac.w64[side];

		memset(block, side == 0 ? 0x36 : 0x5c, sizeof block);
		for (uint32_t i = 0; i < sizes->key_len; i++)
			block[i] ^= auth_key[i];
		switch (key->auth) {
		case HR_AUTH_HMAC_MD5_96:
			memcpy(w32, hr_md5_initial, sizeof hr_md5_initial);
			hr_md5_block(w32, block);
			break;
		case HR_AUTH_HMAC_SHA1_96:
			memcpy(w32, hr_sha1_initial, sizeof hr_sha1_initial);
			hr_sha1_block(w32, block);
			break;
		case HR_AUTH_HMAC_SHA2_256_128:
		case HR_AUTH_HMAC_SHA2_256_96:
			memcpy(w32, hr_sha256_initial, sizeof hr_sha256_initial);
			hr_sha256_block(w32, block);
			break;
		case HR_AUTH_HMAC_SHA2_384_192:
			memcpy(w64, hr_sha384_initial, sizeof hr_sha384_initial);
			hr_sha512_block(w64, block);
			break;
		default:
			memcpy(w64, hr_sha512_initial, sizeof hr_sha512_initial);
			hr_sha512_block(w64, block);
			break;
		}
		hr_erase(block, sizeof block);
	}
}

/* The hash key is the zero block encrypted (SP 800-38D section 7.1). */
static void gcm_powers(struct hr_esp_key *key)
{
	struct hr_slice_key sliced;
	uint8_t zero[16] = {0}, out[HR_BITSLICE_BLOCKS][16];
	const uint8_t *in[HR_BITSLICE_BLOCKS];
	uint8_t *to[HR_BITSLICE_BLOCKS];
	hr_slice q[8];

	for (int i = 0; i < HR_BITSLICE_BLOCKS; i++) {
		in[i] = zero;
		to[i] = out[i];
	}
	hr_slice_key_spread(&sliced, key->aes.encrypt, key->rounds);
	hr_slice_load(q, in);
	hr_slice_encrypt(&sliced, q);
	hr_slice_store(to, q);
	hr_ghash_powers(key->aes.power, out[0]);
	hr_erase(&sliced, sizeof sliced);
	hr_erase(out, sizeof out);
}

static int draw(void *out, size_t len)
{
	uint8_t *p = (uint8_t *)out;
	while (len > 0) {
		const ssize_t got = getrandom(p, len, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return HR_E_SYSTEM;
		p += got;
		len -= (size_t)got;
	}
	return 0;
}

int hr_esp_key_expand(struct hr_esp_key *key, uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
		      const uint8_t *auth_key, size_t auth_len)
{
	if (cipher >= CIPHERS || auth >= AUTHS)
		return HR_E_ARGUMENT;
	const struct cipher_sizes *c = &cipher_sizes[cipher];
	const struct auth_sizes *a = &auth_sizes[auth];
	if ((cipher == HR_CIPHER_AES_GCM16) != (auth == HR_AUTH_NONE)) /* GCM brings its own; nothing goes unauthenticated */
		return HR_E_ARGUMENT;
	if (enc_len != c->key_len[0] && (enc_len == 0 || (enc_len != c->key_len[1] && enc_len != c->key_len[2])))
		return HR_E_ARGUMENT;
	if (auth_len != a->key_len)
		return HR_E_ARGUMENT;

	memset(key, 0, sizeof *key);
	key->cipher = cipher;
	key->auth = auth;
	key->esn = esn != 0;
	key->block = c->block;
	key->iv_len = c->iv_len;
	key->icv_len = cipher == HR_CIPHER_AES_GCM16 ? 16 : a->icv_len;
	key->digest_len = a->digest_len;
	if (auth != HR_AUTH_NONE)
		hmac_states(key, auth_key, a);
	switch (cipher) {
	case HR_CIPHER_AES_CBC:
		key->rounds = hr_aes_expand(key->aes.encrypt, enc_key, enc_len);
		hr_aes_invert(key->aes.decrypt, (const uint8_t(*)[16])key->aes.encrypt, key->rounds);
		break;
	case HR_CIPHER_AES_GCM16:
		key->rounds = hr_aes_expand(key->aes.encrypt, enc_key, enc_len - 4);
		memcpy(key->salt, enc_key + enc_len - 4, 4);
		gcm_powers(key);
		break;
	case HR_CIPHER_DES_CBC:
	case HR_CIPHER_3DES_CBC:
		hr_des_key_init(&key->des, enc_key, enc_len);
		break;
	default:
		break;
	}
	/* cipher, key length (0, 10, 12 or 14 rounds) and authentication */
	key->group = (uint8_t)((key->rounds / 2 % 4 * CIPHERS + cipher) * AUTHS + auth);
	return 0;
}

int hr_esp_key_init(struct hr_esp_key *key, uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
		    const uint8_t *auth_key, size_t auth_len, int outbound)
{
	int error = hr_init();
	if (error == 0)
		error = hr_esp_key_expand(key, cipher, auth, esn, enc_key, enc_len, auth_key, auth_len);
	if (error != 0 || !outbound)
		return error;
	key->outbound = 1;
	error = draw(key->iv_secret, sizeof key->iv_secret);
	if (error != 0)
		hr_esp_key_wipe(key);
	return error;
}

void hr_esp_key_wipe(struct hr_esp_key *key)
{
	hr_erase(key, sizeof *key);
}

/* --- sorting ------------------------------------------------------------------------------------------------------- */

enum { BUCKETS = 512, BUCKET_SHIFT = 3, FEW = 16 };

static void insertion_sort(struct hr_esp_job **job, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		struct hr_esp_job *const x = job[i];
		uint32_t k = i;
		for (; k > 0 && job[k - 1]->len < x->len; k--)
			job[k] = job[k - 1];
		job[k] = x;
	}
}

/* The longest first, to within the smallest block of a CBC cipher: counting sort; a few, or what is longer than the buckets
 * reach, by insertion. */
static void sort_by_length(struct hr_esp_job **job, uint32_t n)
{
	uint16_t start[BUCKETS], bucket[HR_BATCH_MAX];
	struct hr_esp_job *sorted[HR_BATCH_MAX];
	uint32_t least = UINT32_MAX, most = 0;

	if (n <= FEW) {
		insertion_sort(job, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		least = job[i]->len < least ? job[i]->len : least;
		most = job[i]->len > most ? job[i]->len : most;
	}
	if (least == most)
		return;
	const uint32_t shortest = least >> BUCKET_SHIFT < BUCKETS ? least >> BUCKET_SHIFT : BUCKETS - 1;
	const uint32_t longest = most >> BUCKET_SHIFT < BUCKETS ? most >> BUCKET_SHIFT : BUCKETS - 1;
	memset(start + shortest, 0, (longest - shortest + 1) * sizeof start[0]);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t units = job[i]->len >> BUCKET_SHIFT;
		bucket[i] = (uint16_t)(units < BUCKETS ? units : BUCKETS - 1);
		start[bucket[i]]++;
	}
	const uint32_t outsize = longest == BUCKETS - 1 ? start[BUCKETS - 1] : 0;
	uint32_t at = 0;
	for (uint32_t b = longest + 1; b-- > shortest;) {
		const uint32_t count = start[b];
		start[b] = (uint16_t)at;
		at += count;
	}
	for (uint32_t i = 0; i < n; i++)
		sorted[start[bucket[i]]++] = job[i];
	insertion_sort(sorted, outsize);
	memcpy(job, sorted, n * sizeof job[0]);
}

/* Move the jobs of the first one's group to the front, in their order; how many they are. */
static uint32_t gather_group(struct hr_esp_job **job, uint32_t n)
{
	const uint8_t group = job[0]->key->group;
	struct hr_esp_job *other[HR_BATCH_MAX];
	uint32_t same = 0, others = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (job[i]->key->group == group)
			job[same++] = job[i];
		else
			other[others++] = job[i];
	}
	memcpy(job + same, other, others * sizeof job[0]);
	return same;
}

static uint64_t network_order(uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap64(x);
#else
	return x;
#endif
}

/* --- one group ----------------------------------------------------------------------------------------------------- */

static hr_hmac_fn *hmac_of(uint8_t auth)
{
	switch (auth) {
	case HR_AUTH_HMAC_MD5_96:
		return hr_kernel.hmac_md5.run;
	case HR_AUTH_HMAC_SHA1_96:
		return hr_kernel.hmac_sha1.run;
	case HR_AUTH_HMAC_SHA2_256_128:
	case HR_AUTH_HMAC_SHA2_256_96:
		return hr_kernel.hmac_sha256.run;
	default:
		return hr_kernel.hmac_sha512.run;
	}
}

/* The kernel that seals in one pass, or NULL. */
static hr_hmac_fn *joint_of(const struct hr_esp_key *key)
{
	const int sha1 = key->auth == HR_AUTH_HMAC_SHA1_96;
	const int sha256 = key->auth == HR_AUTH_HMAC_SHA2_256_128 || key->auth == HR_AUTH_HMAC_SHA2_256_96;

	if (key->cipher != HR_CIPHER_AES_CBC || (!sha1 && !sha256))
		return NULL;
	if (key->rounds == 10)
		return sha1 ? hr_kernel.cbc128_sha1_seal.run : hr_kernel.cbc128_sha256_seal.run;
	if (key->rounds == 14)
		return sha1 ? hr_kernel.cbc256_sha1_seal.run : hr_kernel.cbc256_sha256_seal.run;
	return NULL;
}

static hr_cbc_fn *encrypt_of(uint8_t cipher)
{
	return cipher == HR_CIPHER_AES_CBC ? hr_kernel.aes_cbc_encrypt.run : hr_kernel.des_cbc_encrypt.run;
}

static hr_cbc_fn *decrypt_of(uint8_t cipher)
{
	return cipher == HR_CIPHER_AES_CBC ? hr_kernel.aes_cbc_decrypt.run : hr_kernel.des_cbc_decrypt.run;
}

/* CBC: the block whose encryption is the IV, unpredictable without the secret, different for every sequence number (NIST SP
 * 800-38A appendix C, with a counter nobody knows). GCM: the IV itself, the sequence number in network order. */
static void put_ivs(struct hr_esp_job *const *job, uint32_t n)
{
	const uint8_t cipher = job[0]->key->cipher, iv_len = job[0]->key->iv_len;

	for (uint32_t i = 0; i < n && cipher == HR_CIPHER_AES_GCM16; i++) {
		const uint64_t seq = network_order(job[i]->seq);
		memcpy(job[i]->packet + 8, &seq, 8);
	}
	for (uint32_t i = 0; i < n && cipher != HR_CIPHER_AES_GCM16 && cipher != HR_CIPHER_NULL; i++) {
		uint64_t low, high;
		memcpy(&low, job[i]->key->iv_secret, 8);
		memcpy(&high, job[i]->key->iv_secret + 8, 8);
		low ^= job[i]->seq;
		memcpy(job[i]->packet + 8, &low, 8);
		if (iv_len == 16)
			memcpy(job[i]->packet + 16, &high, 8);
	}
}

/* Whether a MAC is the packet's ICV, of 12 octets or more: eight at a time, the last eight overlapping. */
static uint32_t icv_right(const uint8_t *mac, const uint8_t *icv, uint32_t len)
{
	uint64_t a, b, difference = 0;

	for (uint32_t at = 0; at + 8 < len; at += 8) {
		memcpy(&a, mac + at, 8);
		memcpy(&b, icv + at, 8);
		difference |= a ^ b;
	}
	memcpy(&a, mac + len - 8, 8);
	memcpy(&b, icv + len - 8, 8);
	difference |= a ^ b;
	return hr_ct_equal64(difference, 0);
}

/* Sizes that the compiler knows: a call of memcpy() a packet is more than a tenth of a short one. */
static void put_icvs(struct hr_esp_job *const *job, uint32_t n, uint8_t mac[][HR_MAC_STRIDE], uint32_t icv_len)
{
	if (icv_len == 12) {
		for (uint32_t i = 0; i < n; i++)
			memcpy(job[i]->packet + job[i]->len, mac[i], 12);
	} else if (icv_len == 16) {
		for (uint32_t i = 0; i < n; i++)
			memcpy(job[i]->packet + job[i]->len, mac[i], 16);
	} else {
		for (uint32_t i = 0; i < n; i++)
			memcpy(job[i]->packet + job[i]->len, mac[i], icv_len);
	}
}

static void seal_group(struct hr_esp_job **job, uint32_t n, uint32_t uneven)
{
	const uint8_t cipher = job[0]->key->cipher, auth = job[0]->key->auth, icv_len = job[0]->key->icv_len;
	uint8_t mac[HR_BATCH_MAX][HR_MAC_STRIDE];

	if (uneven)
		sort_by_length(job, n);
	put_ivs(job, n);
	if (cipher == HR_CIPHER_AES_GCM16) {
		hr_kernel.aes_gcm_seal.run(job, n);
		return;
	}
	hr_hmac_fn *const joint = joint_of(job[0]->key);
	if (joint != NULL) {
		joint(job, n, mac);
	} else {
		if (cipher != HR_CIPHER_NULL)
			encrypt_of(cipher)(job, n);
		hmac_of(auth)(job, n, mac);
	}
	put_icvs(job, n, mac, icv_len);
}

static void open_group(struct hr_esp_job **job, uint32_t n, uint32_t uneven)
{
	const uint8_t cipher = job[0]->key->cipher, auth = job[0]->key->auth, icv_len = job[0]->key->icv_len;
	uint8_t mac[HR_BATCH_MAX][HR_MAC_STRIDE];
	uint32_t good = 0;

	if (uneven)
		sort_by_length(job, n);
	if (cipher == HR_CIPHER_AES_GCM16) {
		hr_kernel.aes_gcm_open.run(job, n);
		return;
	}
	hmac_of(auth)(job, n, mac);
	for (uint32_t i = 0; i < n; i++) {
		job[i]->ok = icv_right(mac[i], job[i]->packet + job[i]->len, icv_len);
		if (job[i]->ok)
			job[good++] = job[i];
	}
	hr_erase(mac, n * sizeof mac[0]); /* the right ICVs of forged packets */
	if (cipher != HR_CIPHER_NULL && good > 0)
		decrypt_of(cipher)(job, good);
}

/* `uneven`: lengths may differ. */
typedef void group_fn(struct hr_esp_job **job, uint32_t n, uint32_t uneven);

static inline void for_each_group(struct hr_esp_job *job, uint32_t n, group_fn *work)
{
	struct hr_esp_job *order[HR_BATCH_MAX];

	while (n > 0) {
		const uint32_t take = n < HR_BATCH_MAX ? n : HR_BATCH_MAX;
		const uint8_t group = job[0].key->group;
		const uint32_t len = job[0].len;
		uint32_t mixed = 0, uneven = 0;
		for (uint32_t i = 0; i < take; i++) {
			order[i] = &job[i];
			mixed |= job[i].key->group ^ group;
			uneven |= job[i].len ^ len;
		}
		for (uint32_t done = 0; done < take;) {
			const uint32_t same = mixed ? gather_group(order + done, take - done) : take;
			work(order + done, same, uneven);
			done += same;
		}
		job += take;
		n -= take;
	}
}

void hr_esp_seal(struct hr_esp_job *job, uint32_t n)
{
	for_each_group(job, n, seal_group);
}

void hr_esp_open(struct hr_esp_job *job, uint32_t n)
{
	for_each_group(job, n, open_group);
}
