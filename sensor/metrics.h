/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - what else a container uses: CPU, memory, disk, network, processes, pressure.
 *
 * Source   the cgroup's files in every hierarchy that is mounted (a v1 controller where it is, else
 *          v2), and /proc/<pid>/net/dev of a process in it (netdev.h). The names and units are the same
 *          whichever hierarchy a value comes from; the table in metrics.c tells the file of each.
 * Values   counters are deltas since the last read of the target, gauges are the value now;
 *          CB_STAT_ABSENT where the machine does not have it or it could not be read. A counter
 *          that went backwards is absent once and counted from there.
 * Network  over all interfaces of the container's namespace but its loopback. A container in the
 *          host's network has no network of its own: absent. Containers that share a namespace (a
 *          Kubernetes pod) each show all of it.
 * End      a cgroup's files end with it: what it used after the last read is not known here (its
 *          CPU time is, see perf.h).
 * Cost     descriptors are kept open up to the budget given, the files beyond it are opened for
 *          each read. Reading allocates nothing.
 * Threads  one object belongs to one thread.
 */
#ifndef CB_SENSOR_METRICS_H
#define CB_SENSOR_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;
struct cb_metrics;
struct cb_metrics_target;

/* In the order of lib/schema.h. */
enum cb_metric {
    CB_METRIC_CPU_USAGE,
    CB_METRIC_CPU_USER,
    CB_METRIC_CPU_SYSTEM,
    CB_METRIC_CPU_THROTTLED,
    CB_METRIC_MEMORY,
    CB_METRIC_MEMORY_PEAK,
    CB_METRIC_MEMORY_ANON,
    CB_METRIC_MEMORY_FILE,
    CB_METRIC_MEMORY_SWAP,
    CB_METRIC_MEMORY_LIMIT,
    CB_METRIC_MEMORY_OOM_KILLS,
    CB_METRIC_IO_READ_BYTES,
    CB_METRIC_IO_WRITE_BYTES,
    CB_METRIC_IO_READ_OPS,
    CB_METRIC_IO_WRITE_OPS,
    CB_METRIC_NET_RX_BYTES,
    CB_METRIC_NET_TX_BYTES,
    CB_METRIC_NET_RX_PACKETS,
    CB_METRIC_NET_TX_PACKETS,
    CB_METRIC_PIDS,
    CB_METRIC_CPU_PRESSURE,
    CB_METRIC_MEMORY_PRESSURE,
    CB_METRIC_MEMORY_PRESSURE_FULL,
    CB_METRIC_IO_PRESSURE,
    CB_METRIC_IO_PRESSURE_FULL,
    CB_METRIC_COUNT,
};

/* The column's name in the frame, from lib/schema: "memory_anon_bytes". */
const char *cb_metric_name(enum cb_metric metric);
/* A delta since the last read, not a value of the moment. */
bool cb_metric_is_counter(enum cb_metric metric);

/* @root_fd stands for "/" and is borrowed until close; @max_fds is the budget of descriptors for
 * all targets together. -ENOENT: no cgroup hierarchy is mounted. */
int cb_metrics_open(int root_fd, size_t max_fds, struct cb_metrics **ret_metrics,
                    struct cb_err *err) cb_must_check;
struct cb_metrics *cb_metrics_close(struct cb_metrics *metrics);

/* @path is the cgroup's, the same in every hierarchy, with the leading '/'. @is_new: the cgroup was
 * made just now, so that all it has counted belongs to its first read; otherwise the first read
 * counts from here. A cgroup that no hierarchy has gives absent values, it is no error. -ENOMEM,
 * -ENAMETOOLONG. */
int cb_metrics_target_open(struct cb_metrics *metrics, const char *path, bool is_new,
                           struct cb_metrics_target **ret_target, struct cb_err *err) cb_must_check;
struct cb_metrics_target *cb_metrics_target_close(struct cb_metrics *metrics,
                                                  struct cb_metrics_target *target);

/* @values[CB_METRIC_COUNT], all overwritten. */
void cb_metrics_target_read(struct cb_metrics *metrics, struct cb_metrics_target *target,
                            uint64_t *values);

/* Descriptors kept open now. */
size_t cb_metrics_n_fds(const struct cb_metrics *metrics);

#endif
