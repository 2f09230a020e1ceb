/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tick.h - the sensor's loop: one tick, one frame.
 *
 * Timer    a timerfd on CLOCK_BOOTTIME. An expiration that came too late widens the interval and
 *          is counted in missed_ticks; nothing is made up for it.
 * Early    the birth or death of a container closes the tick early, at most 20 times a second.
 * Last     a signal or the last of --frames ends the loop after one more frame.
 * Memory   a tick without births allocates nothing (the dump of --output does).
 */
#ifndef CB_SENSOR_TICK_H
#define CB_SENSOR_TICK_H

#include <stdint.h>
#include <stdio.h>

#include "lib/cleanup.h"
#include "sensor/cgroup.h"
#include "sensor/docker.h"
#include "sensor/outbox.h"
#include "sensor/sampler.h"

struct cb_err;

/* Everything is borrowed for the call. */
struct cb_tick_options {
    struct cb_sampler *sampler;
    struct cb_cgroup_watch *watch;
    struct cb_docker *docker; /* NULL: none */
    struct cb_outbox *outbox; /* NULL: frames go nowhere but to `dump` */
    FILE *dump;               /* NULL: none */
    uint64_t tick_ns;
    uint64_t frames;              /* stop after so many; 0: never */
    int signal_fd;                /* readable: stop */
    void (*ready)(void *context); /* called after the first good frame */
    void *context;
};

/* Runs until it is told to stop. Errors are those of the timer and of the dump; a frame that cannot
 * be made or handed over is logged and the loop goes on. */
int cb_tick_run(const struct cb_tick_options *options, struct cb_err *err) cb_must_check;

#endif
