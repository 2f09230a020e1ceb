/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingest.h - from the link's messages to durable results: who may speak, what was seen before, the
 * engine of each machine, group commit, acknowledgement.
 *
 * Rules     Exactly once: a frame's result, its (start, seq), new dictionary entries and what the
 *           engine has learnt go into one transaction; the acknowledgement follows the commit. A
 *           frame at or below the start's last seq is acknowledged and dropped.
 *           A frame that is malformed is refused by name; nothing a sensor sends stops the others.
 *           A frame of a time that another start of the same machine and boot has counted is
 *           refused, so that a copied state directory does not count twice.
 *           With keys, a name belongs to the key that used it first, as long as that key is let in.
 * Failures  When the store fails, nothing is lost: the message is not taken (call again), or the
 *           batch stays as it is (commit again). The caller waits in between and reads no more
 *           from the link, so that the sensors keep their frames.
 * Time      The two clocks come in from outside: no call looks at one.
 * Threads   One thread; the totals and the notifier are shared with others.
 */
#ifndef CB_FORMULA_INGEST_H
#define CB_FORMULA_INGEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "formula/engine.h"
#include "formula/known.h"
#include "formula/notify.h"
#include "formula/recorder.h"
#include "formula/store.h"
#include "formula/totals.h"
#include "lib/cleanup.h"
#include "lib/link.h"

struct cb_err;
struct cb_ingest;

/* How answers go out; a failure to answer is no failure: the sensor will say it again. */
struct cb_ingest_answers {
    void *context;
    void (*welcome)(void *context, const struct cb_link_peer *peer);
    void (*ack)(void *context, const struct cb_link_peer *peer, const char *start_id, uint64_t seq);
    void (*refuse)(void *context, const struct cb_link_peer *peer, const char *start_id,
                   uint64_t seq, const char *text);
    /* A frame was dropped without a word: none of this connection may follow. NULL: no matter. */
    void (*forget)(void *context, const struct cb_link_peer *peer);
};

/* Read by /metrics from other threads. */
struct cb_ingest_stats {
    atomic_uint_fast64_t refused_total; /* since this process started; hellos and frames */
    atomic_uint_fast64_t ignored_total; /* malformed messages, strangers, revoked keys */
    atomic_uint_fast64_t commits_total;
    atomic_uint_fast64_t commit_failures_total;
};

struct cb_ingest_options {
    struct cb_store *store; /* everything but the answers is borrowed until close */
    struct cb_known *known; /* NULL: a plain link, no keys */
    struct cb_totals *totals;
    struct cb_notify *notify;
    struct cb_ingest_stats *stats;
    struct cb_recorder *recorder; /* NULL: nothing is recorded */
    enum cb_model_kind model;
    uint64_t commit_ns; /* a batch is committed at most this long after its first frame */
    struct cb_ingest_answers answers;
};

/* The key of a message that this process made itself, of PowerAPI's reports: no public key looks
 * like it. It needs no list of keys, gets no answer, and its time may overlap (PowerAPI's intervals
 * do by milliseconds). A name belongs to our own sensor or to PowerAPI's, whichever was heard last,
 * until it is silent for CB_INGEST_OTHER_NS. */
#define CB_INGEST_LOCAL_KEY "local"
#define CB_INGEST_OTHER_NS (UINT64_C(600) * CB_NS_PER_S)
/* The boots that PowerAPI's reports count as begin so: their machine tells none. */
#define CB_INGEST_LOCAL_BOOT "706f7765-"

/* Loads the totals of every machine. */
int cb_ingest_open(const struct cb_ingest_options *options, struct cb_ingest **ret_ingest,
                   struct cb_err *err) cb_must_check;

/* Take one message. A negative result means that it was not taken and may be given again. */
int cb_ingest_message(struct cb_ingest *ingest, const struct cb_link_message *message,
                      uint64_t now_ns, uint64_t now_wall_ns, struct cb_err *err) cb_must_check;

/* When cb_ingest_commit() is to be called; UINT64_MAX: there is nothing to commit. */
uint64_t cb_ingest_due_ns(const struct cb_ingest *ingest);
int cb_ingest_commit(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns,
                     struct cb_err *err) cb_must_check;

/* Commit the rest and save what was learnt; then release. The result is about the saving. */
int cb_ingest_close(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns,
                    struct cb_err *err);
/* Release without saving: what a kill does. For tests. */
void cb_ingest_abandon(struct cb_ingest *ingest);

#endif
