/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uncore.h - per socket, what its power control unit and memory controllers counted.
 *
 * Source   perf's PMUs uncore_pcu and uncore_imc_N below /sys/bus/event_source/devices, each on the
 *          CPUs of its `cpumask`; the PCU's events are encoded as hwpc-sensor's names say
 *          (event.h), the memory's are the PMU's own cas_count_read and cas_count_write with their
 *          .scale and .unit (MiB). Absent PMUs and events are left out, silently.
 * Counters "pcu_clockticks" ticks of the PCU; "pcu_c0", "pcu_c3", "pcu_c6" the same, times the cores
 *          in that state: divided by pcu_clockticks, the mean number of cores in it.
 *          "imc_read_bytes", "imc_write_bytes" over all memory controllers of the socket.
 * Quality  One group for each PMU and CPU; a shared one is scaled by its running time.
 * Hotplug  The kernel moves the events to another CPU of the socket.
 * Threads  one object belongs to one thread. Reading allocates nothing.
 */
#ifndef CB_SENSOR_UNCORE_H
#define CB_SENSOR_UNCORE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "sensor/gaps.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_uncore;

/* @topology is borrowed for the call. What cannot be opened is not there; -ENOMEM. */
int cb_uncore_open(int root_fd, const struct cb_topology *topology, struct cb_uncore **ret_uncore,
                   struct cb_err *err) cb_must_check;
struct cb_uncore *cb_uncore_close(struct cb_uncore *uncore);

/* Does some socket have the counter of that name? */
bool cb_uncore_has(const struct cb_uncore *uncore, const char *name);

/* Most entries a read can give. */
size_t cb_uncore_n(const struct cb_uncore *uncore);

/* What was counted since the last read into @ret_counters[cb_uncore_n()]; returns how many. A
 * socket's counter of which a part cannot be read is a gap and left out. */
size_t cb_uncore_read(struct cb_uncore *uncore, struct cb_frame_counter *ret_counters,
                      struct cb_gaps *gaps);

#endif
