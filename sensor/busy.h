/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busy.h - for how long the CPUs of each socket ran anything at all.
 *
 * Source   cpuacct.usage_percpu of the v1 root cgroup where it is mounted (nanoseconds), else
 *          /proc/stat: the time since cb_busy_open() minus idle and iowait (10 ms steps, exact
 *          over many ticks as the difference of cumulative values).
 * Why      A CPU-wide cpu-clock or TSC counter counts idle time too, so the machine's own row
 *          needs this; the energy estimate needs it as well.
 * Hotplug  a CPU that is offline is not busy, whatever the file says or leaves out.
 * Threads  one object belongs to one thread. Reading allocates nothing.
 */
#ifndef CB_SENSOR_BUSY_H
#define CB_SENSOR_BUSY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_busy;

/* @topology is borrowed until close. -ENOENT and others: neither file can be read. */
int cb_busy_open(int root_fd, const struct cb_topology *topology, struct cb_busy **ret_busy,
                 struct cb_err *err) cb_must_check;

/* Busy nanoseconds of each socket since open, never decreasing: @ret_ns[n_sockets], written on
 * success only. */
int cb_busy_read(struct cb_busy *busy, uint64_t *ret_ns, struct cb_err *err) cb_must_check;

/* "/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu" or "/proc/stat". */
const char *cb_busy_source(const struct cb_busy *busy);

struct cb_busy *cb_busy_close(struct cb_busy *busy);

#define CB_BUSY_ABSENT UINT64_MAX

/* Parsers of the two files. Add up per CPU number below @n_cpus into @ret_values (all overwritten);
 * CB_BUSY_ABSENT for a CPU that /proc/stat does not have. -EINVAL: not such a file. */
int cb_busy_parse_percpu(const char *text, size_t n_cpus, uint64_t *ret_values) cb_must_check;
int cb_busy_parse_stat(const char *text, uint64_t ns_per_step, size_t n_cpus,
                       uint64_t *ret_idle_ns) cb_must_check;

#endif
