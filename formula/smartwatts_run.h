/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smartwatts_run.h - SmartWatts as it runs: reports in, power reports out.
 *
 * One actor per (sensor, socket) and scope. An actor buffers reports by timestamp and processes the
 * oldest one it got as soon as there are more than five; a second report for the same (timestamp,
 * target) replaces the first; a tick without `all` or without containers is dropped. Where the
 * reference's actor dies of a tick (a frequency below one base clock, half an msr group, a container
 * with fewer events than the others), ours stops too, and nothing of that tick is sent. An `all`
 * without the msr group is taken at the base frequency (our one extension).
 * A power report has the metadata of the report it comes from; `rapl` and `global` that of `all`.
 */
#ifndef CB_FORMULA_SMARTWATTS_RUN_H
#define CB_FORMULA_SMARTWATTS_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "formula/model_smartwatts.h"
#include "lib/cleanup.h"
#include "lib/hwpc.h"

struct cb_err;
struct cb_smartwatts_run;

#define CB_SMARTWATTS_CPU 0
#define CB_SMARTWATTS_DRAM 1
#define CB_SMARTWATTS_SCOPES 2

struct cb_smartwatts_run_options {
    struct cb_smartwatts_options model[CB_SMARTWATTS_SCOPES];
    const char *reference[CB_SMARTWATTS_SCOPES]; /* RAPL event; NULL: the scope is off */
    double period_s;                             /* nominal: what power is divided by */
};

/* One power report. */
struct cb_smartwatts_power {
    int64_t timestamp_ms;
    const char *sensor, *target; /* "rapl", "global" or a container's */
    const char *socket;
    int scope;
    const char *reference; /* target "rapl": the event; else NULL */
    double layer_mhz;      /* else: which model it was */
    uint64_t id;
    double ratio, power_w;
    const char
        *metadata; /* the report's own as JSON, `,"key":value` each, but what is above; or "" */
};

typedef int cb_smartwatts_emit(void *context, const struct cb_smartwatts_power *power,
                               struct cb_err *err);

struct cb_smartwatts_run_counts {
    uint64_t no_all, no_containers, no_msr, bad_frequency, stopped;
    uint64_t long_metadata; /* reports whose metadata is left out: above CB_HWPC_MAX_METADATA */
};

int cb_smartwatts_run_new(const struct cb_smartwatts_run_options *options, cb_smartwatts_emit *emit,
                          void *context, struct cb_smartwatts_run **ret_run,
                          struct cb_err *err) cb_must_check;
struct cb_smartwatts_run *cb_smartwatts_run_free(struct cb_smartwatts_run *run);

/* Takes @report over, also when it fails. -ENOMEM, or what @emit returned */
int cb_smartwatts_run_add(struct cb_smartwatts_run *run, struct cb_hwpc_report *report,
                          struct cb_err *err) cb_must_check;

/* Process what is still buffered; the reference never does. */
int cb_smartwatts_run_flush(struct cb_smartwatts_run *run, struct cb_err *err) cb_must_check;

const struct cb_smartwatts_run_counts *
cb_smartwatts_run_counted(const struct cb_smartwatts_run *run);

/* For tests: see model_smartwatts.h; applies to the actors made from now on. */
void cb_smartwatts_run_observe(struct cb_smartwatts_run *run, int scope, const char *socket,
                               cb_smartwatts_observer *observer, void *data);

#endif
