/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.h: one thread of the data plane, its memory and its loop.
 */
#ifndef HEADRACE_WORKER_H
#define HEADRACE_WORKER_H

#include <pthread.h>

#include "io.h"
#include "relay.h"
#include "ring.h"

/* The eventfd that tells the control plane that exceptions wait. It is written once, until whoever drains the rings has found
 * them empty and armed it again. */
struct hr_bell {
	int fd; /* -1: none */
	_Atomic int armed;
};

void hr_bell_ring(struct hr_bell *bell);

/* Two rings, so that what anybody may send (IKE, L2TP in clear) never keeps out what came through an SA. */
enum hr_trust { HR_ANYBODY = 0, HR_PROVEN = 1, HR_TRUSTS = 2 };

enum hr_source_kind { HR_SOURCE_STOP, HR_SOURCE_TUN, HR_SOURCE_SOCKET, HR_SOURCE_RELAY };

struct hr_source {
	int fd;
	uint8_t what; /* enum hr_source_kind */
	uint8_t kind; /* enum hr_kind of what it receives */
	uint8_t listener;
	uint8_t fruitless; /* wake-ups in a row that brought only an error */
};

enum { HR_SOURCES_MAX = 3 + 3 * HR_LISTENERS_MAX };

struct hr_worker {
	/* set by hr_worker_init(), constant while it runs */
	struct hr_dp *dp;
	struct hr_engine_config config;
	struct hr_worker_config own;
	uint32_t index;
	struct hr_worker *all; /* of the engine, this one among them */
	int stop;	       /* eventfd that becomes readable when the worker is to end */
	struct hr_bell *bell;

	pthread_t thread;
	_Atomic int running;
	struct hr_ring ring[HR_TRUSTS];
	struct hr_io_stats stats;
	struct hr_relay relay; /* where others put what this one sends; made if there are others, or sessions talk directly */

	/* the thread's own */
	int epoll;
	uint32_t sources;
	struct hr_source source[HR_SOURCES_MAX];
	uint64_t stamp;	      /* counts exceptions */
	uint32_t pending;     /* descriptor of tx to go on with, while paused */
	uint64_t deadline_ns; /* paused: when to give up; 0 = not paused */
	uint64_t second_ns;   /* when tun.answers was filled up */
	struct hr_batch rx, tx;
	struct hr_batch pieces;	 /* fragments of what was too big in tx */
	struct hr_batch letters; /* out of the relay */
	struct hr_desc rx_desc[HR_BATCH_MAX], tx_desc[HR_BATCH_MAX], pieces_desc[HR_TUN_PIECES], letters_desc[HR_TUN_LETTERS];
	uint8_t homes[HR_BATCH_MAX];
	uint8_t classes[HR_BATCH_MAX]; /* traffic classes of what is in tx */
	uint8_t few_classes[HR_TUN_LETTERS];
	struct hr_inbox inbox;
	struct hr_outbox outbox;
	struct hr_tun tun;
	uint8_t *memory;
	uint64_t memory_len;
};

/* 0 or HR_E_MEMORY. The worker was allocated with the alignment of its type. */
int hr_worker_init(struct hr_worker *worker, struct hr_dp *dp, const struct hr_engine_config *config,
		   const struct hr_worker_config *own, uint32_t index, struct hr_bell *bell);
void hr_worker_free(struct hr_worker *worker);
/* Start the thread; it ends when `stop` becomes readable. 0 or HR_E_SYSTEM. */
int hr_worker_start(struct hr_worker *worker, int stop);
void hr_worker_join(struct hr_worker *worker);

#endif
