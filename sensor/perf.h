/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf.h - the counter events of the whole machine and of cgroups, through perf_event_open(2).
 *
 * Sets     The same events for the machine and for every cgroup: one group per (CPU, group of
 *          events), read by one read(2). cpu-clock rides along, so that CPU time is known to a
 *          container's last moment. Without names: what suits the CPU's maker and family
 *          (perf_choose.c); where it has no counters: cpu-clock, context-switches, msr/tsc/.
 * Hybrid   Where core PMUs count some CPUs only (cpu_core and cpu_atom), each has the events as a
 *          set of its own, counted on its CPUs: the same names, another cb_event.pmu.
 * Hotplug  after cb_topology_refresh() a CPU that has gone is read once more and then closed, one
 *          that came is opened (cb_perf_target_follow).
 * Meaning  A cgroup's counts include its descendants. The machine's row counts what ran; for
 *          events that tick in idle too (cb_event.ticks_in_idle) the caller must correct it
 *          (sampler.c does).
 * Quality  Per CPU: equal deltas of the enabled and running times (0 included): the count stands;
 *          running < enabled: scaled by their ratio; enabled > 0 and running == 0: not counted.
 *          Times are cut to the length of the tick: the kernel adds the machine's uptime to those
 *          of an event that was opened while its cgroup ran.
 * Life     A cgroup's descriptors outlive it: what ran until its end can be read once more.
 * Rights   CAP_PERFMON (or CAP_SYS_ADMIN), or perf_event_paranoid <= 0.
 * Threads  one object belongs to one thread. With many CPUs each has a reader inside
 *          (cb_perf_sweep), so that no read interrupts another CPU.
 */
#ifndef CB_SENSOR_PERF_H
#define CB_SENSOR_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/event.h"
#include "sensor/gaps.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_perf;        /* the set */
struct cb_perf_target; /* its counters of the machine or of one cgroup */

/* Above so many CPUs each reads its own counters. */
#define CB_PERF_PLAIN_CPUS 8

enum cb_perf_reading_by {
    CB_PERF_BY_NEED,   /* as the number of CPUs says */
    CB_PERF_BY_CALLER, /* the caller's thread reads all */
    CB_PERF_BY_CPUS,   /* a thread for each CPU */
};

struct cb_perf_options {
    int root_fd;
    const struct cb_topology *topology; /* borrowed until close */
    size_t n_lists;
    const char *const *lists; /* each one group: "cycles,instructions"; none: the default */
    struct cb_gaps *gaps;     /* gets a standing gap for each event that is left out */
    /* What is asked for or an error: no event is left out, no list split, no cpu-clock added. */
    bool strict;
    enum cb_perf_reading_by reading_by;
    bool machine_only; /* also PMUs that count a whole socket ("power"); no cgroup can be opened */
};

/* Choose the events by trying them on the first CPU. -EACCES: no rights (the text has the remedy);
 * -ENOENT: nothing at all can be counted; -EINVAL: a malformed list. */
int cb_perf_open(const struct cb_perf_options *options, struct cb_perf **ret_perf,
                 struct cb_err *err) cb_must_check;
struct cb_perf *cb_perf_close(struct cb_perf *perf);

size_t cb_perf_n_events(const struct cb_perf *perf);
size_t cb_perf_n_groups(const struct cb_perf *perf);
const struct cb_event *cb_perf_event(const struct cb_perf *perf, size_t event);
/* Index of the cpu-clock event, or -1. */
int cb_perf_cpu_clock(const struct cb_perf *perf);

/* Start counting one cgroup (@cgroup_fd, its directory, borrowed for the call) or the machine (-1).
 * -ENOENT: this hierarchy cannot be counted (see place.h); -EMFILE: no descriptors left. */
int cb_perf_target_open(struct cb_perf *perf, int cgroup_fd, struct cb_perf_target **ret_target,
                        struct cb_err *err) cb_must_check;
struct cb_perf_target *cb_perf_target_close(struct cb_perf *perf, struct cb_perf_target *target);

/* Read all targets at once, each CPU's counters on that CPU; cb_perf_target_read() then takes what
 * was read here. Does nothing where the caller's thread reads. -ENOMEM, -EAGAIN: no threads; the
 * targets are then read by the caller's. */
int cb_perf_sweep(struct cb_perf *perf, struct cb_err *err) cb_must_check;

/* Must the targets follow though the topology did not change? A CPU was offline and back between
 * two looks at it, or its counters could not be opened when it came: they are tried every second. */
bool cb_perf_is_stuck(const struct cb_perf *perf);
/* Was the topology's @cpu_index-th CPU offline and back? Only a set with cpu-clock, read for the
 * machine, sees it; others are told. */
bool cb_perf_was_away(const struct cb_perf *perf, uint32_t cpu_index);
void cb_perf_tell_away(struct cb_perf *perf, uint32_t cpu_index);

/* After the topology changed or counting got stuck, and after a read: close the counters of CPUs
 * that are gone, open those of CPUs that came. @cgroup_fd is the target's directory (-1: the
 * machine, or it is gone or cannot be opened now). A CPU whose counters cannot be opened does not
 * keep the others from theirs; the first is said in the error. When every target has followed,
 * cb_perf_followed(). */
int cb_perf_target_follow(struct cb_perf *perf, struct cb_perf_target *target, int cgroup_fd,
                          struct cb_err *err) cb_must_check;
void cb_perf_followed(struct cb_perf *perf);

/* Give up the event that is missed least, everywhere, which frees its descriptors; cpu-clock and
 * one more always stay. Indexes of events and groups change. False: there is none to give up. */
bool cb_perf_drop_event(struct cb_perf *perf, char ret_name[CB_EVENT_NAME_SIZE]);

/* What was counted since the last read (or open), per socket: @counts[socket * n_events + event],
 * @enabled_ns and @running_ns[socket * n_groups + group], all overwritten. @tick_ns is the length
 * of the interval. Allocates nothing. A CPU that cannot be read is left out and said in the error,
 * the rest is filled. */
int cb_perf_target_read(struct cb_perf *perf, struct cb_perf_target *target, uint64_t tick_ns,
                        uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns,
                        struct cb_err *err) cb_must_check;

/* From now on every cb_perf_target_read() leaves here, too, what each CPU counted in that very
 * read, not scaled, times cut to the tick: @counts[cpu index * n_events + event] and
 * times[cpu index * n_groups + group]; 0 for a CPU that cannot be read. The arrays are borrowed
 * until close. */
struct cb_perf_cpus {
    uint64_t *counts;
    uint64_t *enabled_ns;
    uint64_t *running_ns;
};
void cb_perf_keep_cpus(struct cb_perf *perf, const struct cb_perf_cpus *cpus);

/* The descriptor of one event on the topology's @cpu_index-th CPU; the target's until its close. */
int cb_perf_target_fd(const struct cb_perf *perf, const struct cb_perf_target *target,
                      uint32_t cpu_index, size_t event);

/* One group's reading, as the kernel gives it with PERF_FORMAT_GROUP. */
struct cb_perf_reading {
    uint64_t n;
    uint64_t enabled_ns;
    uint64_t running_ns;
    uint64_t values[CB_FRAME_MAX_EVENTS];
};

/* Pure: add the difference of two readings by the rules above. */
void cb_perf_add_delta(const struct cb_perf_reading *before, const struct cb_perf_reading *now,
                       uint64_t tick_ns, uint64_t *counts, uint64_t *enabled_ns,
                       uint64_t *running_ns);

/* Can cgroups of this hierarchy be counted? 0, -ENOENT (not here, or not yet), -EACCES. */
int cb_perf_probe(int cgroup_fd, uint32_t cpu, struct cb_err *err) cb_must_check;

/* Raise RLIMIT_NOFILE to the hard limit; returns the limit in force. */
uint64_t cb_perf_raise_limit(void);

#endif
