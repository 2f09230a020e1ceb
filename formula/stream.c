/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - the thread of a stream. See stream.h. */
#include "formula/stream.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "formula/map.h"
#include "formula/store_stream.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define RESOLUTION_NS CB_NS_PER_S
#define LINGER_NS (10 * CB_NS_PER_S)
#define GATHER_NS CB_NS_PER_S
#define RETRY_MIN_NS CB_NS_PER_S
#define RETRY_MAX_NS (60 * CB_NS_PER_S)
#define NICE 10 /* of the stream's thread */
#define FRAMES_AT_ONCE 2000
#define FRAMES_UNSTORED 1000 /* that made no row: the mark is stored without a batch */
#define BATCH_ROWS 5000
#define BATCH_BYTES (4u << 20)
#define LOG_EVERY_NS (60 * CB_NS_PER_S)

struct source {
    int64_t machine;
    struct cb_fold *fold;
    uint64_t added_ns; /* when its last frame was added */
    bool moved;        /* its mark is not stored yet */
};

struct cb_stream {
    struct cb_stream_options o;
    struct cb_store *store;
    void *state;
    pthread_t thread;
    struct cb_fold_callbacks callbacks;
    int64_t read;   /* frames up to it are added */
    unsigned added; /* by the last reading */
    int64_t stored; /* as of the last mark */
    size_t n_sources, capacity;
    struct source *sources;
    struct cb_map by_machine;
    struct cb_result result;
    struct cb_usage usage;
    char usage_names[CB_USAGE_NAMES_SIZE];
    bool has_usage;
    struct cb_batch batch;
    uint64_t batch_ns; /* since when it has rows */
    bool under_way;    /* the batch is stored and not taken yet */
    char place[CB_STREAM_PLACE_SIZE];
    uint64_t retry_ns; /* 0: the last delivery succeeded */
    struct cb_log_limit damaged, refused;
    struct cb_stream_stats stats;
};

/* ---- what the folds ask for ---- */

static int text_of(void *context, struct cb_store_target *target, struct cb_err *err)
{
    struct cb_stream *stream = context;

    return cb_store_target(stream->store, target->start, target->target, target, err);
}

static int texts_of(void *context, int64_t boot, uint64_t *ret_changes, struct cb_err *err)
{
    struct cb_stream *stream = context;

    return cb_store_texts(stream->store, boot, ret_changes, err);
}

static int boot_of(void *context, int64_t boot, char ret_id[CB_BOOT_ID_SIZE], struct cb_err *err)
{
    struct cb_stream *stream = context;

    return cb_store_boot_id(stream->store, boot, ret_id, err);
}

static int pack(void *context, const struct cb_stream_bin *bin, struct cb_err *err)
{
    struct cb_stream *stream = context;

    if (stream->batch.size == 0)
        stream->batch_ns = cb_clock_boot_ns();
    stream->o.ops->pack(stream->state, bin, &stream->batch);
    return stream->batch.failed ? cb_err_set(err, ENOMEM, "out of memory for a batch") : 0;
}

/* ---- from frames to a batch ---- */

/* Forget what is not stored: it is made again from the frames. */
static void rewind_sources(struct cb_stream *stream)
{
    for (size_t i = 0; i < stream->n_sources; i++)
        (void)cb_fold_free(stream->sources[i].fold);
    stream->n_sources = 0;
    cb_map_clear(&stream->by_machine);
    cb_batch_clear(&stream->batch);
    stream->under_way = false;
    stream->read = -1;
}

static int new_source(struct cb_stream *stream, int64_t machine, struct cb_err *err)
{
    struct source *source = &stream->sources[stream->n_sources];
    char name[CB_NAME_SIZE];
    struct cb_fold_mark mark;
    int r = cb_store_machine_name(stream->store, machine, name, err);
    int known;

    if (r < 0)
        return r;
    known = cb_store_stream_mark(stream->store, stream->o.ops->name, machine, &mark, err);
    if (known < 0 && known != -ENOENT)
        return known;
    *source = (struct source){.machine = machine};
    r = cb_fold_new(name, stream->o.resolution_ns, known == 0 ? &mark : NULL, &stream->callbacks,
                    &source->fold, err);
    if (r < 0)
        return r;
    if (cb_map_put(&stream->by_machine, (uint64_t)machine, stream->n_sources) < 0) {
        (void)cb_fold_free(source->fold);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    stream->n_sources++;
    return 0;
}

static int source_of(struct cb_stream *stream, int64_t machine, struct source **ret_source,
                     struct cb_err *err)
{
    uint64_t known;

    if (!cb_map_get(&stream->by_machine, (uint64_t)machine, &known)) {
        int r;

        if (stream->n_sources == stream->capacity) {
            size_t n = stream->capacity ? 2 * stream->capacity : 8;
            struct source *moved = realloc(stream->sources, n * sizeof(*moved));

            if (!moved)
                return cb_err_set(err, ENOMEM, "out of memory");
            stream->sources = moved;
            stream->capacity = n;
        }
        known = stream->n_sources;
        r = new_source(stream, machine, err);
        if (r < 0)
            return r;
    }
    *ret_source = &stream->sources[known];
    return 0;
}

static int take_usage(void *context, const struct cb_store_usage *usage, struct cb_err *err)
{
    struct cb_stream *stream = context;
    int r = cb_usage_unpack(usage->bytes, usage->size, &stream->usage, err);

    if (r < 0)
        return r;
    (void)snprintf(stream->usage_names, sizeof(stream->usage_names), "%s", usage->names);
    stream->has_usage = true;
    return 0;
}

static void tell_damaged(struct cb_stream *stream, const struct cb_store_frame *frame,
                         const char *what, const struct cb_err *err)
{
    cb_log_limited(&stream->damaged, LOG_EVERY_NS, CB_LOG_ERR,
                   "%s: %s of frame %lld is damaged, going on without it: %s", stream->o.ops->name,
                   what, (long long)frame->id, err->text);
}

/* A damaged row is logged and passed over: waiting does not cure it. The energy goes on without
 * what else its containers used. */
static int unpack(struct cb_stream *stream, const struct cb_store_frame *frame, struct cb_err *err)
{
    int r = cb_result_unpack(frame->result, frame->result_size, &stream->result, err);

    stream->has_usage = false;
    if (r == -EBADMSG)
        tell_damaged(stream, frame, "the energy", err);
    if (r < 0)
        return r;
    r = cb_store_usage_of_frame(stream->store, frame->id, take_usage, stream, err);
    if (r != -EBADMSG)
        return r;
    tell_damaged(stream, frame, "the usage", err);
    return 0;
}

static bool is_full(const struct cb_stream *stream)
{
    return stream->batch.rows >= BATCH_ROWS || stream->batch.size >= BATCH_BYTES;
}

static int add_frame(void *context, int64_t machine, const struct cb_store_frame *frame,
                     struct cb_err *err)
{
    struct cb_stream *stream = context;
    struct source *source = NULL;
    int r = source_of(stream, machine, &source, err);

    if (r < 0)
        return r;
    r = unpack(stream, frame, err);
    if (r == 0)
        r = cb_fold_add(source->fold, frame, &stream->result,
                        stream->has_usage ? &stream->usage : NULL, stream->usage_names, err);
    if (r < 0 && r != -EBADMSG)
        return r;
    source->added_ns = cb_clock_boot_ns();
    source->moved = true;
    stream->read = frame->id;
    stream->added++;
    return is_full(stream);
}

static int flush_silent(struct cb_stream *stream, struct cb_err *err)
{
    uint64_t now = cb_clock_boot_ns();
    int r = 0;

    for (size_t i = 0; i < stream->n_sources && r == 0; i++) {
        struct source *source = &stream->sources[i];

        if (cb_fold_is_open(source->fold) &&
            now >= source->added_ns + stream->o.linger_ns + stream->o.resolution_ns) {
            r = cb_fold_flush(source->fold, err);
            source->moved = true;
        }
    }
    return r;
}

/* Where to begin: behind what is stored, with the batch that was under way. */
static int resume(struct cb_stream *stream, struct cb_err *err)
{
    struct cb_store_stream at;
    int r = cb_store_stream(stream->store, stream->o.ops->name, &at, err);

    if (r < 0)
        return r;
    r = cb_store_stream_batch(stream->store, stream->o.ops->name, &stream->batch, err);
    if (r < 0 && r != -ENOENT)
        return r;
    stream->under_way = r == 0;
    stream->read = stream->stored = at.frame;
    (void)snprintf(stream->place, sizeof(stream->place), "%s", at.place);
    return 0;
}

/* Read on: 1 when there may be more, 0 when there is not. Only who has read to the end knows that a
 * machine is silent: on a busy server every reading brings something of others. */
static int gather(struct cb_stream *stream, struct cb_err *err)
{
    int r = 0;

    stream->added = 0;
    if (!is_full(stream))
        r = cb_store_stream_frames(stream->store, stream->read, FRAMES_AT_ONCE, add_frame, stream,
                                   err);
    if (r == 0 && stream->added < FRAMES_AT_ONCE && !is_full(stream))
        r = flush_silent(stream, err);
    if (r < 0)
        return r;
    return stream->added > 0;
}

/* ---- from a batch to the other store ---- */

/* The last frame before which everything is in closed bins. */
static int64_t done_frame(const struct cb_stream *stream)
{
    int64_t done = stream->read;

    for (size_t i = 0; i < stream->n_sources; i++) {
        const struct cb_fold *fold = stream->sources[i].fold;

        if (cb_fold_is_open(fold) && cb_fold_open_frame(fold) - 1 < done)
            done = cb_fold_open_frame(fold) - 1;
    }
    return done;
}

static int write_marks(struct cb_stream *stream, struct cb_err *err)
{
    const char *name = stream->o.ops->name;
    int r = cb_store_begin(stream->store, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < stream->n_sources && r == 0; i++)
        if (stream->sources[i].moved)
            r = cb_store_put_stream_mark(stream->store, name, stream->sources[i].machine,
                                         cb_fold_mark(stream->sources[i].fold), err);
    if (r == 0)
        r = cb_store_put_stream_frame(stream->store, name, done_frame(stream), err);
    if (r == 0 && stream->batch.size)
        r = cb_store_put_stream_batch(stream->store, name, &stream->batch, err);
    if (r == 0)
        r = cb_store_commit(stream->store, err);
    if (r < 0)
        cb_store_rollback(stream->store);
    return r;
}

static int store_batch(struct cb_stream *stream, struct cb_err *err)
{
    int r = write_marks(stream, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < stream->n_sources; i++)
        stream->sources[i].moved = false;
    stream->stored = done_frame(stream);
    stream->under_way = stream->batch.size > 0;
    return 0;
}

static uint64_t free_asides(struct cb_stream_answer *answer)
{
    uint64_t rows = 0;

    while (answer->asides) {
        struct cb_stream_aside *aside = answer->asides;

        rows += aside->rows;
        answer->asides = aside->next;
        free(aside);
    }
    return rows;
}

static int settle(struct cb_stream *stream, struct cb_stream_answer *answer, struct cb_err *err)
{
    uint64_t rows = stream->batch.rows;
    int r =
        cb_store_stream_taken(stream->store, stream->o.ops->name, cb_clock_wall_ns(), answer, err);

    if (r < 0)
        return r;
    if (answer->asides) {
        char reason[sizeof(answer->asides->reason)];
        uint64_t refused;

        memcpy(reason, answer->asides->reason, sizeof(reason));
        refused = free_asides(answer);
        cb_log_limited(&stream->refused, LOG_EVERY_NS, CB_LOG_ERR,
                       "%s: %llu rows are set aside, they will never be taken: %s",
                       stream->o.ops->name, (unsigned long long)refused, reason);
        atomic_fetch_add(&stream->stats.set_aside_rows_total, refused);
        rows -= refused < rows ? refused : rows;
    }
    (void)snprintf(stream->place, sizeof(stream->place), "%s", answer->place);
    cb_batch_clear(&stream->batch);
    stream->under_way = false;
    atomic_fetch_add(&stream->stats.rows_total, rows);
    atomic_fetch_add(&stream->stats.batches_total, 1);
    if (stream->retry_ns)
        cb_log_info("%s: reachable again", stream->o.ops->name);
    stream->retry_ns = 0;
    return 0;
}

/* *@ret_after_ns: the other store said how long to wait. */
static int send_batch(struct cb_stream *stream, uint64_t *ret_after_ns, struct cb_err *err)
{
    const struct cb_stream_delivery delivery = {.bytes = stream->batch.bytes,
                                                .size = stream->batch.size,
                                                .rows = stream->batch.rows,
                                                .place = stream->place};
    struct cb_stream_answer answer = {0};
    int r;

    (void)snprintf(answer.place, sizeof(answer.place), "%s", stream->place);
    r = stream->o.ops->send(stream->state, &delivery, &answer, err);
    if (r == -EAGAIN) {
        r = cb_store_put_stream_place(stream->store, stream->o.ops->name, answer.place, err);
        if (r == 0)
            (void)snprintf(stream->place, sizeof(stream->place), "%s", answer.place);
        return r;
    }
    if (r == -EBADMSG) {
        (void)free_asides(&answer);
        r = cb_stream_set_aside(&answer, delivery.bytes, delivery.size, delivery.rows, err->text,
                                err);
    }
    if (r == 0)
        r = settle(stream, &answer, err);
    *ret_after_ns = answer.retry_after_ns;
    (void)free_asides(&answer);
    return r;
}

/* ---- the thread ---- */

/* How long to wait before the next try. */
static uint64_t back_off(struct cb_stream *stream, uint64_t after_ns, const struct cb_err *err)
{
    if (stream->retry_ns == 0)
        cb_log_warn("%s: %s; its rows are kept, trying again", stream->o.ops->name, err->text);
    stream->retry_ns = stream->retry_ns ? 2 * stream->retry_ns : stream->o.retry_min_ns;
    if (stream->retry_ns > stream->o.retry_max_ns)
        stream->retry_ns = stream->o.retry_max_ns;
    atomic_fetch_add(&stream->stats.failures_total, 1);
    return stream->retry_ns > after_ns ? stream->retry_ns : after_ns;
}

/* Sleep, whatever news come; false: stopped. */
static bool pause_for(struct cb_stream *stream, uint64_t ns)
{
    uint64_t until = cb_clock_boot_ns() + ns;
    bool running = true;

    for (uint64_t now = cb_clock_boot_ns(); running && now < until; now = cb_clock_boot_ns())
        running =
            cb_notify_wait(stream->o.notify, cb_notify_generation(stream->o.notify), until - now);
    return running;
}

/* 1: go on at once, 0: there is nothing to do, or an error. */
static int step(struct cb_stream *stream, uint64_t *ret_after_ns, struct cb_err *err)
{
    bool due;
    int r = stream->read < 0 ? resume(stream, err) : 0;
    int more;

    *ret_after_ns = 0;
    if (r < 0)
        return r;
    if (stream->under_way) {
        r = send_batch(stream, ret_after_ns, err);
        return r < 0 ? r : 1;
    }
    more = gather(stream, err);
    if (more < 0) {
        rewind_sources(stream);
        return more;
    }
    if (stream->batch.size == 0)
        due = done_frame(stream) >= stream->stored + FRAMES_UNSTORED;
    else
        due = is_full(stream) || cb_clock_boot_ns() >= stream->batch_ns + stream->o.gather_ns;
    if (!due)
        return more;
    r = store_batch(stream, err);
    return r < 0 ? r : 1;
}

/* When all CPUs are busy, as after an outage, ingest goes first: what is stored can be sent later. */
static void yield_to_ingest(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread only: setpriority(2) */
}

static void *run(void *context)
{
    struct cb_stream *stream = context;
    bool running = true;

    yield_to_ingest();
    while (running) {
        uint64_t seen = cb_notify_generation(stream->o.notify);
        struct cb_err err = {0};
        uint64_t after_ns = 0;
        int r = step(stream, &after_ns, &err);

        if (r < 0)
            running = pause_for(stream, back_off(stream, after_ns, &err));
        else if (r == 0)
            running = cb_notify_wait(stream->o.notify, seen, stream->o.gather_ns);
        else
            running = cb_notify_wait(stream->o.notify, UINT64_MAX, 0);
    }
    return NULL;
}

/* ---- life ---- */

static void set_default(uint64_t *value, uint64_t def)
{
    if (*value == 0)
        *value = def;
}

static struct cb_stream *release(struct cb_stream *stream)
{
    rewind_sources(stream);
    free(stream->sources);
    cb_result_clear(&stream->result);
    cb_usage_clear(&stream->usage);
    stream->store = cb_store_close(stream->store);
    if (stream->state)
        stream->o.ops->close(stream->state);
    free(stream);
    return NULL;
}

int cb_stream_start(const struct cb_stream_options *options, struct cb_stream **ret_stream,
                    struct cb_err *err)
{
    struct cb_stream *stream = calloc(1, sizeof(*stream));
    struct cb_store_stream at;
    int r;

    if (!stream)
        return cb_err_set(err, ENOMEM, "out of memory");
    stream->o = *options;
    set_default(&stream->o.resolution_ns, RESOLUTION_NS);
    set_default(&stream->o.linger_ns, LINGER_NS);
    set_default(&stream->o.gather_ns, GATHER_NS);
    set_default(&stream->o.retry_min_ns, RETRY_MIN_NS);
    set_default(&stream->o.retry_max_ns, RETRY_MAX_NS);
    stream->callbacks = (struct cb_fold_callbacks){
        .context = stream, .text = text_of, .texts = texts_of, .boot_id = boot_of, .close = pack};
    stream->read = -1;
    r = options->ops->open(options->config, &stream->state, err);
    if (r == 0)
        r = cb_store_open(options->database, CB_STORE_WRITE, &stream->store, err);
    if (r == 0)
        r = cb_store_stream_open(stream->store, options->ops->name, &at, err);
    if (r == 0) {
        r = -pthread_create(&stream->thread, NULL, run, stream);
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread");
    }
    if (r < 0) {
        (void)release(stream);
        return r;
    }
    *ret_stream = stream;
    return 0;
}

const char *cb_stream_name(const struct cb_stream *stream)
{
    return stream->o.ops->name;
}

const struct cb_stream_stats *cb_stream_stats(const struct cb_stream *stream)
{
    return &stream->stats;
}

struct cb_stream *cb_stream_stop(struct cb_stream *stream)
{
    if (!stream)
        return NULL;
    (void)pthread_join(stream->thread, NULL);
    return release(stream);
}
