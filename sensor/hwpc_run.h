/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_run.h - the loop behind hwpc-sensor's command line: at each tick one report of the machine
 * (target "all") and one of each leaf cgroup, all with the same timestamp.
 *
 * Targets  raw paths below the base (hwpc-sensor 1.7), or Docker's names (before 1.7).
 * Ticks    by a timer that does not drift; one that was missed widens the interval of the next
 *          report and is counted. A cgroup that is gone has a last report with what it did until
 *          its end.
 * Hotplug  CPUs that come and go are followed (hwpc_hotplug.h).
 * Threads  one, and one beside it for a sink that may make us wait.
 */
#ifndef CB_SENSOR_HWPC_RUN_H
#define CB_SENSOR_HWPC_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_options.h"
#include "sensor/hwpc_report.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_hwpc_run;

struct cb_hwpc_run_options {
    int root_fd;
    struct cb_topology *topology;          /* borrowed until close, as all of these; refreshed */
    const struct cb_hwpc_options *options; /* checked */
    const char *name;
    int base_fd;        /* the base path */
    bool leading_slash; /* of the targets' names */
    bool docker_names;
    int signal_fd;
    uint64_t ticks; /* stop after so many; 0: never */
};

/* Open every counter and the sink: what needs rights. */
int cb_hwpc_run_open(const struct cb_hwpc_run_options *options, struct cb_hwpc_run **ret_run,
                     struct cb_err *err) cb_must_check;

/* Until a signal comes or the ticks are done. */
int cb_hwpc_run(struct cb_hwpc_run *run, struct cb_err *err) cb_must_check;

/* -EIO: not everything could be written; the text says what is lost. */
int cb_hwpc_run_close(struct cb_hwpc_run *run, struct cb_err *err) cb_must_check;

#endif
