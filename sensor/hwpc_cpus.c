/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_cpus.c - see hwpc_cpus.h. */
#include "sensor/hwpc_cpus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/event.h"
#include "sensor/fsread.h"

struct cb_hwpc_cpus {
    const struct cb_topology *all;
    const struct cb_hwpc_group *group;
    struct cb_topology topology; /* with room for all CPUs that can come */
};

/* The CPUs that the PMU of the group's first event reads a socket on, one flag each; none for other
 * PMUs. */
static int read_mask(const struct cb_hwpc_cpus *cpus, int root_fd, uint8_t *mask, size_t *ret_n,
                     struct cb_err *err)
{
    struct cb_event event = {0};
    char path[128];
    char text[1024];
    int r;

    *ret_n = 0;
    if (!cpus->group->one_cpu ||
        cb_event_resolve_machine(root_fd, cpus->all->vendor, cpus->group->events[0], 0, &event,
                                 NULL) < 0 ||
        !event.per_socket)
        return 0;
    (void)snprintf(path, sizeof(path), "sys/bus/event_source/devices/%s/cpumask", event.pmu);
    r = cb_fsread_text(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (cb_parse_cpulist(text, mask, CB_FRAME_MAX_CPUS, ret_n) < 0)
        return cb_err_set(err, EPROTO, "'/%s' is not a list of CPUs", path);
    return 0;
}

/* With -o: may CPU @i of @all stand for its package? @first_of_package: none does yet. */
static bool is_chosen(const struct cb_topology *all, uint32_t i, const uint8_t *mask, size_t n_mask,
                      bool first_of_package)
{
    if (n_mask == 0)
        return first_of_package;
    /* AMD's dies all show the whole package */
    return mask[all->cpus[i]] && (first_of_package || all->vendor != CB_CPU_AMD);
}

static void choose(struct cb_topology *t, uint32_t cpu, uint16_t socket)
{
    uint32_t at = 0;

    while (at < t->n_cpus && t->cpus[at] != cpu)
        at++;
    if (at == t->n_cpus)
        t->n_cpus++;
    t->cpus[at] = cpu;
    t->socket[at] = socket;
    t->online[at] = true;
}

int cb_hwpc_cpus_look(struct cb_hwpc_cpus *cpus, int root_fd, struct cb_err *err)
{
    cb_auto_free uint8_t *mask = calloc(CB_FRAME_MAX_CPUS, 1);
    uint8_t seen[CB_FRAME_MAX_SOCKETS] = {0};
    const struct cb_topology *all = cpus->all;
    struct cb_topology *t = &cpus->topology;
    size_t n_mask = 0;
    int r = mask ? read_mask(cpus, root_fd, mask, &n_mask, err)
                 : cb_err_set(err, ENOMEM, "out of memory");

    if (r < 0)
        return r;
    memset(t->online, 0, t->cpu_limit * sizeof(*t->online));
    for (uint32_t i = 0; i < all->n_cpus; i++) {
        if (!cb_topology_is_online(all, i) ||
            (cpus->group->one_cpu && !is_chosen(all, i, mask, n_mask, !seen[all->socket[i]])))
            continue;
        seen[all->socket[i]] = 1;
        choose(t, all->cpus[i], all->socket[i]);
    }
    return 0;
}

int cb_hwpc_cpus_open(int root_fd, const struct cb_topology *all, const struct cb_hwpc_group *group,
                      struct cb_hwpc_cpus **ret_cpus, struct cb_err *err)
{
    struct cb_hwpc_cpus *cpus = calloc(1, sizeof(*cpus));
    struct cb_topology *t;
    int r;

    if (!cpus)
        return cb_err_set(err, ENOMEM, "out of memory");
    cpus->all = all;
    cpus->group = group;
    t = &cpus->topology;
    t->n_sockets = all->n_sockets;
    t->cpu_limit = all->cpu_limit;
    t->vendor = all->vendor;
    t->socket_ids = all->socket_ids;
    t->cpus = calloc(t->cpu_limit, sizeof(*t->cpus));
    t->socket = calloc(t->cpu_limit, sizeof(*t->socket));
    t->online = calloc(t->cpu_limit, sizeof(*t->online));
    r = t->cpus && t->socket && t->online ? cb_hwpc_cpus_look(cpus, root_fd, err)
                                          : cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0 && t->n_cpus == 0)
        r = cb_err_set(err, ENODEV, "no CPU to count on");
    if (r < 0) {
        (void)cb_hwpc_cpus_close(cpus);
        return r;
    }
    *ret_cpus = cpus;
    return 0;
}

struct cb_hwpc_cpus *cb_hwpc_cpus_close(struct cb_hwpc_cpus *cpus)
{
    if (cpus) {
        free(cpus->topology.cpus);
        free(cpus->topology.socket);
        free(cpus->topology.online);
    }
    free(cpus);
    return NULL;
}

const struct cb_topology *cb_hwpc_cpus_topology(const struct cb_hwpc_cpus *cpus)
{
    return &cpus->topology;
}

/* ---- rows ---- */

static void name_row(struct cb_hwpc_cpu *name, const struct cb_topology *t, uint32_t i)
{
    (void)snprintf(name->package, sizeof(name->package), "%d", (int)t->socket_ids[t->socket[i]]);
    (void)snprintf(name->cpu, sizeof(name->cpu), "%u", t->cpus[i]);
}

int cb_hwpc_rows_init(struct cb_hwpc_rows *rows, const struct cb_hwpc_cpus *cpus)
{
    const struct cb_topology *t = &cpus->topology;

    *rows = (struct cb_hwpc_rows){.n_cpus = t->n_cpus};
    rows->of_cpu = calloc(t->n_cpus, sizeof(*rows->of_cpu));
    rows->names = calloc(t->n_cpus, sizeof(*rows->names));
    if (!rows->of_cpu || !rows->names) {
        cb_hwpc_rows_fini(rows);
        return -ENOMEM;
    }
    for (uint32_t s = 0; s < t->n_sockets; s++) {
        size_t first = rows->n;

        for (uint32_t i = 0; i < t->n_cpus; i++) {
            if (t->socket[i] != s)
                continue;
            rows->of_cpu[i] = cpus->group->one_cpu && rows->n > first ? first : rows->n;
            if (rows->of_cpu[i] == rows->n)
                name_row(&rows->names[rows->n++], t, i);
        }
    }
    return 0;
}

void cb_hwpc_rows_fini(struct cb_hwpc_rows *rows)
{
    free(rows->of_cpu);
    free(rows->names);
    *rows = (struct cb_hwpc_rows){0};
}
