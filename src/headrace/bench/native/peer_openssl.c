/* SPDX-License-Identifier: Apache-2.0
 *
 * peer_openssl.c: OpenSSL's libcrypto, as a program that wants speed uses it: cipher contexts that keep their key, HMAC from
 * states that were computed once, RC4 by the functions that have it in assembler.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "bench.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/rc4.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

union hash {
	MD5_CTX md5;
	SHA_CTX sha1;
	SHA256_CTX sha256;
	SHA512_CTX sha512;
};

struct sa {
	EVP_CIPHER_CTX *cipher;
	union hash inner, outer;
	uint8_t iv_secret[16];
	/* MPPE */
	uint8_t current[16];
	RC4_KEY rc4;
	uint32_t count;
};

struct state {
	const struct hb_set *set;
	struct sa *sa;
};

const char *hb_peer_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

const char *hb_peer_way(struct hb_set *set, uint32_t way)
{
	if (way > 0)
		return NULL;
	return set->kind == HB_MPPE ? "SHA1, RC4" : "EVP";
}

/* --- HMAC --- */

static void hash_init(union hash *h, uint8_t auth)
{
	switch (auth) {
	case HR_AUTH_HMAC_MD5_96:
		MD5_Init(&h->md5);
		break;
	case HR_AUTH_HMAC_SHA1_96:
		SHA1_Init(&h->sha1);
		break;
	case HR_AUTH_HMAC_SHA2_384_192:
		SHA384_Init(&h->sha512);
		break;
	case HR_AUTH_HMAC_SHA2_512_256:
		SHA512_Init(&h->sha512);
		break;
	default:
		SHA256_Init(&h->sha256);
		break;
	}
}

static void hash_update(union hash *h, uint8_t auth, const uint8_t *data, size_t len)
{
	switch (auth) {
	case HR_AUTH_HMAC_MD5_96:
		MD5_Update(&h->md5, data, len);
		break;
	case HR_AUTH_HMAC_SHA1_96:
		SHA1_Update(&h->sha1, data, len);
		break;
	case HR_AUTH_HMAC_SHA2_384_192:
	case HR_AUTH_HMAC_SHA2_512_256:
		SHA512_Update(&h->sha512, data, len);
		break;
	default:
		SHA256_Update(&h->sha256, data, len);
		break;
	}
}

static size_t hash_final(union hash *h, uint8_t auth, uint8_t digest[64])
{
	switch (auth) {
	case HR_AUTH_HMAC_MD5_96:
		MD5_Final(digest, &h->md5);
		return 16;
	case HR_AUTH_HMAC_SHA1_96:
		SHA1_Final(digest, &h->sha1);
		return 20;
	case HR_AUTH_HMAC_SHA2_384_192:
		SHA384_Final(digest, &h->sha512);
		return 48;
	case HR_AUTH_HMAC_SHA2_512_256:
		SHA512_Final(digest, &h->sha512);
		return 64;
	default:
		SHA256_Final(digest, &h->sha256);
		return 32;
	}
}

static void hmac_init(struct sa *sa, const struct hb_sa *from)
{
	const size_t block = from->auth == HR_AUTH_HMAC_SHA2_384_192 || from->auth == HR_AUTH_HMAC_SHA2_512_256 ? 128 : 64;

	for (int side = 0; side < 2; side++) {
		union hash *const h = side == 0 ? &sa->inner : &sa->outer;
		uint8_t pad[128];
		memset(pad, side == 0 ? 0x36 : 0x5c, sizeof pad);
		for (uint32_t i = 0; i < from->auth_len; i++)
			pad[i] ^= from->auth_key[i];
		hash_init(h, from->auth);
		hash_update(h, from->auth, pad, block);
	}
}

static void hmac(const struct sa *sa, uint8_t auth, const uint8_t *data, size_t len, uint8_t mac[64])
{
	union hash h = sa->inner;

	hash_update(&h, auth, data, len);
	len = hash_final(&h, auth, mac);
	h = sa->outer;
	hash_update(&h, auth, mac, len);
	hash_final(&h, auth, mac);
}

/* --- ESP --- */

static const EVP_CIPHER *cipher_of(const struct hb_sa *sa)
{
	switch (sa->cipher) {
	case HR_CIPHER_3DES_CBC:
		return EVP_des_ede3_cbc();
	case HR_CIPHER_AES_CBC:
		return sa->enc_len == 16 ? EVP_aes_128_cbc() : sa->enc_len == 24 ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
	case HR_CIPHER_AES_GCM16:
		return sa->enc_len == 20 ? EVP_aes_128_gcm() : sa->enc_len == 28 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
	default:
		return NULL;
	}
}

/* The IV as headrace makes it: the encryption of a block that nobody knows and that never repeats, by a longer CBC under IV 0.
 */
static int seal_cbc(const struct hb_sa *sa, const struct sa *own, struct hb_packet *p)
{
	static const uint8_t zero[16];
	uint8_t *const iv = p->start + 8;
	uint8_t mac[64];
	uint64_t low;
	int len;

	memcpy(iv, own->iv_secret, sa->iv_len);
	memcpy(&low, iv, 8);
	low ^= p->seq;
	memcpy(iv, &low, 8);
	if (!EVP_CipherInit_ex(own->cipher, NULL, NULL, NULL, zero, -1) ||
	    !EVP_CipherUpdate(own->cipher, iv, &len, iv, (int)(p->len - 8)))
		return 0;
	hmac(own, sa->auth, p->start, p->len, mac);
	memcpy(p->start + p->len, mac, sa->icv_len);
	return 1;
}

static int open_cbc(const struct hb_sa *sa, const struct sa *own, struct hb_packet *p)
{
	const uint32_t end = p->len - sa->icv_len, header = 8u + sa->iv_len;
	uint8_t mac[64];
	int len;

	hmac(own, sa->auth, p->start, end, mac);
	p->ok = CRYPTO_memcmp(mac, p->start + end, sa->icv_len) == 0;
	if (!p->ok)
		return 1;
	return EVP_CipherInit_ex(own->cipher, NULL, NULL, NULL, p->start + 8, -1) &&
	       EVP_CipherUpdate(own->cipher, p->start + header, &len, p->start + header, (int)(end - header));
}

static void gcm_nonce(const struct hb_sa *sa, const uint8_t *iv, uint8_t nonce[12])
{
	memcpy(nonce, sa->enc_key + sa->enc_len - 4, 4);
	memcpy(nonce + 4, iv, 8);
}

static int seal_gcm(const struct hb_sa *sa, const struct sa *own, struct hb_packet *p)
{
	uint8_t *const iv = p->start + 8;
	const uint64_t seq = __builtin_bswap64(p->seq);
	uint8_t nonce[12];
	int len;

	memcpy(iv, &seq, 8);
	gcm_nonce(sa, iv, nonce);
	return EVP_CipherInit_ex(own->cipher, NULL, NULL, NULL, nonce, -1) &&
	       EVP_CipherUpdate(own->cipher, NULL, &len, p->start, 8) &&
	       EVP_CipherUpdate(own->cipher, iv + 8, &len, iv + 8, (int)(p->len - 16)) &&
	       EVP_CipherFinal_ex(own->cipher, iv, &len) &&
	       EVP_CIPHER_CTX_ctrl(own->cipher, EVP_CTRL_AEAD_GET_TAG, 16, p->start + p->len);
}

static int open_gcm(const struct hb_sa *sa, const struct sa *own, struct hb_packet *p)
{
	uint8_t *const text = p->start + 16;
	const uint32_t end = p->len - 16;
	uint8_t nonce[12];
	int len;

	gcm_nonce(sa, p->start + 8, nonce);
	if (!EVP_CipherInit_ex(own->cipher, NULL, NULL, NULL, nonce, -1) ||
	    !EVP_CipherUpdate(own->cipher, NULL, &len, p->start, 8) ||
	    !EVP_CipherUpdate(own->cipher, text, &len, text, (int)(end - 16)) ||
	    !EVP_CIPHER_CTX_ctrl(own->cipher, EVP_CTRL_AEAD_SET_TAG, 16, p->start + end))
		return 0;
	p->ok = EVP_CipherFinal_ex(own->cipher, text, &len) == 1;
	return 1;
}

static int esp_work(struct state *state, struct hb_packet *packet, uint32_t n)
{
	const int seal = state->set->kind == HB_SEAL;
	int good = 1;

	for (uint32_t i = 0; i < n && good; i++) {
		const struct hb_sa *const sa = &state->set->sa[packet[i].sa];
		const struct sa *const own = &state->sa[packet[i].sa];
		if (sa->cipher == HR_CIPHER_AES_GCM16)
			good = seal ? seal_gcm(sa, own, &packet[i]) : open_gcm(sa, own, &packet[i]);
		else
			good = seal ? seal_cbc(sa, own, &packet[i]) : open_cbc(sa, own, &packet[i]);
	}
	return !good;
}

/* --- MPPE (RFC 3078, 3079), 128 bits --- */

static void mppe_hash(const struct hb_sa *sa, struct sa *own, uint8_t out[20])
{
	static const uint8_t pad1[40];
	static const uint8_t pad2[40] = {0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2,
					 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2,
					 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2, 0xf2};
	SHA_CTX h;

	SHA1_Init(&h);
	SHA1_Update(&h, sa->mppe.start_key, 16);
	SHA1_Update(&h, pad1, sizeof pad1);
	SHA1_Update(&h, own->current, 16);
	SHA1_Update(&h, pad2, sizeof pad2);
	SHA1_Final(out, &h);
}

static void mppe_rekey(const struct hb_sa *sa, struct sa *own)
{
	uint8_t digest[20];
	RC4_KEY rc4;

	mppe_hash(sa, own, digest);
	RC4_set_key(&rc4, 16, digest);
	RC4(&rc4, 16, digest, own->current);
}

static int mppe_work(struct state *state, struct hb_packet *packet, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct hb_sa *const sa = &state->set->sa[packet[i].sa];
		struct sa *const own = &state->sa[packet[i].sa];
		const int flag = (own->count & 0xff) == 0xff;

		packet[i].seq = 0x1000 | (sa->mppe.stateless || flag ? 0x8000u : 0u) | own->count;
		if (sa->mppe.stateless || flag) {
			mppe_rekey(sa, own);
			RC4_set_key(&own->rc4, 16, own->current);
		}
		RC4(&own->rc4, packet[i].len, packet[i].start, packet[i].start);
		own->count = (own->count + 1) & 0xfff;
		packet[i].ok = 1;
	}
	return 0;
}

/* --- face --- */

static int work(void *state, struct hb_packet *packet, uint32_t n)
{
	struct state *const own = (struct state *)state;

	return own->set->kind == HB_MPPE ? mppe_work(own, packet, n) : esp_work(own, packet, n);
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
	for (uint32_t s = 0; own->sa != NULL && s < own->set->n_sas; s++)
		EVP_CIPHER_CTX_free(own->sa[s].cipher);
	free(own->sa);
	free(own);
}

static int sa_init(struct sa *own, const struct hb_sa *sa, const struct hb_set *set, uint32_t index)
{
	if (set->kind == HB_MPPE) {
		uint8_t digest[20];
		if (sa->mppe.bits != 128)
			return 0;
		memcpy(own->current, sa->mppe.start_key, 16);
		mppe_hash(sa, own, digest);
		memcpy(own->current, digest, 16);
		RC4_set_key(&own->rc4, 16, own->current);
		return 1;
	}
	for (uint32_t i = 0; i < sizeof own->iv_secret; i++)
		own->iv_secret[i] = (uint8_t)(index * 31 + i * 7 + 1);
	own->cipher = EVP_CIPHER_CTX_new();
	if (own->cipher == NULL ||
	    !EVP_CipherInit_ex(own->cipher, cipher_of(sa), NULL, sa->enc_key, NULL, set->kind == HB_SEAL))
		return 0;
	EVP_CIPHER_CTX_set_padding(own->cipher, 0);
	if (sa->auth != HR_AUTH_NONE)
		hmac_init(own, sa);
	return 1;
}

void *hb_peer_new(struct hb_set *set, uint32_t way)
{
	struct state *const own = (struct state *)calloc(1, sizeof *own);

	if (own == NULL || way != 0) {
		free(own);
		return NULL;
	}
	own->set = set;
	own->sa = (struct sa *)calloc(set->n_sas, sizeof *own->sa);
	for (uint32_t s = 0; s < set->n_sas; s++) {
		if (own->sa == NULL || !sa_init(&own->sa[s], &set->sa[s], set, s)) {
			hb_peer_free(own);
			return NULL;
		}
	}
	return own;
}
