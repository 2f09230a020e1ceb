/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf_choose.c - which events are counted, by trying them.
 *
 * Hybrid   Where core PMUs count some CPUs only (Intel's cpu_core and cpu_atom, Arm's big and
 *          little cores) each list becomes one group for every such PMU, on its own CPUs; what any
 *          CPU counts follows in a group of its own.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/err.h"
#include "sensor/perf_private.h"

#define CPU_CLOCK "cpu-clock"
#define DEFAULT_SOFTWARE "cpu-clock,context-switches,msr/tsc/"

/* What tells most about the energy, without more counters than there are: cycles and instructions,
 * what leaves the caches, and the reference clock where it has a counter of its own (Intel) or else
 * the operations. */
static const struct {
    enum cb_cpu_vendor vendor;
    uint32_t first_family;
    const char *list;
} defaults[] = {
    {CB_CPU_INTEL, 0, "cycles,ref-cycles,instructions,LLC_MISSES"},
    {CB_CPU_AMD, 0x17, "cycles,instructions,LLC_MISSES,RETIRED_OPS"},
    {CB_CPU_AMD, 0, "cycles,instructions,LLC_MISSES"},
    {CB_CPU_OTHER, 0, "cycles,instructions,LLC_MISSES"},
};

static const char *default_list(const struct cb_topology *t)
{
    size_t i = 0;

    while (defaults[i].vendor != CB_CPU_OTHER &&
           (defaults[i].vendor != t->vendor || t->family < defaults[i].first_family))
        i++;
    return defaults[i].list;
}

/* The events of one list as far as they are chosen: the leaders' descriptors on one CPU. */
struct trial {
    const struct cb_perf_options *options;
    int fds[CB_FRAME_MAX_EVENTS];
    int leader;
    uint32_t cpu;
    const char *pmu;     /* the core PMU whose turn it is; NULL: any event */
    const uint8_t *mask; /* its CPUs */
    struct cb_event_core_pmus cores;
};

static void trial_end(struct cb_perf *perf, struct trial *trial)
{
    for (size_t i = 0; i < perf->n_events; i++)
        if (trial->fds[i] >= 0)
            (void)close(trial->fds[i]);
    cb_event_core_pmus_fini(&trial->cores);
}

static int start_group(struct cb_perf *perf, const struct trial *trial)
{
    if (perf->n_groups == CB_FRAME_MAX_GROUPS)
        return -ENOSPC;
    if (trial->mask) {
        perf->group_cpus[perf->n_groups] = malloc(CB_FRAME_MAX_CPUS);
        if (!perf->group_cpus[perf->n_groups])
            return -ENOMEM;
        memcpy(perf->group_cpus[perf->n_groups], trial->mask, CB_FRAME_MAX_CPUS);
    }
    perf->group_first[perf->n_groups++] = perf->n_events;
    return 0;
}

static int add_event(struct cb_perf *perf, struct trial *trial, const struct cb_event *event,
                     bool new_group, int fd)
{
    int r = perf->n_events == CB_FRAME_MAX_EVENTS ? -ENOSPC : 0;

    if (r == 0 && new_group)
        r = start_group(perf, trial);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    if (new_group)
        trial->leader = fd;
    perf->events[perf->n_events] = *event;
    perf->events[perf->n_events].group = (uint8_t)(perf->n_groups - 1);
    perf->group_size[perf->n_groups - 1]++;
    trial->fds[perf->n_events++] = fd;
    return 0;
}

/* Open @event in the current group, else alone as the first of a new one. */
static int try_event(struct cb_perf *perf, struct trial *trial, const struct cb_event *event)
{
    bool may_split = !trial->options->strict;
    int fd =
        trial->leader >= 0 ? cb_perf_event_open(event, -1, trial->cpu, trial->leader) : -EINVAL;
    bool new_group = fd < 0;

    if (fd < 0 && (may_split || trial->leader < 0))
        fd = cb_perf_event_open(event, -1, trial->cpu, -1);
    return fd < 0 ? fd : add_event(perf, trial, event, new_group, fd);
}

static int resolve(const struct cb_perf *perf, const struct trial *trial, const char *name,
                   unsigned attempt, struct cb_event *ret_event, struct cb_err *err)
{
    const struct cb_perf_options *o = trial->options;

    if (trial->pmu)
        return cb_event_resolve_core(o->root_fd, perf->topology->vendor, trial->pmu, name, attempt,
                                     ret_event, err);
    return (o->machine_only ? cb_event_resolve_machine : cb_event_resolve)(
        o->root_fd, perf->topology->vendor, name, attempt, ret_event, err);
}

/* Take the first encoding of @name that opens. -ENOENT: the CPU or the kernel lacks it; -EXDEV: it
 * is not one of the core PMU whose turn it is. */
static int choose_event(struct cb_perf *perf, struct trial *trial, const char *name,
                        struct cb_err *err)
{
    int opened = -ENOENT;

    for (unsigned attempt = 0;; attempt++) {
        struct cb_event event;
        int r = resolve(perf, trial, name, attempt, &event, err);

        if (r < 0 && attempt > 0)
            return cb_err_set(err, ENOENT, "this CPU or kernel cannot count it%s: %s",
                              trial->leader >= 0 && trial->options->strict ? " beside those before "
                                                                             "it"
                                                                           : "",
                              strerror(-opened));
        if (r < 0)
            return r;
        opened = try_event(perf, trial, &event);
        if (opened == 0)
            return 0;
        if (opened == -ENOSPC)
            return cb_err_set(err, ENOSPC, "too many events");
        if (opened == -ENOMEM)
            return cb_err_set(err, ENOMEM, "out of memory");
        if (cb_perf_is_about_rights(opened))
            return cb_perf_no_rights(err);
    }
}

/* Is it chosen, on the PMU whose turn it is? In the turn of the rest: anywhere. */
static bool has_event(const struct cb_perf *perf, const char *pmu, const char *name)
{
    for (size_t i = 0; i < perf->n_events; i++)
        if (strcmp(perf->events[i].name, name) == 0 &&
            (!pmu || strcmp(perf->events[i].pmu, pmu) == 0))
            return true;
    return false;
}

static void say_left_out(const struct trial *trial, const char *name, const char *why)
{
    char source[CB_EVENT_NAME_SIZE + 8];

    if (!trial->options->gaps)
        return;
    (void)snprintf(source, sizeof(source), "event:%s", name);
    cb_gaps_add_standing(trial->options->gaps, source, "left out%s%s: %s", trial->pmu ? " on " : "",
                         trial->pmu ? trial->pmu : "", why);
}

/* The names of @list that are the turn's. */
static int choose_turn(struct cb_perf *perf, struct trial *trial, const char *list,
                       struct cb_err *err)
{
    bool strict = trial->options->strict;
    char name[CB_EVENT_NAME_SIZE];
    int r;

    trial->leader = -1;
    for (const char *p = list; (r = cb_event_next_name(&p, name)) > 0;) {
        struct cb_err why = {0};

        if (has_event(perf, trial->pmu, name) ||
            (!trial->pmu && cb_event_is_core(trial->options->root_fd, perf->topology->vendor,
                                             &trial->cores, name)))
            continue;
        r = choose_event(perf, trial, name, &why);
        if (r == -EXDEV)
            continue;
        if (r == -EACCES || r == -ENOSPC || r == -ENOMEM || (r < 0 && strict)) {
            if (err)
                *err = why;
            return strict ? cb_err_prefix(err, r, "event '%s'", name) : r;
        }
        if (r < 0)
            say_left_out(trial, name, why.text);
    }
    if (r < 0)
        return cb_err_set(err, EINVAL, "'%.80s' is not a list of events", list);
    return 0;
}

static int choose_list(struct cb_perf *perf, struct trial *trial, const char *list,
                       struct cb_err *err)
{
    const struct cb_topology *t = perf->topology;
    int r = 0;

    for (size_t k = 0; r == 0 && k < trial->cores.n; k++) {
        uint32_t i = 0;

        while (i < t->n_cpus && !trial->cores.at[k].cpus[t->cpus[i]])
            i++;
        if (i == t->n_cpus)
            continue; /* none of its CPUs is online */
        trial->pmu = trial->cores.at[k].name;
        trial->mask = trial->cores.at[k].cpus;
        trial->cpu = t->cpus[i];
        r = choose_turn(perf, trial, list, err);
    }
    trial->pmu = NULL;
    trial->mask = NULL;
    trial->cpu = t->cpus[0];
    return r < 0 ? r : choose_turn(perf, trial, list, err);
}

/* Has this CPU a counter for cycles that we may use? */
static int has_hardware(const struct cb_perf *perf, struct cb_err *err)
{
    const struct cb_event cycles = {.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES};
    cb_auto_close int fd = cb_perf_event_open(&cycles, -1, perf->topology->cpus[0], -1);

    if (cb_perf_is_about_rights(fd))
        return cb_perf_no_rights(err);
    return fd >= 0;
}

static int choose_all(struct cb_perf *perf, struct trial *trial, struct cb_err *err)
{
    const struct cb_perf_options *options = trial->options;
    int r = 0;

    if (options->n_lists == 0) {
        r = has_hardware(perf, err);
        if (r < 0)
            return r;
        r = choose_list(perf, trial, r ? default_list(perf->topology) : DEFAULT_SOFTWARE, err);
    }
    for (size_t i = 0; r == 0 && i < options->n_lists; i++)
        r = choose_list(perf, trial, options->lists[i], err);
    if (r < 0 || options->strict || has_event(perf, NULL, CPU_CLOCK))
        return r;
    /* into the first group when it is the only one, so that one read gives all */
    trial->leader = perf->n_groups == 1 && !perf->group_cpus[0] ? trial->fds[0] : -1;
    return choose_event(perf, trial, CPU_CLOCK, err);
}

int cb_perf_choose(struct cb_perf *perf, const struct cb_perf_options *options, struct cb_err *err)
{
    struct trial trial = {.options = options, .leader = -1, .cpu = perf->topology->cpus[0]};
    int r = 0;

    if (!options->machine_only)
        r = cb_event_core_pmus(options->root_fd, &trial.cores, err);
    if (r == 0)
        r = choose_all(perf, &trial, err);
    trial_end(perf, &trial);
    if (r < 0)
        return r;
    perf->cpu_clock = -1;
    for (size_t i = 0; i < perf->n_events; i++)
        if (strcmp(perf->events[i].name, CPU_CLOCK) == 0)
            perf->cpu_clock = (int)i;
    return 0;
}
