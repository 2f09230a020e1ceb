/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - the machine's own counters per socket: TSC, APERF, MPERF, and those of uncore.h.
 *
 * Source   perf's `msr` PMU (/sys/bus/event_source/devices/msr/events), one group per CPU; what
 *          this machine lacks is left out. "tsc" runs in idle too; "aperf" and "mperf" only while a
 *          CPU is not halted, and aperf/mperf is its frequency over the nominal one.
 * Units    ticks, summed over the socket's CPUs; uncore.h has its own.
 * Threads  one object belongs to one thread. Reading allocates nothing.
 */
#ifndef CB_SENSOR_MACHINE_H
#define CB_SENSOR_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "sensor/gaps.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_machine;

/* @topology is borrowed until close. A machine without the PMU has no counters: no error.
 * -EACCES: no rights, -EMFILE. */
int cb_machine_open(int root_fd, const struct cb_topology *topology,
                    struct cb_machine **ret_machine, struct cb_err *err) cb_must_check;
struct cb_machine *cb_machine_close(struct cb_machine *machine);

/* How many of TSC, APERF and MPERF there are. */
size_t cb_machine_n_clocks(const struct cb_machine *machine);

/* Most entries a read can give. */
size_t cb_machine_n(const struct cb_machine *machine);

/* As cb_perf_is_stuck() and, with cb_perf_followed(), cb_perf_target_follow(). */
bool cb_machine_is_stuck(const struct cb_machine *machine);
int cb_machine_follow(struct cb_machine *machine, struct cb_err *err) cb_must_check;

/* What was counted since the last read into @ret_counters[cb_machine_n()]; returns how many. */
size_t cb_machine_read(struct cb_machine *machine, struct cb_frame_counter *ret_counters,
                       struct cb_gaps *gaps);

#endif
