/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_cpus.h - the CPUs that one group of a hwpc-sensor's command line is counted on, and the rows
 * that they have in its reports.
 *
 * CPUs     all of them, or with -o one of each package: the first that is online, or the one that
 *          the PMU itself names (/sys/bus/event_source/devices/<pmu>/cpumask). A package of several
 *          dies has one of each on Intel.
 * Rows     package by package, one for each CPU or with -o one for each package, under the number
 *          of the first CPU that it was counted on. A CPU that has gone keeps its row.
 * Threads  one object belongs to one thread; rows are only read once they are made.
 */
#ifndef CB_SENSOR_HWPC_CPUS_H
#define CB_SENSOR_HWPC_CPUS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_options.h"
#include "sensor/hwpc_report.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_hwpc_cpus;

/* @all and @group are borrowed until close. -ENODEV: there is no CPU to count on; -EPROTO: a
 * cpumask that is no list; -ENOMEM, and what reading gives. */
int cb_hwpc_cpus_open(int root_fd, const struct cb_topology *all, const struct cb_hwpc_group *group,
                      struct cb_hwpc_cpus **ret_cpus, struct cb_err *err) cb_must_check;
struct cb_hwpc_cpus *cb_hwpc_cpus_close(struct cb_hwpc_cpus *cpus);

/* Choose again, after cb_topology_refresh() of @all. After an error nothing has changed. */
int cb_hwpc_cpus_look(struct cb_hwpc_cpus *cpus, int root_fd, struct cb_err *err) cb_must_check;

/* Those that are or have been counted on; a CPU keeps its index. Valid until close. */
const struct cb_topology *cb_hwpc_cpus_topology(const struct cb_hwpc_cpus *cpus);

struct cb_hwpc_rows {
    size_t n;
    struct cb_hwpc_cpu *names; /* [n] */
    uint32_t n_cpus;
    size_t *of_cpu; /* [n_cpus] row of the topology's CPUs */
};

/* -ENOMEM, and then there is nothing to release. */
int cb_hwpc_rows_init(struct cb_hwpc_rows *rows, const struct cb_hwpc_cpus *cpus) cb_must_check;
void cb_hwpc_rows_fini(struct cb_hwpc_rows *rows);

#endif
