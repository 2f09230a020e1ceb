/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the embedded store that holds everything (SQLite, docs/store.md gives the tables):
 * results, who may say which name, how far each sensor start has come, the dictionary, what the
 * models have learnt, tests, recaps, and the queues towards other stores (sink.h).
 *
 * Rules     What is committed is on disk (synchronous=FULL). What belongs together is written
 *           between cb_store_begin() and cb_store_commit(); every other writing call is a
 *           transaction of its own. Writing the same frame, test or recap twice changes nothing.
 * Times     *_ns BOOTTIME of the machine, *_wall_ns REALTIME; sums in microjoules.
 * Threads   One object is used by one thread at a time; each thread opens its own. Within a process
 *           they write in turn, the owner first (store_gate.h): it waits for one transaction of
 *           another at most.
 * Errors    -ENOENT no such row or no such file, -EBUSY the database stayed locked, -ENOSPC disk
 *           full, -EROFS/-EACCES not writable, -EPROTONOSUPPORT written by a newer cbformula,
 *           -EBADMSG damaged, -EEXIST in conflict with what is there, -EDQUOT a limit of ours, -EIO
 *           anything else.
 */
#ifndef CB_FORMULA_STORE_H
#define CB_FORMULA_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "lib/keys.h"

struct cb_err;
struct cb_store;

enum cb_store_mode {
    CB_STORE_READ,  /* the database must be there */
    CB_STORE_WRITE, /* the database must be there, with today's schema */
    CB_STORE_OWNER, /* make it or migrate it: once a process, before the others */
};

int cb_store_open(const char *path, enum cb_store_mode mode, struct cb_store **ret_store,
                  struct cb_err *err) cb_must_check;
struct cb_store *cb_store_close(struct cb_store *store);

/* The database may have at most @pages pages; 0: no limit. To try out a full disk. */
void cb_store_limit_pages(struct cb_store *store, unsigned pages);

int cb_store_begin(struct cb_store *store, struct cb_err *err) cb_must_check;
int cb_store_commit(struct cb_store *store, struct cb_err *err) cb_must_check;
void cb_store_rollback(struct cb_store *store);

/* ---- machines, boots, sensor starts ---- */

#define CB_STORE_MAX_MACHINES 4096

struct cb_store_machine {
    int64_t id;
    char name[CB_NAME_SIZE];
    char key[CB_KEY_SIZE]; /* bound public key, "" when none is */
    uint64_t frames, duplicates, refused, violations, lost_frames, missed_ticks, self_cpu_ns;
    uint64_t self_uj; /* an estimate: cb_result_by_cpu_uj() */
    /* over all boots: the time that frames cover, and the time between the first and the last frame
     * of a boot that none does (its energy is not known), in so many pieces */
    uint64_t covered_ns, gap_ns, gaps;
    /* the boot that was heard last; "" and 0 before the first frame */
    int64_t boot;
    char boot_id[CB_BOOT_ID_SIZE];
    uint64_t last_t1_ns, last_wall_ns, last_length_ns;
    uint64_t heard_wall_ns; /* this server's clock at its last hello or frame */
};

/* Find or make. -EDQUOT above CB_STORE_MAX_MACHINES. */
int cb_store_machine(struct cb_store *store, const char *name, struct cb_store_machine *ret_machine,
                     struct cb_err *err) cb_must_check;
/* Only find: -ENOENT. */
int cb_store_find_machine(struct cb_store *store, const char *name,
                          struct cb_store_machine *ret_machine, struct cb_err *err) cb_must_check;
int cb_store_bind_key(struct cb_store *store, int64_t machine, const char *key,
                      struct cb_err *err) cb_must_check;

typedef int cb_store_each_machine(void *context, const struct cb_store_machine *machine);
int cb_store_machines(struct cb_store *store, cb_store_each_machine *each, void *context,
                      struct cb_err *err) cb_must_check;
/* The machine that was heard last with this boot id: -ENOENT. */
int cb_store_machine_of_boot(struct cb_store *store, const char *boot_id,
                             struct cb_store_machine *ret_machine,
                             struct cb_err *err) cb_must_check;

struct cb_store_start {
    int64_t id;
    int64_t machine;
    int64_t boot;
    uint64_t last_seq; /* highest stored; 0: none */
};

/* A sensor said hello, or sent the first frame of a start: find or make its rows. -EEXIST: this
 * start belongs to another boot. */
int cb_store_start(struct cb_store *store, int64_t machine, const char *boot_id,
                   const char *start_id, uint64_t heard_wall_ns, struct cb_store_start *ret_start,
                   struct cb_err *err) cb_must_check;

/* What came since the last call, added to the machine's counts. */
struct cb_store_counts {
    uint64_t frames, duplicates, refused, violations, self_cpu_ns, self_uj;
};
int cb_store_add_counts(struct cb_store *store, int64_t machine,
                        const struct cb_store_counts *counts, struct cb_err *err) cb_must_check;

/* ---- the dictionary ---- */

#define CB_STORE_ID_SIZE 129
#define CB_STORE_TEXT_SIZE 512

struct cb_store_target {
    int64_t start;
    uint32_t target;
    uint8_t kind;                        /* enum cb_target_kind */
    bool known;                          /* false: a placeholder, the text has not come yet */
    char container_id[CB_STORE_ID_SIZE]; /* "": none */
    char name[CB_STORE_TEXT_SIZE];
    char image[CB_STORE_TEXT_SIZE];
    char cgroup[CB_STORE_TEXT_SIZE];
};

/* @labels is a JSON object or NULL. A placeholder never replaces a text. */
int cb_store_put_target(struct cb_store *store, const struct cb_store_target *target,
                        const char *labels, struct cb_err *err) cb_must_check;
int cb_store_target(struct cb_store *store, int64_t start, uint32_t target,
                    struct cb_store_target *ret_target, struct cb_err *err) cb_must_check;

/* It was seen for the last time; cb_store_forget() may drop it later. */
int cb_store_target_gone(struct cb_store *store, int64_t start, uint32_t target,
                         uint64_t heard_wall_ns, struct cb_err *err) cb_must_check;

/* The boots in which a container (its id or at least 8 digits of it, its name, or its cgroup) was
 * seen, each with its id, oldest first; @machine NULL: on any. */
typedef int cb_store_each_sighting(void *context, int64_t boot, const char *container_id,
                                   const char *name, struct cb_err *err);
int cb_store_sightings(struct cb_store *store, const char *container, const char *machine,
                       cb_store_each_sighting *each, void *context,
                       struct cb_err *err) cb_must_check;

/* What stands for the target across sensor starts: the container id, else the cgroup, else a text
 * made of the start and the id. */
void cb_store_target_identity(const struct cb_store_target *target,
                              char ret_identity[CB_STORE_TEXT_SIZE]);

/* ---- frames ---- */

struct cb_store_frame {
    int64_t id; /* ascending in the order of storing; 0 in a frame to store */
    int64_t start;
    int64_t boot;
    uint64_t seq;
    uint64_t t0_ns, t1_ns, wall_ns;
    const void *result; /* cb_result_pack() */
    size_t result_size;
    uint64_t lost_frames, missed_ticks; /* to store only: as the frame said, since the sensor's
                                           start */
};

/* Within a transaction. -EEXIST: (start, seq) is there. Also moves the start's last_seq and the
 * boot's last times. @ret_id may be NULL. */
int cb_store_put_frame(struct cb_store *store, const struct cb_store_frame *frame,
                       uint64_t heard_wall_ns, int64_t *ret_id, struct cb_err *err) cb_must_check;

/* A callback ends the walk by returning something else than 0; the walk returns that, so a negative
 * one is its error. The frame's bytes are valid within the call. */
typedef int cb_store_each_frame(void *context, const struct cb_store_frame *frame,
                                struct cb_err *err);

/* Frames of one boot that overlap [from_ns, to_ns), by time. */
int cb_store_frames(struct cb_store *store, int64_t boot, uint64_t from_ns, uint64_t to_ns,
                    cb_store_each_frame *each, void *context, struct cb_err *err) cb_must_check;
/* Frames of one machine whose wall time lies in [from, to), by time; over reboots. */
int cb_store_frames_by_wall(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                            uint64_t to_wall_ns, cb_store_each_frame *each, void *context,
                            struct cb_err *err) cb_must_check;
/* Frames of one machine with an id above @after, by id. */
int cb_store_frames_after(struct cb_store *store, int64_t machine, int64_t after,
                          cb_store_each_frame *each, void *context,
                          struct cb_err *err) cb_must_check;
/* The last frame of one boot: -ENOENT. */
int cb_store_last_frame(struct cb_store *store, int64_t boot, cb_store_each_frame *each,
                        void *context, struct cb_err *err) cb_must_check;

/* A boot by its row. */
struct cb_store_boot {
    int64_t id, machine;
    char machine_name[CB_NAME_SIZE];
    char boot_id[CB_BOOT_ID_SIZE];
};
int cb_store_boot(struct cb_store *store, int64_t id, struct cb_store_boot *ret_boot,
                  struct cb_err *err) cb_must_check;

/* The boots of a machine that have frames within [from, to) of wall time, and what of their
 * BOOTTIME these frames cover; by time. */
typedef int cb_store_each_span(void *context, int64_t boot, uint64_t t0_ns, uint64_t t1_ns,
                               struct cb_err *err);
int cb_store_spans(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                   uint64_t to_wall_ns, cb_store_each_span *each, void *context,
                   struct cb_err *err) cb_must_check;

/* The first frame of a machine that ends at @wall_ns or later, else (covered false) its last one.
 * -ENOENT: it has none. */
struct cb_store_moment {
    bool covered;
    int64_t boot;
    char boot_id[CB_BOOT_ID_SIZE];
    uint64_t t0_ns, t1_ns, wall_ns;
};
int cb_store_moment(struct cb_store *store, int64_t machine, uint64_t wall_ns,
                    struct cb_store_moment *ret_moment, struct cb_err *err) cb_must_check;

/* What was stored before @heard_wall_ns, by this server's clock, gets coarse or goes: at most
 * about @limit rows of either kind in one call, which returns how many. What a stream (stream.h)
 * has not taken waits, at most CB_STREAM_KEEP_NS; what goes then is counted as lost by it. */

/* Frames of one sensor start that follow each other within a minute of the wall clock, and have the
 * same domains and sources, become one row: exact sums (result_sum.h), the id and seq of the last
 * one. So does what containers used (usage.h). A test without a recap holds what it may need. */
int cb_store_coarsen(struct cb_store *store, uint64_t heard_wall_ns, unsigned limit,
                     struct cb_err *err) cb_must_check;
/* Delete frames, what containers used, and targets nothing speaks of any more. */
int cb_store_forget(struct cb_store *store, uint64_t heard_wall_ns, unsigned limit,
                    struct cb_err *err) cb_must_check;

/* ---- what containers use besides energy (usage.h) ---- */

struct cb_store_usage {
    int64_t frame; /* the id of the frame that brought it */
    int64_t start, boot;
    uint64_t t0_ns; /* counters are since then; when storing: the frame's, and the store puts the
                       end of the row before of the same start in its place */
    uint64_t t1_ns, wall_ns;
    const char *names; /* of the columns, separated by commas */
    const void *bytes; /* cb_usage_pack() */
    size_t size;
};

/* Within the transaction of its frame. */
int cb_store_put_usage(struct cb_store *store, const struct cb_store_usage *usage,
                       uint64_t heard_wall_ns, struct cb_err *err) cb_must_check;

/* As cb_store_each_frame. */
typedef int cb_store_each_usage(void *context, const struct cb_store_usage *usage,
                                struct cb_err *err);
/* The row of one frame, if it has one. */
int cb_store_usage_of_frame(struct cb_store *store, int64_t frame, cb_store_each_usage *each,
                            void *context, struct cb_err *err) cb_must_check;
/* Of one machine, whose wall time lies in [from, to), by time. */
int cb_store_usage_by_wall(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                           uint64_t to_wall_ns, cb_store_each_usage *each, void *context,
                           struct cb_err *err) cb_must_check;

/* ---- what must survive a restart: model snapshots and running totals ---- */

int cb_store_put_snapshot(struct cb_store *store, int64_t machine, const void *bytes, size_t size,
                          struct cb_err *err) cb_must_check;
int cb_store_snapshot(struct cb_store *store, int64_t machine, uint8_t **ret_bytes,
                      size_t *ret_size, struct cb_err *err) cb_must_check; /* free() it */

struct cb_store_total {
    char identity[CB_STORE_TEXT_SIZE]; /* "": the machine itself */
    char container_id[CB_STORE_ID_SIZE];
    char name[CB_STORE_TEXT_SIZE];
    char image[CB_STORE_TEXT_SIZE];
    uint16_t socket;
    uint8_t domain, source;
    uint64_t energy_uj; /* of the machine, or the container's dynamic energy */
    uint64_t idle_uj, system_uj, unattributed_uj; /* machine only */
    uint64_t source_uncertainty_uj;               /* of the source; a container's part of it */
    double param_uj, noise2_uj2;                  /* container only */
    uint64_t cpu_ns;                              /* container only */
    uint64_t last_wall_ns;
};

/* Totals hold every frame of the machine up to @frame_id: cb_store_set_totals_frame(). */
int cb_store_put_total(struct cb_store *store, int64_t machine, const struct cb_store_total *total,
                       struct cb_err *err) cb_must_check;
/* Of containers that were seen last before that time of the machine's. */
int cb_store_drop_totals(struct cb_store *store, int64_t machine, uint64_t before_wall_ns,
                         struct cb_err *err) cb_must_check;
int cb_store_set_totals_frame(struct cb_store *store, int64_t machine, int64_t frame_id,
                              struct cb_err *err) cb_must_check;
typedef int cb_store_each_total(void *context, const struct cb_store_total *total);
int cb_store_totals(struct cb_store *store, int64_t machine, uint64_t since_wall_ns,
                    cb_store_each_total *each, void *context, int64_t *ret_frame_id,
                    struct cb_err *err) cb_must_check;

/* ---- tests and recaps ---- */

#define CB_TEST_ID_SIZE 33

enum cb_test_state { CB_TEST_RUNNING, CB_TEST_ENDED, CB_TEST_GIVEN_UP };

struct cb_store_test {
    char id[CB_TEST_ID_SIZE];
    enum cb_test_state state;
    int64_t boot;
    char machine[CB_NAME_SIZE];
    char boot_id[CB_BOOT_ID_SIZE];
    char name[CB_STORE_TEXT_SIZE];
    char image[CB_STORE_TEXT_SIZE];
    uint64_t created_wall_ns;
    /* after the end was told */
    char container_id[CB_STORE_ID_SIZE];
    uint64_t begin_ns, end_ns;
    bool has_warmup, has_execution;
    uint64_t warmup_ns, execution_ns;
    int exit_code;
    uint64_t ended_wall_ns;
    /* of a test that was told by wall times, without an exit code; else 0 */
    uint64_t begin_wall_ns, end_wall_ns;
};

/* @args: a JSON array. -EDQUOT: its machine has CB_STORE_OPEN_TESTS without a recap. */
#define CB_STORE_OPEN_TESTS 1000
int cb_store_put_test(struct cb_store *store, const struct cb_store_test *test, const char *args,
                      struct cb_err *err) cb_must_check;
int cb_store_test(struct cb_store *store, const char *id, struct cb_store_test *ret_test,
                  struct cb_err *err) cb_must_check;
/* Take the end over. The same end again: 0. Another end, or a test that was given up: -EEXIST. */
int cb_store_end_test(struct cb_store *store, const struct cb_store_test *test,
                      struct cb_err *err) cb_must_check;
/* -EEXIST: it has ended already. */
int cb_store_give_up_test(struct cb_store *store, const char *id, uint64_t wall_ns,
                          struct cb_err *err) cb_must_check;

/* Give up what was begun CB_STORE_RUNNING_NS ago and never ended; delete what was given up
 * CB_STORE_GIVEN_UP_NS ago; and tests that ended @recaps_ns ago (0: never) with their recaps, but
 * not what waits in a queue nor the newest recap. By this server's clock; at most @limit of each in
 * one call, which returns how many of the most. */
#define CB_STORE_RUNNING_NS (UINT64_C(7) * 24 * 3600 * 1000000000)
#define CB_STORE_GIVEN_UP_NS (UINT64_C(3600) * 1000000000)
int cb_store_age_tests(struct cb_store *store, uint64_t now_wall_ns, uint64_t recaps_ns,
                       unsigned limit, struct cb_err *err) cb_must_check;

/* Ended tests without a recap that a stored frame covers to the end, whose end was told before
 * @stale_wall_ns, or whose machine has sent frames of a later boot since (its sensor sends what it
 * has of the old one first): the first id above @after, -ENOENT when there is none. @ret_id may be
 * @after. */
int cb_store_next_ripe_test(struct cb_store *store, uint64_t stale_wall_ns, const char *after,
                            char ret_id[CB_TEST_ID_SIZE], struct cb_err *err) cb_must_check;

/* The end of the last stored frame of a boot; 0 when there is none. */
int cb_store_covered(struct cb_store *store, int64_t boot, uint64_t *ret_t1_ns,
                     struct cb_err *err) cb_must_check;

/* Store a recap and put it on the queue of each of @sinks, in one transaction. A test that has one
 * keeps it (0). */
int cb_store_put_recap(struct cb_store *store, const struct cb_store_test *test,
                       uint64_t begin_wall_ns, const char *document, const char *const *sinks,
                       size_t n_sinks, struct cb_err *err) cb_must_check;
int cb_store_recap(struct cb_store *store, const char *test_id, char **ret_document,
                   struct cb_err *err) cb_must_check; /* free() it */
typedef int cb_store_each_recap(void *context, const char *test_id, const char *document);
struct cb_store_recap_filter {
    const char *machine, *name;        /* NULL: any */
    uint64_t from_wall_ns, to_wall_ns; /* of its begin, half-open; to 0: without an end */
    unsigned limit;
    const char *after; /* the test of a recap: only those that come behind it; NULL: all */
};
/* Newest first. */
int cb_store_recaps(struct cb_store *store, const struct cb_store_recap_filter *filter,
                    cb_store_each_recap *each, void *context, struct cb_err *err) cb_must_check;

/* ---- queues towards other stores ---- */

/* A sink begins: put the recaps on its queue that were made while it was not there (the first time:
 * all of them). Returns how many. */
int cb_store_queue_missed(struct cb_store *store, const char *sink,
                          struct cb_err *err) cb_must_check;

struct cb_store_queued {
    int64_t id;
    char *key;      /* id of the test */
    char *document; /* the recap as stored; both free()d by cb_store_queued_clear() */
};
/* The oldest entry of @sink: -ENOENT when the queue is empty. */
int cb_store_queue_first(struct cb_store *store, const char *sink, struct cb_store_queued *ret,
                         struct cb_err *err) cb_must_check;
void cb_store_queued_clear(struct cb_store_queued *queued);
int cb_store_queue_done(struct cb_store *store, int64_t id, struct cb_err *err) cb_must_check;
/* The document itself is refused: keep it aside, with the reason. */
int cb_store_queue_set_aside(struct cb_store *store, int64_t id, const char *reason,
                             struct cb_err *err) cb_must_check;
int cb_store_queue_length(struct cb_store *store, const char *sink, uint64_t *ret_waiting,
                          uint64_t *ret_set_aside, struct cb_err *err) cb_must_check;

#endif
