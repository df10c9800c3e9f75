/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.h: what the harness and the implementations that it times agree on. Compiled on demand (headrace.bench.native).
 *
 * The job is the whole of ESP in transport mode: number, header, IV, padding, encryption, ICV one way; SA by SPI, replay
 * window, verification, decryption, padding the other. What is not cryptography is done by the harness, in the same code for
 * everybody.
 */
#ifndef HEADRACE_BENCH_H
#define HEADRACE_BENCH_H

#include "headrace.h"

/* <border> */

enum hb_limit {
	HB_PACKETS = 512,     /* of a set */
	HB_WINDOW_WORDS = 18, /* a replay window of 1024 and a word */
	HB_AROUND = 128,      /* octets from a packet's start that may be written, beside its payload */
	HB_FIRST_SPI = 4096   /* SA i has this plus i */
};

enum hb_job_kind { HB_SEAL = 0, HB_OPEN = 1, HB_MPPE = 2 };

/* One SA, or one MPPE stream (then only mppe and what follows counts). */
struct hb_sa {
	uint8_t cipher, auth; /* enum hr_cipher, enum hr_auth */
	uint8_t block, iv_len, icv_len, enc_len, auth_len, spare;
	uint8_t enc_key[40];
	uint8_t auth_key[64];
	uint64_t seq; /* last used */
	uint64_t top; /* highest seen */
	uint64_t seen[18];
	struct hr_mppe_config mppe;
};

struct hb_packet {
	uint8_t *start;	  /* the SPI; with HB_MPPE the text, two octets of header in front of it are free */
	uint32_t off;	  /* the same from the start of the arena */
	uint32_t payload; /* octets that count: those between IV and padding */
	uint32_t len;	  /* seal: from the SPI to the end of the text; open: to the end of the ICV; MPPE: the text */
	uint32_t sa;	  /* index */
	uint64_t seq;	  /* MPPE: out, the header */
	uint32_t ok;	  /* out, open */
	uint32_t spare;
};

struct hb_set {
	uint8_t *arena;
	uint8_t *pristine; /* what the arena is set to before every pass */
	uint64_t arena_len;
	struct hb_packet *packet;
	struct hb_sa *sa;
	uint32_t n, n_sas;
	uint32_t batch; /* packets a call */
	uint32_t kind;	/* enum hb_job_kind */
};

/* <harness> */

/* Passes over the set until `budget` nanoseconds are over, at least `least` and at most `most`; the time of each in ns[], in
 * nanoseconds. The number of passes, 0 if a packet did not come out as it should. `work` is an hb_work_fn. */
uint32_t hb_run(struct hb_set *set, void *work, void *state, double budget, uint32_t least, uint32_t most, double *ns);

/* The same for hr_encap() and hr_decap(), each packet going through the one and then, as its peer receives it, through the
 * other. `desc` are n descriptors of IP packets for encap as in `pristine`; replies come from `from`. ns[0 .. most) is encap's
 * time, ns[most ..) decap's. */
uint32_t hb_pipeline(struct hr_dp *out, struct hr_dp *in, void *encap, void *decap, struct hb_set *set,
		     struct hr_desc *pristine, struct hr_endpoint *from, double budget, uint32_t least, uint32_t most,
		     double *ns);

/* Give the processor's core clock in GHz: a row of additions that wait for each other, one a cycle. */
double hb_core_ghz(void);
/* Instructions a cycle of core clock, measured; 0 where the processor has no such instruction. The name: NULL behind the last.
 */
const char *hb_port_name(uint32_t index);
double hb_port_rate(uint32_t index);

/* headrace itself: the functions of headrace.h come as pointers. */
void *hb_headrace_new(struct hb_set *set, void *key_new, void *key_free, void *seal, void *open);
void hb_headrace_free(void *state);
void *hb_headrace_mppe_new(struct hb_set *set, void *stream_new, void *stream_free, void *run);
void hb_headrace_mppe_free(void *state);
void *hb_headrace_work(void); /* what to pass as `work` */
void *hb_headrace_mppe_work(void);
void *hb_nothing_work(void); /* no cryptography: what the harness itself costs. HB_SEAL only */

/* </harness> */
/* <peer> */

/* A peer's library. Ways to use it are numbered from 0: "" for those that do not apply to the set, NULL behind the last. */
const char *hb_peer_version(void);
const char *hb_peer_way(struct hb_set *set, uint32_t way);
void *hb_peer_new(struct hb_set *set, uint32_t way);
void hb_peer_free(void *state);
void *hb_peer_work(void);

/* </peer> */
/* </border> */

/* Seal or open all of them, and be done when it returns. 0, or not if the library failed. */
typedef int hb_work_fn(void *state, struct hb_packet *packet, uint32_t n);

#endif
