/* SPDX-License-Identifier: Apache-2.0
 *
 * answers.c: what every kernel and the pipeline answer, one line each, for processors where Python's tests do not run.
 *
 * Nothing in here is drawn by chance, so two processors, compilers or levels must print the same: answers.txt, which was made
 * where tests/kernels holds every kernel to OpenSSL at every length. Beside that it opens what other software sealed: the
 * packets of a recorded connection (recorded.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "crypt.h"
#include "recorded.h"

enum { MANY = 70, SLOT = 2304, AT = 160 };

static _Alignas(64) uint8_t arena[MANY * SLOT];
static _Alignas(64) struct hr_desc desc[MANY];
static struct hr_batch batch = {.arena = arena, .arena_len = sizeof arena, .desc = desc, .n = MANY};
static int failures;

static void expect(int right, const char *what)
{
	if (right)
		return;
	printf("FAILED: %s\n", what);
	failures++;
}

static uint32_t next(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13; /* xorshift64, Marsaglia */
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16);
}

static void fill(uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)next();
}

/* The octets of all descriptors, one after the other, as one MD4. */
static void print_digest(const char *what)
{
	uint8_t *const all = (uint8_t *)malloc(MANY * (SLOT + 8));
	uint8_t digest[16];
	size_t at = 0;

	for (uint32_t i = 0; i < batch.n; i++) {
		all[at++] = desc[i].status;
		all[at++] = (uint8_t)desc[i].len;
		all[at++] = (uint8_t)(desc[i].len >> 8);
		all[at++] = (uint8_t)desc[i].seq;
		all[at++] = (uint8_t)(desc[i].seq >> 8);
		memcpy(all + at, arena + desc[i].off, desc[i].len);
		at += desc[i].len;
	}
	hr_md4(all, at, digest);
	free(all);
	printf("%s: ", what);
	for (int i = 0; i < 16; i++)
		printf("%02x", digest[i]);
	printf("\n");
}

/* Packets of all lengths around the blocks, and a few long ones. */
static void lay(uint32_t unit, uint32_t least, uint32_t room)
{
	batch.n = MANY;
	for (uint32_t i = 0; i < MANY; i++) {
		const uint32_t len = i < 48 ? i * unit : next() % (1440 / unit) * unit;
		desc[i] = (struct hr_desc){
		    .off = i * SLOT + AT + i % 17, .len = least + len, .room_head = AT, .room_tail = (uint16_t)room};
		fill(arena + desc[i].off, desc[i].len);
	}
}

/* --- ESP --- */

static const struct transform {
	const char *name;
	uint8_t cipher, auth, enc_len, auth_len;
} transforms[] = {
    {"null-sha1", HR_CIPHER_NULL, HR_AUTH_HMAC_SHA1_96, 0, 20},
    {"des-md5", HR_CIPHER_DES_CBC, HR_AUTH_HMAC_MD5_96, 8, 16},
    {"3des-sha1", HR_CIPHER_3DES_CBC, HR_AUTH_HMAC_SHA1_96, 24, 20},
    {"aes128-sha1", HR_CIPHER_AES_CBC, HR_AUTH_HMAC_SHA1_96, 16, 20},
    {"aes192-sha384", HR_CIPHER_AES_CBC, HR_AUTH_HMAC_SHA2_384_192, 24, 48},
    {"aes256-sha256", HR_CIPHER_AES_CBC, HR_AUTH_HMAC_SHA2_256_128, 32, 32},
    {"aes256-sha256-96", HR_CIPHER_AES_CBC, HR_AUTH_HMAC_SHA2_256_96, 32, 32},
    {"aes256-sha512", HR_CIPHER_AES_CBC, HR_AUTH_HMAC_SHA2_512_256, 32, 64},
    {"aes128gcm16", HR_CIPHER_AES_GCM16, HR_AUTH_NONE, 20, 0},
    {"aes192gcm16", HR_CIPHER_AES_GCM16, HR_AUTH_NONE, 28, 0},
    {"aes256gcm16", HR_CIPHER_AES_GCM16, HR_AUTH_NONE, 36, 0},
};

static void esp(const struct transform *t, uint32_t esn)
{
	static struct hr_esp_key key[3];
	static struct hr_esp_job job[MANY];
	static uint8_t plain[MANY][SLOT];
	uint8_t enc[36], auth[64];
	char what[64];

	for (uint32_t k = 0; k < 3; k++) {
		fill(enc, t->enc_len);
		fill(auth, t->auth_len);
		expect(hr_esp_key_expand(&key[k], t->cipher, t->auth, (uint8_t)esn, enc, t->enc_len, auth, t->auth_len) == 0,
		       "keys");
		fill(key[k].iv_secret, sizeof key[k].iv_secret);
	}
	const uint32_t head = 8u + key[0].iv_len, icv = key[0].icv_len;
	lay(key[0].block, head + key[0].block, HR_TAILROOM);
	for (uint32_t i = 0; i < MANY; i++) {
		uint8_t *const p = arena + desc[i].off;
		job[i] = (struct hr_esp_job){&key[i % 3], p, desc[i].len, esn * 7, i + 1 + ((uint64_t)esn * 7 << 32), 0, 0};
		memcpy(plain[i], p + head, desc[i].len - head);
	}
	hr_esp_seal(job, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		desc[i].len += icv;
	snprintf(what, sizeof what, "%s%s", t->name, esn ? "-esn" : "");
	print_digest(what);
	for (uint32_t i = 0; i < MANY; i++) {
		if (i % 7 == 3)
			job[i].packet[next() % (job[i].len + icv)] ^= (uint8_t)(1u << next() % 8);
	}
	hr_esp_open(job, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		const int whole = memcmp(job[i].packet + head, plain[i], job[i].len - head) == 0;
		expect(job[i].ok == (i % 7 != 3), "verification");
		expect(whole == (i % 7 != 3) || t->cipher == HR_CIPHER_NULL, "decryption");
	}
}

/* --- MPPE, compression, line --- */

static void mppe(uint8_t bits, uint8_t stateless)
{
	struct hr_crypt_mppe *stream[5];
	char what[32];
	int error;

	lay(3, 0, 0);
	for (uint32_t s = 0; s < 5; s++) {
		struct hr_mppe_config config = {.outbound = 1, .bits = bits, .stateless = stateless, .count = 250};
		fill(config.start_key, sizeof config.start_key);
		stream[s] = hr_crypt_mppe_new(&config, &error);
		expect(stream[s] != NULL, "an MPPE stream");
	}
	for (uint32_t i = 0; i < MANY; i++)
		desc[i].session = next() % 5;
	expect(hr_crypt_mppe(stream, 5, &batch) == 0, "MPPE");
	snprintf(what, sizeof what, "mppe%d-%s", bits, stateless ? "stateless" : "stateful");
	print_digest(what);
	for (uint32_t s = 0; s < 5; s++)
		hr_crypt_mppe_free(stream[s]);
}

static void rc4(void)
{
	static uint8_t keys[MANY * 16];

	lay(5, 0, 0);
	fill(keys, sizeof keys);
	expect(hr_crypt_rc4(keys, 16, &batch) == 0, "RC4");
	print_digest("rc4");
}

static void mppc(void)
{
	static uint8_t plain[MANY][SLOT];
	uint32_t length[MANY];
	struct hr_mppc *link[1] = {hr_mppc_new()};

	lay(9, 20, 512);
	for (uint32_t i = 0; i < MANY; i++) {
		for (uint32_t k = 0; k < desc[i].len; k++) /* repeats itself */
			arena[desc[i].off + k] = (uint8_t)("headrace "[(k + i / 3) % 9] + (k % 40 == 7 ? next() % 4 : 0));
		memcpy(plain[i], arena + desc[i].off, desc[i].len);
		length[i] = desc[i].len;
		desc[i].session = 0;
	}
	expect(hr_mppc_compress_batch(link, 1, &batch) == 0, "MPPC");
	print_digest("mppc");
	expect(hr_mppc_expand_batch(link, 1, &batch) == 0, "expanding");
	for (uint32_t i = 0; i < MANY; i++)
		expect(desc[i].status == HR_OK && desc[i].len == length[i] &&
			   memcmp(arena + desc[i].off, plain[i], length[i]) == 0,
		       "MPPC and back");
	hr_mppc_free(link[0]);
}

static void hdlc(void)
{
	enum { ROOM = 2 * MANY * SLOT };
	struct hr_hdlc *const line = hr_hdlc_new(2000);
	uint8_t *const out = (uint8_t *)malloc(ROOM);
	uint8_t digest[16];

	lay(11, 8, 0);
	const int64_t octets = hr_hdlc_encode_batch(line, &batch, 1, out, ROOM);
	expect(octets > 0, "framing");
	hr_md4(out, (size_t)octets, digest);
	printf("hdlc: %lld octets, ", (long long)octets);
	for (int i = 0; i < 16; i++)
		printf("%02x", digest[i]);
	printf("\n");
	print_digest("frames"); /* as they were */
	for (uint32_t i = 0; i < MANY; i++)
		desc[i] = (struct hr_desc){.off = i * SLOT, .len = SLOT};
	expect(hr_hdlc_decode_batch(line, out, (uint64_t)octets, &batch) == octets && batch.n == MANY, "unframing");
	print_digest("unframed");
	free(out);
	hr_hdlc_free(line);
}

/* --- the pipeline --- */

struct end {
	struct hr_dp *dp;
	uint32_t session;
};

/* One direction of a connection: the end that sends, or the one that receives. */
static struct end end_of(uint8_t outbound, const struct hr_sa_config *sa, const struct hr_session_config *session,
			 const struct hr_mppe_config *mppe_config)
{
	const struct hr_dp_config size = {.max_peers = 1, .max_sas = 2, .max_sessions = 1};
	const struct hr_peer_config peer = {
	    .remote = {.addr = {192, 0, 2, 1}, .family = 4, .port = 4500}, .udp_encap = 1, .l2tp_port = 1701};
	struct hr_sa_config own = *sa;
	struct hr_session_config config = *session;
	struct end end = {hr_dp_new(&size), 0};
	uint32_t index;

	expect(end.dp != NULL && hr_peer_add(end.dp, &peer, &config.peer) == 0, "a peer");
	own.peer = config.peer;
	own.outbound = outbound;
	own.replay_window = outbound ? 0 : 256;
	expect(hr_sa_add(end.dp, &own, &index) == 0, "an SA");
	expect(!outbound || hr_sa_use(end.dp, index) == 0, "its use");
	expect(hr_session_add(end.dp, &config, &end.session) == 0, "a session");
	if (mppe_config != NULL) {
		struct hr_mppe_config key = *mppe_config;
		key.outbound = outbound;
		expect(hr_session_mppe(end.dp, end.session, &key) == 0, "MPPE keys");
	}
	return end;
}

static void there_and_back(const struct transform *t, uint8_t bits, uint8_t stateless)
{
	static uint8_t plain[MANY][SLOT];
	uint32_t length[MANY];
	struct hr_sa_config sa = {
	    .spi = 0x1234, .cipher = t->cipher, .auth = t->auth, .enc_key_len = t->enc_len, .auth_key_len = t->auth_len};
	const struct hr_session_config session = {.local_tunnel = 3,
						  .local_session = 4,
						  .remote_tunnel = 3,
						  .remote_session = 4,
						  .l2tp_local_port = 1701,
						  .l2tp_remote_port = 1701,
						  .send_length = 1,
						  .lns = 1,
						  .mppe_policy = bits ? HR_MPPE_REQUIRED : HR_MPPE_NEVER,
						  .open4 = 1,
						  .send_mru = 1500};
	struct hr_mppe_config mppe_config = {.bits = bits, .stateless = stateless};
	char what[64];

	fill(sa.enc_key, t->enc_len);
	fill(sa.auth_key, t->auth_len);
	fill(mppe_config.start_key, 16);
	const struct end here = end_of(1, &sa, &session, bits ? &mppe_config : NULL);
	const struct end there = end_of(0, &sa, &session, bits ? &mppe_config : NULL);
	lay(6, 28, SLOT - 1800);
	for (uint32_t i = 0; i < MANY; i++) {
		uint8_t *const p = arena + desc[i].off;
		uint32_t sum = 0;
		memcpy(p, "\x45\0\0\0\0\0\x40\0\x40\x11\0\0\x0a\1\1\1\x0a\2\2\2", 20);
		p[2] = (uint8_t)(desc[i].len >> 8);
		p[3] = (uint8_t)desc[i].len;
		for (int k = 0; k < 20; k += 2)
			sum += (uint32_t)p[k] << 8 | p[k + 1];
		sum = (sum & 0xffff) + (sum >> 16);
		p[10] = (uint8_t)(~sum >> 8);
		p[11] = (uint8_t)~sum;
		memcpy(plain[i], p, desc[i].len);
		length[i] = desc[i].len;
		desc[i].kind = HR_KIND_IP;
		desc[i].session = here.session;
	}
	expect(hr_encap(here.dp, &batch, 1000) == 0, "encap");
	snprintf(what, sizeof what, "encap %s mppe%d%s", t->name, bits, stateless ? "" : "-stateful");
	if (t->cipher == HR_CIPHER_AES_GCM16) /* other IVs are drawn */
		print_digest(what);
	for (uint32_t i = 0; i < MANY; i++) {
		expect(desc[i].status == HR_OK, "encap's status");
		desc[i].kind = HR_KIND_UDP4500;
		desc[i].remote = (struct hr_endpoint){.addr = {192, 0, 2, 1}, .family = 4, .port = 4500};
		if (i == 9)
			arena[desc[i].off + desc[i].len / 2] ^= 4;
	}
	memcpy(arena + desc[8].off, arena + desc[7].off, desc[7].len); /* the same packet twice */
	desc[8].len = desc[7].len;
	batch.n = bits && !stateless ? 7 : MANY; /* a stateful stream does not survive what follows */
	expect(hr_decap(there.dp, &batch, 2000) == 0, "decap");
	for (uint32_t i = 0; i < batch.n; i++) {
		const uint8_t status = i == 8 ? HR_DROP_ESP_REPLAY : i == 9 ? HR_DROP_ESP_AUTH : HR_OK;
		expect(desc[i].status == status, hr_status_text(desc[i].status));
		if (status == HR_OK)
			expect(desc[i].len == length[i] && memcmp(arena + desc[i].off, plain[i], length[i]) == 0,
			       "decap's packet");
	}
	printf("decap of %s with mppe%d%s: done\n", t->name, bits, stateless ? "" : "-stateful");
	hr_dp_free(here.dp);
	hr_dp_free(there.dp);
}

/* What strongSwan, the Linux kernel, xl2tpd and pppd sent. */
static void recorded_connection(const struct recorded *r)
{
	struct hr_sa_config sa = {.spi = r->spi,
				  .cipher = HR_CIPHER_AES_CBC,
				  .auth = HR_AUTH_HMAC_SHA2_256_128,
				  .enc_key_len = 32,
				  .auth_key_len = 32};
	const struct hr_session_config session = {.local_tunnel = r->tunnel,
						  .local_session = r->session,
						  .remote_tunnel = 1,
						  .remote_session = 1,
						  .l2tp_local_port = 1701,
						  .l2tp_remote_port = 1701,
						  .lns = 1,
						  .mppe_policy = HR_MPPE_REQUIRED,
						  .open4 = 1,
						  .send_mru = 1400};
	struct hr_mppe_config mppe_config = {.bits = 128, .stateless = 1};
	uint32_t inner = 0;

	memcpy(sa.enc_key, r->enc, 32);
	memcpy(sa.auth_key, r->auth, 32);
	memcpy(mppe_config.start_key, r->start, 16);
	const struct end end = end_of(0, &sa, &session, &mppe_config);
	batch.n = r->packets;
	for (uint32_t i = 0; i < r->packets; i++) {
		desc[i] = (struct hr_desc){.off = i * SLOT, .len = r->packet[i].len, .room_tail = 256, .kind = HR_KIND_RAW6};
		memcpy(arena + desc[i].off, r->octets + r->packet[i].at, r->packet[i].len);
	}
	expect(hr_decap(end.dp, &batch, 1) == 0, "decap");
	for (uint32_t i = 0; i < r->packets; i++) {
		if (desc[i].status != HR_OK)
			continue;
		expect(inner < r->inners && desc[i].len == r->inner[inner].len &&
			   memcmp(arena + desc[i].off, r->octets + r->inner[inner].at, desc[i].len) == 0,
		       "a recorded packet");
		inner++;
	}
	expect(inner == r->inners, "all recorded packets");
	print_digest(r->name);
	hr_dp_free(end.dp);
}

int main(void)
{
	const int error = hr_init(); /* with the self-test */

	if (error != 0) {
		fprintf(stderr, "hr_init: %s\n", hr_error_text(error));
		return 1;
	}
	fprintf(stderr, "level %s, of %s; self-test passed\n", hr_cpu_level(), hr_cpu_levels());
	for (size_t t = 0; t < sizeof transforms / sizeof transforms[0]; t++) {
		esp(&transforms[t], 0);
		esp(&transforms[t], 1);
	}
	for (int stateless = 0; stateless < 2; stateless++) {
		mppe(40, (uint8_t)stateless);
		mppe(56, (uint8_t)stateless);
		mppe(128, (uint8_t)stateless);
	}
	rc4();
	mppc();
	hdlc();
	for (size_t t = 1; t < sizeof transforms / sizeof transforms[0]; t++)
		there_and_back(&transforms[t], 0, 1);
	there_and_back(&transforms[8], 128, 1);
	there_and_back(&transforms[8], 40, 0);
	there_and_back(&transforms[3], 128, 0);
	for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++)
		recorded_connection(&recorded[i]);
	printf("%s\n", failures == 0 ? "all as it should be" : "FAILED");
	return failures != 0;
}
