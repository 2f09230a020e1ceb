/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_length.h - how long a tick of reports was, in nanoseconds.
 *
 * Source   time_enabled of RAPL in the machine's report. Sensors up to 1.6 sum it from their start,
 *          later ones tell that of the tick: which it is, two readings tell.
 * Else     the difference of the timestamps if it is positive, else the nominal period; also where
 *          no tick can be as long as what the report says (hwpc_join.h, Interval).
 */
#ifndef CB_FORMULA_HWPC_LENGTH_H
#define CB_FORMULA_HWPC_LENGTH_H

#include <stdint.h>

struct cb_hwpc_report;

enum cb_hwpc_time_kind {
    CB_HWPC_TIME_UNKNOWN,
    CB_HWPC_TIME_PER_TICK,
    CB_HWPC_TIME_CUMULATIVE,
};

struct cb_hwpc_length {
    uint64_t nominal_ns;
    int64_t last_ms;             /* -1: none */
    int64_t enabled_ms;          /* of the tick that last told a time of RAPL; -1: none */
    double last_enabled_ns;      /* 0: none */
    unsigned backwards;          /* how often in a row a sum went back */
    enum cb_hwpc_time_kind kind; /* of all times of this sensor's reports */
};

void cb_hwpc_length_init(struct cb_hwpc_length *length, uint64_t nominal_ns);

/* The sensor's clock was set back: the next tick's length comes from no difference of times. */
void cb_hwpc_length_clock_set(struct cb_hwpc_length *length);

/* Length of the tick at @timestamp_ms, above 0. @all: the machine's report, @next_all: that of the
 * following tick, to tell sums in the very first one; NULL: there is none. */
double cb_hwpc_length_tick(struct cb_hwpc_length *length, int64_t timestamp_ms,
                           const struct cb_hwpc_report *all, const struct cb_hwpc_report *next_all);

#endif
