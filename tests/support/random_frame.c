/* SPDX-License-Identifier: Apache-2.0 */
/* random_frame.c - see random_frame.h. */
#include "tests/support/random_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *seed, uint64_t n)
{
    return random_next(seed) % n;
}

static void *array_new(size_t n, size_t size)
{
    void *p = malloc(n * size + 1);

    if (!p)
        abort();
    memset(p, 0, n * size + 1);
    return p;
}

static char *text_new(uint64_t *seed, const char *stem, size_t number)
{
    static const char *const tails[] = {"", "a", "\xc3\xa9", "\xe2\x82\xac 1", "\xf0\x9f\x94\x8b"};
    char *text = NULL;

    if (asprintf(&text, "%s%zu%s", stem, number, tails[random_below(seed, 5)]) < 0)
        abort();
    return text;
}

static void fill_u64(uint64_t *seed, uint64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = random_next(seed) >> random_below(seed, 64);
}

static void fill_energies(uint64_t *seed, struct cb_frame *f)
{
    f->energies = array_new(f->n_sockets * CB_DOMAIN_COUNT, sizeof(*f->energies));
    for (uint32_t i = 0; i < f->n_sockets * CB_DOMAIN_COUNT; i++) {
        if (random_below(seed, 3) == 0)
            continue;
        f->energies[f->n_energies++] = (struct cb_frame_energy){
            .socket = (uint16_t)(i / CB_DOMAIN_COUNT),
            .domain = (uint8_t)(i % CB_DOMAIN_COUNT),
            .source = (uint8_t)random_below(seed, CB_SOURCE_COUNT),
            .energy_uj = random_next(seed),
            .uncertainty_uj = random_next(seed) >> 40,
        };
    }
}

static void fill_counters(uint64_t *seed, struct cb_frame *f)
{
    f->n_counters = random_below(seed, 4) * f->n_sockets;
    f->counters = array_new(f->n_counters, sizeof(*f->counters));
    for (size_t i = 0; i < f->n_counters; i++)
        f->counters[i] = (struct cb_frame_counter){
            .name = text_new(seed, "tsc", i),
            .socket = (uint16_t)(i % f->n_sockets),
            .value = random_next(seed),
        };
}

static void fill_targets(uint64_t *seed, struct cb_frame *f)
{
    uint32_t id = 0;

    f->targets = array_new(f->n_targets, sizeof(*f->targets));
    f->dictionary = random_below(seed, 2);
    for (size_t i = 0; i < f->n_targets; i++) {
        struct cb_frame_target *t = &f->targets[i];

        id += 1 + (uint32_t)random_below(seed, 5);
        t->id = id;
        t->kind = (uint8_t)random_below(seed, 2);
        t->flags = random_below(seed, 2) ? CB_TARGET_GONE : 0;
        if (!f->dictionary && random_below(seed, 2))
            continue;
        t->flags |= CB_TARGET_TEXT;
        t->cgroup = text_new(seed, "/docker/", i);
        t->container_id = text_new(seed, "c0ffee", i);
        t->name = text_new(seed, "name", i);
        t->image = text_new(seed, "image", i);
        t->labels = text_new(seed, "{\"a\":\"b\"}", i);
    }
    if (f->n_targets > 1 && random_below(seed, 2)) {
        struct cb_frame_target first = f->targets[0];

        f->targets[0] = f->targets[f->n_targets - 1]; /* ids need not ascend */
        f->targets[f->n_targets - 1] = first;
    }
}

static void fill_tables(uint64_t *seed, struct cb_frame *f)
{
    size_t cells = (1 + f->n_targets) * f->n_sockets;
    size_t first = random_below(seed, 2) ? 0 : f->n_sockets;

    f->has_machine_row = first == 0;
    f->counts = array_new(cells * f->n_events, sizeof(uint64_t));
    f->enabled_ns = array_new(cells * f->n_groups, sizeof(uint64_t));
    f->running_ns = array_new(cells * f->n_groups, sizeof(uint64_t));
    fill_u64(seed, f->counts + first * f->n_events, (cells - first) * f->n_events);
    fill_u64(seed, f->enabled_ns + first * f->n_groups, (cells - first) * f->n_groups);
    fill_u64(seed, f->running_ns + first * f->n_groups, (cells - first) * f->n_groups);
    f->events = array_new(f->n_events, sizeof(*f->events));
    for (size_t i = 0; i < f->n_events; i++)
        f->events[i] = (struct cb_frame_event){
            .name = text_new(seed, "cycles", i),
            .pmu = text_new(seed, "cpu", i),
            .group = (uint8_t)random_below(seed, f->n_groups),
        };
}

static void fill_stats_and_gaps(uint64_t *seed, struct cb_frame *f)
{
    f->n_stats = random_below(seed, 4);
    f->stat_names = array_new(f->n_stats, sizeof(*f->stat_names));
    for (size_t i = 0; i < f->n_stats; i++)
        f->stat_names[i] = text_new(seed, "cpu_ns", i);
    f->stats = array_new((1 + f->n_targets) * f->n_stats, sizeof(uint64_t));
    fill_u64(seed, f->stats, (1 + f->n_targets) * f->n_stats);
    f->n_gaps = random_below(seed, 3);
    f->gaps = array_new(f->n_gaps, sizeof(*f->gaps));
    for (size_t i = 0; i < f->n_gaps; i++)
        f->gaps[i] = (struct cb_frame_gap){
            .source = text_new(seed, "perf:", i),
            .reason = text_new(seed, "no such thing ", i),
        };
}

struct cb_frame *random_frame_new(uint64_t seed, const struct random_frame_size *size)
{
    struct cb_frame *f = array_new(1, sizeof(*f));
    char start[CB_START_ID_SIZE];

    (void)snprintf(start, sizeof(start), "%016llx%016llx", (unsigned long long)random_next(&seed),
                   (unsigned long long)random_next(&seed));
    f->sensor = text_new(&seed, "node", 1);
    f->boot_id = strdup("0b0b0b0b-1111-2222-3333-444444444444");
    f->start_id = strdup(start);
    f->version = text_new(&seed, "0.", 1);
    f->seq = 1 + random_below(&seed, 1u << 30);
    f->t0_ns = random_next(&seed) >> 10;
    f->t1_ns = f->t0_ns + 1 + random_below(&seed, 1u << 30);
    f->wall_ns = random_next(&seed) >> 1;
    f->n_sockets = 1 + (uint32_t)random_below(&seed, size->max_sockets);
    f->n_cpus = f->n_sockets * 4;
    f->n_events = random_below(&seed, size->max_events + 1);
    f->n_groups = 1 + random_below(&seed, 3);
    f->n_targets = random_below(&seed, size->max_targets + 1);
    f->lost_frames = random_below(&seed, 3);
    f->missed_ticks = random_below(&seed, 3);
    f->self_cpu_ns = random_below(&seed, 1000000);
    fill_energies(&seed, f);
    fill_counters(&seed, f);
    fill_targets(&seed, f);
    fill_tables(&seed, f);
    fill_stats_and_gaps(&seed, f);
    return f;
}

static void text_free(const char *text)
{
    free((void *)(uintptr_t)text);
}

void random_frame_free(struct cb_frame *f)
{
    for (size_t i = 0; i < f->n_counters; i++)
        text_free(f->counters[i].name);
    for (size_t i = 0; i < f->n_events; i++) {
        text_free(f->events[i].name);
        text_free(f->events[i].pmu);
    }
    for (size_t i = 0; i < f->n_targets; i++) {
        text_free(f->targets[i].cgroup);
        text_free(f->targets[i].container_id);
        text_free(f->targets[i].name);
        text_free(f->targets[i].image);
        text_free(f->targets[i].labels);
    }
    for (size_t i = 0; i < f->n_stats; i++)
        text_free(f->stat_names[i]);
    for (size_t i = 0; i < f->n_gaps; i++) {
        text_free(f->gaps[i].source);
        text_free(f->gaps[i].reason);
    }
    text_free(f->sensor);
    text_free(f->boot_id);
    text_free(f->start_id);
    text_free(f->version);
    free(f->energies);
    free(f->counters);
    free(f->events);
    free(f->targets);
    free(f->counts);
    free(f->enabled_ns);
    free(f->running_ns);
    free(f->stat_names);
    free(f->stats);
    free(f->gaps);
    free(f);
}

/* ---- comparison ---- */

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_u64(const uint64_t *a, const uint64_t *b, size_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof(*a)) == 0;
}

static bool same_head(const struct cb_frame *a, const struct cb_frame *b)
{
    return same(a->sensor, b->sensor) && same(a->boot_id, b->boot_id) &&
           same(a->start_id, b->start_id) && same(a->version, b->version) && a->seq == b->seq &&
           a->t0_ns == b->t0_ns && a->t1_ns == b->t1_ns && a->wall_ns == b->wall_ns &&
           a->dictionary == b->dictionary && a->n_sockets == b->n_sockets &&
           a->n_cpus == b->n_cpus && a->n_energies == b->n_energies &&
           a->n_counters == b->n_counters && a->has_machine_row == b->has_machine_row &&
           a->n_events == b->n_events && a->n_groups == b->n_groups &&
           a->n_targets == b->n_targets && a->n_stats == b->n_stats && a->n_gaps == b->n_gaps &&
           a->lost_frames == b->lost_frames && a->missed_ticks == b->missed_ticks &&
           a->self_cpu_ns == b->self_cpu_ns;
}

static bool same_target(const struct cb_frame_target *a, const struct cb_frame_target *b)
{
    return a->id == b->id && a->kind == b->kind && a->flags == b->flags &&
           same(a->cgroup, b->cgroup) && same(a->container_id, b->container_id) &&
           same(a->name, b->name) && same(a->image, b->image) && same(a->labels, b->labels);
}

bool frames_equal(const struct cb_frame *a, const struct cb_frame *b)
{
    size_t rows = 1 + a->n_targets;
    bool ok = same_head(a, b);

    for (size_t i = 0; ok && i < a->n_energies; i++)
        ok = memcmp(&a->energies[i], &b->energies[i], sizeof(*a->energies)) == 0;
    for (size_t i = 0; ok && i < a->n_counters; i++)
        ok = same(a->counters[i].name, b->counters[i].name) &&
             a->counters[i].socket == b->counters[i].socket &&
             a->counters[i].value == b->counters[i].value;
    for (size_t i = 0; ok && i < a->n_events; i++)
        ok = same(a->events[i].name, b->events[i].name) &&
             same(a->events[i].pmu, b->events[i].pmu) && a->events[i].group == b->events[i].group;
    for (size_t i = 0; ok && i < a->n_targets; i++)
        ok = same_target(&a->targets[i], &b->targets[i]);
    for (size_t i = 0; ok && i < a->n_stats; i++)
        ok = same(a->stat_names[i], b->stat_names[i]);
    for (size_t i = 0; ok && i < a->n_gaps; i++)
        ok = same(a->gaps[i].source, b->gaps[i].source) &&
             same(a->gaps[i].reason, b->gaps[i].reason);
    return ok && same_u64(a->counts, b->counts, rows * a->n_sockets * a->n_events) &&
           same_u64(a->enabled_ns, b->enabled_ns, rows * a->n_sockets * a->n_groups) &&
           same_u64(a->running_ns, b->running_ns, rows * a->n_sockets * a->n_groups) &&
           same_u64(a->stats, b->stats, rows * a->n_stats);
}
