/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - the energy of every machine, as rows of one resolution, to another store.
 *
 * Queue     The embedded store's frames are the queue. Each sink has a thread, a connection and a
 *           durable mark of its own, so a dead database stops neither ingest nor the other sinks.
 *           The threads have a nice value of 10: where the CPUs do not suffice, ingest goes first.
 * Rows      Frames become bins (struct cb_stream_bin): one machine, one multiple of the resolution
 *           on the wall clock. A frame over a border is split pro rata, on cumulative sums, in
 *           whole microjoules: every part's sum over the bins is its sum over the frames, exactly,
 *           and in every bin energy == idle + system + unattributed + containers. A bin is closed
 *           by a frame that reaches its end, or when its machine is silent for a while.
 * Once      A closed bin is packed into a batch; the batch and the mark behind it are committed
 *           together; then the batch is sent until it is taken, byte by byte the same; then it is
 *           deleted. So a crash at any moment repeats a batch and never makes another one of the
 *           same frames: a sink for which the same bytes again change nothing has each row once.
 *           (machine, wall_ns, again) names a bin and comes once: where the wall clock went back,
 *           or frames come late, the same wall_ns comes again with a higher `again`.
 * Loss      Frames that a stream has not taken are kept CB_STREAM_KEEP_NS longer than the
 *           retention; what is deleted after that is counted (lost_frames) and logged.
 *
 * To add a sink: one file store_x.c with a const struct cb_stream_ops, its options and its line in
 * the list of streams in cmd_serve.c.
 */
#ifndef CB_FORMULA_STREAM_H
#define CB_FORMULA_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formula/notify.h"
#include "formula/store.h"
#include "lib/cleanup.h"
#include "lib/schema.h"

struct cb_err;
struct cb_stream;

#define CB_STREAM_KEEP_NS (UINT64_C(7) * 24 * 3600 * CB_NS_PER_S)

/* ---- what a sink gets ---- */

struct cb_stream_domain {
    uint16_t socket;
    uint8_t domain;     /* enum cb_domain */
    uint8_t source;     /* enum cb_source; (socket, domain, source) comes once in a bin */
    uint32_t flags;     /* enum cb_result_flag, of any of the frames */
    uint64_t energy_uj; /* == idle + system + unattributed + sum of the targets' dynamic_uj */
    uint64_t idle_uj;
    uint64_t system_uj;
    uint64_t unattributed_uj;
    double source_uj; /* uncertainty of energy_uj itself */
};

struct cb_stream_share {
    uint64_t dynamic_uj;
    double param_uj, noise2_uj2, source_uj;
};

/* Container metrics have the ids CB_STREAM_METRIC_FIRST + index. */
#define CB_STREAM_METRIC_FIRST CB_SCHEMA_CPU_USAGE_NS
#define CB_STREAM_METRICS (CB_SCHEMA_IO_PRESSURE_FULL_NS - CB_SCHEMA_CPU_USAGE_NS + 1)

struct cb_stream_target {
    char identity[CB_STORE_TEXT_SIZE]; /* comes once in a bin; never "" */
    struct cb_store_target text;
    uint64_t cpu_ns;                     /* CB_STAT_ABSENT: not known */
    bool has_metrics;                    /* any of: */
    uint64_t metrics[CB_STREAM_METRICS]; /* counters: in this bin; gauges: last; CB_STAT_ABSENT */
};

struct cb_stream_bin {
    const char *machine;
    const char *boot_id;
    int64_t wall_ns; /* REALTIME of its begin, a multiple of the resolution */
    uint64_t resolution_ns;
    uint32_t again;          /* 0; higher: this time came before */
    uint64_t t0_ns, t1_ns;   /* BOOTTIME that its frames cover, first to last */
    uint64_t covered_ns;     /* less than t1 - t0 when frames are missing between */
    uint64_t machine_cpu_ns; /* CB_STAT_ABSENT: not known */
    size_t n_domains;
    const struct cb_stream_domain *domains;
    size_t n_targets;
    struct cb_stream_target *const *targets;
    const struct cb_stream_share *shares; /* cb_stream_share() */
    size_t stride;
};

static inline const struct cb_stream_share *cb_stream_share(const struct cb_stream_bin *bin,
                                                            size_t target, size_t domain)
{
    return &bin->shares[target * bin->stride + domain];
}

/* Half-width of the 95 % interval of a share's dynamic_uj, in whole microjoules, rounded up. */
uint64_t cb_stream_uncertainty_uj(const struct cb_stream_share *share,
                                  const struct cb_stream_domain *domain);

/* ---- what a sink makes of it ---- */

/* A growing buffer. A failed allocation is remembered, so that writers need not check each time. */
struct cb_batch {
    char *bytes;
    size_t size, capacity;
    uint64_t rows; /* counted by the sink: for the statistics, and to bound a batch */
    bool failed;
};

void cb_batch_add(struct cb_batch *batch, const void *bytes, size_t size);
void cb_batch_text(struct cb_batch *batch, const char *text);
void cb_batch_printf(struct cb_batch *batch, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cb_batch_clear(struct cb_batch *batch);

struct cb_stream_delivery {
    const void *bytes;
    size_t size;
    uint64_t rows;
    const char *place; /* what the last delivery that was taken left; "" before the first */
};

#define CB_STREAM_PLACE_SIZE 128

struct cb_stream_aside {
    struct cb_stream_aside *next;
    uint64_t rows;
    char reason[256];
    size_t size;
    char bytes[];
};

struct cb_stream_answer {
    uint64_t retry_after_ns;          /* with a failure: not sooner than that; 0: as usual */
    char place[CB_STREAM_PLACE_SIZE]; /* kept, and given to the next delivery */
    struct cb_stream_aside *asides;   /* with success: what was refused for good */
};

/* Part of a delivery will never be taken: kept aside in the store with the reason, and counted.
 * -ENOMEM. */
int cb_stream_set_aside(struct cb_stream_answer *answer, const void *bytes, size_t size,
                        uint64_t rows, const char *reason, struct cb_err *err) cb_must_check;

struct cb_stream_ops {
    const char *name; /* of the stream in the store: never change it */
    /* No network yet: a wrong option is -EINVAL. @config is the sink's own. */
    int (*open)(const void *config, void **ret_state, struct cb_err *err);
    /* Append what stands for @bin. No input or output; counts batch->rows. */
    void (*pack)(void *state, const struct cb_stream_bin *bin, struct cb_batch *batch);
    /* 0: taken, durably. -EAGAIN: @answer's place is to be kept first, then the same again.
     * -EBADMSG: all of it will never be taken (kept aside). Any other error: later, the same bytes
     * again. @answer is zeroed. */
    int (*send)(void *state, const struct cb_stream_delivery *delivery,
                struct cb_stream_answer *answer, struct cb_err *err);
    void (*close)(void *state);
};

/* ---- running it ---- */

struct cb_stream_options {
    const struct cb_stream_ops *ops;
    const void *config;
    const char *database; /* the embedded store */
    struct cb_notify *notify;
    uint64_t resolution_ns;              /* 0: 1 s */
    uint64_t linger_ns;                  /* a silent machine's bin is closed after; 0: 10 s */
    uint64_t gather_ns;                  /* a batch waits for more so long; 0: 1 s */
    uint64_t retry_min_ns, retry_max_ns; /* back-off; 0: 1 s doubling to 60 s */
};

struct cb_stream_stats {
    atomic_uint_fast64_t rows_total, batches_total, failures_total, set_aside_rows_total;
};

/* What @options points to is borrowed until stop, but for the config (until open returns). */
int cb_stream_start(const struct cb_stream_options *options, struct cb_stream **ret_stream,
                    struct cb_err *err) cb_must_check;
const char *cb_stream_name(const struct cb_stream *stream);
const struct cb_stream_stats *cb_stream_stats(const struct cb_stream *stream);
/* cb_notify_stop() must have been called. What is not sent stays. Returns NULL. */
struct cb_stream *cb_stream_stop(struct cb_stream *stream);

#endif
