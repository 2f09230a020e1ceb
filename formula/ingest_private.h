/* SPDX-License-Identifier: Apache-2.0 */
/* ingest_private.h - what ingest.c, ingest_machine.c and ingest_batch.c share. */
#ifndef CB_FORMULA_INGEST_PRIVATE_H
#define CB_FORMULA_INGEST_PRIVATE_H

#include <string.h>

#include "formula/ingest.h"
#include "formula/unreadable.h"
#include "lib/log.h"

#define STARTS_KEPT 4 /* sensor starts a machine has in memory; the others are read again */
#define BATCH_FRAMES 256
#define BATCH_BYTES (16u << 20)
#define SNAPSHOT_NS CB_NS_PER_S      /* a machine's model is saved at most so often */
#define TOTALS_NS (60 * CB_NS_PER_S) /* and its totals */

struct start {
    struct cb_store_start row; /* last_seq: what is committed */
    uint64_t pending_seq;      /* highest in the batch or committed */
    uint64_t t0_ns, t1_ns;     /* what its frames cover that came since it is in memory */
    char start_id[CB_START_ID_SIZE];
    char boot_id[CB_BOOT_ID_SIZE];
    uint64_t used; /* for the choice which one to drop */
    size_t n_seen; /* targets of the last frame, sorted: the store has a row of them */
    uint32_t *seen;
};

struct machine {
    int64_t id;
    char name[CB_NAME_SIZE];
    char key[CB_KEY_SIZE];
    struct cb_engine *engine;
    struct start starts[STARTS_KEPT];
    size_t n_starts;
    struct cb_store_counts counts;   /* since the last commit */
    struct cb_unreadable unreadable; /* in the last frame */
    bool learnt;                     /* since the last snapshot */
    uint64_t recorded; /* the recorder's segment that has this engine's model; 0: none */
    uint64_t snapshot_ns, totals_ns;
    uint64_t heard_wall_ns[2]; /* [0] over the link, [1] made by this process */
    struct cb_log_limit refusals, twins;
};

struct pending_target {
    struct cb_store_target target;
    char *labels; /* may be NULL */
    bool has_text, gone;
};

struct pending_frame {
    struct machine *machine;
    struct cb_store_frame frame; /* frame.result is `bytes` */
    uint8_t *bytes;
    struct cb_store_usage usage; /* names NULL: the frame has none; names and bytes are owned */
    uint8_t *encoded, *snapshot; /* to record; the model before this frame, if it is to be told */
    size_t encoded_size, snapshot_size;
    bool stored;
    size_t n_targets; /* changed dictionary entries */
    struct pending_target *targets;
};

struct pending_ack {
    struct cb_link_peer peer;
    char start_id[CB_START_ID_SIZE];
    uint64_t seq;
};

struct cb_ingest {
    struct cb_ingest_options o;
    size_t n_machines, machine_capacity;
    struct machine **machines;
    uint64_t uses;

    size_t n_frames, n_acks, batch_bytes;
    uint64_t batch_due_ns;
    struct pending_frame frames[BATCH_FRAMES];
    struct pending_ack acks[BATCH_FRAMES];

    struct cb_result result;  /* of the frame at hand */
    struct cb_result scratch; /* of a committed frame on its way to the totals */
    struct cb_log_limit malformed, misnamed, strangers;
};

/* ---- ingest_machine.c ---- */

/* Find in memory, or load with its engine and totals. */
int cb_ingest_machine(struct cb_ingest *ingest, const char *name, struct machine **ret_machine,
                      struct cb_err *err) cb_must_check;
void cb_ingest_machine_free(struct machine *machine);

/* Make the engine if there is none, with what was last saved. */
int cb_ingest_engine(struct cb_ingest *ingest, struct machine *machine,
                     struct cb_err *err) cb_must_check;

/* Find in memory, or find or make in the store. Valid until the next call for the machine. */
int cb_ingest_start(struct cb_ingest *ingest, struct machine *machine, const char *boot_id,
                    const char *start_id, uint64_t now_wall_ns, struct start **ret_start,
                    struct cb_err *err) cb_must_check;

static inline bool cb_ingest_is_local(const struct cb_link_message *message)
{
    return strcmp(message->key, CB_INGEST_LOCAL_KEY) == 0;
}

/* Is the name of @machine free for this kind of sensor? -EACCES: the other kind has it. */
int cb_ingest_check_kind(struct machine *machine, bool local, uint64_t now_wall_ns,
                         struct cb_err *err) cb_must_check;

/* May @key speak as @name: was it added under it? -EACCES no, with the reason to tell. To be asked
 * before anything is made for the name. */
int cb_ingest_check_name(const struct cb_ingest *ingest, const char *name, const char *key,
                         struct cb_err *err) cb_must_check;
/* The same for a frame, which may be older than its sensor's name: a name that was the key's and has
 * become nobody's since is right, too. -EBADMSG: never. */
int cb_ingest_check_frame(const struct cb_ingest *ingest, const char *name, const char *key,
                          struct cb_err *err) cb_must_check;
/* Keep in the store whose key the machine's is. */
int cb_ingest_bind_key(struct cb_ingest *ingest, struct machine *machine, const char *key,
                       struct cb_err *err) cb_must_check;

/* ---- ingest_batch.c ---- */

/* The dictionary entries that a frame brings, and placeholders for targets never heard of. */
int cb_ingest_targets(struct cb_ingest *ingest, struct start *start, const struct cb_frame *frame,
                      struct pending_frame *pending, struct cb_err *err) cb_must_check;
/* What containers used besides energy, when the frame has it. */
int cb_ingest_usage(const struct cb_frame *frame, struct pending_frame *pending,
                    struct cb_err *err) cb_must_check;
void cb_ingest_pending_clear(struct pending_frame *pending);

/* An acknowledgement to be sent after the commit. */
void cb_ingest_add_ack(struct cb_ingest *ingest, const struct cb_link_peer *peer,
                       const char *start_id, uint64_t seq);

#endif
