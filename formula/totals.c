/* SPDX-License-Identifier: Apache-2.0 */
/* totals.c - see totals.h. */
#include "formula/totals.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "formula/map.h"
#include "lib/clock.h"
#include "lib/err.h"

#define SERIES_MAX 20000
#define FORGOTTEN UINT64_MAX /* in the map: look the target up again */

struct node {
    uint16_t socket;
    uint8_t domain, source;
    uint64_t energy_uj, idle_uj, system_uj, unattributed_uj, source_uncertainty_uj;
};

struct part {
    uint64_t dynamic_uj;
    double param_uj, noise2_uj2, source_uj;
};

struct series {
    char identity[CB_STORE_TEXT_SIZE];
    char container_id[CB_STORE_ID_SIZE];
    char name[CB_STORE_TEXT_SIZE];
    char image[CB_STORE_TEXT_SIZE];
    uint64_t cpu_ns, last_wall_ns;
    uint64_t heard_ns; /* by this server's BOOTTIME */
    bool dirty;
    size_t n_parts; /* of the machine's nodes, in their order */
    struct part *parts;
};

struct machine {
    char name[CB_NAME_SIZE];
    int64_t frame_id;
    uint64_t last_wall_ns;
    size_t n_nodes, node_capacity;
    struct node *nodes;
    size_t n_series, series_capacity;
    struct series **series;
    struct cb_map by_target;
    bool has_unreadable;
    struct cb_unreadable unreadable;
};

struct cb_totals {
    pthread_mutex_t mutex;
    size_t n, capacity;
    struct machine **machines;
};

static int no_memory(struct cb_err *err)
{
    return cb_err_set(err, ENOMEM, "out of memory for totals");
}

static int grow(void **array, size_t n, size_t *capacity, size_t size)
{
    size_t larger = *capacity ? 2 * *capacity : 8;
    void *moved;

    if (n < *capacity)
        return 0;
    moved = realloc(*array, larger * size);
    if (!moved)
        return -ENOMEM;
    *array = moved;
    *capacity = larger;
    return 0;
}

struct cb_totals *cb_totals_new(void)
{
    struct cb_totals *totals = calloc(1, sizeof(*totals));

    if (totals)
        (void)pthread_mutex_init(&totals->mutex, NULL);
    return totals;
}

static void free_series(struct series *series)
{
    if (series)
        free(series->parts);
    free(series);
}

static void free_machine(struct machine *machine)
{
    for (size_t i = 0; i < machine->n_series; i++)
        free_series(machine->series[i]);
    free(machine->series);
    free(machine->nodes);
    cb_map_clear(&machine->by_target);
    free(machine);
}

struct cb_totals *cb_totals_free(struct cb_totals *totals)
{
    if (!totals)
        return NULL;
    for (size_t i = 0; i < totals->n; i++)
        free_machine(totals->machines[i]);
    free(totals->machines);
    (void)pthread_mutex_destroy(&totals->mutex);
    free(totals);
    return NULL;
}

static struct machine *find_machine(const struct cb_totals *totals, const char *name)
{
    for (size_t i = 0; i < totals->n; i++)
        if (strcmp(totals->machines[i]->name, name) == 0)
            return totals->machines[i];
    return NULL;
}

static struct machine *get_machine(struct cb_totals *totals, const char *name)
{
    struct machine *machine = find_machine(totals, name);

    if (machine)
        return machine;
    if (grow((void **)&totals->machines, totals->n, &totals->capacity, sizeof(struct machine *)) <
        0)
        return NULL;
    machine = calloc(1, sizeof(*machine));
    if (machine) {
        (void)snprintf(machine->name, sizeof(machine->name), "%s", name);
        totals->machines[totals->n++] = machine;
    }
    return machine;
}

static struct node *get_node(struct machine *machine, uint16_t socket, uint8_t domain,
                             uint8_t source, size_t *ret_index)
{
    struct node *node;

    for (size_t i = 0; i < machine->n_nodes; i++)
        if (machine->nodes[i].socket == socket && machine->nodes[i].domain == domain) {
            machine->nodes[i].source = source;
            *ret_index = i;
            return &machine->nodes[i];
        }
    if (grow((void **)&machine->nodes, machine->n_nodes, &machine->node_capacity,
             sizeof(*machine->nodes)) < 0)
        return NULL;
    *ret_index = machine->n_nodes;
    node = &machine->nodes[machine->n_nodes++];
    *node = (struct node){.socket = socket, .domain = domain, .source = source};
    return node;
}

/* Room for a part of each of the machine's nodes. */
static int widen(struct series *series, size_t n)
{
    struct part *moved;

    if (n <= series->n_parts)
        return 0;
    moved = realloc(series->parts, n * sizeof(*moved));
    if (!moved)
        return -ENOMEM;
    memset(moved + series->n_parts, 0, (n - series->n_parts) * sizeof(*moved));
    series->parts = moved;
    series->n_parts = n;
    return 0;
}

static struct series *find_series(const struct machine *machine, const char *identity,
                                  size_t *ret_index)
{
    for (size_t i = 0; i < machine->n_series; i++)
        if (strcmp(machine->series[i]->identity, identity) == 0) {
            *ret_index = i;
            return machine->series[i];
        }
    return NULL;
}

static struct series *new_series(struct machine *machine, const char *identity, size_t *ret_index)
{
    struct series *series;

    if (machine->n_series == SERIES_MAX ||
        grow((void **)&machine->series, machine->n_series, &machine->series_capacity,
             sizeof(struct series *)) < 0)
        return NULL;
    series = calloc(1, sizeof(*series));
    if (series) {
        (void)snprintf(series->identity, sizeof(series->identity), "%s", identity);
        *ret_index = machine->n_series;
        machine->series[machine->n_series++] = series;
    }
    return series;
}

static int series_of(struct machine *machine, struct cb_store *store, int64_t start, uint32_t id,
                     struct series **ret_series, struct cb_err *err)
{
    struct cb_store_target target = {.start = start, .target = id};
    char identity[CB_STORE_TEXT_SIZE];
    uint64_t known;
    size_t index;
    int r;

    if (cb_map_get(&machine->by_target, cb_map_target_key(start, id), &known) &&
        known != FORGOTTEN) {
        *ret_series = machine->series[known];
        return 0;
    }
    r = cb_store_target(store, start, id, &target, err);
    if (r < 0 && r != -ENOENT)
        return r;
    cb_store_target_identity(&target, identity);
    *ret_series = find_series(machine, identity, &index);
    if (!*ret_series)
        *ret_series = new_series(machine, identity, &index);
    if (!*ret_series || cb_map_put(&machine->by_target, cb_map_target_key(start, id), index) < 0)
        return no_memory(err);
    (void)snprintf((*ret_series)->container_id, CB_STORE_ID_SIZE, "%s", target.container_id);
    (void)snprintf((*ret_series)->name, CB_STORE_TEXT_SIZE, "%s", target.name);
    (void)snprintf((*ret_series)->image, CB_STORE_TEXT_SIZE, "%s", target.image);
    return 0;
}

/* Drop the series nothing was heard of for a while; the map is filled anew as targets come. */
static void expire(struct machine *machine)
{
    size_t kept = 0;

    for (size_t i = 0; i < machine->n_series; i++) {
        struct series *series = machine->series[i];

        if (!series->dirty && series->last_wall_ns + CB_TOTALS_KEEP_NS < machine->last_wall_ns)
            free_series(series);
        else
            machine->series[kept++] = series;
    }
    if (kept != machine->n_series)
        cb_map_clear(&machine->by_target);
    machine->n_series = kept;
}

static int add_nodes(struct machine *machine, const struct cb_result *result, size_t *nodes)
{
    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *from = &result->domains[d];
        struct node *node = get_node(machine, from->socket, from->domain, from->source, &nodes[d]);

        if (!node)
            return -ENOMEM;
        node->energy_uj += from->energy_uj;
        node->idle_uj += from->idle_uj;
        node->system_uj += from->system_uj;
        node->unattributed_uj += from->unattributed_uj;
        node->source_uncertainty_uj += from->source_uncertainty_uj;
    }
    return 0;
}

static void add_share(struct part *part, const struct cb_result_domain *domain,
                      const struct cb_share *share)
{
    part->dynamic_uj += share->dynamic_uj;
    part->param_uj += share->param_uj;
    part->noise2_uj2 += (double)share->noise_uj * share->noise_uj;
    if (domain->energy_uj > 0)
        part->source_uj += (double)domain->source_uncertainty_uj *
                           ((double)share->dynamic_uj / (double)domain->energy_uj);
}

static int add_result(struct machine *machine, struct cb_store *store, int64_t start,
                      const struct cb_result *result, struct cb_err *err)
{
    size_t nodes[CB_FRAME_MAX_ENERGIES];

    if (result->n_domains > CB_FRAME_MAX_ENERGIES || add_nodes(machine, result, nodes) < 0)
        return no_memory(err);
    for (size_t i = 0; i < result->n_targets; i++) {
        struct series *series = NULL;
        int r = series_of(machine, store, start, result->target_ids[i], &series, err);

        if (r < 0)
            return r;
        if (widen(series, machine->n_nodes) < 0)
            return no_memory(err);
        for (size_t d = 0; d < result->n_domains; d++)
            add_share(&series->parts[nodes[d]], &result->domains[d],
                      &result->shares[d * result->n_targets + i]);
        if (result->target_cpu_ns[i] != CB_STAT_ABSENT)
            series->cpu_ns += result->target_cpu_ns[i];
        series->last_wall_ns = result->wall_ns;
        series->heard_ns = cb_clock_boot_ns();
        series->dirty = true;
    }
    return 0;
}

int cb_totals_add(struct cb_totals *totals, struct cb_store *store, const char *machine_name,
                  int64_t start, int64_t frame_id, const struct cb_result *result,
                  struct cb_err *err)
{
    struct machine *machine;
    int r;

    (void)pthread_mutex_lock(&totals->mutex);
    machine = get_machine(totals, machine_name);
    if (machine) {
        machine->last_wall_ns = result->wall_ns;
        machine->frame_id = frame_id;
        r = add_result(machine, store, start, result, err);
    } else {
        r = no_memory(err);
    }
    (void)pthread_mutex_unlock(&totals->mutex);
    return r;
}

void cb_totals_renamed(struct cb_totals *totals, const char *machine_name, int64_t start,
                       uint32_t target)
{
    struct machine *machine;
    uint64_t index;

    (void)pthread_mutex_lock(&totals->mutex);
    machine = find_machine(totals, machine_name);
    if (machine && cb_map_get(&machine->by_target, cb_map_target_key(start, target), &index) &&
        cb_map_put(&machine->by_target, cb_map_target_key(start, target), FORGOTTEN) < 0)
        cb_map_clear(&machine->by_target); /* the same for all of them: looked up anew */
    (void)pthread_mutex_unlock(&totals->mutex);
}

/* ---- one row for each sum ---- */

static void node_total(const struct machine *machine, const struct node *node,
                       struct cb_store_total *total)
{
    *total = (struct cb_store_total){.socket = node->socket,
                                     .domain = node->domain,
                                     .source = node->source,
                                     .energy_uj = node->energy_uj,
                                     .idle_uj = node->idle_uj,
                                     .system_uj = node->system_uj,
                                     .unattributed_uj = node->unattributed_uj,
                                     .source_uncertainty_uj = node->source_uncertainty_uj,
                                     .last_wall_ns = machine->last_wall_ns};
}

static void head_total(const struct series *series, struct cb_store_total *total)
{
    *total =
        (struct cb_store_total){.cpu_ns = series->cpu_ns, .last_wall_ns = series->last_wall_ns};
    memcpy(total->identity, series->identity, sizeof(total->identity));
    memcpy(total->container_id, series->container_id, sizeof(total->container_id));
    memcpy(total->name, series->name, sizeof(total->name));
    memcpy(total->image, series->image, sizeof(total->image));
}

static void part_total(const struct node *node, const struct part *part,
                       struct cb_store_total *total)
{
    total->socket = node->socket;
    total->domain = node->domain;
    total->source = node->source;
    total->energy_uj = part->dynamic_uj;
    total->param_uj = part->param_uj;
    total->noise2_uj2 = part->noise2_uj2;
    total->source_uncertainty_uj = (uint64_t)part->source_uj;
}

static int walk_machine(const struct machine *machine, bool only_dirty, uint64_t heard_since_ns,
                        cb_totals_each *each, void *context)
{
    struct cb_store_total total;
    int r = 0;

    for (size_t i = 0; i < machine->n_nodes && r == 0; i++) {
        node_total(machine, &machine->nodes[i], &total);
        r = each(context, machine->name, &total);
    }
    for (size_t i = 0; i < machine->n_series && r == 0; i++) {
        const struct series *series = machine->series[i];

        if ((only_dirty && !series->dirty) || series->heard_ns < heard_since_ns)
            continue;
        head_total(series, &total);
        for (size_t p = 0; p < series->n_parts && r == 0; p++) {
            part_total(&machine->nodes[p], &series->parts[p], &total);
            r = each(context, machine->name, &total);
        }
    }
    return r;
}

int cb_totals_walk(struct cb_totals *totals, uint64_t now_ns, cb_totals_each *each, void *context)
{
    uint64_t heard_since_ns = now_ns > CB_TOTALS_KEEP_NS ? now_ns - CB_TOTALS_KEEP_NS : 0;
    int r = 0;

    (void)pthread_mutex_lock(&totals->mutex);
    for (size_t i = 0; i < totals->n && r == 0; i++)
        r = walk_machine(totals->machines[i], false, heard_since_ns, each, context);
    (void)pthread_mutex_unlock(&totals->mutex);
    return r;
}

void cb_totals_unreadable(struct cb_totals *totals, const char *machine_name,
                          const struct cb_unreadable *unreadable)
{
    struct machine *machine;

    (void)pthread_mutex_lock(&totals->mutex);
    machine = find_machine(totals, machine_name);
    if (machine) {
        machine->has_unreadable = true;
        machine->unreadable = *unreadable;
    }
    (void)pthread_mutex_unlock(&totals->mutex);
}

void cb_totals_walk_unreadable(struct cb_totals *totals, cb_totals_each_unreadable *each,
                               void *context)
{
    (void)pthread_mutex_lock(&totals->mutex);
    for (size_t i = 0; i < totals->n; i++)
        if (totals->machines[i]->has_unreadable)
            each(context, totals->machines[i]->name, &totals->machines[i]->unreadable);
    (void)pthread_mutex_unlock(&totals->mutex);
}

/* ---- saving and loading ---- */

struct saver {
    struct cb_store *store;
    int64_t machine_id;
    struct cb_err *err;
};

static int save_one(void *context, const char *machine, const struct cb_store_total *total)
{
    struct saver *saver = context;

    (void)machine;
    return cb_store_put_total(saver->store, saver->machine_id, total, saver->err);
}

int cb_totals_save(struct cb_totals *totals, struct cb_store *store, const char *machine_name,
                   int64_t machine_id, struct cb_err *err)
{
    struct saver saver = {.store = store, .machine_id = machine_id, .err = err};
    struct machine *machine;
    int r = 0;

    (void)pthread_mutex_lock(&totals->mutex);
    machine = find_machine(totals, machine_name);
    if (machine) {
        r = walk_machine(machine, true, 0, save_one, &saver);
        if (r == 0 && machine->last_wall_ns > CB_TOTALS_KEEP_NS)
            r = cb_store_drop_totals(store, machine_id, machine->last_wall_ns - CB_TOTALS_KEEP_NS,
                                     err);
        if (r == 0)
            r = cb_store_set_totals_frame(store, machine_id, machine->frame_id, err);
    }
    (void)pthread_mutex_unlock(&totals->mutex);
    return r;
}

void cb_totals_saved(struct cb_totals *totals, const char *machine_name)
{
    struct machine *machine;

    (void)pthread_mutex_lock(&totals->mutex);
    machine = find_machine(totals, machine_name);
    if (machine) {
        for (size_t i = 0; i < machine->n_series; i++)
            machine->series[i]->dirty = false;
        expire(machine);
    }
    (void)pthread_mutex_unlock(&totals->mutex);
}

static int load_total(void *context, const struct cb_store_total *total)
{
    struct machine *machine = context;
    struct series *series;
    struct node *node;
    size_t at;
    size_t i;

    node = get_node(machine, total->socket, total->domain, total->source, &at);
    if (!node)
        return -ENOMEM;
    if (!total->identity[0]) {
        node->energy_uj = total->energy_uj;
        node->idle_uj = total->idle_uj;
        node->system_uj = total->system_uj;
        node->unattributed_uj = total->unattributed_uj;
        node->source_uncertainty_uj = total->source_uncertainty_uj;
        if (machine->last_wall_ns < total->last_wall_ns)
            machine->last_wall_ns = total->last_wall_ns;
        return 0;
    }
    series = find_series(machine, total->identity, &i);
    if (!series)
        series = new_series(machine, total->identity, &i);
    if (!series || widen(series, at + 1) < 0)
        return -ENOMEM;
    memcpy(series->container_id, total->container_id, sizeof(series->container_id));
    memcpy(series->name, total->name, sizeof(series->name));
    memcpy(series->image, total->image, sizeof(series->image));
    series->cpu_ns = total->cpu_ns;
    series->last_wall_ns = total->last_wall_ns;
    series->parts[at] = (struct part){.dynamic_uj = total->energy_uj,
                                      .param_uj = total->param_uj,
                                      .noise2_uj2 = total->noise2_uj2,
                                      .source_uj = (double)total->source_uncertainty_uj};
    return 0;
}

struct loader {
    struct machine *machine;
    struct cb_store *store;
    struct cb_result result;
};

static int load_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct loader *loader = context;
    int r = cb_result_unpack(frame->result, frame->result_size, &loader->result, err);

    if (r < 0)
        return cb_err_prefix(err, r, "frame %lld", (long long)frame->id);
    loader->machine->last_wall_ns = frame->wall_ns;
    loader->machine->frame_id = frame->id;
    return add_result(loader->machine, loader->store, frame->start, &loader->result, err);
}

/* The store knows by the wall clock when a machine was heard. */
static uint64_t heard_ns(const struct cb_store_machine *from)
{
    uint64_t wall = cb_clock_wall_ns();
    uint64_t ago = wall > from->heard_wall_ns ? wall - from->heard_wall_ns : 0;
    uint64_t now = cb_clock_boot_ns();

    return now > ago ? now - ago : 0;
}

static int load_machine(struct machine *machine, struct cb_store *store,
                        const struct cb_store_machine *from, struct cb_err *err)
{
    struct loader loader = {.machine = machine, .store = store};
    uint64_t since =
        from->last_wall_ns > CB_TOTALS_KEEP_NS ? from->last_wall_ns - CB_TOTALS_KEEP_NS : 0;
    int r;

    machine->n_nodes = 0;
    for (size_t i = 0; i < machine->n_series; i++)
        free_series(machine->series[i]);
    machine->n_series = 0;
    cb_map_clear(&machine->by_target);
    r = cb_store_totals(store, from->id, since, load_total, machine, &machine->frame_id, err);
    if (r == -ENOMEM)
        return no_memory(err);
    if (r == 0)
        r = cb_store_frames_after(store, from->id, machine->frame_id, load_frame, &loader, err);
    for (size_t i = 0; i < machine->n_series; i++)
        machine->series[i]->heard_ns = heard_ns(from);
    cb_result_clear(&loader.result);
    return r;
}

int cb_totals_load(struct cb_totals *totals, struct cb_store *store,
                   const struct cb_store_machine *from, struct cb_err *err)
{
    struct machine *machine;
    int r;

    (void)pthread_mutex_lock(&totals->mutex);
    machine = get_machine(totals, from->name);
    r = machine ? load_machine(machine, store, from, err) : no_memory(err);
    (void)pthread_mutex_unlock(&totals->mutex);
    return r;
}
