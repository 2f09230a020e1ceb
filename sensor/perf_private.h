/* SPDX-License-Identifier: Apache-2.0 */
/* perf_private.h - what the files of perf.h share. */
#ifndef CB_SENSOR_PERF_PRIVATE_H
#define CB_SENSOR_PERF_PRIVATE_H

#include <stdbool.h>

#include "sensor/perf.h"

struct cb_perf_readers;

struct cb_perf {
    const struct cb_topology *topology;
    size_t n_events;
    size_t n_groups;
    int cpu_clock;
    struct cb_event events[CB_FRAME_MAX_EVENTS]; /* those of one group lie together */
    size_t group_first[CB_FRAME_MAX_GROUPS];
    size_t group_size[CB_FRAME_MAX_GROUPS];
    uint8_t *group_cpus[CB_FRAME_MAX_GROUPS]; /* [CPU number] counts it; NULL: every one does */
    uint64_t fds_used;
    struct cb_perf_reading reading; /* buffer of target_read */
    struct cb_perf_cpus cpus;       /* NULLs: not kept */
    struct cb_perf_target *targets; /* all of them, chained */
    uint8_t *stuck;                 /* [cpu index] its counters stand still; NULL: none does */
    bool not_ready, again;          /* counters of a CPU could not be opened: follow again */
    uint64_t again_ns;              /* not before */
    enum cb_perf_reading_by reading_by;
    struct cb_perf_readers *readers; /* NULL: not started */
};

struct cb_perf_target {
    struct cb_perf_target *next;
    struct cb_perf_target **link; /* what points to this one */
    bool is_machine;
    uint32_t n_cpus;  /* that the arrays have room for */
    int *fds;         /* [cpu index * n_events + event]; a group's first is its leader */
    uint64_t *before; /* [cpu index][group]: enabled, running, values */
    size_t words;     /* of `before` for one CPU */
    uint64_t *now;    /* the same, as the readers left it; NULL: none reads */
    int *status;      /* [cpu index * n_groups + group] 1: in `now`; 0: not there; -errno */
};

/* perf_event_open(2) for a cgroup or (-1) all of a CPU; -errno. */
int cb_perf_event_open(const struct cb_event *event, int cgroup_fd, uint32_t cpu, int leader_fd);
bool cb_perf_is_about_rights(int r);
int cb_perf_no_rights(struct cb_err *err);

/* Choose perf->events and their groups. */
int cb_perf_choose(struct cb_perf *perf, const struct cb_perf_options *options,
                   struct cb_err *err) cb_must_check;

/* One read(2) of a group of @n events. */
int cb_perf_read_group(int fd, size_t n, struct cb_perf_reading *reading);

/* Read every target into its `now`, each CPU's counters by a thread on that CPU. */
int cb_perf_readers_sweep(struct cb_perf *perf, struct cb_err *err) cb_must_check;
struct cb_perf_readers *cb_perf_readers_stop(struct cb_perf_readers *readers);

#endif
