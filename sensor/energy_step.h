/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy_step.h - what an energy counter moved by, and whether that can be energy.
 *
 * Wraps    A counter that went back began again after its range, once, or it was reset. It is taken
 *          for a wrap only where that makes no more than @max_w over the time awake, and never
 *          across a suspend. Where one range more would be possible, too, the interval is too long:
 *          of that @sustained_w decides, for no burst lasts for a range.
 * Time     awake (CLOCK_MONOTONIC): what a counter did while the machine slept nobody knows.
 * Errors   -ENODATA: the energy since the last reading is unknown, and the text says why. The next
 *          step is counted from this reading on. Drivers say so of nothing else.
 */
#ifndef CB_SENSOR_ENERGY_STEP_H
#define CB_SENSOR_ENERGY_STEP_H

#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

/* When a counter is read. */
struct cb_energy_moment {
    uint64_t awake_ns;                   /* CLOCK_MONOTONIC */
    uint64_t slept_min_ns, slept_max_ns; /* since boot; the truth lies between */
};

struct cb_energy_steps {
    uint64_t range; /* counts after which it begins again; 0: it never does */
    double uj_per_count;
    double max_w;       /* for a moment */
    double sustained_w; /* for longer; at most max_w */
    uint64_t last;
    struct cb_energy_moment at; /* of `last` */
};

struct cb_energy_moment cb_energy_moment(void);

/* The counts from the last reading to @now, read at @at. */
int cb_energy_step(struct cb_energy_steps *steps, uint64_t now, const struct cb_energy_moment *at,
                   uint64_t *ret_counts, struct cb_err *err) cb_must_check;

/* The result of reading a counter's sources, so far @result, after one that gave @r and @why: the
 * first error, and one of reading before any -ENODATA. @err has its text. */
int cb_energy_worse(int result, int r, const struct cb_err *why, struct cb_err *err) cb_must_check;

/* More than any socket draws for longer than a moment, where the machine tells no limit: 1 kW, twice
 * what the largest processors of 2025 are made for, and low enough that AMD's counters, which begin
 * again after 65 kJ, can be read every 60 s. psys: 2 kW for each socket. */
double cb_energy_max_w(enum cb_domain domain, uint32_t n_sockets);

#endif
