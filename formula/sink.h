/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sink.h - another store beside the embedded one, written from its own durable queue by its own
 * thread: a dead database never stops ingest and never loses a row.
 *
 * To add a sink: one file store_x.c with a const struct cb_sink_ops, its options in cmd_serve.c,
 * its name in the list of sinks there.
 */
#ifndef CB_FORMULA_SINK_H
#define CB_FORMULA_SINK_H

#include <stdatomic.h>
#include <stdint.h>

#include "formula/notify.h"
#include "lib/cleanup.h"

struct cb_err;
struct cb_sink;

struct cb_sink_ops {
    const char *name; /* of the queue: never change it */
    /* No network yet: a wrong @uri is -EINVAL. */
    int (*open)(const char *uri, void **ret_state, struct cb_err *err);
    /* Write one stored recap (recap.h) under @key; the same again changes nothing.
     * -EBADMSG: this document will never be taken; any other error: later. */
    int (*deliver)(void *state, const char *key, const char *document, struct cb_err *err);
    void (*close)(void *state);
};

struct cb_sink_options {
    const struct cb_sink_ops *ops;
    const char *uri;
    const char *database; /* of the queue */
    struct cb_notify *notify;
    uint64_t retry_min_ns, retry_max_ns; /* back-off; 0: 1 s doubling to 60 s */
};

struct cb_sink_stats {
    atomic_uint_fast64_t delivered_total, failures_total, set_aside_total;
};

/* What @options points to is borrowed until stop. */
int cb_sink_start(const struct cb_sink_options *options, struct cb_sink **ret_sink,
                  struct cb_err *err) cb_must_check;
const char *cb_sink_name(const struct cb_sink *sink);
const struct cb_sink_stats *cb_sink_stats(const struct cb_sink *sink);
/* cb_notify_stop() must have been called. What is left stays in the queue. Returns NULL. */
struct cb_sink *cb_sink_stop(struct cb_sink *sink);

extern const struct cb_sink_ops cb_sink_mongodb;

#endif
