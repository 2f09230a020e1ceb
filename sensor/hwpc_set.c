/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_set.c - see hwpc_set.h. */
#include "sensor/hwpc_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "sensor/event.h"
#include "sensor/hwpc_cpus.h"
#include "sensor/perf.h"

#define ENABLED "time_enabled"
#define RUNNING "time_running"
#define LIST_SIZE ((size_t)(CB_EVENT_NAME_SIZE + 1) * CB_FRAME_MAX_EVENTS)

struct group {
    const struct cb_hwpc_group *options;
    struct cb_hwpc_cpus *on;
    struct cb_perf *perf;
    struct cb_perf_cpus cpus;
    uint64_t *sums, *enabled_ns, *running_ns; /* per socket: not of interest here */
    size_t n_names;
    const char *names[CB_FRAME_MAX_EVENTS + 2]; /* of the report's columns */
    size_t column[CB_FRAME_MAX_EVENTS];         /* of each event */
    size_t enabled, running;                    /* columns */
};

/* A form, and where in it each CPU is. */
struct shape {
    struct shape *older; /* reports may still be of that form */
    struct cb_hwpc_form form;
    struct cb_hwpc_form_group groups[CB_HWPC_MAX_GROUPS];
    struct cb_hwpc_rows rows[CB_HWPC_MAX_GROUPS];
};

struct cb_hwpc_set {
    const struct cb_topology *topology;
    bool machine;
    size_t n;
    struct group groups[CB_HWPC_MAX_GROUPS];
    struct shape *shape;
};

struct cb_hwpc_target {
    struct cb_perf_target *at[CB_HWPC_MAX_GROUPS];
};

static int no_memory(struct cb_err *err)
{
    return cb_err_set(err, ENOMEM, "out of memory");
}

/* ---- the events of a group ---- */

/* Put @name in its place unless it is there: on a hybrid machine each kind of core has an event of
 * that name. */
static void add_column(struct group *g, const char *name)
{
    size_t at = 0;

    while (at < g->n_names && strcmp(g->names[at], name) < 0)
        at++;
    if (at < g->n_names && strcmp(g->names[at], name) == 0)
        return;
    memmove(&g->names[at + 1], &g->names[at], (g->n_names - at) * sizeof(g->names[0]));
    g->names[at] = name;
    g->n_names++;
}

static size_t find_column(const struct group *g, const char *name)
{
    size_t at = 0;

    while (strcmp(g->names[at], name) != 0)
        at++;
    return at;
}

static void name_columns(struct group *g)
{
    size_t n = cb_perf_n_events(g->perf);

    for (size_t i = 0; i < n; i++)
        add_column(g, cb_perf_event(g->perf, i)->name);
    add_column(g, ENABLED);
    add_column(g, RUNNING);
    for (size_t i = 0; i < n; i++)
        g->column[i] = find_column(g, cb_perf_event(g->perf, i)->name);
    g->enabled = find_column(g, ENABLED);
    g->running = find_column(g, RUNNING);
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

static int open_perf(struct group *g, int root_fd, bool machine, struct cb_err *err)
{
    cb_auto_free char *list = malloc(LIST_SIZE);
    const char *lists[] = {list};
    const struct cb_perf_options perf = {.root_fd = root_fd,
                                         .topology = cb_hwpc_cpus_topology(g->on),
                                         .n_lists = 1,
                                         .lists = lists,
                                         .strict = true,
                                         .machine_only = machine};
    int r = list ? join_events(g->options, list, err) : no_memory(err);

    return r < 0 ? r : cb_perf_open(&perf, &g->perf, err);
}

static int make_buffers(struct group *g)
{
    size_t events = cb_perf_n_events(g->perf), groups = cb_perf_n_groups(g->perf);
    const struct cb_topology *t = cb_hwpc_cpus_topology(g->on);
    size_t cpus = t->cpu_limit, sockets = t->n_sockets; /* more CPUs never come */

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

static int open_group(struct cb_hwpc_set *set, int root_fd, const struct cb_hwpc_group *options,
                      struct cb_err *err)
{
    struct group *g = &set->groups[set->n++];
    int r;

    g->options = options;
    r = cb_hwpc_cpus_open(root_fd, set->topology, options, &g->on, err);
    if (r == 0)
        r = open_perf(g, root_fd, set->machine, err);
    if (r == 0 && make_buffers(g) < 0)
        r = no_memory(err);
    if (r < 0)
        return cb_err_prefix(err, r, "group '%s'", options->name);
    name_columns(g);
    return 0;
}

/* ---- the form ---- */

static void free_shape(struct shape *shape)
{
    for (size_t i = 0; i < CB_HWPC_MAX_GROUPS; i++)
        cb_hwpc_rows_fini(&shape->rows[i]);
    free(shape);
}

static int make_shape(struct cb_hwpc_set *set, struct cb_err *err)
{
    struct shape *shape = calloc(1, sizeof(*shape));

    for (size_t i = 0; shape && i < set->n; i++) {
        const struct group *g = &set->groups[i];
        struct cb_hwpc_rows *rows = &shape->rows[i];

        if (cb_hwpc_rows_init(rows, g->on) < 0) {
            free_shape(shape);
            return no_memory(err);
        }
        shape->groups[i] = (struct cb_hwpc_form_group){.name = g->options->name,
                                                       .n_cpus = rows->n,
                                                       .cpus = rows->names,
                                                       .n_names = g->n_names,
                                                       .names = g->names};
        shape->form.n_values += rows->n * g->n_names;
    }
    if (!shape)
        return no_memory(err);
    shape->form.of_machine = set->machine;
    shape->form.n_groups = set->n;
    shape->form.groups = shape->groups;
    shape->older = set->shape;
    set->shape = shape;
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
    set->machine = machine;
    for (size_t i = 0; r == 0 && i < groups->n; i++)
        r = open_group(set, root_fd, &groups->at[i], err);
    if (r == 0)
        r = make_shape(set, err);
    if (r < 0) {
        (void)cb_hwpc_set_close(set);
        return r;
    }
    *ret_set = set;
    return 0;
}

struct cb_hwpc_set *cb_hwpc_set_close(struct cb_hwpc_set *set)
{
    for (size_t i = 0; set && i < set->n; i++) {
        struct group *g = &set->groups[i];

        g->perf = cb_perf_close(g->perf);
        g->on = cb_hwpc_cpus_close(g->on);
        free(g->cpus.counts);
        free(g->cpus.enabled_ns);
        free(g->cpus.running_ns);
        free(g->sums);
        free(g->enabled_ns);
        free(g->running_ns);
    }
    while (set && set->shape) {
        struct shape *older = set->shape->older;

        free_shape(set->shape);
        set->shape = older;
    }
    free(set);
    return NULL;
}

const struct cb_hwpc_form *cb_hwpc_set_form(const struct cb_hwpc_set *set)
{
    return &set->shape->form;
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
 * times are the same (those of a CPU that has gone are 0); of the kinds of cores a CPU is one, and
 * the others' counters are 0. What any of them counts is a group of its own beside that: the times
 * are those of the one that ran less. */
static void add_row(const struct group *g, uint32_t cpu, uint64_t *row)
{
    size_t events = cb_perf_n_events(g->perf), groups = cb_perf_n_groups(g->perf);
    uint64_t enabled_ns = 0, running_ns = 0;

    for (size_t i = 0; i < events; i++)
        row[g->column[i]] += g->cpus.counts[cpu * events + i];
    for (size_t i = 0; i < groups; i++) {
        uint64_t enabled = g->cpus.enabled_ns[cpu * groups + i];
        uint64_t running = g->cpus.running_ns[cpu * groups + i];

        if (enabled && (enabled_ns == 0 || running < running_ns)) {
            enabled_ns = enabled;
            running_ns = running;
        }
    }
    if (enabled_ns > row[g->enabled]) {
        row[g->enabled] = enabled_ns;
        row[g->running] = running_ns;
    }
}

/* Another target's counts are there, and of a CPU that this one does not count yet they would stay.
 */
static void forget_cpus(const struct group *g, size_t n_cpus)
{
    size_t events = cb_perf_n_events(g->perf), groups = cb_perf_n_groups(g->perf);

    memset(g->cpus.counts, 0, n_cpus * events * sizeof(*g->cpus.counts));
    memset(g->cpus.enabled_ns, 0, n_cpus * groups * sizeof(*g->cpus.enabled_ns));
    memset(g->cpus.running_ns, 0, n_cpus * groups * sizeof(*g->cpus.running_ns));
}

int cb_hwpc_target_read(struct cb_hwpc_set *set, struct cb_hwpc_target *target, uint64_t tick_ns,
                        uint64_t *values, struct cb_err *err)
{
    const struct shape *shape = set->shape;
    int result = 0;

    memset(values, 0, shape->form.n_values * sizeof(*values));
    for (size_t i = 0; i < set->n; i++) {
        struct group *g = &set->groups[i];
        const struct cb_hwpc_rows *rows = &shape->rows[i];
        int r;

        forget_cpus(g, rows->n_cpus);
        r = cb_perf_target_read(g->perf, target->at[i], tick_ns, g->sums, g->enabled_ns,
                                g->running_ns, err);
        if (r < 0)
            result = r;
        for (uint32_t c = 0; c < rows->n_cpus; c++)
            add_row(g, c, values + rows->of_cpu[c] * g->n_names);
        values += rows->n * g->n_names;
    }
    return result;
}

/* ---- CPUs that come and go ---- */

int cb_hwpc_set_look(struct cb_hwpc_set *set, int root_fd, struct cb_err *err)
{
    bool grown = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < set->n; i++) {
        struct group *g = &set->groups[i];

        r = cb_hwpc_cpus_look(g->on, root_fd, err);
        grown = grown || cb_hwpc_cpus_topology(g->on)->n_cpus > set->shape->rows[i].n_cpus;
    }
    return r == 0 && grown ? make_shape(set, err) : r;
}

void cb_hwpc_set_tell_away(struct cb_hwpc_set *set, uint32_t cpu)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct cb_topology *t = cb_hwpc_cpus_topology(set->groups[i].on);

        for (uint32_t c = 0; c < t->n_cpus; c++)
            if (t->cpus[c] == cpu)
                cb_perf_tell_away(set->groups[i].perf, c);
    }
}

bool cb_hwpc_set_is_stuck(const struct cb_hwpc_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (cb_perf_is_stuck(set->groups[i].perf))
            return true;
    return false;
}

int cb_hwpc_target_follow(struct cb_hwpc_set *set, struct cb_hwpc_target *target, int cgroup_fd,
                          struct cb_err *err)
{
    int result = 0;

    for (size_t i = 0; i < set->n; i++) {
        int r = cb_perf_target_follow(set->groups[i].perf, target->at[i], cgroup_fd,
                                      result < 0 ? NULL : err);

        if (result == 0)
            result = r;
    }
    return result;
}

void cb_hwpc_set_followed(struct cb_hwpc_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        cb_perf_followed(set->groups[i].perf);
}
