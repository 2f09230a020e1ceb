/* SPDX-License-Identifier: Apache-2.0 */
/* sink.c - see sink.h. */
#include "formula/sink.h"

#include <errno.h>
#include <stdlib.h>

#include "formula/store.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define RETRY_MIN_NS CB_NS_PER_S
#define RETRY_MAX_NS (60 * CB_NS_PER_S)
#define WAIT_NS (60 * CB_NS_PER_S)

struct cb_sink {
    struct cb_sink_options o;
    struct cb_store *store;
    void *state;
    pthread_t thread;
    uint64_t retry_ns; /* 0: the last delivery succeeded */
    struct cb_sink_stats stats;
};

static int settle(struct cb_sink *sink, const struct cb_store_queued *queued, int r,
                  struct cb_err *err)
{
    const char *name = sink->o.ops->name;

    if (r == -EBADMSG) {
        cb_log_err("%s: the recap of test %s is set aside, it will never be taken: %s", name,
                   queued->key, err->text);
        atomic_fetch_add(&sink->stats.set_aside_total, 1);
        return cb_store_queue_set_aside(sink->store, queued->id, err->text, err);
    }
    if (r < 0)
        return r;
    atomic_fetch_add(&sink->stats.delivered_total, 1);
    if (sink->retry_ns)
        cb_log_info("%s: reachable again", name);
    sink->retry_ns = 0;
    return cb_store_queue_done(sink->store, queued->id, err);
}

/* Deliver the oldest entry: 0, -ENOENT when there is none, or why it must wait. */
static int deliver_one(struct cb_sink *sink, struct cb_err *err)
{
    struct cb_store_queued queued;
    int r = cb_store_queue_first(sink->store, sink->o.ops->name, &queued, err);

    if (r < 0)
        return r;
    r = sink->o.ops->deliver(sink->state, queued.key, queued.document, err);
    r = settle(sink, &queued, r, err);
    cb_store_queued_clear(&queued);
    return r;
}

/* How long to wait before the next try. */
static uint64_t back_off(struct cb_sink *sink, const struct cb_err *err)
{
    if (sink->retry_ns == 0)
        cb_log_warn("%s: %s; its queue is kept, trying again", sink->o.ops->name, err->text);
    sink->retry_ns = sink->retry_ns ? 2 * sink->retry_ns : sink->o.retry_min_ns;
    if (sink->retry_ns > sink->o.retry_max_ns)
        sink->retry_ns = sink->o.retry_max_ns;
    atomic_fetch_add(&sink->stats.failures_total, 1);
    return sink->retry_ns;
}

/* Sleep, whatever news come; false: stopped. */
static bool pause_for(struct cb_sink *sink, uint64_t ns)
{
    uint64_t until = cb_clock_boot_ns() + ns;
    bool running = true;

    for (uint64_t now = cb_clock_boot_ns(); running && now < until; now = cb_clock_boot_ns())
        running = cb_notify_wait(sink->o.notify, cb_notify_generation(sink->o.notify), until - now);
    return running;
}

static void *run(void *context)
{
    struct cb_sink *sink = context;
    bool running = true;

    while (running) {
        uint64_t seen = cb_notify_generation(sink->o.notify);
        struct cb_err err = {0};
        int r = deliver_one(sink, &err);

        if (r == -ENOENT)
            running = cb_notify_wait(sink->o.notify, seen, WAIT_NS);
        else if (r < 0)
            running = pause_for(sink, back_off(sink, &err));
        else
            running = cb_notify_wait(sink->o.notify, UINT64_MAX, 0);
    }
    return NULL;
}

/* Recaps of a time when this store was not named. */
static int queue_missed(struct cb_sink *sink, struct cb_err *err)
{
    int n = cb_store_queue_missed(sink->store, sink->o.ops->name, err);

    if (n > 0)
        cb_log_info("%s: %d earlier recaps are queued for it", sink->o.ops->name, n);
    return n < 0 ? n : 0;
}

int cb_sink_start(const struct cb_sink_options *options, struct cb_sink **ret_sink,
                  struct cb_err *err)
{
    struct cb_sink *sink = calloc(1, sizeof(*sink));
    int r;

    if (!sink)
        return cb_err_set(err, ENOMEM, "out of memory");
    sink->o = *options;
    if (sink->o.retry_min_ns == 0)
        sink->o.retry_min_ns = RETRY_MIN_NS;
    if (sink->o.retry_max_ns == 0)
        sink->o.retry_max_ns = RETRY_MAX_NS;
    r = options->ops->open(options->uri, &sink->state, err);
    if (r < 0) {
        free(sink);
        return r;
    }
    r = cb_store_open(options->database, CB_STORE_WRITE, &sink->store, err);
    if (r == 0)
        r = queue_missed(sink, err);
    if (r == 0) {
        r = -pthread_create(&sink->thread, NULL, run, sink);
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread");
    }
    if (r < 0) {
        (void)cb_store_close(sink->store);
        sink->o.ops->close(sink->state);
        free(sink);
        return r;
    }
    *ret_sink = sink;
    return 0;
}

const char *cb_sink_name(const struct cb_sink *sink)
{
    return sink->o.ops->name;
}

const struct cb_sink_stats *cb_sink_stats(const struct cb_sink *sink)
{
    return &sink->stats;
}

struct cb_sink *cb_sink_stop(struct cb_sink *sink)
{
    if (!sink)
        return NULL;
    (void)pthread_join(sink->thread, NULL);
    sink->store = cb_store_close(sink->store);
    sink->o.ops->close(sink->state);
    free(sink);
    return NULL;
}
