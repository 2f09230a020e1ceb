/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_join.h - PowerAPI reports of one tick joined by (sensor, timestamp) into a frame.
 *
 * Join     A tick is complete when a report comes that is younger by the deadline: in the stream's
 *          own time, so that a recording and the live stream give the same ticks. A second report
 *          for the same (timestamp, target) is dropped and counted, and so is one that comes after
 *          its tick was given out. Five late timestamps in a row that rise are a clock that was set
 *          back: what waits is given out first, from there on they are the time; unless `strict` says
 *          that late is late.
 * Live     A stream that stops would keep its last ticks: with cb_hwpc_join_clock() a tick is also
 *          complete when its first report came the deadline ago.
 * Interval The RAPL event's time_enabled (its difference where it is cumulative), else the
 *          difference of timestamps if positive, else the nominal period. Never 0, never negative.
 *          A time_enabled under 1 % of both the time that passed and the nominal period, or above 4
 *          times the longer of them, is no tick's length.
 * Energy   RAPL counts are 2^-32 J; microjoules are differences of the floored cumulative value.
 * Counts   Every event of every group but rapl, msr and pcu; summed over a socket's CPUs, scaled by
 *          enabled / running where a group shared its counters; a CPU whose group ran for less than
 *          1 % of the time enabled was not counted. The machine's row is there when
 *          `all` has such groups too. A report that lacks a group which any report of the last
 *          600 ticks had (for the machine's row: which `all` had) was not counted, with enabled > 0
 *          and running == 0: missing is not zero. CPU time ("time_running") is an event of its own from the
 *          first tick on in which it differs between targets; not in a tick that is shorter than
 *          it and the 9 after that, nor where a target's sum begins, already longer than the tick.
 */
#ifndef CB_FORMULA_HWPC_JOIN_H
#define CB_FORMULA_HWPC_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "lib/hwpc.h"

struct cb_err;
struct cb_hwpc_join;

struct cb_hwpc_join_options {
    uint64_t nominal_ns;
    uint64_t deadline_ns;
    const char *package_event, *dram_event; /* NULL: the domain is left out */
    bool strict;
};

struct cb_hwpc_join_counts {
    uint64_t duplicates, late;
    uint64_t too_many; /* reports beyond CB_FRAME_MAX_TARGETS of one tick */
    uint64_t no_all;   /* ticks without a report of the whole machine */
};

int cb_hwpc_join_new(const struct cb_hwpc_join_options *options, struct cb_hwpc_join **ret_join,
                     struct cb_err *err) cb_must_check;
struct cb_hwpc_join *cb_hwpc_join_free(struct cb_hwpc_join *join);

/* This process's time, for what is added and asked for from now on; any clock that does not jump.
 */
void cb_hwpc_join_clock(struct cb_hwpc_join *join, uint64_t now_ns);

/* Counts of the ticks that wait. */
size_t cb_hwpc_join_waiting(const struct cb_hwpc_join *join);

/* Takes @report over, also when it fails. -ENOMEM */
int cb_hwpc_join_add(struct cb_hwpc_join *join, struct cb_hwpc_report *report,
                     struct cb_err *err) cb_must_check;

/* The next complete tick, or with @flush the next one at all, oldest first; *@ret_frame is NULL
 * when there is none. Valid until the next call. A target's name is its `name`. -ENOMEM */
int cb_hwpc_join_next(struct cb_hwpc_join *join, bool flush, const struct cb_frame **ret_frame,
                      struct cb_err *err) cb_must_check;

const struct cb_hwpc_join_counts *cb_hwpc_join_counted(const struct cb_hwpc_join *join);

#endif
