/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. */
#include "sensor/machine.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/err.h"
#include "sensor/perf.h"
#include "sensor/uncore.h"

#define LIST "msr/tsc/,msr/aperf/,msr/mperf/"

static const struct {
    const char *event;
    const char *counter;
} names[] = {{"msr/tsc/", "tsc"}, {"msr/aperf/", "aperf"}, {"msr/mperf/", "mperf"}};

struct cb_machine {
    const struct cb_topology *topology;
    struct cb_perf *perf; /* NULL: no such PMU */
    struct cb_perf_target *target;
    struct cb_uncore *uncore;
    size_t n_events; /* without the cpu-clock that rides along */
    const char *names[sizeof(names) / sizeof(names[0])];
    size_t events[sizeof(names) / sizeof(names[0])];
    uint64_t *counts;
    uint64_t *enabled_ns;
    uint64_t *running_ns;
};

static void pick_events(struct cb_machine *m)
{
    for (size_t e = 0; e < cb_perf_n_events(m->perf); e++)
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (strcmp(cb_perf_event(m->perf, e)->name, names[i].event) == 0) {
                m->names[m->n_events] = names[i].counter;
                m->events[m->n_events++] = e;
            }
}

static int start(struct cb_machine *m, int root_fd, struct cb_err *err)
{
    static const char *const lists[] = {LIST};
    const struct cb_perf_options options = {.root_fd = root_fd,
                                            .topology = m->topology,
                                            .n_lists = 1,
                                            .lists = lists,
                                            .reading_by = CB_PERF_BY_CALLER};
    size_t sockets = m->topology->n_sockets;
    int r = cb_perf_open(&options, &m->perf, err);

    if (r < 0)
        return r;
    pick_events(m);
    if (m->n_events == 0)
        return 0;
    m->counts = calloc(sockets * cb_perf_n_events(m->perf), sizeof(*m->counts));
    m->enabled_ns = calloc(sockets * cb_perf_n_groups(m->perf), sizeof(*m->enabled_ns));
    m->running_ns = calloc(sockets * cb_perf_n_groups(m->perf), sizeof(*m->running_ns));
    if (!m->counts || !m->enabled_ns || !m->running_ns)
        return cb_err_set(err, ENOMEM, "out of memory");
    return cb_perf_target_open(m->perf, -1, &m->target, err);
}

int cb_machine_open(int root_fd, const struct cb_topology *topology,
                    struct cb_machine **ret_machine, struct cb_err *err)
{
    struct cb_machine *machine = calloc(1, sizeof(*machine));
    int r;

    if (!machine)
        return cb_err_set(err, ENOMEM, "out of memory");
    machine->topology = topology;
    r = start(machine, root_fd, err);
    if (r == 0)
        r = cb_uncore_open(root_fd, topology, &machine->uncore, err);
    if (r < 0)
        (void)cb_machine_close(machine);
    else
        *ret_machine = machine;
    return r;
}

struct cb_machine *cb_machine_close(struct cb_machine *machine)
{
    if (!machine)
        return NULL;
    if (machine->perf) {
        machine->target = cb_perf_target_close(machine->perf, machine->target);
        machine->perf = cb_perf_close(machine->perf);
    }
    machine->uncore = cb_uncore_close(machine->uncore);
    free(machine->counts);
    free(machine->enabled_ns);
    free(machine->running_ns);
    free(machine);
    return NULL;
}

size_t cb_machine_n_clocks(const struct cb_machine *machine)
{
    return machine->target ? machine->n_events : 0;
}

size_t cb_machine_n(const struct cb_machine *machine)
{
    return cb_machine_n_clocks(machine) * machine->topology->n_sockets +
           cb_uncore_n(machine->uncore);
}

bool cb_machine_is_stuck(const struct cb_machine *machine)
{
    return machine->target && cb_perf_is_stuck(machine->perf);
}

int cb_machine_follow(struct cb_machine *machine, struct cb_err *err)
{
    int r = machine->target ? cb_perf_target_follow(machine->perf, machine->target, -1, err) : 0;

    if (machine->perf)
        cb_perf_followed(machine->perf);
    return r;
}

static size_t read_clocks(struct cb_machine *machine, struct cb_frame_counter *ret_counters,
                          struct cb_gaps *gaps)
{
    struct cb_err err = {0};
    size_t n = 0;

    if (!machine->target)
        return 0;
    /* the times are of no interest here, so the tick's length is neither */
    if (cb_perf_target_read(machine->perf, machine->target, UINT64_MAX, machine->counts,
                            machine->enabled_ns, machine->running_ns, &err) < 0) {
        cb_gaps_add(gaps, "msr", "%s", err.text);
        return 0;
    }
    for (size_t s = 0; s < machine->topology->n_sockets; s++)
        for (size_t e = 0; e < machine->n_events; e++)
            ret_counters[n++] = (struct cb_frame_counter){
                .name = machine->names[e],
                .socket = (uint16_t)s,
                .value = machine->counts[s * cb_perf_n_events(machine->perf) + machine->events[e]],
            };
    return n;
}

size_t cb_machine_read(struct cb_machine *machine, struct cb_frame_counter *ret_counters,
                       struct cb_gaps *gaps)
{
    size_t n = read_clocks(machine, ret_counters, gaps);

    return n + cb_uncore_read(machine->uncore, ret_counters + n, gaps);
}
