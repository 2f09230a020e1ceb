/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_targets.h - the leaf cgroups that are counted, kept in step with the hierarchy.
 *
 * Life     one that is not found any more is read once more before it goes. One that comes again
 *          under the same path is another one.
 * Faults   a cgroup that cannot be counted is said and left out; each discovery tries it again.
 */
#ifndef CB_SENSOR_HWPC_TARGETS_H
#define CB_SENSOR_HWPC_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_report.h"
#include "sensor/hwpc_set.h"

struct cb_err;
struct cb_hwpc_targets;

struct cb_hwpc_targets_options {
    int root_fd;
    int base_fd;
    bool leading_slash;
    bool docker_names;
    struct cb_hwpc_set *set;
};

int cb_hwpc_targets_open(const struct cb_hwpc_targets_options *options,
                         struct cb_hwpc_targets **ret_targets, struct cb_err *err) cb_must_check;
struct cb_hwpc_targets *cb_hwpc_targets_close(struct cb_hwpc_targets *targets);

/* Look what came and went. */
int cb_hwpc_targets_discover(struct cb_hwpc_targets *targets, struct cb_err *err) cb_must_check;

/* Begin anew: what was counted until now is in no report. */
void cb_hwpc_targets_start(struct cb_hwpc_targets *targets);

/* Add a report of each to @batch. The reports that are missing for lack of memory. */
size_t cb_hwpc_targets_read(struct cb_hwpc_targets *targets, uint64_t tick_ns,
                            struct cb_hwpc_batch *batch);

/* CPUs came or went, and every target has been read: count on those that are there now. */
void cb_hwpc_targets_follow(struct cb_hwpc_targets *targets);

size_t cb_hwpc_targets_n(const struct cb_hwpc_targets *targets);

/* The name of the container at @path in its runtime's files, the caller's; NULL: there is none. */
char *cb_hwpc_docker_name(int root_fd, const char *path);

#endif
