/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_hotplug.h - CPUs that come and go under hwpc-sensor's command line: when and how its sets
 * follow.
 *
 * Look     before a tick is read, at most every 100 ms: which CPUs are online. A CPU that was
 *          offline and back between two looks is seen by a clock on each CPU (one cpu-clock event), which
 *          then stands still.
 * Follow   after it is read: what those that went have counted is in it.
 * Threads  one object belongs to one thread.
 */
#ifndef CB_SENSOR_HWPC_HOTPLUG_H
#define CB_SENSOR_HWPC_HOTPLUG_H

#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_set.h"
#include "sensor/hwpc_targets.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_hwpc_hotplug;

/* All are borrowed until close. */
struct cb_hwpc_hotplug_options {
    int root_fd;
    struct cb_topology *topology; /* refreshed here */
    struct cb_hwpc_set *system, *cgroups;
    struct cb_hwpc_target *machine;  /* of @system */
    struct cb_hwpc_targets *targets; /* of @cgroups; NULL: none */
};

/* Errors as of cb_perf_open(). */
int cb_hwpc_hotplug_open(const struct cb_hwpc_hotplug_options *options,
                         struct cb_hwpc_hotplug **ret_hotplug, struct cb_err *err) cb_must_check;
struct cb_hwpc_hotplug *cb_hwpc_hotplug_close(struct cb_hwpc_hotplug *hotplug);

void cb_hwpc_hotplug_look(struct cb_hwpc_hotplug *hotplug, uint64_t now_ns);
void cb_hwpc_hotplug_follow(struct cb_hwpc_hotplug *hotplug);

#endif
