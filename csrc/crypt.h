/* SPDX-License-Identifier: Apache-2.0
 *
 * crypt.h: what the stages ask of the kernels. One call a batch; the kernels choose lanes and levels behind it (cpu.c).
 * Everything is constant-time in keys and data at every level, works in place, and touches nothing outside the buffers named.
 */
#ifndef HEADRACE_CRYPT_H
#define HEADRACE_CRYPT_H

#include "headrace.h"

/* --- ESP (esp.c) ------------------------------------------------------------------------------------------------ */

/* Expanded keys and hash states of one SA, ready for the loop. Its fields belong to crypt.c and the kernels; the stages read
 * only the sizes. Cache-line aligned. */
struct hr_esp_key;
#include "esp_key.h" /* its definition, so that it can be embedded in the SA's hot record */

/* Expand the keys. `outbound` also draws the secret of the IV generator from the system's random source.
 * HR_E_ARGUMENT for an impossible combination or key length, HR_E_UNSUPPORTED, HR_E_SYSTEM. */
int hr_esp_key_init(struct hr_esp_key *key, uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
		    const uint8_t *auth_key, size_t auth_len, int outbound);
void hr_esp_key_wipe(struct hr_esp_key *key);

struct hr_esp_job {
	const struct hr_esp_key *key;
	uint8_t *packet; /* SPI | sequence | IV | text | ICV; text is payload, padding, pad length, next header */
	uint32_t len;	 /* from the SPI up to the ICV, which lies at packet + len; text is a multiple of key->block */
	uint32_t seq_hi; /* upper half of the sequence number, used with ESN only */
	uint64_t seq;	 /* whole sequence number: seal makes the IV from it (GCM: itself; CBC: an encrypted counter) */
	uint32_t ok;	 /* out, open: 1 if the ICV verified, else 0 and the text was not decrypted */
	uint32_t spare;
};

/* Write IV, encrypt, write ICV. SPI, sequence number, payload and trailer are in place already. Keys may differ by job. */
void hr_esp_seal(struct hr_esp_job *job, uint32_t n);
/* Verify every ICV (constant time), then decrypt those that verified. */
void hr_esp_open(struct hr_esp_job *job, uint32_t n);

/* --- MPPE (mppe.c) ----------------------------------------------------------------------------------------------- */

/* The state of a running RC4 stream (stateful MPPE). */
struct hr_rc4_state {
	uint8_t s[256];
	uint8_t i, j;
};

struct hr_rc4_job {
	const uint8_t *key; /* key_len octets: the stream begins with this key (stateless), or NULL: it goes on from state */
	uint32_t key_len;   /* 8 or 16 */
	uint32_t len;
	uint8_t *buf;
	struct hr_rc4_state *state; /* with key NULL; no two jobs of one call share a state. With a key it may be NULL, or it
				       receives what the stream that began with the key goes on from */
};

/* Encrypt or decrypt n independent streams. */
void hr_rc4_batch(const struct hr_rc4_job *job, uint32_t n);
void hr_rc4_init(struct hr_rc4_state *state, const uint8_t *key, uint32_t key_len);

struct hr_mppe_rekey_job {
	const uint8_t *start; /* RFC 3079 start key, key_len octets */
	uint8_t *current;     /* session key, changed in place, salted for 40 and 56 bits */
	uint32_t key_len;     /* 8 or 16 */
	uint32_t bits;	      /* 40, 56 or 128 */
	uint32_t initial;     /* 1: derive the first session key from start (no RC4 step); 0: RFC 3078 section 7.3 */
};

/* One key change for each of n independent chains. */
void hr_mppe_rekey(const struct hr_mppe_rekey_job *job, uint32_t n);

/* Several key changes in a row for each of n independent chains: what a batch of stateless packets needs. A chain is serial by
 * nature and runs at its best beside many others; alone, a step costs about what the hash and the key schedule take. */
struct hr_mppe_chain_job {
	const uint8_t *start; /* RFC 3079 start key, key_len octets */
	uint8_t *current;     /* session key, changed in place, salted for 40 and 56 bits */
	uint32_t key_len;     /* 8 or 16 */
	uint32_t bits;	      /* 40, 56 or 128 */
	uint32_t steps;	      /* key changes, RFC 3078 section 7.3; 0 is allowed and does nothing */
	uint8_t (*keys)[16];  /* out: the session key after each step, in the first key_len octets; NULL: not wanted */
};
void hr_mppe_rekey_chain(const struct hr_mppe_chain_job *job, uint32_t n);

#endif
