/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_frame.c - see hwpc_frame.h. */
#include "formula/hwpc_frame.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formula/hwpc_cpu_time.h"
#include "formula/hwpc_length.h"
#include "formula/map.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/parse.h"

#define MAX_SOCKETS 64
#define MAX_EVENTS (CB_FRAME_MAX_EVENTS - 1) /* one is kept for time_running */
#define MAX_TIMES 4000000                    /* remembered times; more: the older half goes */
#define TIME_EVENT "time_running"
#define RAPL_QUANTUM_UJ 61
#define LEAST_RUNNING 0.01 /* of the time enabled; what was counted for less is no sample of it */

#define SWEEP_TICKS 1024 /* so often targets are forgotten that ... */
#define UNSEEN_TICKS 600 /* ... did not come for so long; nor is a group missed any more */

/* A target's id is never given again; one that was forgotten gets another. */
struct known_target {
    char *name;
    uint32_t id;
    uint64_t seen; /* seq of the last frame it was in */
};

/* Hash of (target, group, socket, CPU) to the last value; what is not renewed goes in time. */
struct last_times {
    struct cb_map recent, before;
};

struct energy_sum {
    uint64_t raw_high, raw_low; /* 2^-32 J: whole joules and the rest, so that nothing overflows */
    uint64_t floored_uj;
};

struct cb_hwpc_framer {
    struct cb_hwpc_join_options options;
    const char *name;
    uint64_t seq;
    /* time */
    struct cb_hwpc_length length;
    struct last_times enabled, running;
    struct cb_hwpc_cpu_time cpu_time;
    /* names, in the order of their first appearance */
    size_t n_events, n_groups, n_targets, room_targets;
    char *events[MAX_EVENTS];
    uint8_t event_group[MAX_EVENTS];
    char *groups[CB_FRAME_MAX_GROUPS];
    uint64_t group_seen[CB_FRAME_MAX_GROUPS]; /* seq of the last frame with counts of it; 0: none */
    uint64_t machine_seen[CB_FRAME_MAX_GROUPS]; /* the same in the machine's row */
    struct known_target *targets;
    struct cb_map target_index; /* by the hash of the name */
    uint32_t last_id;
    size_t n_sockets;
    struct energy_sum energy[MAX_SOCKETS][2];
    /* the frame */
    struct cb_frame frame;
    struct cb_frame_energy energies[MAX_SOCKETS * 2];
    struct cb_frame_counter counters[MAX_SOCKETS * 3];
    struct cb_frame_event frame_events[CB_FRAME_MAX_EVENTS];
    size_t room_rows, room_cells, room_group_cells;
    struct cb_frame_target *frame_targets;
    uint64_t *counts, *enabled_ns, *running_ns;
    double *sums; /* beside counts */
};

/* What came since the last turn is kept until the next. */
static void turn(struct last_times *times)
{
    cb_map_clear(&times->before);
    times->before = times->recent;
    times->recent = (struct cb_map){0};
}

static bool last_time(const struct last_times *times, uint64_t key, uint64_t *ret_value)
{
    return cb_map_get(&times->recent, key, ret_value) || cb_map_get(&times->before, key, ret_value);
}

int cb_hwpc_framer_new(const struct cb_hwpc_join_options *options, const char *name,
                       struct cb_hwpc_framer **ret_framer, struct cb_err *err)
{
    struct cb_hwpc_framer *framer = calloc(1, sizeof(*framer));

    if (!framer)
        return cb_err_set(err, ENOMEM, "out of memory for a sensor");
    framer->options = *options;
    framer->name = name;
    cb_hwpc_length_init(&framer->length, options->nominal_ns);
    framer->n_sockets = 1;
    *ret_framer = framer;
    return 0;
}

struct cb_hwpc_framer *cb_hwpc_framer_free(struct cb_hwpc_framer *framer)
{
    if (framer) {
        for (size_t i = 0; i < framer->n_events; i++)
            free(framer->events[i]);
        for (size_t i = 0; i < framer->n_groups; i++)
            free(framer->groups[i]);
        for (size_t i = 0; i < framer->n_targets; i++)
            free(framer->targets[i].name);
        free(framer->targets);
        turn(&framer->enabled);
        turn(&framer->enabled);
        turn(&framer->running);
        turn(&framer->running);
        cb_map_clear(&framer->target_index);
        free(framer->frame_targets);
        free(framer->counts);
        free(framer->enabled_ns);
        free(framer->running_ns);
        free(framer->sums);
        free(framer);
    }
    return NULL;
}

void cb_hwpc_framer_clock_set(struct cb_hwpc_framer *framer)
{
    cb_hwpc_length_clock_set(&framer->length);
}

/* --- names --- */

static uint64_t hash(uint64_t seed, const char *text)
{
    return cb_fnv_byte(cb_fnv_text(seed ^ CB_FNV_BEGIN, text), 0xff);
}

static bool is_core_group(const char *group)
{
    return strcmp(group, "rapl") != 0 && strcmp(group, "msr") != 0 && strcmp(group, "pcu") != 0;
}

static bool is_time(const char *event)
{
    return strcmp(event, "time_enabled") == 0 || strcmp(event, TIME_EVENT) == 0;
}

/* -1: this socket's name is no number below MAX_SOCKETS. */
static int socket_of(const char *name)
{
    uint64_t socket;

    return cb_parse_u64(name, &socket) == 0 && socket < MAX_SOCKETS ? (int)socket : -1;
}

static int find_name(char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

static int add_name(char **names, size_t *n, const char *name, struct cb_err *err)
{
    names[*n] = strdup(name);
    if (!names[*n])
        return cb_err_set(err, ENOMEM, "out of memory for a name");
    (*n)++;
    return 0;
}

static int find_event(const struct cb_hwpc_framer *framer, const struct cb_hwpc_count *count)
{
    for (size_t e = 0; e < framer->n_events; e++) {
        if (strcmp(framer->events[e], count->event) == 0 &&
            strcmp(framer->groups[framer->event_group[e]], count->group) == 0)
            return (int)e;
    }
    return -1;
}

/* Learn the report's groups, events and sockets. What is too many is left out. */
static int learn_names(struct cb_hwpc_framer *framer, const struct cb_hwpc_report *report,
                       struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < report->n_counts && r == 0; i++) {
        const struct cb_hwpc_count *count = &report->counts[i];
        int socket = socket_of(count->socket);
        int group;

        if (socket >= (int)framer->n_sockets)
            framer->n_sockets = (size_t)socket + 1;
        if (!is_core_group(count->group) || is_time(count->event))
            continue;
        group = find_name(framer->groups, framer->n_groups, count->group);
        if (group < 0 && framer->n_groups < CB_FRAME_MAX_GROUPS) {
            r = add_name(framer->groups, &framer->n_groups, count->group, err);
            group = (int)framer->n_groups - 1;
        }
        if (r < 0 || group < 0)
            continue;
        framer->group_seen[group] = framer->seq + 1;
        if (framer->n_events == MAX_EVENTS || find_event(framer, count) >= 0)
            continue;
        framer->event_group[framer->n_events] = (uint8_t)group;
        r = add_name(framer->events, &framer->n_events, count->event, err);
    }
    return r;
}

static int put_index(struct cb_hwpc_framer *framer, size_t index, struct cb_err *err)
{
    uint64_t key = hash(0, framer->targets[index].name), taken;

    while (cb_map_get(&framer->target_index, key, &taken))
        key++;
    if (cb_map_put(&framer->target_index, key, index) < 0)
        return cb_err_set(err, ENOMEM, "out of memory for a target");
    return 0;
}

static int target_id(struct cb_hwpc_framer *framer, const char *name, uint32_t *ret_id,
                     struct cb_err *err)
{
    struct known_target fresh = {.seen = framer->seq};
    uint64_t key = hash(0, name), index;
    int r;

    for (; cb_map_get(&framer->target_index, key, &index); key++) {
        if (strcmp(framer->targets[index].name, name) == 0) {
            framer->targets[index].seen = framer->seq;
            *ret_id = framer->targets[index].id;
            return 0;
        }
    }
    if (framer->n_targets == framer->room_targets) {
        size_t room = framer->room_targets ? framer->room_targets * 2 : 16;
        struct known_target *targets = realloc(framer->targets, room * sizeof(*targets));

        if (!targets)
            return cb_err_set(err, ENOMEM, "out of memory for a target");
        framer->targets = targets;
        framer->room_targets = room;
    }
    fresh.name = strdup(name);
    if (!fresh.name)
        return cb_err_set(err, ENOMEM, "out of memory for a target");
    fresh.id = ++framer->last_id;
    framer->targets[framer->n_targets] = fresh;
    *ret_id = fresh.id;
    r = put_index(framer, framer->n_targets++, err);
    return r;
}

/* Containers come and go; what is kept of them does not grow with history. */
static int forget_targets(struct cb_hwpc_framer *framer, struct cb_err *err)
{
    size_t n = 0;
    int r = 0;

    if (framer->seq % SWEEP_TICKS != 0)
        return 0;
    for (size_t i = 0; i < framer->n_targets; i++) {
        if (framer->targets[i].seen + UNSEEN_TICKS < framer->seq)
            free(framer->targets[i].name);
        else
            framer->targets[n++] = framer->targets[i];
    }
    framer->n_targets = n;
    cb_map_clear(&framer->target_index);
    turn(&framer->enabled);
    turn(&framer->running);
    for (size_t i = 0; i < n && r == 0; i++)
        r = put_index(framer, i, err);
    return r;
}

/* --- the machine's report --- */

static bool has_rapl(const struct cb_hwpc_report *report)
{
    for (size_t i = 0; i < report->n_counts; i++) {
        if (strcmp(report->counts[i].group, "rapl") == 0)
            return true;
    }
    return false;
}

/* The report of the whole machine: "all", or, as sensors of 2018 call it otherwise, the one that
 * has the energy. */
static const struct cb_hwpc_report *find_all(struct cb_hwpc_report *const *reports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(reports[i]->target, CB_HWPC_ALL) == 0)
            return reports[i];
    }
    for (size_t i = 0; i < n; i++) {
        if (has_rapl(reports[i]))
            return reports[i];
    }
    return NULL;
}

static uint64_t whole_ns(double ns)
{
    return ns >= 1 ? (ns < 1e17 ? (uint64_t)llrint(ns) : UINT64_C(100000000000000000)) : 1;
}

/* --- energy and machine counters --- */

static const struct cb_hwpc_count *first_count(const struct cb_hwpc_report *all, const char *group,
                                               int socket, const char *event)
{
    for (size_t i = 0; i < all->n_counts; i++) {
        const struct cb_hwpc_count *count = &all->counts[i];

        if (strcmp(count->event, event) == 0 && strcmp(count->group, group) == 0 &&
            socket_of(count->socket) == socket)
            return count;
    }
    return NULL;
}

static uint64_t add_energy(struct energy_sum *sum, double raw)
{
    uint64_t count = raw < 0x1p63 ? (uint64_t)raw : UINT64_C(1) << 63;
    uint64_t before = sum->floored_uj;

    sum->raw_high += count >> 32;
    sum->raw_low += count & UINT32_MAX;
    sum->raw_high += sum->raw_low >> 32;
    sum->raw_low &= UINT32_MAX;
    sum->floored_uj = sum->raw_high * 1000000 + (sum->raw_low * 1000000 >> 32);
    return sum->floored_uj - before;
}

static void fill_energies(struct cb_hwpc_framer *framer, const struct cb_hwpc_report *all)
{
    const char *const events[] = {framer->options.package_event, framer->options.dram_event};
    const uint8_t domains[] = {CB_DOMAIN_PACKAGE, CB_DOMAIN_DRAM};

    for (size_t s = 0; all && s < framer->n_sockets; s++) {
        for (size_t d = 0; d < 2; d++) {
            const struct cb_hwpc_count *count =
                events[d] ? first_count(all, "rapl", (int)s, events[d]) : NULL;

            if (!count)
                continue;
            framer->energies[framer->frame.n_energies++] = (struct cb_frame_energy){
                .socket = (uint16_t)s,
                .domain = domains[d],
                .source = CB_SOURCE_PERF,
                .energy_uj = add_energy(&framer->energy[s][d], count->value),
                .uncertainty_uj = RAPL_QUANTUM_UJ,
            };
        }
    }
}

static void fill_counters(struct cb_hwpc_framer *framer, const struct cb_hwpc_report *all)
{
    static const char *const names[] = {"TSC", "APERF", "MPERF"};
    double sums[MAX_SOCKETS][3] = {{0}};

    for (size_t i = 0; all && i < all->n_counts; i++) {
        const struct cb_hwpc_count *count = &all->counts[i];
        int socket = socket_of(count->socket);

        if (socket < 0 || strcmp(count->group, "msr") != 0)
            continue;
        for (size_t k = 0; k < 3; k++)
            sums[socket][k] += strcmp(count->event, names[k]) == 0 ? count->value : 0;
    }
    for (size_t s = 0; s < framer->n_sockets; s++) {
        for (size_t k = 0; k < 3; k++) {
            if (sums[s][k] > 0)
                framer->counters[framer->frame.n_counters++] = (struct cb_frame_counter){
                    names[k], (uint16_t)s, sums[s][k] < 0x1p63 ? (uint64_t)sums[s][k] : INT64_MAX};
        }
    }
}

/* --- the counter table --- */

struct times {
    double enabled, running;
};

/* What one report's row gathers while it is filled. */
struct row_fill {
    size_t row;
    double cpu_ns[MAX_SOCKETS];
    bool has_group[CB_FRAME_MAX_GROUPS];
};

/* The times of this CPU's group in this tick. Cumulative ones are differences; the first reading of
 * a sum, with *@ret_first, says nothing but its ratio. */
static int tick_times(struct cb_hwpc_framer *framer, const char *target,
                      const struct cb_hwpc_count *of, struct times *times, bool *ret_first,
                      struct cb_err *err)
{
    uint64_t key = hash(hash(hash(hash(1, target), of->group), of->socket), of->cpu);
    uint64_t enabled = whole_ns(times->enabled), running = whole_ns(times->running);
    uint64_t enabled_before, running_before;

    *ret_first = framer->length.kind == CB_HWPC_TIME_UNKNOWN;
    if (framer->length.kind != CB_HWPC_TIME_CUMULATIVE)
        return 0;
    *ret_first = !last_time(&framer->enabled, key, &enabled_before) ||
                 !last_time(&framer->running, key, &running_before) || enabled < enabled_before ||
                 running < running_before;
    if (!*ret_first)
        *times =
            (struct times){(double)(enabled - enabled_before), (double)(running - running_before)};
    if (framer->enabled.recent.n >= MAX_TIMES) {
        turn(&framer->enabled);
        turn(&framer->running);
    }
    if (cb_map_put(&framer->enabled.recent, key, enabled) < 0 ||
        cb_map_put(&framer->running.recent, key, running) < 0)
        return cb_err_set(err, ENOMEM, "out of memory for a target's times");
    return 0;
}

static bool same_cpu(const struct cb_hwpc_count *a, const struct cb_hwpc_count *b)
{
    return strcmp(a->cpu, b->cpu) == 0 && strcmp(a->socket, b->socket) == 0 &&
           strcmp(a->group, b->group) == 0;
}

static double *sum_at(const struct cb_hwpc_framer *framer, size_t row, int socket, size_t event)
{
    const struct cb_frame *frame = &framer->frame;

    return framer->sums + (row * frame->n_sockets + (size_t)socket) * frame->n_events + event;
}

static size_t cell_of(const struct cb_hwpc_framer *framer, size_t row, int socket, size_t group)
{
    return (row * framer->frame.n_sockets + (size_t)socket) * framer->n_groups + group;
}

static bool is_recent(const struct cb_hwpc_framer *framer, uint64_t seen)
{
    return seen > 0 && seen + UNSEEN_TICKS >= framer->seq;
}

/* A report without any count of a group that others have, or it had before, is no reading of zero.
 * The machine's row is missed only what it had itself: most sensors count cgroups alone. */
static void mark_missing(struct cb_hwpc_framer *framer, const struct row_fill *fill)
{
    uint64_t *seen = fill->row == 0 ? framer->machine_seen : framer->group_seen;

    for (size_t g = 0; g < framer->n_groups; g++) {
        if (fill->has_group[g])
            seen[g] = framer->seq;
        for (size_t s = 0; s < framer->frame.n_sockets && !fill->has_group[g]; s++) {
            size_t cell = cell_of(framer, fill->row, (int)s, g);

            framer->enabled_ns[cell] = is_recent(framer, seen[g]) ? 1 : 0;
            framer->running_ns[cell] = 0;
        }
    }
}

/* One CPU of one group of one report: counts [first, end), which stand side by side. */
static int fill_cpu(struct cb_hwpc_framer *framer, const struct cb_hwpc_report *report,
                    size_t first, size_t end, struct row_fill *fill, struct cb_err *err)
{
    const struct cb_hwpc_count *head = &report->counts[first];
    int group = find_name(framer->groups, framer->n_groups, head->group);
    int socket = socket_of(head->socket);
    struct times times = {0, 0};
    bool timed = false, first_time = false;
    double scale = 1;
    size_t cell;
    int r = 0;

    if (socket < 0 || group < 0)
        return 0;
    for (size_t i = first; i < end; i++) {
        if (strcmp(report->counts[i].event, "time_enabled") == 0)
            times.enabled = report->counts[i].value;
        if (strcmp(report->counts[i].event, TIME_EVENT) == 0)
            times.running = report->counts[i].value;
        timed |= is_time(report->counts[i].event);
    }
    if (timed)
        r = tick_times(framer, report->target, head, &times, &first_time, err);
    if (times.enabled > times.running)
        scale = times.running >= LEAST_RUNNING * times.enabled ? times.enabled / times.running : 0;
    cell = cell_of(framer, fill->row, socket, (size_t)group);
    framer->enabled_ns[cell] += times.enabled > 0 ? whole_ns(times.enabled) : 0;
    framer->running_ns[cell] += times.running > 0 && scale > 0 ? whole_ns(times.running) : 0;
    if (group == 0)
        fill->cpu_ns[socket] += times.running;
    if (fill->row > 0)
        cb_hwpc_cpu_time_judge(&framer->cpu_time, times.running, first_time);
    for (size_t i = first; i < end; i++) {
        int event = find_event(framer, &report->counts[i]);

        if (event < 0)
            continue;
        fill->has_group[group] = true;
        *sum_at(framer, fill->row, socket, (size_t)event) += report->counts[i].value * scale;
    }
    return r;
}

/* *@ret_cpu_ns: negative where the group that tells the CPU time is missing. */
static int fill_row(struct cb_hwpc_framer *framer, const struct cb_hwpc_report *report, size_t row,
                    double *ret_cpu_ns, struct cb_err *err)
{
    struct row_fill fill = {.row = row};
    int r = 0;

    for (size_t i = 0, end; i < report->n_counts && r == 0; i = end) {
        end = i + 1;
        while (end < report->n_counts && same_cpu(&report->counts[i], &report->counts[end]))
            end++;
        if (is_core_group(report->counts[i].group))
            r = fill_cpu(framer, report, i, end, &fill, err);
    }
    mark_missing(framer, &fill);
    *ret_cpu_ns = 0;
    for (size_t s = 0; s < framer->frame.n_sockets; s++) {
        *sum_at(framer, row, (int)s, framer->n_events) = fill.cpu_ns[s];
        *ret_cpu_ns += fill.cpu_ns[s];
    }
    if (!fill.has_group[0])
        *ret_cpu_ns = -1;
    return r;
}

static int grow(void *array, size_t *room, size_t n, size_t size, struct cb_err *err)
{
    void *grown;

    if (n <= *room)
        return 0;
    grown = realloc(*(void **)array, n * size);
    if (!grown)
        return cb_err_set(err, ENOMEM, "out of memory for a tick");
    *(void **)array = grown;
    *room = n;
    return 0;
}

static int reserve(struct cb_hwpc_framer *framer, size_t n_rows, struct cb_err *err)
{
    size_t cells = n_rows * framer->n_sockets * (framer->n_events + 1);
    size_t group_cells = n_rows * framer->n_sockets * (framer->n_groups ? framer->n_groups : 1);
    size_t room = framer->room_cells, group_room = framer->room_group_cells;
    int r = grow(&framer->frame_targets, &framer->room_rows, n_rows, sizeof(struct cb_frame_target),
                 err);

    if (r == 0)
        r = grow(&framer->sums, &room, cells, sizeof(double), err);
    if (r == 0)
        r = grow(&framer->counts, &framer->room_cells, cells, sizeof(uint64_t), err);
    if (r == 0)
        r = grow(&framer->enabled_ns, &group_room, group_cells, sizeof(uint64_t), err);
    if (r == 0)
        r = grow(&framer->running_ns, &framer->room_group_cells, group_cells, sizeof(uint64_t),
                 err);
    if (r < 0)
        return r;
    memset(framer->sums, 0, cells * sizeof(double));
    memset(framer->enabled_ns, 0, group_cells * sizeof(uint64_t));
    memset(framer->running_ns, 0, group_cells * sizeof(uint64_t));
    return 0;
}

static void begin_frame(struct cb_hwpc_framer *framer, int64_t timestamp_ms, double length_ns)
{
    struct cb_frame *frame = &framer->frame;
    uint64_t t1_ns = (uint64_t)timestamp_ms * 1000000, length = whole_ns(length_ns);

    *frame = (struct cb_frame){
        .sensor = framer->name,
        .boot_id = "00000000-0000-0000-0000-000000000000",
        .start_id = "00000000000000000000000000000000",
        .version = CB_VERSION,
        .seq = ++framer->seq,
        .t0_ns = t1_ns > length ? t1_ns - length : 0,
        .t1_ns = t1_ns > length ? t1_ns : length,
        .wall_ns = t1_ns,
        .n_sockets = (uint32_t)framer->n_sockets,
        .energies = framer->energies,
        .counters = framer->counters,
        .n_events = framer->n_events + 1,
        .events = framer->frame_events,
        .n_groups = framer->n_groups ? framer->n_groups : 1,
        .targets = framer->frame_targets,
        .counts = framer->counts,
        .enabled_ns = framer->enabled_ns,
        .running_ns = framer->running_ns,
    };
    for (size_t e = 0; e < framer->n_events; e++)
        framer->frame_events[e] = (struct cb_frame_event){
            framer->events[e], framer->groups[framer->event_group[e]], framer->event_group[e]};
    framer->frame_events[framer->n_events] = (struct cb_frame_event){TIME_EVENT, "time", 0};
}

static bool has_core(const struct cb_hwpc_framer *framer, const struct cb_hwpc_report *all)
{
    for (size_t i = 0; i < all->n_counts; i++) {
        if (is_core_group(all->counts[i].group))
            return true;
    }
    for (size_t g = 0; g < framer->n_groups; g++) {
        if (is_recent(framer, framer->machine_seen[g]))
            return true;
    }
    return false;
}

static int fill_targets(struct cb_hwpc_framer *framer, struct cb_hwpc_report *const *reports,
                        size_t n, const struct cb_hwpc_report *all, struct cb_err *err)
{
    int r = 0;

    cb_hwpc_cpu_time_begin(&framer->cpu_time, framer->seq,
                           (double)(framer->frame.t1_ns - framer->frame.t0_ns));
    for (size_t i = 0; i < n && r == 0; i++) {
        struct cb_frame_target *target = &framer->frame_targets[framer->frame.n_targets];
        double cpu_ns;

        if (reports[i] == all)
            continue;
        *target = (struct cb_frame_target){
            .flags = CB_TARGET_TEXT, .cgroup = reports[i]->target, .name = reports[i]->target};
        r = target_id(framer, reports[i]->target, &target->id, err);
        if (r == 0)
            r = fill_row(framer, reports[i], ++framer->frame.n_targets, &cpu_ns, err);
        if (r < 0)
            return r;
        cb_hwpc_cpu_time_target(&framer->cpu_time, cpu_ns);
    }
    return r;
}

/* Whole counts; times stay only where a group was not counted at all. */
static void finish_table(struct cb_hwpc_framer *framer)
{
    struct cb_frame *frame = &framer->frame;
    size_t rows = frame->n_targets + 1;

    for (size_t i = 0; i < rows * frame->n_sockets * frame->n_events; i++)
        framer->counts[i] =
            framer->sums[i] < 0x1p63 ? (uint64_t)llrint(framer->sums[i]) : (uint64_t)INT64_MAX;
    if (!cb_hwpc_cpu_time_end(&framer->cpu_time))
        frame->n_events--; /* told below: the table is narrower then */
    for (size_t i = 0; i < rows * frame->n_sockets * frame->n_groups; i++) {
        if (framer->running_ns[i] > 0)
            framer->enabled_ns[i] = framer->running_ns[i];
    }
}

/* Drop the last column, in place. */
static void narrow_table(struct cb_hwpc_framer *framer)
{
    struct cb_frame *frame = &framer->frame;
    size_t n = (frame->n_targets + 1) * frame->n_sockets, wide = framer->n_events + 1;

    if (frame->n_events == wide)
        return;
    for (size_t i = 0; i < n; i++)
        memmove(framer->counts + i * frame->n_events, framer->counts + i * wide,
                frame->n_events * sizeof(uint64_t));
}

int cb_hwpc_framer_frame(struct cb_hwpc_framer *framer, int64_t timestamp_ms,
                         struct cb_hwpc_report *const *reports, size_t n,
                         struct cb_hwpc_report *const *next, size_t n_next,
                         const struct cb_frame **ret_frame, struct cb_err *err)
{
    const struct cb_hwpc_report *all = find_all(reports, n), *next_all = find_all(next, n_next);
    double cpu_ns;
    int r = 0;

    r = forget_targets(framer, err);
    for (size_t i = 0; i < n && r == 0; i++)
        r = learn_names(framer, reports[i], err);
    if (r == 0)
        r = reserve(framer, n + 1, err);
    if (r < 0)
        return r;
    begin_frame(framer, timestamp_ms,
                cb_hwpc_length_tick(&framer->length, timestamp_ms, all, next_all));
    fill_energies(framer, all);
    fill_counters(framer, all);
    if (all && has_core(framer, all)) {
        framer->frame.has_machine_row = true;
        r = fill_row(framer, all, 0, &cpu_ns, err);
    }
    if (r == 0)
        r = fill_targets(framer, reports, n, all, err);
    if (r < 0)
        return r;
    finish_table(framer);
    narrow_table(framer);
    *ret_frame = &framer->frame;
    return 0;
}
