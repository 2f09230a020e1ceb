/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_sink.h - where reports go: null, csv, socket, mongodb (hwpc-sensor's -r).
 *
 * null     nowhere
 * csv      <directory>/<group>.csv, made anew: a file that is there is an error, for its rows would
 *          be mixed with ours. Each tick is flushed.
 * socket   TCP, one JSON line for each report. When it breaks, the tick that was on the way is sent
 *          anew from its first report that was not handed over whole.
 * mongodb  one document for each report, {timestamp: date, sensor, target, groups}, counts as
 *          doubles; those of a tick by one command. libmongoc is loaded when it is asked for.
 *
 * Errors   -EAGAIN  the other side is away: the same batch again later, and no other before it: a
 *                   part of it may have been delivered. The text says why
 *          other    the batch is lost
 * Threads  open in any, then write and close by one at a time.
 *
 * To add one: write hwpc_<name>.c with a `const struct cb_hwpc_sink_driver`, declare it here and
 * put it in the list in hwpc_sink.c.
 */
#ifndef CB_SENSOR_HWPC_SINK_H
#define CB_SENSOR_HWPC_SINK_H

#include <stdbool.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_options.h"
#include "sensor/hwpc_report.h"

struct cb_err;
struct cb_hwpc_sink;

struct cb_hwpc_sink_options {
    const struct cb_hwpc_options *options; /* borrowed for the call */
    const struct cb_hwpc_form *forms[2];   /* of the machine and of cgroups; borrowed until close */
};

struct cb_hwpc_sink_driver {
    bool may_wait; /* a write may take seconds */
    int (*open)(const struct cb_hwpc_sink_options *options, void **ret_state, struct cb_err *err);
    int (*write)(void *state, const struct cb_hwpc_batch *batch, struct cb_err *err);
    /* 0, or what could not be written after all. */
    int (*close)(void *state, struct cb_err *err);
};

extern const struct cb_hwpc_sink_driver cb_hwpc_csv;
extern const struct cb_hwpc_sink_driver cb_hwpc_socket;
extern const struct cb_hwpc_sink_driver cb_hwpc_mongodb;

/* What cannot work is an error now: a directory that cannot be written, a server that is not there.
 */
int cb_hwpc_sink_open(const struct cb_hwpc_sink_options *options, struct cb_hwpc_sink **ret_sink,
                      struct cb_err *err) cb_must_check;
bool cb_hwpc_sink_may_wait(const struct cb_hwpc_sink *sink);
int cb_hwpc_sink_write(struct cb_hwpc_sink *sink, const struct cb_hwpc_batch *batch,
                       struct cb_err *err) cb_must_check;
int cb_hwpc_sink_close(struct cb_hwpc_sink *sink, struct cb_err *err) cb_must_check;

#endif
