/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moment.h - the energy and the machine's counters, as of one moment.
 *
 * Why      What runs between the two readings is in the one and not in the other, and a model that
 *          learns from such pairs is biased. Mostly that is microseconds; where a CPU answers late
 *          or the sensor itself is interrupted it is milliseconds.
 * How      A reading that took unusually long is made again at once, at most twice: both count up,
 *          so the second reading's few milliseconds are added to the first's interval, which then
 *          ends at the second's moment. Nothing is lost or counted twice. Unusual is more than
 *          1/200 of the interval, 1 ms, and twice what it takes here at best.
 * Threads  one object belongs to one thread. Reading allocates nothing.
 */
#ifndef CB_SENSOR_MOMENT_H
#define CB_SENSOR_MOMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_moment;

/* What both readings give: the room is the caller's. */
struct cb_moment_reading {
    struct cb_frame_energy *energies;
    size_t n_energies;
    uint64_t *counts;                  /* [n_counts] */
    uint64_t *enabled_ns, *running_ns; /* [n_times] */
};

struct cb_moment_options {
    size_t n_energies, n_counts, n_times; /* at most */
    /* Read what came in the @tick_ns since the last reading, all of @reading overwritten; false: it
     * is not whole or no measurement, do not read again. */
    bool (*read)(void *context, uint64_t tick_ns, struct cb_moment_reading *reading);
    void *context;
};

/* NULL: out of memory. */
struct cb_moment *cb_moment_open(const struct cb_moment_options *options) cb_must_check;
struct cb_moment *cb_moment_close(struct cb_moment *moment);

/* What came since @t0_ns (boottime) into @reading; returns the moment until which, t1. */
uint64_t cb_moment_read(struct cb_moment *moment, uint64_t t0_ns,
                        struct cb_moment_reading *reading);

#endif
