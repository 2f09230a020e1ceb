/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_set.c - see hwpc_set.h. */
#include "sensor/hwpc_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/event.h"
#include "sensor/fsread.h"
#include "sensor/perf.h"

#define ENABLED "time_enabled"
#define RUNNING "time_running"
#define LIST_SIZE ((size_t)(CB_EVENT_NAME_SIZE + 1) * CB_FRAME_MAX_EVENTS)

struct group {
    struct cb_topology topology; /* of the CPUs that are counted on */
    size_t *row;                 /* [n_cpus] the report's CPU that each of them belongs to */
    struct cb_perf *perf;
    struct cb_perf_cpus cpus;
    uint64_t *sums, *enabled_ns, *running_ns; /* per socket: not of interest here */
    struct cb_hwpc_cpu *names_of_cpus;
    const char *names[CB_FRAME_MAX_EVENTS + 2]; /* of the report's columns */
    size_t column[CB_FRAME_MAX_EVENTS];         /* of each event */
    size_t enabled, running;                    /* columns */
};

struct cb_hwpc_set {
    const struct cb_topology *topology;
    size_t n;
    struct group groups[CB_HWPC_MAX_GROUPS];
    struct cb_hwpc_form_group form_groups[CB_HWPC_MAX_GROUPS];
    struct cb_hwpc_form form;
};

struct cb_hwpc_target {
    struct cb_perf_target *at[CB_HWPC_MAX_GROUPS];
};

/* ---- the CPUs of a group ---- */

static int no_memory(struct cb_err *err)
{
    return cb_err_set(err, ENOMEM, "out of memory");
}

/* The CPUs that the PMU of @event reads a socket on, one flag each; none for other PMUs. */
static int read_mask(int root_fd, const struct cb_event *event, uint8_t *mask, size_t *ret_n,
                     struct cb_err *err)
{
    char path[128];
    char text[1024];
    int r;

    *ret_n = 0;
    if (!event->per_socket)
        return 0;
    (void)snprintf(path, sizeof(path), "sys/bus/event_source/devices/%s/cpumask", event->pmu);
    r = cb_fsread_text(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (cb_parse_cpulist(text, mask, CB_FRAME_MAX_CPUS, ret_n) < 0)
        return cb_err_set(err, EPROTO, "'/%s' is not a list of CPUs", path);
    return 0;
}

/* With -o: may CPU @i of @all stand for its package, of which @chosen are there already? */
static bool is_chosen(const struct cb_topology *all, uint32_t i, const uint8_t *mask, size_t n_mask,
                      bool first_of_package)
{
    if (n_mask == 0)
        return first_of_package;
    /* AMD's dies all show the whole package */
    return mask[all->cpus[i]] && (first_of_package || all->vendor != CB_CPU_AMD);
}

static int choose_cpus(struct group *g, const struct cb_topology *all, bool one_cpu,
                       const uint8_t *mask, size_t n_mask)
{
    struct cb_topology *t = &g->topology;
    uint8_t seen[CB_FRAME_MAX_SOCKETS] = {0};

    *t = (struct cb_topology){
        .n_sockets = all->n_sockets, .cpu_limit = all->cpu_limit, .vendor = all->vendor};
    t->cpus = calloc(all->n_cpus, sizeof(*t->cpus));
    t->socket = calloc(all->n_cpus, sizeof(*t->socket));
    if (!t->cpus || !t->socket)
        return -ENOMEM;
    for (uint32_t i = 0; i < all->n_cpus; i++) {
        if (one_cpu && !is_chosen(all, i, mask, n_mask, !seen[all->socket[i]]))
            continue;
        seen[all->socket[i]] = 1;
        t->cpus[t->n_cpus] = all->cpus[i];
        t->socket[t->n_cpus++] = all->socket[i];
    }
    return t->n_cpus ? 0 : -ENODEV;
}

/* The report's CPUs, package by package; with -o one of each. */
static int name_cpus(struct group *g, const struct cb_topology *all, bool one_cpu,
                     struct cb_hwpc_form_group *form)
{
    const struct cb_topology *t = &g->topology;
    size_t n = 0;

    g->row = calloc(t->n_cpus, sizeof(*g->row));
    g->names_of_cpus = calloc(t->n_cpus, sizeof(*g->names_of_cpus));
    if (!g->row || !g->names_of_cpus)
        return -ENOMEM;
    for (uint32_t s = 0; s < t->n_sockets; s++) {
        size_t first = n;

        for (uint32_t i = 0; i < t->n_cpus; i++) {
            if (t->socket[i] != s)
                continue;
            g->row[i] = one_cpu && n > first ? first : n;
            if (g->row[i] != n)
                continue;
            (void)snprintf(g->names_of_cpus[n].package, sizeof(g->names_of_cpus[n].package), "%d",
                           (int)all->socket_ids[s]);
            (void)snprintf(g->names_of_cpus[n].cpu, sizeof(g->names_of_cpus[n].cpu), "%u",
                           t->cpus[i]);
            n++;
        }
    }
    form->n_cpus = n;
    form->cpus = g->names_of_cpus;
    return 0;
}

/* ---- the events of a group ---- */

/* Put @name in its place unless it is there: on a hybrid machine each kind of core has an event of
 * that name. */
static void add_column(struct group *g, struct cb_hwpc_form_group *form, const char *name)
{
    size_t at = 0;

    while (at < form->n_names && strcmp(g->names[at], name) < 0)
        at++;
    if (at < form->n_names && strcmp(g->names[at], name) == 0)
        return;
    memmove(&g->names[at + 1], &g->names[at], (form->n_names - at) * sizeof(g->names[0]));
    g->names[at] = name;
    form->n_names++;
}

static size_t find_column(const struct group *g, const char *name)
{
    size_t at = 0;

    while (strcmp(g->names[at], name) != 0)
        at++;
    return at;
}

static void name_columns(struct group *g, struct cb_hwpc_form_group *form)
{
    size_t n = cb_perf_n_events(g->perf);

    for (size_t i = 0; i < n; i++)
        add_column(g, form, cb_perf_event(g->perf, i)->name);
    add_column(g, form, ENABLED);
    add_column(g, form, RUNNING);
    for (size_t i = 0; i < n; i++)
        g->column[i] = find_column(g, cb_perf_event(g->perf, i)->name);
    g->enabled = find_column(g, ENABLED);
    g->running = find_column(g, RUNNING);
    form->names = g->names;
}

static int join_events(const struct cb_hwpc_group *options, char *list, struct cb_err *err)
{
    size_t at = 0;

    for (size_t i = 0; i < options->n_events; i++) {
        const char *event = options->events[i];

        if (strlen(event) >= CB_EVENT_NAME_SIZE)
            return cb_err_set(err, EINVAL, "the event name '%.40s...' is too long", event);
        if (strchr(event, ',') && !strchr(event, '/'))
            return cb_err_set(err, EINVAL, "'%.60s': each event has an -e of its own", event);
        at += (size_t)snprintf(list + at, LIST_SIZE - at, "%s%s", i ? "," : "", event);
    }
    return 0;
}

static int open_perf(struct group *g, int root_fd, bool machine,
                     const struct cb_hwpc_group *options, struct cb_err *err)
{
    cb_auto_free char *list = malloc(LIST_SIZE);
    const char *lists[] = {list};
    const struct cb_perf_options perf = {.root_fd = root_fd,
                                         .topology = &g->topology,
                                         .n_lists = 1,
                                         .lists = lists,
                                         .strict = true,
                                         .machine_only = machine};
    int r = list ? join_events(options, list, err) : no_memory(err);

    return r < 0 ? r : cb_perf_open(&perf, &g->perf, err);
}

static int make_buffers(struct group *g)
{
    size_t events = cb_perf_n_events(g->perf), groups = cb_perf_n_groups(g->perf);
    size_t cpus = g->topology.n_cpus, sockets = g->topology.n_sockets;

    g->cpus.counts = calloc(cpus * events, sizeof(uint64_t));
    g->cpus.enabled_ns = calloc(cpus * groups, sizeof(uint64_t));
    g->cpus.running_ns = calloc(cpus * groups, sizeof(uint64_t));
    g->sums = calloc(sockets * events, sizeof(uint64_t));
    g->enabled_ns = calloc(sockets * groups, sizeof(uint64_t));
    g->running_ns = calloc(sockets * groups, sizeof(uint64_t));
    if (!g->cpus.counts || !g->cpus.enabled_ns || !g->cpus.running_ns || !g->sums ||
        !g->enabled_ns || !g->running_ns)
        return -ENOMEM;
    cb_perf_keep_cpus(g->perf, &g->cpus);
    return 0;
}

static int place_group(struct cb_hwpc_set *set, struct group *g, int root_fd,
                       const struct cb_hwpc_group *options, struct cb_hwpc_form_group *form,
                       struct cb_err *err)
{
    cb_auto_free uint8_t *mask = calloc(CB_FRAME_MAX_CPUS, 1);
    struct cb_event first = {0};
    size_t n_mask = 0;
    int r = 0;

    if (!mask)
        return no_memory(err);
    if (options->one_cpu && cb_event_resolve_machine(root_fd, set->topology->vendor,
                                                     options->events[0], 0, &first, NULL) == 0)
        r = read_mask(root_fd, &first, mask, &n_mask, err);
    if (r < 0)
        return r;
    r = choose_cpus(g, set->topology, options->one_cpu, mask, n_mask);
    if (r == 0)
        r = name_cpus(g, set->topology, options->one_cpu, form);
    return r == -ENODEV ? cb_err_set(err, ENODEV, "no CPU to count on")
           : r < 0      ? no_memory(err)
                        : 0;
}

static int open_group(struct cb_hwpc_set *set, int root_fd, const struct cb_hwpc_group *options,
                      bool machine, struct cb_err *err)
{
    struct group *g = &set->groups[set->n];
    struct cb_hwpc_form_group *form = &set->form_groups[set->n++];
    int r = place_group(set, g, root_fd, options, form, err);

    if (r == 0)
        r = open_perf(g, root_fd, machine, options, err);
    if (r == 0 && make_buffers(g) < 0)
        r = no_memory(err);
    if (r < 0)
        return cb_err_prefix(err, r, "group '%s'", options->name);
    form->name = options->name;
    name_columns(g, form);
    set->form.n_values += form->n_cpus * form->n_names;
    return 0;
}

int cb_hwpc_set_open(int root_fd, const struct cb_topology *topology,
                     const struct cb_hwpc_groups *groups, bool machine,
                     struct cb_hwpc_set **ret_set, struct cb_err *err)
{
    struct cb_hwpc_set *set = calloc(1, sizeof(*set));
    int r = 0;

    if (!set)
        return no_memory(err);
    set->topology = topology;
    for (size_t i = 0; r == 0 && i < groups->n; i++)
        r = open_group(set, root_fd, &groups->at[i], machine, err);
    if (r < 0) {
        (void)cb_hwpc_set_close(set);
        return r;
    }
    set->form.n_groups = set->n;
    set->form.groups = set->form_groups;
    *ret_set = set;
    return 0;
}

struct cb_hwpc_set *cb_hwpc_set_close(struct cb_hwpc_set *set)
{
    for (size_t i = 0; set && i < set->n; i++) {
        struct group *g = &set->groups[i];

        g->perf = cb_perf_close(g->perf);
        free(g->topology.cpus);
        free(g->topology.socket);
        free(g->row);
        free(g->names_of_cpus);
        free(g->cpus.counts);
        free(g->cpus.enabled_ns);
        free(g->cpus.running_ns);
        free(g->sums);
        free(g->enabled_ns);
        free(g->running_ns);
    }
    free(set);
    return NULL;
}

const struct cb_hwpc_form *cb_hwpc_set_form(const struct cb_hwpc_set *set)
{
    return &set->form;
}

/* ---- counting ---- */

int cb_hwpc_target_open(struct cb_hwpc_set *set, int cgroup_fd, struct cb_hwpc_target **ret_target,
                        struct cb_err *err)
{
    struct cb_hwpc_target *target = calloc(1, sizeof(*target));
    int r = 0;

    if (!target)
        return no_memory(err);
    for (size_t i = 0; r == 0 && i < set->n; i++)
        r = cb_perf_target_open(set->groups[i].perf, cgroup_fd, &target->at[i], err);
    if (r < 0)
        (void)cb_hwpc_target_close(set, target);
    else
        *ret_target = target;
    return r;
}

struct cb_hwpc_target *cb_hwpc_target_close(struct cb_hwpc_set *set, struct cb_hwpc_target *target)
{
    for (size_t i = 0; target && i < set->n; i++)
        target->at[i] = cb_perf_target_close(set->groups[i].perf, target->at[i]);
    free(target);
    return NULL;
}

/* What CPU @cpu counted, into its row of the report. The dies of a package are added up, their
 * times are the same; of the kinds of cores a CPU is one, and the others' counters are 0. */
static void add_row(const struct group *g, uint32_t cpu, uint64_t *row)
{
    size_t events = cb_perf_n_events(g->perf), groups = cb_perf_n_groups(g->perf);
    uint64_t enabled_ns = 0, running_ns = 0;

    for (size_t i = 0; i < events; i++)
        row[g->column[i]] += g->cpus.counts[cpu * events + i];
    for (size_t i = 0; i < groups; i++) {
        enabled_ns += g->cpus.enabled_ns[cpu * groups + i];
        running_ns += g->cpus.running_ns[cpu * groups + i];
    }
    row[g->enabled] = enabled_ns;
    row[g->running] = running_ns;
}

int cb_hwpc_target_read(struct cb_hwpc_set *set, struct cb_hwpc_target *target, uint64_t tick_ns,
                        uint64_t *values, struct cb_err *err)
{
    int result = 0;

    memset(values, 0, set->form.n_values * sizeof(*values));
    for (size_t i = 0; i < set->n; i++) {
        struct group *g = &set->groups[i];
        const struct cb_hwpc_form_group *form = &set->form_groups[i];
        int r = cb_perf_target_read(g->perf, target->at[i], tick_ns, g->sums, g->enabled_ns,
                                    g->running_ns, err);

        if (r < 0)
            result = r;
        for (uint32_t c = 0; c < g->topology.n_cpus; c++)
            add_row(g, c, values + g->row[c] * form->n_names);
        values += form->n_cpus * form->n_names;
    }
    return result;
}
