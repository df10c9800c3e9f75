/* SPDX-License-Identifier: Apache-2.0
 *
 * headrace.h: the border between the control plane and the data plane, and the public header of the C library.
 *
 * Everything between the two marker comments is plain C that the binding's parser reads as it stands (build.py cuts it
 * out): no macros, no conditionals, no attributes. Integers are in host byte order unless a comment says otherwise.
 *
 * Rules that hold for every function here:
 *  - The caller allocates and keeps what it passes in; the library borrows it for the call. Only hr_engine_start()
 *    borrows longer: its file descriptors are used until hr_engine_stop() returns. It never closes them.
 *  - A function that can fail returns 0 or a negative enum hr_error; it never leaves a half-done change behind.
 *  - hr_encap(), hr_decap() and table changes may run in different threads at the same time. One batch belongs to one
 *    thread. Table changes are serialised inside.
 *  - Nothing here calls back, logs, reads the clock or allocates per packet. Time comes in as an argument.
 */
#ifndef HEADRACE_H
#define HEADRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* <border> */

enum hr_limit {
	HR_BATCH_MAX = 512,    /* packets in one batch */
	HR_LISTENERS_MAX = 16, /* local outer addresses of one engine */
	HR_WORKERS_MAX = 64,   /* threads of one engine */
	HR_HEADROOM =
	    128, /* octets in front of a packet that encap may need: virtio, outer UDP, ESP, IV, UDP, L2TP, PPP, MPPE */
	HR_TAILROOM = 96,    /* octets behind it: padding, trailer, ICV */
	HR_NONE = 0x7fffffff /* "no such record" in an index field */
};

enum hr_error {
	HR_E_ARGUMENT = -1, /* a field is out of range: the caller's mistake */
	HR_E_FULL = -2,	    /* the table has no free record */
	HR_E_EXISTS = -3,   /* SPI, or tunnel and session id, is in use */
	HR_E_MISSING = -4,  /* no record with that index */
	HR_E_MEMORY = -5,
	HR_E_SYSTEM = -6,      /* a system call failed: errno is kept for the caller */
	HR_E_UNSUPPORTED = -7, /* transform or level that this build or processor does not have */
	HR_E_DESCRIPTOR = -8,  /* a descriptor points outside the arena or overlaps another; batch.bad_index says which */
	HR_E_SELFTEST = -9     /* a kernel gave a wrong answer at start-up */
};

/* What became of a packet. One list for enum, counter, text (status.c) and metric label (the name without its prefix, in
 * lower case). HR_OK and HR_EXC_* are not losses; every HR_DROP_* is. */
enum hr_status {
	HR_OK = 0,	/* left the pipeline at its end */
	HR_PENDING = 1, /* still in the pipeline */

	/* for the control plane */
	HR_EXC_IKE = 2,	  /* ISAKMP from UDP 4500, non-ESP marker taken off */
	HR_EXC_L2TP = 3,  /* L2TP control message that came through the SA of desc.peer (or in clear, if its peer allows) */
	HR_EXC_PPP = 4,	  /* PPP frame other than IP to be forwarded: desc.session, desc.ppp_proto */
	HR_EXC_MOVED = 5, /* the peer's outer address changed, proven by ICV and replay check; no payload */
	HR_EXC_SOFT_LIMIT = 6, /* the SA reached its soft volume or sequence limit; once per SA; no payload */
	HR_EXC_MPPE_RESET = 7, /* stateful MPPE, MPPC or Deflate lost its place: a CCP Reset-Request is due; no payload */
	HR_EXC_CLEAR_L2TP = 8, /* L2TP control in clear from an address that has no peer record yet (clear L2TP allowed) */
	HR_KEEPALIVE = 9,      /* one octet 0xff on UDP 4500, consumed */
	HR_DUMMY = 10,	       /* ESP next header 59, consumed */

	/* outer */
	HR_DROP_OUTER_SHORT = 16,   /* fewer octets than the outer headers need */
	HR_DROP_NATT_MARKER = 17,   /* UDP 4500: SPI 0 without a whole marker */
	HR_DROP_NOT_PROTECTED = 18, /* L2TP in clear where IPsec is required */
	/* esp */
	HR_DROP_ESP_SHORT = 24,
	HR_DROP_ESP_LENGTH = 25, /* ciphertext is not a multiple of the block */
	HR_DROP_ESP_SPI = 26,	 /* unknown SPI */
	HR_DROP_ESP_REPLAY = 27,
	HR_DROP_ESP_AUTH = 28,
	HR_DROP_ESP_PADDING = 29,
	HR_DROP_ESP_NEXT_HEADER = 30,
	HR_DROP_ESP_SEQ_EXHAUSTED = 31,
	HR_DROP_SA_EXPIRED = 32, /* hard volume limit */
	HR_DROP_NO_SA = 33,	 /* the peer has no outbound SA now */
	/* inner udp */
	HR_DROP_UDP_LENGTH = 40,
	HR_DROP_SELECTOR = 41, /* ports other than the SA's selectors */
	/* l2tp */
	HR_DROP_L2TP_HEADER = 48,
	HR_DROP_L2TP_LENGTH = 49,
	HR_DROP_L2TP_OFFSET = 50,
	HR_DROP_L2TP_SESSION = 51,  /* unknown tunnel or session */
	HR_DROP_WRONG_SA = 52,	    /* the session belongs to another peer's SA */
	HR_DROP_L2TP_SEQUENCE = 53, /* late or doubled numbered data */
	/* ppp */
	HR_DROP_PPP_SHORT = 64,
	HR_DROP_PPP_HEADER = 65,   /* a form that was not negotiated */
	HR_DROP_PPP_NOT_OPEN = 66, /* user data for a protocol whose NCP is not open */
	HR_DROP_PPP_MRU = 67,	   /* larger than the peer takes */
	HR_DROP_VJ_MALFORMED = 68, /* no compressed TCP/IP header is like that */
	HR_DROP_VJ_LOST = 69,	   /* it builds on a header that was lost: waiting for one that goes whole */
	/* compression */
	HR_DROP_DEFLATE_MALFORMED = 70, /* no Deflate frame is like that, or it is too long: a CCP Reset-Request is due */
	HR_DROP_DEFLATE_LOST = 71,	/* a frame is missing: waiting for the Reset-Ack */
	/* mppe */
	HR_DROP_MPPE_HEADER = 72,
	HR_DROP_MPPE_CLEARTEXT = 73, /* not encrypted although MPPE is required */
	HR_DROP_MPPE_NOT_OPEN = 74,  /* encrypted although CCP is not open */
	HR_DROP_MPPE_STALE = 75,     /* coherency count behind */
	HR_DROP_MPPE_LOST = 76,	     /* stateful: waiting for a flush, or a jump beyond the bound */
	HR_DROP_MPPC_MALFORMED = 77, /* no compressed frame is like that, or it is too long: a CCP Reset-Request is due */
	HR_DROP_MPPC_LOST = 78,	     /* waiting for a flush */
	/* payload */
	HR_DROP_IP_MALFORMED = 80,
	HR_DROP_SPOOFED_SOURCE = 81,
	HR_DROP_LOOP = 82,
	HR_DROP_NO_ROUTE = 83, /* no session owns the inner destination */
	HR_DROP_TOO_BIG = 84,  /* does not fit the path, don't-fragment set: answered by ICMP */
	HR_DROP_RATE = 85,
	HR_DROP_GSO_MALFORMED = 86,
	HR_DROP_TUN_MALFORMED = 87,
	HR_DROP_FILTER = 88, /* the session may not go to that destination */
	/* resources */
	HR_DROP_ROOM = 96,	     /* not enough head or tail room in the slot */
	HR_DROP_EXCEPTION_RING = 97, /* the control plane does not keep up */
	HR_DROP_SOCKET = 98,	     /* the kernel refused to send: errno counted apart */
	HR_DROP_TUN_WRITE = 99,
	HR_DROP_WORKER_RING = 100, /* for a session of another worker, which does not keep up */
	HR_STATUS_COUNT = 104
};

/* What off/len of a descriptor covers, when it goes in and when it comes out. */
enum hr_kind {
	HR_KIND_NONE = 0,
	/* into encap, out of decap */
	HR_KIND_IP = 1, /* an IPv4 or IPv6 packet. encap: session HR_NONE means route by destination */
	HR_KIND_PPP =
	    2, /* a PPP frame from its protocol field on (no ff 03) for desc.session; MPPE only for protocols 21 to fa */
	HR_KIND_L2TP = 3, /* an L2TP control message for desc.peer; ports in desc.l2tp_ports */
	/* into decap */
	HR_KIND_UDP4500 = 8,  /* payload of a datagram from UDP 4500 */
	HR_KIND_RAW4 = 9,     /* from a raw IPv4 socket, protocol 50: begins with the IPv4 header */
	HR_KIND_RAW6 = 10,    /* from a raw IPv6 socket, protocol 50: begins with the SPI */
	HR_KIND_UDP1701 = 11, /* payload of a clear datagram from UDP 1701 */
	/* out of encap */
	HR_KIND_SEND_UDP4500 = 16, /* ESP for the UDP 4500 socket of desc.listener, to desc.remote */
	HR_KIND_SEND_RAW = 17,	   /* ESP for the raw socket of desc.listener, to desc.remote */
	HR_KIND_SEND_UDP1701 = 18, /* clear L2TP for the UDP 1701 socket of desc.listener, to desc.remote */
	HR_KIND_IKE = 19	   /* with HR_EXC_IKE */
};

enum hr_cipher {
	HR_CIPHER_NULL = 0,
	HR_CIPHER_DES_CBC = 1,
	HR_CIPHER_3DES_CBC = 2,
	HR_CIPHER_AES_CBC = 3,	/* 16, 24 or 32 octets of key */
	HR_CIPHER_AES_GCM16 = 4 /* 20, 28 or 36 octets: key and 4 octets of salt; auth must be HR_AUTH_NONE */
};

enum hr_auth {
	HR_AUTH_NONE = 0,
	HR_AUTH_HMAC_MD5_96 = 1,
	HR_AUTH_HMAC_SHA1_96 = 2,
	HR_AUTH_HMAC_SHA2_256_128 = 3,
	HR_AUTH_HMAC_SHA2_384_192 = 4,
	HR_AUTH_HMAC_SHA2_512_256 = 5,
	HR_AUTH_HMAC_SHA2_256_96 = 6 /* the truncation of Android up to 7 */
};

/* An outer address and port. IPv4 uses the first four octets of addr. */
struct hr_endpoint {
	uint8_t addr[16]; /* network order */
	uint8_t family;	  /* 4, 6, or 0: none */
	uint8_t spare;
	uint16_t port;
};

/* One packet: where it lies, what it is, what became of it. One cache line. */
struct hr_desc {
	uint32_t off; /* first octet, from the start of the arena */
	uint32_t len;
	uint16_t room_head; /* octets before off that belong to this packet */
	uint16_t room_tail; /* octets behind off + len that belong to it */
	uint8_t status;	    /* enum hr_status */
	uint8_t kind;	    /* enum hr_kind */
	uint8_t flags;	    /* enum hr_desc_flag */
	uint8_t listener;   /* index of the local outer address */
	union {
		uint16_t ppp_proto;	  /* with HR_EXC_PPP */
		uint16_t l2tp_local_port; /* with L2TP control: inner UDP ports, as this side sees them */
	};
	uint16_t l2tp_remote_port;
	uint32_t sa;
	uint32_t session;
	uint32_t peer;
	uint32_t cookie; /* the caller's own; carried through */
	struct hr_endpoint remote;
	uint64_t seq; /* ESP sequence number, 64 bit. With HR_DROP_TOO_BIG: the largest IP packet that would fit */
};

enum hr_desc_flag {
	HR_FLAG_ECN_CE = 1, /* outer header says congestion experienced */
	HR_FLAG_FIRST = 2,  /* first valid packet on its SA */
	HR_FLAG_MPPE = 4    /* out of decap: the frame was MPPE encrypted */
};

/* A run of packets in one arena. n of at most HR_BATCH_MAX descriptors are in use. */
struct hr_batch {
	uint8_t *arena;
	uint64_t arena_len;
	struct hr_desc *desc;
	uint32_t n;
	uint32_t bad_index; /* with HR_E_DESCRIPTOR */
	/* Octets of the arena that belong to no packet, for frames that outgrow their place when they are expanded: their
	 * descriptors come back with off in there. spare_len 0: there are none, and such a frame is HR_DROP_ROOM. */
	uint64_t spare_off;
	uint64_t spare_len;
};

/* The other side of one IKE SA: all its SAs, tunnels and sessions hang on it. */
struct hr_peer_config {
	struct hr_endpoint remote; /* where to send: port 4500 (as mapped) with udp_encap, else ignored */
	uint8_t listener;
	uint8_t udp_encap;  /* ESP in UDP 4500 */
	uint8_t follow;	    /* 1: an authenticated packet from elsewhere moves remote (we are not behind a NAT) */
	uint8_t clear;	    /* 1: L2TP in clear is accepted from and sent to this peer (no IPsec) */
	uint16_t l2tp_port; /* our inner UDP port the selectors name: 1701 */
	uint16_t spare;
	uint64_t cookie; /* the control plane's handle */
};

struct hr_sa_config {
	uint32_t spi;
	uint32_t peer;
	uint8_t outbound;	/* 0 inbound, 1 outbound */
	uint8_t cipher;		/* enum hr_cipher */
	uint8_t auth;		/* enum hr_auth */
	uint8_t esn;		/* 64-bit sequence numbers */
	uint16_t replay_window; /* inbound: 32 to 4096, a multiple of 32; 0 = no replay check is refused */
	uint8_t enc_key_len;
	uint8_t auth_key_len;
	uint8_t enc_key[36];
	uint8_t auth_key[64];
	uint64_t seq;	       /* outbound: last number used; inbound: highest seen. 0 for a new SA, moved ahead after a leap */
	uint64_t soft_bytes;   /* 0 = none */
	uint64_t hard_bytes;   /* 0 = none */
	uint64_t soft_packets; /* 0 = none; a 32-bit SA always asks for a rekey at 3/4 of its numbers */
};

/* The sum of what an exported SA needs to go on elsewhere; keys included: wipe after use. */
struct hr_sa_stats {
	uint64_t packets;
	uint64_t bytes;
	uint64_t seq; /* last used or highest seen */
	uint64_t replayed;
	uint64_t auth_failed;
	uint64_t last_ns; /* time of the last good packet, the caller's clock */
};

enum hr_mppe_policy { HR_MPPE_NEVER = 0, HR_MPPE_WHEN_OPEN = 1, HR_MPPE_REQUIRED = 2 };

/* Where a session's packets may go. The first rule that fits decides; what none fits passes. */
enum { HR_FILTER_RULES = 16 };
enum hr_filter_action { HR_FILTER_DENY = 0, HR_FILTER_ALLOW = 1 };
struct hr_filter_rule {
	uint8_t action;	  /* enum hr_filter_action */
	uint8_t protocol; /* of IP, 0 = any */
	uint8_t family;	  /* of the destination: 4, 6, or 0 = any */
	uint8_t prefix;	  /* bits of the destination that count */
	uint16_t first_port;
	uint16_t last_port;	 /* 0 to 65535 is any; else TCP and UDP only */
	uint8_t destination[16]; /* IPv4: the first 4 */
};

struct hr_session_config {
	uint32_t peer;
	uint16_t local_tunnel; /* ids that we assigned: what arrives carries them */
	uint16_t local_session;
	uint16_t remote_tunnel; /* ids that the peer assigned: what we send carries them */
	uint16_t remote_session;
	uint16_t l2tp_local_port;
	uint16_t l2tp_remote_port;
	uint8_t send_length;	  /* L bit in data headers */
	uint8_t send_sequence;	  /* S bit in data headers */
	uint8_t require_sequence; /* unnumbered data is dropped */
	uint8_t lns;		  /* 1: we decide about numbering; 0: follow the peer (RFC 2661 5.4) */
	uint8_t send_acfc;	  /* the peer takes frames without ff 03 */
	uint8_t send_pfc;	  /* the peer takes one-octet protocol fields */
	uint8_t mppe_policy;	  /* enum hr_mppe_policy */
	uint8_t open4;		  /* IPCP is open */
	uint8_t open6;		  /* IPV6CP is open */
	uint8_t default_route;	  /* takes every inner destination that no other session owns (a client) */
	uint16_t send_mru;	  /* largest PPP information field the peer takes */
	uint16_t mss4;		  /* clamp TCP MSS of IPv4 SYNs to this, both ways; 0 = leave */
	uint16_t mss6;
	uint8_t own4[4];  /* the inner address given to the peer: only source accepted, destination that routes here; 0 = any */
	uint8_t own6[16]; /* the same as an IPv6 prefix */
	uint8_t own6_len; /* 0 = any */
	uint8_t tun;	  /* reserved: index of the TUN set */
	uint16_t recv_mru; /* largest information field that we take: nothing is expanded beyond it; 1500 at least */
	uint64_t rate_rx;  /* octets a second from the peer, 0 = no limit */
	uint64_t rate_tx;
	struct hr_filter_rule filter[HR_FILTER_RULES];
	uint64_t filter_n;
	uint64_t cookie; /* the control plane's handle */
};

enum hr_compression { HR_COMPRESS_NONE = 0, HR_COMPRESS_MPPC = 1, HR_COMPRESS_DEFLATE = 2 };

/* One direction of MPPE, of compression, or of MPPE with MPPC: what CCP agreed for it. The key is RFC 3079's start key for the
 * direction; the session key is derived inside. An export has resume set and can be imported as it is, or with count moved
 * ahead: the key follows. */
struct hr_mppe_config {
	uint8_t outbound;
	uint8_t bits; /* 40, 56, 128, or 0: no encryption; without compression either, this direction is closed */
	uint8_t stateless;
	uint8_t resume;		 /* 1: session_key is where the chain of keys stood when key_count was the next count */
	uint16_t count;		 /* coherency count to begin with, 0 for a new session */
	uint16_t key_count;	 /* with resume */
	uint8_t start_key[16];	 /* 8 octets are used for 40 and 56 bits */
	uint8_t session_key[16]; /* with resume */
	uint8_t compression;	 /* enum hr_compression */
	uint8_t window;		 /* Deflate: 9 to 15, the power of two of its history */
	uint16_t spare;
};

struct hr_session_stats {
	uint64_t rx_packets, rx_bytes; /* inner IP, from the peer */
	uint64_t tx_packets, tx_bytes;
	uint64_t rx_dropped, tx_dropped;
	uint64_t last_rx_ns, last_tx_ns; /* any frame, the caller's clock */
	uint64_t last_data_ns;		 /* last inner IP packet either way: for idle time */
};

struct hr_dp_config {
	uint32_t max_peers;
	uint32_t max_sas;
	uint32_t max_sessions;
	uint8_t allow_clear_l2tp;
	uint8_t spare[3];
};

/* What a packet caused beside its own fate. One of a kind waits per record at most, so that nothing is ever lost; what it says
 * is how the record stands when it is taken. */
struct hr_dp_event {
	uint32_t type; /* HR_EXC_MOVED, HR_EXC_SOFT_LIMIT or HR_EXC_MPPE_RESET */
	uint32_t peer;
	uint32_t sa;		   /* HR_NONE with HR_EXC_MPPE_RESET and HR_EXC_MOVED */
	uint32_t session;	   /* HR_NONE but with HR_EXC_MPPE_RESET */
	uint64_t cookie;	   /* of the session if there is one, else of the peer */
	uint64_t seq;		   /* of the SA */
	struct hr_endpoint remote; /* of the peer, as it is now */
};

struct hr_dp;	  /* tables, counters, keys of one data plane */
struct hr_engine; /* its worker threads */

/* Library. The level comes from the processor, or from HEADRACE_CPU; an unknown or absent level is HR_E_UNSUPPORTED. */
const char *hr_version(void);
int hr_init(void);			     /* detect, choose kernels, self-test; idempotent */
int hr_init_level(const char *level);	     /* the same at this level (NULL: as hr_init) even if done before: for tests and
					      * benchmarks; no other thread may be in the library, keys stay valid */
const char *hr_cpu_level(void);		     /* "portable", "aesni", "avx2", "avx512" */
const char *hr_cpu_levels(void);	     /* those this processor has, separated by blanks, best last */
const char *hr_kernel_name(uint32_t index);  /* "aes-cbc-encrypt: vaes512"; NULL behind the last */
const char *hr_status_text(uint32_t status); /* one sentence; NULL for a number that is no status */
const char *hr_error_text(int error);
void hr_wipe(void *memory, size_t len);
int hr_deflate_available(void); /* 1: this machine has the zlib that Deflate needs */

/* ESP cryptography alone, without tables or pipeline: what `headrace bench kernels` times and the kernels' tests drive. A key
 * belongs to the caller until hr_crypt_key_free(); calls only read it, so many threads may share it.
 *
 * The key bytes are those of struct hr_sa_config. `outbound` keys can seal, inbound keys can open. NULL: *error says why. */
struct hr_crypt_key;
struct hr_crypt_key *hr_crypt_key_new(uint8_t cipher, uint8_t auth, uint8_t esn, const uint8_t *enc_key, size_t enc_len,
				      const uint8_t *auth_key, size_t auth_len, uint8_t outbound, int *error);
void hr_crypt_key_free(struct hr_crypt_key *key); /* wipes; NULL is nothing */
uint32_t hr_crypt_iv_len(const struct hr_crypt_key *key);
uint32_t hr_crypt_icv_len(const struct hr_crypt_key *key);
uint32_t hr_crypt_block(const struct hr_crypt_key *key); /* the text must be a multiple of this */

/* Each descriptor's packet begins at the SPI; desc.sa is an index into keys, desc.seq the whole sequence number (seal makes the
 * IV from it: never twice the same under one key). No two packets may overlap, counting the ICV's room.
 *  seal: SPI, sequence number, room for the IV and the text (payload, padding, trailer) are in place; len ends with the text.
 *        Writes IV and ICV and encrypts; len grows by the ICV, room_tail shrinks. HR_OK, HR_DROP_ESP_LENGTH, HR_DROP_ROOM.
 *  open: len ends with the ICV. Verifies, decrypts; len shrinks by the ICV, room_tail grows. HR_OK, HR_DROP_ESP_SHORT,
 *        HR_DROP_ESP_LENGTH, or HR_DROP_ESP_AUTH: then the packet and its descriptor's extent are as they came.
 * Every descriptor gets a status. 0, HR_E_ARGUMENT (an index or key that cannot be), HR_E_DESCRIPTOR: then nothing was touched.
 */
int hr_crypt_seal(struct hr_crypt_key *const *keys, uint32_t n_keys, struct hr_batch *batch);
int hr_crypt_open(struct hr_crypt_key *const *keys, uint32_t n_keys, struct hr_batch *batch);

/* MPPE alone, the same way. A stream is one direction of one session; it belongs to the thread of the call. `outbound` does not
 * matter: RC4 is its own inverse. NULL: *error says why. */
struct hr_crypt_mppe;
struct hr_crypt_mppe *hr_crypt_mppe_new(const struct hr_mppe_config *config, int *error);
void hr_crypt_mppe_free(struct hr_crypt_mppe *stream); /* wipes; NULL is nothing */
/* Each descriptor covers what MPPE encrypts: protocol and information of a PPP frame; desc.session is an index into streams.
 * Packets of one stream are worked in the order of the batch, each at the next coherency count; desc.seq comes back as the MPPE
 * header of the packet (16 bits: A, D, count). No two packets may overlap. 0, HR_E_ARGUMENT, HR_E_DESCRIPTOR: then nothing was
 * touched. */
int hr_crypt_mppe(struct hr_crypt_mppe *const *streams, uint32_t n_streams, struct hr_batch *batch);
/* RC4 alone: packet i is worked with the stream that begins with key i; keys has batch->n keys of key_len (1 to 256) octets. */
int hr_crypt_rc4(const uint8_t *keys, uint32_t key_len, struct hr_batch *batch);
/* The session key of a direction, and those after each of `steps` key changes: steps + 1 times 16 octets, of which 40 and 56
 * bits use 8. 0 or HR_E_ARGUMENT. */
int hr_crypt_mppe_keys(const struct hr_mppe_config *config, uint32_t steps, uint8_t *keys);

/* PPP in HDLC-like framing (RFC 1662), for ptys and serial lines: one line, both directions. A line belongs to one thread at a
 * time. max_frame: longest frame without its FCS (MRU and 4). The maps name control characters: of those we send, what must be
 * escaped; of those that arrive, what only the line can have put in. */
struct hr_hdlc_stats {
	uint64_t good, bad_fcs, runts, aborts, too_long; /* frames received */
};
struct hr_hdlc;
struct hr_hdlc *hr_hdlc_new(uint32_t max_frame); /* 8 to 65535; NULL: out of range, or no memory */
void hr_hdlc_free(struct hr_hdlc *line);
void hr_hdlc_maps(struct hr_hdlc *line, uint32_t send, uint32_t receive); /* all ones in the beginning */
void hr_hdlc_stats(const struct hr_hdlc *line, struct hr_hdlc_stats *stats);
/* Frame a whole batch: each descriptor covers one frame (ff 03, protocol, information). What is to be sent follows in out,
 * frame after frame; `open`: with a flag in front, as after idle time. The octets written, or HR_E_ARGUMENT, HR_E_DESCRIPTOR,
 * HR_E_FULL: out is too small. Twice the octets, 6 a frame and 80 more are always enough. Every descriptor gets HR_OK. */
int64_t hr_hdlc_encode_batch(struct hr_hdlc *line, struct hr_batch *batch, uint8_t open, uint8_t *out, uint64_t room);
/* Octets of the line to frames. batch->n says how many descriptors there are, each with off and len of a slot for a frame; it
 * comes back as the number of frames, len as their lengths, kind as HR_KIND_PPP, status as HR_OK. A slot is to hold max_frame
 * octets. The octets that were taken: fewer than len when all slots are used. HR_E_ARGUMENT, HR_E_DESCRIPTOR. */
int64_t hr_hdlc_decode_batch(struct hr_hdlc *line, const uint8_t *octets, uint64_t len, struct hr_batch *batch);

/* MPPC (RFC 2118): one session, both directions. Each descriptor covers protocol and information of a PPP frame, desc.session
 * is an index into links, desc.seq the upper bits of the MPPC header: A 8000, B 4000, C 2000. Packets of one link are worked in
 * the order of the batch, in place. compress: seq comes out; with C the packet has become smaller and room_tail larger, without
 * C it is as it was. HR_OK. expand:   seq goes in. HR_OK, HR_DROP_MPPC_MALFORMED, HR_DROP_MPPC_LOST, HR_DROP_ROOM (no room for
 * the frame in room_tail; the link has lost its place). At most 8,192 octets a frame. 0, HR_E_ARGUMENT, HR_E_DESCRIPTOR: then
 * nothing was touched. */
struct hr_mppc;
struct hr_mppc *hr_mppc_new(void);
void hr_mppc_free(struct hr_mppc *link);	  /* wipes; NULL is nothing */
void hr_mppc_reset_sender(struct hr_mppc *link);  /* the peer asked for a reset: A on the next packet */
void hr_mppc_lose_receiver(struct hr_mppc *link); /* a packet is missing: nothing more until A */
int hr_mppc_compress_batch(struct hr_mppc *const *links, uint32_t n_links, struct hr_batch *batch);
int hr_mppc_expand_batch(struct hr_mppc *const *links, uint32_t n_links, struct hr_batch *batch);

/* Van Jacobson's compression of TCP/IP headers (RFC 1144): both directions, in the order of the batch, in place.
 * compress: descriptors cover IPv4 packets; desc.ppp_proto comes out (0021, 002d, 002f), off and len move. HR_OK.
 * expand:   desc.ppp_proto goes in. HR_OK, HR_DROP_VJ_MALFORMED, HR_DROP_VJ_LOST, HR_DROP_ROOM (120 octets of room_head are
 * always enough). 0, HR_E_ARGUMENT, HR_E_DESCRIPTOR: then nothing was touched. */
struct hr_vj_pair;
struct hr_vj_pair *hr_vj_new(uint32_t slots, uint32_t omit_slot); /* slots: 1 to 16; NULL: out of range, or no memory */
void hr_vj_free(struct hr_vj_pair *pair);			  /* wipes; NULL is nothing */
int hr_vj_compress_batch(struct hr_vj_pair *pair, struct hr_batch *batch);
int hr_vj_expand_batch(struct hr_vj_pair *pair, struct hr_batch *batch);

/* Tables. */
struct hr_dp *hr_dp_new(const struct hr_dp_config *config);
void hr_dp_free(struct hr_dp *dp); /* no thread may be using it; keys are wiped */

int hr_peer_add(struct hr_dp *dp, const struct hr_peer_config *config, uint32_t *index);
int hr_peer_update(struct hr_dp *dp, uint32_t index, const struct hr_peer_config *config);
int hr_peer_get(struct hr_dp *dp, uint32_t index, struct hr_peer_config *config); /* remote as it is now */
int hr_peer_remove(struct hr_dp *dp, uint32_t index);				  /* its SAs and sessions go with it */

int hr_sa_add(struct hr_dp *dp, const struct hr_sa_config *config, uint32_t *index); /* an outbound SA is idle until used */
int hr_sa_use(struct hr_dp *dp, uint32_t index);				     /* make this the outbound SA of its peer */
int hr_sa_stats(struct hr_dp *dp, uint32_t index, struct hr_sa_stats *stats);
int hr_sa_export(struct hr_dp *dp, uint32_t index, struct hr_sa_config *config);
int hr_sa_remove(struct hr_dp *dp, uint32_t index);

int hr_session_add(struct hr_dp *dp, const struct hr_session_config *config, uint32_t *index);
int hr_session_update(struct hr_dp *dp, uint32_t index, const struct hr_session_config *config); /* numbering and MPPE stay */
int hr_session_mppe(struct hr_dp *dp, uint32_t index, const struct hr_mppe_config *config);
/* Van Jacobson's compression of one direction: slots 1 to 16, or 0: none. `omit_slot` (outbound): the peer takes packets that
 * do not name their slot, which only a line that keeps the order of packets bears. */
int hr_session_vj(struct hr_dp *dp, uint32_t index, uint8_t outbound, uint8_t slots, uint8_t omit_slot);
int hr_session_mppe_flush(struct hr_dp *dp, uint32_t index); /* the peer asked for a reset: A bit on the next packet out */
int hr_session_mppe_export(struct hr_dp *dp, uint32_t index, uint8_t outbound, struct hr_mppe_config *config);
int hr_session_stats(struct hr_dp *dp, uint32_t index, struct hr_session_stats *stats);
int hr_session_remove(struct hr_dp *dp, uint32_t index);

/* Totals by status since the start: out must hold HR_STATUS_COUNT numbers each. */
void hr_counters(struct hr_dp *dp, uint64_t *packets, uint64_t *bytes);

/* The local outer address of a listener, port ignored; family 0 takes it away. Inner packets to it are loops, and inner UDP
 * checksums over IPv6 need it (without it they are sent as 0, which some peers refuse). */
int hr_dp_listener(struct hr_dp *dp, uint32_t listener, const struct hr_endpoint *address);

/* Take at most max waiting events, oldest first: their number. Cheap when none wait. */
int hr_dp_events(struct hr_dp *dp, struct hr_dp_event *event, uint32_t max);

/* Packets. Every descriptor comes back with a status; see enum hr_kind for what its off and len cover then. */
int hr_encap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns);
int hr_decap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns);
/* The same for sessions with a line of their own in place of L2TP and ESP (a serial port, a pty): what comes out of encap and
 * goes into decap are PPP frames, HR_KIND_PPP, with or without address and control; desc.session says whose. In front of what
 * goes in there must be 2 octets of room. The session hangs on a peer with `clear`, which is otherwise of no account. */
int hr_line_encap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns);
int hr_line_decap(struct hr_dp *dp, struct hr_batch *batch, uint64_t now_ns);

/* The ICMP answer of a router (RFC 792 and 1191, RFC 4443) to an inner packet that does not fit: its length, 0 if none may be
 * sent (the packet is an error message, a fragment that is not the first, or not from a single host). It names the packet's own
 * destination as its source. `mtu` is the desc.seq of HR_DROP_TOO_BIG; an IPv4 packet without DF should be fragmented instead.
 */
uint32_t hr_ip_too_big(const uint8_t *packet, uint32_t len, uint32_t mtu, uint8_t *reply, uint32_t room);
/* 1: an IPv4 packet that may be fragmented. */
int hr_ip_may_fragment(const uint8_t *packet, uint32_t len);
/* Write the fragment that begins at payload octet *at (0 the first time) and move *at behind it: the fragment's length, 0
 * behind the last one or if it does not fit into room. */
uint32_t hr_ip_fragment(const uint8_t *packet, uint32_t len, uint32_t mtu, uint32_t *at, uint8_t *fragment, uint32_t room);

/* Workers. File descriptors are -1 where there is none; all must be non-blocking. */
struct hr_listener {
	int udp4500;
	int raw;	/* protocol 50 */
	int udp1701;	/* clear L2TP, only where the configuration says so */
	uint8_t family; /* 4 or 6 */
	uint8_t spare[3];
};

struct hr_worker_config {
	int tun; /* one queue of the TUN device */
	int cpu; /* pin to this processor, -1 = do not */
	struct hr_listener listener[16];
};

struct hr_engine_config {
	uint32_t workers;
	uint32_t listeners;
	uint32_t batch;		  /* packets a round, at most HR_BATCH_MAX */
	uint32_t exception_slots; /* of the ring to the control plane */
	uint16_t mtu;		  /* of the TUN */
	uint8_t tun_vnet_hdr;	  /* bit 0: the TUN was opened with IFF_VNET_HDR, bit 1: its kernel knows UDP segmentation */
	uint8_t udp_gso;	  /* use UDP segmentation offload where the kernel has it */
	int event_fd;		  /* eventfd that is written when exceptions wait; -1 = none */
	uint8_t direct;		  /* packets from one session for another go there at once, not by way of the TUN */
	uint8_t tos;		  /* enum hr_tos: what of an inner packet's traffic class the outer one shows */
	uint8_t spare[2];
};

enum hr_tos { HR_TOS_NONE = 0, HR_TOS_ECN = 1, HR_TOS_ALL = 2 };

struct hr_engine_stats {
	uint64_t rounds;					     /* times a worker woke up */
	uint64_t tun_reads, tun_writes, socket_reads, socket_writes; /* system calls */
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;	     /* outer */
	uint64_t exceptions;
	uint64_t eagain, enobufs, emsgsize, enetdown, other_errno;
	uint64_t tun_gso_reads, tun_gso_writes, socket_gso_reads,
	    socket_gso_writes;			  /* of the calls above: several packets in one */
	uint64_t tun_packets_in, tun_packets_out; /* inner IP, after cutting and before joining */
	uint64_t paused;			  /* times a worker stopped reading the TUN because a socket was full */
	uint64_t icmp;				  /* too-big answers written to the TUN */
	uint64_t handed_over;			  /* packets that went to the worker that sends for their session */
	uint64_t direct;			  /* packets from one session for another that did not see the TUN */
};

struct hr_engine *hr_engine_new(struct hr_dp *dp, const struct hr_engine_config *config,
				const struct hr_worker_config *workers);
int hr_engine_start(struct hr_engine *engine);
int hr_engine_stop(struct hr_engine *engine); /* returns when every worker has ended; may be started again */
void hr_engine_free(struct hr_engine *engine);
int hr_engine_alive(struct hr_engine *engine); /* workers running */

/* Move waiting exceptions into the batch (descriptors and arena are filled from the start): their number, 0 if none. */
int hr_engine_exceptions(struct hr_engine *engine, struct hr_batch *batch, uint32_t slot_size);
/* Encapsulate control packets (HR_KIND_PPP, HR_KIND_L2TP, HR_KIND_IP) and send them from the calling thread. */
int hr_engine_send(struct hr_engine *engine, struct hr_batch *batch, uint64_t now_ns);
void hr_engine_stats(struct hr_engine *engine, struct hr_engine_stats *stats);

/* The PPP hash the standard library often lacks (RFC 1320). */
void hr_md4(const uint8_t *data, size_t len, uint8_t digest[16]);

/* </border> */

#ifdef __cplusplus
}
#endif
#endif
