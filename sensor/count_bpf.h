/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count_bpf.h - the events of cgroups without an event for each: a BPF program reads the machine's
 * own counters whenever another cgroup comes onto a CPU, and adds the difference to the one that
 * leaves (bpf/count.bpf.c).
 *
 * Counters  the machine's target of perf.h: nothing more is opened, whatever the number of cgroups.
 * Meaning   as perf.h counts a cgroup: what lies below it is part of it. Cgroups below that are
 *           there already are registered with it, later ones when they are made.
 * Limits    CB_BPF_MAX_EVENTS events in CB_BPF_MAX_GROUPS groups, CB_BPF_SLOTS targets at a time.
 * Rights    CAP_BPF and CAP_PERFMON to open, CAP_BPF from then on; a kernel with BTF, 5.11 or
 *           later.
 * Threads   one object belongs to one thread.
 */
#ifndef CB_SENSOR_COUNT_BPF_H
#define CB_SENSOR_COUNT_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/perf.h"

#define CB_BPF_SLOTS 2048

struct cb_err;
struct cb_bpf;
struct cb_bpf_target;

/* @perf, @machine (the target of the whole machine) and @topology are borrowed until close. @v1:
 * cgroups are those of v1's perf_event hierarchy below @root_fd, else v2's. -ENOTSUP: built without
 * BPF, or more events than it can hold; -EPERM; any errno of bpf(2). */
int cb_bpf_open(int root_fd, const struct cb_topology *topology, struct cb_perf *perf,
                const struct cb_perf_target *machine, bool v1, struct cb_bpf **ret_bpf,
                struct cb_err *err) cb_must_check;
struct cb_bpf *cb_bpf_close(struct cb_bpf *bpf);

/* After the machine's target followed the CPUs: count with its new descriptors. A CPU whose
 * counters the kernel does not take does not keep the others from theirs; no cgroup is counted on
 * it until the next try, for which they must be opened anew: what they have counted meanwhile would
 * all be charged to the cgroup that runs then. */
int cb_bpf_follow(struct cb_bpf *bpf, const struct cb_perf *perf,
                  const struct cb_perf_target *machine, struct cb_err *err) cb_must_check;
/* Is no cgroup counted on the topology's @cpu_index-th CPU for that reason? */
bool cb_bpf_lacks(const struct cb_bpf *bpf, uint32_t cpu_index);
size_t cb_bpf_n_lacking(const struct cb_bpf *bpf);

/* Count what ran until now: once for each tick, before the targets are read. */
int cb_bpf_flush(struct cb_bpf *bpf, struct cb_err *err) cb_must_check;

/* Switches the kernel did not show since open. Each charges one slice to a wrong cgroup; when there
 * are any, the counters are read at every switch, to keep it at that. */
uint64_t cb_bpf_missed_switches(const struct cb_bpf *bpf);

/* Targets of which a cgroup below could not be registered: there were too many, or no descriptors.
 * It is not counted until its target has followed. */
size_t cb_bpf_n_incomplete(const struct cb_bpf *bpf);

/* As cb_perf_target_open() and cb_perf_target_read(). -ENOSPC: no slot left. */
int cb_bpf_target_open(struct cb_bpf *bpf, int cgroup_fd, struct cb_bpf_target **ret_target,
                       struct cb_err *err) cb_must_check;
/* Register what could not be. Nothing to do when all is, or @cgroup_fd is -1. */
void cb_bpf_target_follow(struct cb_bpf *bpf, struct cb_bpf_target *target, int cgroup_fd);
struct cb_bpf_target *cb_bpf_target_close(struct cb_bpf *bpf, struct cb_bpf_target *target);
/* Before the close of one whose cgroup lives on: what runs in it is nobody's from now on. */
void cb_bpf_target_release(struct cb_bpf *bpf, int cgroup_fd);
void cb_bpf_target_read(struct cb_bpf *bpf, struct cb_bpf_target *target, uint64_t tick_ns,
                        uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns);

#endif
