/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count.h - the counts of the machine and of each cgroup, by one of two ways that mean the same.
 *
 * perf     events for each cgroup and CPU (perf.h): a descriptor for every cgroup, CPU and event.
 * bpf      one set of events for each CPU, read at each cgroup switch (count_bpf.h): no
 *          descriptors, a cheaper tick and switch; needs CAP_BPF and a kernel with BTF.
 * auto     perf, unless its descriptors would not suffice for the containers that are there and a
 *          few more; cb_count_reason() says which and why.
 * Retreat  when descriptors run out later: to bpf (with auto), then to fewer events.
 * Threads  one object belongs to one thread.
 */
#ifndef CB_SENSOR_COUNT_H
#define CB_SENSOR_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/perf.h"

struct cb_err;
struct cb_count;
struct cb_count_target;

struct cb_count_options {
    int root_fd;
    const struct cb_topology *topology; /* borrowed until close */
    struct cb_perf *perf;               /* as well */
    const char *wanted;                 /* "auto", "perf" or "bpf" */
    int counting_fd;                    /* root of the hierarchy that is counted in */
    uint64_t max_fds;                   /* how many descriptors the process may have */
    size_t n_targets;                   /* how many cgroups there are to count now */
};

/* Is @wanted one of its names? -EINVAL. */
int cb_count_check(const char *wanted, struct cb_err *err) cb_must_check;

/* -EINVAL: an unknown name; else the error of what was asked for by name. */
int cb_count_open(const struct cb_count_options *options, struct cb_count **ret_count,
                  struct cb_err *err) cb_must_check;
struct cb_count *cb_count_close(struct cb_count *count);

bool cb_count_uses_bpf(const struct cb_count *count);
/* One line. */
const char *cb_count_reason(const struct cb_count *count);

/* bpf: switches that the kernel did not show, since open (count_bpf.h); perf: 0. */
uint64_t cb_count_missed_switches(const struct cb_count *count);

/* As cb_perf_target_open(). */
int cb_count_target_open(struct cb_count *count, int cgroup_fd, struct cb_count_target **ret_target,
                         struct cb_err *err) cb_must_check;
struct cb_count_target *cb_count_target_close(struct cb_count *count,
                                              struct cb_count_target *target);

/* Count it no further though its cgroup @cgroup_fd lives on: others may count what is in there from
 * now on. What was counted since the last read comes with the next one, later ones have nothing.
 * -ENOMEM: it is counted as before. */
int cb_count_target_stop(struct cb_count *count, struct cb_count_target *target, int cgroup_fd,
                         struct cb_err *err) cb_must_check;

/* CPUs came or went, or are stuck (perf.h): after a read each target follows, the machine (NULL)
 * first; then cb_count_followed(). @cgroup_fd: the target's directory, -1 when it is gone. With bpf
 * a CPU is stuck, too, whose counters it could not be given, and a target of which a cgroup below
 * could not be registered: every second, or less often where that would take more than a hundredth
 * of a CPU. Till then what runs there is counted for the machine alone, which cb_count_begin() says.
 */
bool cb_count_is_stuck(const struct cb_count *count);
int cb_count_target_follow(struct cb_count *count, struct cb_count_target *target, int cgroup_fd,
                           struct cb_err *err) cb_must_check;
void cb_count_followed(struct cb_count *count);

enum cb_count_retreat {
    CB_COUNT_STAYS,        /* nothing is left to give up */
    CB_COUNT_BY_BPF,       /* now: every target must be moved */
    CB_COUNT_FEWER_EVENTS, /* indexes of events and groups have changed */
};

/* Descriptors have run out: take one step back. @ret_why: one line for people. */
enum cb_count_retreat cb_count_retreat(struct cb_count *count, char *ret_why, size_t size);

/* After CB_COUNT_BY_BPF: count the target by bpf from now on. What perf has counted since the last
 * read comes with the next one. After an error it is counted as before. */
int cb_count_target_move(struct cb_count *count, struct cb_count_target *target, int cgroup_fd,
                         struct cb_err *err) cb_must_check;

/* Once for each tick, before the targets are read. An error says what may be counted wrongly in it;
 * the targets can be read all the same. */
int cb_count_begin(struct cb_count *count, struct cb_err *err) cb_must_check;

/* As cb_perf_target_read(); @target NULL: the machine. */
int cb_count_read(struct cb_count *count, struct cb_count_target *target, uint64_t tick_ns,
                  uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns,
                  struct cb_err *err) cb_must_check;

#endif
