/* SPDX-License-Identifier: Apache-2.0 */
/* smartwatts_run.c - see smartwatts_run.h. */
#include "formula/smartwatts_run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/hwpc_metadata.h"

#define BUFFERED 5 /* ticks an actor holds back */

/* A report that several actors hold. */
struct shared {
    unsigned holders;
    struct cb_hwpc_report *report;
    char *metadata; /* as struct cb_smartwatts_power has it */
};

/* The reports of one timestamp, in the order they came. */
struct tick {
    int64_t timestamp_ms;
    size_t n, room;
    struct shared **reports;
};

struct actor {
    char *sensor, *socket;
    size_t n_ticks;
    struct tick ticks[BUFFERED + 1]; /* in the order they came */
    struct cb_smartwatts *models[CB_SMARTWATTS_SCOPES];
    bool stopped[CB_SMARTWATTS_SCOPES];
};

struct cb_smartwatts_run {
    struct cb_smartwatts_run_options options;
    cb_smartwatts_emit *emit;
    void *context;
    struct cb_smartwatts_run_counts counts;
    size_t n_powers, powers_room; /* of the tick at work: sent when it is through, or never */
    struct cb_smartwatts_power *powers;
    size_t n_actors;
    struct actor **actors;
    cb_smartwatts_observer *observer;
    void *observer_data;
    int observed_scope;
    const char *observed_socket;
};

static void drop(struct shared *shared)
{
    if (--shared->holders == 0) {
        shared->report = cb_hwpc_report_free(shared->report);
        free(shared->metadata);
        free(shared);
    }
}

static void clear_tick(struct tick *tick)
{
    for (size_t i = 0; i < tick->n; i++)
        drop(tick->reports[i]);
    free(tick->reports);
    *tick = (struct tick){0};
}

static struct actor *free_actor(struct actor *actor)
{
    if (actor) {
        for (size_t i = 0; i < actor->n_ticks; i++)
            clear_tick(&actor->ticks[i]);
        for (int scope = 0; scope < CB_SMARTWATTS_SCOPES; scope++)
            actor->models[scope] = cb_smartwatts_free(actor->models[scope]);
        free(actor->sensor);
        free(actor->socket);
        free(actor);
    }
    return NULL;
}

int cb_smartwatts_run_new(const struct cb_smartwatts_run_options *options, cb_smartwatts_emit *emit,
                          void *context, struct cb_smartwatts_run **ret_run, struct cb_err *err)
{
    struct cb_smartwatts_run *run = calloc(1, sizeof(*run));

    if (!run)
        return cb_err_set(err, ENOMEM, "out of memory for smartwatts");
    run->options = *options;
    run->emit = emit;
    run->context = context;
    *ret_run = run;
    return 0;
}

struct cb_smartwatts_run *cb_smartwatts_run_free(struct cb_smartwatts_run *run)
{
    if (run) {
        for (size_t i = 0; i < run->n_actors; i++)
            run->actors[i] = free_actor(run->actors[i]);
        free(run->actors);
        free(run->powers);
        free(run);
    }
    return NULL;
}

const struct cb_smartwatts_run_counts *
cb_smartwatts_run_counted(const struct cb_smartwatts_run *run)
{
    return &run->counts;
}

void cb_smartwatts_run_observe(struct cb_smartwatts_run *run, int scope, const char *socket,
                               cb_smartwatts_observer *observer, void *data)
{
    run->observed_scope = scope;
    run->observed_socket = socket;
    run->observer = observer;
    run->observer_data = data;
}

static int new_actor(struct cb_smartwatts_run *run, const char *sensor, const char *socket,
                     struct actor **ret_actor, struct cb_err *err)
{
    struct actor *actor = calloc(1, sizeof(*actor));
    int r = 0;

    if (actor) {
        actor->sensor = strdup(sensor);
        actor->socket = strdup(socket);
    }
    if (!actor || !actor->sensor || !actor->socket)
        r = cb_err_set(err, ENOMEM, "out of memory for an actor");
    for (int scope = 0; scope < CB_SMARTWATTS_SCOPES && r == 0; scope++) {
        if (!run->options.reference[scope])
            continue;
        r = cb_smartwatts_new(&run->options.model[scope], &actor->models[scope], err);
        if (r == 0 && run->observer && scope == run->observed_scope &&
            strcmp(socket, run->observed_socket) == 0)
            cb_smartwatts_observe(actor->models[scope], run->observer, run->observer_data);
    }
    if (r < 0) {
        actor = free_actor(actor);
        return r;
    }
    *ret_actor = actor;
    return 0;
}

static int find_actor(struct cb_smartwatts_run *run, const char *sensor, const char *socket,
                      struct actor **ret_actor, struct cb_err *err)
{
    struct actor **actors;
    int r;

    for (size_t i = 0; i < run->n_actors; i++) {
        if (strcmp(run->actors[i]->sensor, sensor) == 0 &&
            strcmp(run->actors[i]->socket, socket) == 0) {
            *ret_actor = run->actors[i];
            return 0;
        }
    }
    actors = realloc(run->actors, (run->n_actors + 1) * sizeof(struct actor *));
    if (!actors)
        return cb_err_set(err, ENOMEM, "out of memory for an actor");
    run->actors = actors;
    r = new_actor(run, sensor, socket, &actors[run->n_actors], err);
    if (r < 0)
        return r;
    *ret_actor = actors[run->n_actors++];
    return 0;
}

/* --- one tick --- */

static bool is(const struct cb_hwpc_count *count, const char *group, const char *socket)
{
    return strcmp(count->group, group) == 0 && strcmp(count->socket, socket) == 0;
}

/* The reference event's count on the first CPU that rapl names for the socket. */
static bool rapl_count(const struct cb_hwpc_report *all, const char *socket, const char *event,
                       double *ret_count)
{
    for (size_t i = 0; i < all->n_counts; i++) {
        if (is(&all->counts[i], "rapl", socket) && strcmp(all->counts[i].event, event) == 0) {
            *ret_count = all->counts[i].value;
            return true;
        }
    }
    return false;
}

/* Mean over the socket's CPUs of an msr event. */
static bool msr_mean(const struct cb_hwpc_report *all, const char *socket, const char *event,
                     double *ret_mean)
{
    double sum = 0;
    size_t n = 0;

    for (size_t i = 0; i < all->n_counts; i++) {
        if (is(&all->counts[i], "msr", socket) && strcmp(all->counts[i].event, event) == 0) {
            sum += all->counts[i].value;
            n++;
        }
    }
    *ret_mean = n > 0 ? sum / (double)n : 0;
    return n > 0;
}

/* Events of one target on one socket: sums over its CPUs, in the order of the names. */
struct vector {
    size_t n;
    const char *names[CB_SMARTWATTS_EVENTS];
    double values[CB_SMARTWATTS_EVENTS];
};

static bool add_value(struct vector *vector, const char *name, double value)
{
    size_t at = 0;

    while (at < vector->n && strcmp(vector->names[at], name) < 0)
        at++;
    if (at < vector->n && strcmp(vector->names[at], name) == 0) {
        vector->values[at] += value;
        return true;
    }
    if (vector->n == CB_SMARTWATTS_EVENTS)
        return false;
    for (size_t i = vector->n++; i > at; i--) {
        vector->names[i] = vector->names[i - 1];
        vector->values[i] = vector->values[i - 1];
    }
    vector->names[at] = name;
    vector->values[at] = value;
    return true;
}

/* False: the reference dies of what is missing here. */
static bool fill_vector(const struct cb_hwpc_report *report, const char *socket,
                        struct vector *vector)
{
    bool ok = true;

    vector->n = 0;
    for (size_t i = 0; i < report->n_counts; i++) {
        const struct cb_hwpc_count *count = &report->counts[i];

        if (is(count, "core", socket) && strncmp(count->event, "time_", 5) != 0)
            ok &= add_value(vector, count->event, count->value);
    }
    return ok && vector->n > 0;
}

static bool is_all(const struct shared *shared)
{
    return strcmp(shared->report->target, CB_HWPC_ALL) == 0;
}

static const struct shared *all_of(const struct tick *tick)
{
    for (size_t i = 0; i < tick->n; i++) {
        if (is_all(tick->reports[i]))
            return tick->reports[i];
    }
    return NULL;
}

static int keep(struct cb_smartwatts_run *run, const struct actor *actor, int scope,
                const struct shared *of, const char *target, double power_w, double ratio,
                struct cb_err *err)
{
    bool rapl = strcmp(target, "rapl") == 0;

    if (run->n_powers == run->powers_room) {
        size_t room = run->powers_room ? run->powers_room * 2 : 16;
        struct cb_smartwatts_power *powers = realloc(run->powers, room * sizeof(*powers));

        if (!powers)
            return cb_err_set(err, ENOMEM, "out of memory for power reports");
        run->powers = powers;
        run->powers_room = room;
    }
    run->powers[run->n_powers++] = (struct cb_smartwatts_power){
        .timestamp_ms = of->report->timestamp_ms,
        .sensor = actor->sensor,
        .target = target,
        .socket = actor->socket,
        .scope = scope,
        .reference = rapl ? run->options.reference[scope] : NULL,
        .layer_mhz = rapl ? 0 : cb_smartwatts_layer_mhz(actor->models[scope]),
        .id = rapl ? 0 : cb_smartwatts_layer_id(actor->models[scope]),
        .ratio = ratio,
        .power_w = power_w,
        .metadata = of->metadata,
    };
    return 0;
}

static int keep_targets(struct cb_smartwatts_run *run, const struct actor *actor, int scope,
                        const struct tick *tick, bool *ret_alive, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < tick->n && r == 0; i++) {
        const struct shared *of = tick->reports[i];
        struct vector vector;
        double power_w, ratio;

        if (is_all(of))
            continue;
        if (!fill_vector(of->report, actor->socket, &vector) ||
            !cb_smartwatts_target(actor->models[scope], vector.values, vector.n, &power_w,
                                  &ratio)) {
            *ret_alive = false;
            return 0;
        }
        r = keep(run, actor, scope, of, of->report->target, power_w, ratio, err);
    }
    return r;
}

/* The sum over the containers; false: an actor of the reference would have died. */
static bool sum_targets(const struct actor *actor, const struct tick *tick, struct vector *sum)
{
    sum->n = 0;
    for (size_t i = 0; i < tick->n; i++) {
        struct vector vector;

        if (is_all(tick->reports[i]))
            continue;
        if (!fill_vector(tick->reports[i]->report, actor->socket, &vector))
            return false;
        for (size_t e = 0; e < vector.n; e++) {
            if (!add_value(sum, vector.names[e], vector.values[e]))
                return false;
        }
    }
    return true;
}

enum frequency {
    FREQUENCY_KNOWN,
    FREQUENCY_INVALID, /* MPERF is 0: the reference ends the tick after `rapl` */
    FREQUENCY_MISSING, /* half an msr group: its actor dies */
};

static enum frequency frequency_of(struct cb_smartwatts_run *run, const struct actor *actor,
                                   int scope, const struct cb_hwpc_report *all, double *ret_mhz)
{
    double aperf, mperf;
    bool has_aperf = msr_mean(all, actor->socket, "APERF", &aperf);
    bool has_mperf = msr_mean(all, actor->socket, "MPERF", &mperf);

    if (!has_aperf && !has_mperf) {
        run->counts.no_msr++;
        aperf = mperf = 1;
    } else if (!has_aperf || !has_mperf) {
        return FREQUENCY_MISSING;
    } else if (mperf == 0) {
        run->counts.bad_frequency++;
        return FREQUENCY_INVALID;
    }
    *ret_mhz = cb_smartwatts_frequency(actor->models[scope], aperf, mperf);
    return FREQUENCY_KNOWN;
}

/* One tick up to where the reference ends it. The reports are in run->powers; they are void where
 * *@ret_alive is false: its actor dies before it sends any of them. */
static int work(struct cb_smartwatts_run *run, const struct actor *actor, int scope,
                const struct tick *tick, const struct shared *all, bool *ret_alive,
                struct cb_err *err)
{
    enum cb_smartwatts_step step = CB_SMARTWATTS_STOPPED;
    enum frequency frequency;
    double count, power_w, mhz = 0, global_w = 0;
    struct vector sum;
    int r;

    run->n_powers = 0;
    *ret_alive = false;
    if (!rapl_count(all->report, actor->socket, run->options.reference[scope], &count) ||
        !sum_targets(actor, tick, &sum))
        return 0;
    frequency = frequency_of(run, actor, scope, all->report, &mhz);
    if (frequency == FREQUENCY_MISSING)
        return 0;
    power_w = ldexp(count, -32) / run->options.period_s;
    r = keep(run, actor, scope, all, "rapl", power_w, 1, err);
    if (r == 0 && frequency == FREQUENCY_KNOWN)
        r = cb_smartwatts_tick(actor->models[scope], mhz, power_w, sum.values, sum.n, &step,
                               &global_w, err);
    *ret_alive = frequency == FREQUENCY_INVALID || step != CB_SMARTWATTS_STOPPED;
    if (r == 0 && step == CB_SMARTWATTS_PREDICTED) {
        r = keep(run, actor, scope, all, "global", global_w, 1, err);
        if (r == 0)
            r = keep_targets(run, actor, scope, tick, ret_alive, err);
    }
    return r;
}

static int process_scope(struct cb_smartwatts_run *run, struct actor *actor, int scope,
                         const struct tick *tick, const struct shared *all, struct cb_err *err)
{
    bool alive;
    int r = work(run, actor, scope, tick, all, &alive, err);

    if (r == 0 && !alive) {
        actor->stopped[scope] = true;
        run->counts.stopped++;
        return 0;
    }
    for (size_t i = 0; i < run->n_powers && r == 0; i++)
        r = run->emit(run->context, &run->powers[i], err);
    return r;
}

static int process(struct cb_smartwatts_run *run, struct actor *actor, const struct tick *tick,
                   struct cb_err *err)
{
    const struct shared *all = all_of(tick);
    int r = 0;

    if (!all || tick->n < 2) {
        run->counts.no_all += !all;
        run->counts.no_containers += all != NULL;
        return 0;
    }
    for (int scope = 0; scope < CB_SMARTWATTS_SCOPES && r == 0; scope++) {
        if (actor->models[scope] && !actor->stopped[scope])
            r = process_scope(run, actor, scope, tick, all, err);
    }
    return r;
}

/* --- buffering --- */

static struct tick *tick_of(struct actor *actor, int64_t timestamp_ms)
{
    for (size_t i = 0; i < actor->n_ticks; i++) {
        if (actor->ticks[i].timestamp_ms == timestamp_ms)
            return &actor->ticks[i];
    }
    actor->ticks[actor->n_ticks] = (struct tick){.timestamp_ms = timestamp_ms};
    return &actor->ticks[actor->n_ticks++];
}

static int put(struct tick *tick, struct shared *shared, struct cb_err *err)
{
    for (size_t i = 0; i < tick->n; i++) {
        if (strcmp(tick->reports[i]->report->target, shared->report->target) == 0) {
            shared->holders++;
            drop(tick->reports[i]);
            tick->reports[i] = shared;
            return 0;
        }
    }
    if (tick->n == tick->room) {
        size_t room = tick->room ? tick->room * 2 : 8;
        struct shared **reports = realloc(tick->reports, room * sizeof(struct shared *));

        if (!reports)
            return cb_err_set(err, ENOMEM, "out of memory for reports");
        tick->reports = reports;
        tick->room = room;
    }
    shared->holders++;
    tick->reports[tick->n++] = shared;
    return 0;
}

static int pop(struct cb_smartwatts_run *run, struct actor *actor, struct cb_err *err)
{
    struct tick tick = actor->ticks[0];
    int r;

    actor->n_ticks--;
    memmove(actor->ticks, actor->ticks + 1, actor->n_ticks * sizeof(tick));
    r = process(run, actor, &tick, err);
    clear_tick(&tick);
    return r;
}

static int give(struct cb_smartwatts_run *run, struct shared *shared, const char *socket,
                struct cb_err *err)
{
    struct actor *actor = NULL;
    int r = find_actor(run, shared->report->sensor, socket, &actor, err);

    if (r == 0)
        r = put(tick_of(actor, shared->report->timestamp_ms), shared, err);
    if (r == 0 && actor->n_ticks > BUFFERED)
        r = pop(run, actor, err);
    return r;
}

/* The group whose first socket has the most CPUs: its sockets are where the report goes. */
static const char *routing_group(const struct cb_hwpc_report *report)
{
    const char *best = NULL;
    size_t most = 0;

    for (size_t i = 0, end; i < report->n_counts; i = end) {
        const struct cb_hwpc_count *first = &report->counts[i];
        size_t cpus = 0;

        for (end = i; end < report->n_counts && !strcmp(report->counts[end].group, first->group);
             end++) {
            bool new_cpu =
                end == i || strcmp(report->counts[end].cpu, report->counts[end - 1].cpu) != 0;

            cpus += strcmp(report->counts[end].socket, first->socket) == 0 && new_cpu;
        }
        if (cpus > most) {
            most = cpus;
            best = first->group;
        }
    }
    return best;
}

static int take_metadata(struct cb_smartwatts_run *run, struct shared *shared, struct cb_err *err)
{
    static const char *const own[] = {"scope", "socket", "formula", "ratio"};
    int r;

    if (!shared->report->metadata)
        return 0;
    r = cb_hwpc_metadata_text(shared->report->metadata, own, sizeof(own) / sizeof(own[0]),
                              &shared->metadata, err);
    run->counts.long_metadata += r == 0 && !shared->metadata;
    return r;
}

int cb_smartwatts_run_add(struct cb_smartwatts_run *run, struct cb_hwpc_report *report,
                          struct cb_err *err)
{
    const char *group = routing_group(report), *before = NULL;
    struct shared *shared = calloc(1, sizeof(*shared));
    int r;

    if (!shared) {
        report = cb_hwpc_report_free(report);
        return cb_err_set(err, ENOMEM, "out of memory for a report");
    }
    *shared = (struct shared){.holders = 1, .report = report};
    r = take_metadata(run, shared, err);
    for (size_t i = 0; group && i < report->n_counts && r == 0; i++) {
        const struct cb_hwpc_count *count = &report->counts[i];

        if (strcmp(count->group, group) != 0 || (before && strcmp(before, count->socket) == 0))
            continue;
        before = count->socket;
        r = give(run, shared, count->socket, err);
    }
    drop(shared);
    return r;
}

int cb_smartwatts_run_flush(struct cb_smartwatts_run *run, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < run->n_actors && r == 0; i++) {
        while (run->actors[i]->n_ticks > 0 && r == 0)
            r = pop(run, run->actors[i], err);
    }
    return r;
}
