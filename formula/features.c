/* SPDX-License-Identifier: Apache-2.0 */
/* features.c - see features.h. */
#include "formula/features.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

#define RANK_REFERENCE 1
#define RANK_TIME 2
#define RANK_CYCLES 3
/* A machine-wide clock above this share of the CPUs' time counts idle too. */
#define ALL_TIME 0.98
/* MPERF at or above this share of the TSC was made up from it, or nobody was ever idle. */
#define MOST_MPERF 0.995

/* --- columns --- */

static bool has(const char *name, const char *part)
{
    return strcasestr(name, part) != NULL;
}

/* How good an event is as a first guess at activity, by the names vendors and perf use. */
static uint8_t rank_of(const char *name)
{
    if (has(name, "cpu-clock") || has(name, "task-clock") || has(name, "cpu_clock") ||
        has(name, "task_clock"))
        return RANK_TIME;
    if (!has(name, "cycles") && !has(name, "clk") && !has(name, "clock"))
        return 0;
    if (has(name, "stall") || has(name, "activity") || has(name, "l1d") || has(name, "mem_any"))
        return 0;
    if (has(name, "ref") || has(name, "bus") || has(name, "xclk"))
        return RANK_REFERENCE;
    return RANK_CYCLES;
}

/* Misses of the last cache go to memory. */
static bool counts_memory(const char *name)
{
    return has(name, "miss") && (has(name, "llc") || has(name, "longest_lat") ||
                                 has(name, "cache-misses") || has(name, "l3"));
}

/* Context switches, page faults: they go with work, but do not cost what it costs. */
static bool is_weak(const struct cb_frame_event *event)
{
    bool software = (event->pmu && strcmp(event->pmu, "software") == 0) ||
                    has(event->name, "switches") || has(event->name, "faults") ||
                    has(event->name, "migrations");

    return software && rank_of(event->name) == 0;
}

static bool is_usable(const struct cb_frame_event *event)
{
    return strcasecmp(event->name, "tsc") != 0 && !has(event->name, "msr/tsc") &&
           strcasecmp(event->name, "time_enabled") != 0 &&
           strcasecmp(event->name, "time_running") != 0;
}

static void column_name(const struct cb_frame_event *event, char name[CB_COLUMN_NAME])
{
    (void)snprintf(name, CB_COLUMN_NAME, "%s/%s", event->pmu ? event->pmu : "", event->name);
}

static int find_column(const struct cb_column_table *table, const char *name)
{
    for (size_t c = 0; c < table->n; c++) {
        if (strcmp(table->at[c].name, name) == 0)
            return (int)c;
    }
    return -1;
}

void cb_columns_update(struct cb_column_table *table, const struct cb_frame *frame)
{
    for (size_t e = 0; e < frame->n_events && table->n < CB_MODEL_EVENTS; e++) {
        char name[CB_COLUMN_NAME] = "";

        if (!is_usable(&frame->events[e]))
            continue;
        column_name(&frame->events[e], name);
        if (find_column(table, name) >= 0)
            continue;
        table->at[table->n] = (struct cb_column){
            .rank = rank_of(frame->events[e].name),
            .memory = counts_memory(frame->events[e].name),
            .weak = is_weak(&frame->events[e]),
        };
        memcpy(table->at[table->n].name, name, sizeof(name));
        table->n++;
    }
}

/* The living columns of the best rank there is; without any clock the first living column. */
static uint32_t best_clocks(const struct cb_column_table *table)
{
    for (uint8_t rank = RANK_CYCLES; rank > 0; rank--) {
        uint32_t clocks = 0;

        for (size_t c = 0; c < table->n; c++) {
            if (table->at[c].alive && table->at[c].rank == rank)
                clocks |= UINT32_C(1) << c;
        }
        if (clocks)
            return clocks;
    }
    for (size_t c = 0; c < table->n; c++) {
        if (table->at[c].alive)
            return UINT32_C(1) << c;
    }
    return 0;
}

static void mark_columns(const struct cb_column_table *table, struct cb_features *features)
{
    features->memory = features->weak = 0;
    for (size_t c = 0; c < table->n; c++) {
        if (table->at[c].alive && table->at[c].memory)
            features->memory |= UINT32_C(1) << c;
        if (table->at[c].weak)
            features->weak |= UINT32_C(1) << c;
    }
}

size_t cb_features_stat(const struct cb_frame *frame, const char *name)
{
    for (size_t s = 0; s < frame->n_stats; s++) {
        if (strcmp(frame->stat_names[s], name) == 0)
            return s;
    }
    return SIZE_MAX;
}

/* --- filling --- */

struct fill {
    const struct cb_frame *frame;
    struct cb_features *features;
    const struct cb_column_table *table;
    int column[CB_FRAME_MAX_EVENTS]; /* of each event; -1: not used */
    double per_second;
    double seconds;
    size_t cpu_stat;
    bool idle_clock[CB_MODEL_EVENTS]; /* machine-wide it counts idle time */
};

static double *row_rates(const struct cb_features *features, size_t socket, size_t row)
{
    return features->rates + (socket * features->n_rows + row) * features->n_columns;
}

static int reserve(struct cb_features *features, size_t n_sockets, size_t n_rows,
                   struct cb_err *err)
{
    if (n_sockets > features->room_sockets || n_rows > features->room_rows) {
        size_t sockets = n_sockets > features->room_sockets ? n_sockets : features->room_sockets;
        size_t rows = n_rows > features->room_rows ? n_rows + n_rows / 2 : features->room_rows;
        cb_auto_free struct cb_socket_features *s = calloc(sockets, sizeof(*s));
        cb_auto_free double *rates = calloc(sockets * rows * CB_MODEL_EVENTS, sizeof(*rates));
        cb_auto_free double *cpu = calloc(sockets * rows, sizeof(*cpu));
        cb_auto_free bool *unknown = calloc(sockets * rows, sizeof(*unknown));

        if (!s || !rates || !cpu || !unknown)
            return cb_err_set(err, ENOMEM, "out of memory for the rates of %zu targets", n_rows);
        cb_features_clear(features);
        features->sockets = cb_take(s);
        features->rates = cb_take(rates);
        features->cpu = cb_take(cpu);
        features->unknown = cb_take(unknown);
        features->room_sockets = sockets;
        features->room_rows = rows;
    }
    features->n_sockets = n_sockets;
    features->n_rows = n_rows;
    return 0;
}

void cb_features_clear(struct cb_features *features)
{
    free(features->sockets);
    free(features->rates);
    free(features->cpu);
    free(features->unknown);
    *features = (struct cb_features){0};
}

static uint64_t stat_of(const struct fill *fill, size_t row)
{
    if (fill->cpu_stat == SIZE_MAX)
        return CB_STAT_ABSENT;
    return fill->frame->stats[row * fill->frame->n_stats + fill->cpu_stat];
}

static bool was_counted(const struct cb_frame *frame, size_t row, size_t socket, size_t event)
{
    size_t i = (row * frame->n_sockets + socket) * frame->n_groups + frame->events[event].group;

    return frame->enabled_ns[i] == 0 || frame->running_ns[i] > 0;
}

/* Read the frame's row into @rates; *@ret_missing has a bit for each column that is not known. */
static void read_row(const struct fill *fill, size_t row, size_t socket, double *rates,
                     uint32_t *ret_missing)
{
    const struct cb_frame *frame = fill->frame;
    uint32_t seen = 0, missing = 0;

    memset(rates, 0, fill->features->n_columns * sizeof(*rates));
    for (size_t e = 0; e < frame->n_events; e++) {
        int column = fill->column[e];

        if (column < 0)
            continue;
        seen |= UINT32_C(1) << column;
        if (was_counted(frame, row, socket, e))
            rates[column] += (double)cb_frame_count(frame, row, socket, e) * fill->per_second;
        else
            missing |= UINT32_C(1) << column;
    }
    *ret_missing = missing | (~seen & ((UINT32_C(1) << fill->features->n_columns) - 1));
}

/* A target's share of the machine by what is known of it: its best counted column with a total,
 * else its CPU time. Negative: nothing is known. */
static double known_share(const struct fill *fill, size_t row, const double *rates,
                          const double *total, uint32_t missing)
{
    uint64_t cpu_ns = stat_of(fill, row), machine_ns = stat_of(fill, 0);
    int best = -1;

    for (size_t c = 0; c < fill->features->n_columns; c++) {
        if (missing >> c & 1 || !(total[c] > 0))
            continue;
        if (best < 0 || fill->table->at[c].rank > fill->table->at[best].rank)
            best = (int)c;
    }
    if (best >= 0)
        return fmin(1, rates[best] / total[best]);
    if (cpu_ns != CB_STAT_ABSENT && machine_ns != CB_STAT_ABSENT && machine_ns > 0)
        return fmin(1, (double)cpu_ns / (double)machine_ns);
    return cpu_ns == 0 ? 0 : -1;
}

/* Machine-wide CPU clocks run on idle CPUs too: then the totals say nothing about work. */
static void find_idle_clocks(struct fill *fill)
{
    const struct cb_frame *frame = fill->frame;
    double all_ns = (double)frame->n_cpus * fill->seconds * 1e9;

    if (!frame->has_machine_row || frame->n_cpus == 0)
        return;
    for (size_t e = 0; e < frame->n_events; e++) {
        double sum = 0;

        if (fill->column[e] < 0 || fill->table->at[fill->column[e]].rank != RANK_TIME)
            continue;
        for (size_t s = 0; s < frame->n_sockets; s++)
            sum += (double)cb_frame_count(frame, 0, s, e);
        fill->idle_clock[fill->column[e]] = sum >= ALL_TIME * all_ns;
    }
}

/* What such a clock would have counted without idle: the targets' own, and the machine's other CPU
 * time spread evenly over the sockets. */
static void replace_idle_clock(const struct fill *fill, size_t column)
{
    struct cb_features *features = fill->features;
    uint64_t machine_ns = stat_of(fill, 0);
    double targets = 0, rest;

    for (size_t s = 0; s < features->n_sockets; s++) {
        for (size_t row = 0; row + 1 < features->n_rows; row++)
            targets += row_rates(features, s, row)[column];
    }
    if (machine_ns == CB_STAT_ABSENT)
        rest = 0;
    else
        rest = fmax(0, (double)machine_ns * fill->per_second - targets);
    for (size_t s = 0; s < features->n_sockets; s++) {
        double total = rest / (double)features->n_sockets;

        for (size_t row = 0; row + 1 < features->n_rows; row++)
            total += row_rates(features, s, row)[column];
        features->sockets[s].total[column] = total;
    }
}

/* total = the larger of machine and sum of targets; system = the difference. */
static void settle_socket(const struct fill *fill, size_t socket)
{
    struct cb_features *features = fill->features;
    double *system = row_rates(features, socket, features->n_rows - 1);
    double *total = features->sockets[socket].total;

    for (size_t c = 0; c < features->n_columns; c++) {
        double sum = 0;

        for (size_t row = 0; row + 1 < features->n_rows; row++)
            sum += row_rates(features, socket, row)[c];
        total[c] = features->has_system ? fmax(total[c], sum) : sum;
        system[c] = fmax(0, total[c] - sum);
    }
}

static void fill_targets(const struct fill *fill, size_t socket, uint32_t machine_missing)
{
    struct cb_features *features = fill->features;
    struct cb_socket_features *out = &features->sockets[socket];

    for (size_t row = 0; row + 1 < features->n_rows; row++) {
        double *rates = row_rates(features, socket, row);
        bool *unknown = &features->unknown[socket * features->n_rows + row];
        uint32_t missing;
        double share;

        *unknown = false;
        read_row(fill, row + 1, socket, rates, &missing);
        missing &= ~machine_missing;
        if (!missing)
            continue;
        share = features->has_system
                    ? known_share(fill, row + 1, rates, out->total, missing | machine_missing)
                    : -1;
        for (size_t c = 0; c < features->n_columns && share > 0; c++) {
            if (missing >> c & 1)
                rates[c] = share * out->total[c];
        }
        *unknown = share < 0;
        out->uncounted |= *unknown;
    }
}

static void fill_socket(const struct fill *fill, size_t socket)
{
    struct cb_features *features = fill->features;
    struct cb_socket_features *out = &features->sockets[socket];
    uint32_t missing = 0;

    *out = (struct cb_socket_features){.counted = features->n_columns > 0 &&
                                                  (features->has_system || features->n_rows > 1)};
    if (features->has_system) {
        read_row(fill, 0, socket, out->total, &missing);
        for (size_t c = 0; c < features->n_columns; c++) {
            if (fill->idle_clock[c])
                out->total[c] = 0;
        }
        out->counted &= (missing & features->clocks) == 0;
    }
    fill_targets(fill, socket, missing);
}

/* --- frequency, CPU time --- */

static double counter_of(const struct cb_frame *frame, const char *name, size_t socket)
{
    for (size_t i = 0; i < frame->n_counters; i++) {
        if (frame->counters[i].socket == socket && strcasecmp(frame->counters[i].name, name) == 0)
            return (double)frame->counters[i].value;
    }
    return 0;
}

static double frequency_of(const struct cb_frame *frame, size_t socket)
{
    double aperf = counter_of(frame, "aperf", socket);
    double mperf = counter_of(frame, "mperf", socket);
    double ratio = mperf > 0 ? aperf / mperf : 0;

    return ratio >= 0.02 && ratio <= 10 ? ratio : 0;
}

static int best_time_column(const struct cb_features *features, const struct cb_column_table *table)
{
    for (size_t c = 0; c < features->n_columns; c++) {
        if (table->at[c].alive && table->at[c].rank == RANK_TIME)
            return (int)c;
    }
    return -1;
}

static double clock_of(const struct cb_features *features, const double *rates)
{
    double sum = 0;

    for (size_t c = 0; c < features->n_columns; c++)
        sum += features->clocks >> c & 1 ? rates[c] : 0;
    return sum;
}

/* The statistic knows no sockets: it is spread like the row's cycles, else evenly. */
static void spread_cpu_stat(const struct fill *fill)
{
    struct cb_features *features = fill->features;

    for (size_t row = 0; row < features->n_rows; row++) {
        uint64_t cpu_ns = stat_of(fill, row + 1 < features->n_rows ? row + 1 : 0);
        double rate = cpu_ns == CB_STAT_ABSENT ? 0 : (double)cpu_ns * fill->per_second;
        double clocks = 0;

        if (row + 1 == features->n_rows) {
            for (size_t i = 0; i < row; i++) {
                uint64_t target_ns = stat_of(fill, i + 1);

                rate -= target_ns == CB_STAT_ABSENT ? 0 : (double)target_ns * fill->per_second;
            }
            rate = features->has_system ? fmax(0, rate) : 0;
        }
        for (size_t s = 0; s < features->n_sockets; s++)
            clocks += clock_of(features, row_rates(features, s, row));
        for (size_t s = 0; s < features->n_sockets; s++) {
            double clock = clock_of(features, row_rates(features, s, row));

            features->cpu[s * features->n_rows + row] =
                rate * (clocks > 0 ? clock / clocks : 1 / (double)features->n_sockets);
        }
    }
}

static bool any_cpu_stat(const struct fill *fill)
{
    for (size_t row = 1; row <= fill->frame->n_targets; row++) {
        if (stat_of(fill, row) != CB_STAT_ABSENT)
            return true;
    }
    return false;
}

static int find_time_running(const struct cb_frame *frame)
{
    for (size_t e = 0; e < frame->n_events; e++) {
        if (strcmp(frame->events[e].name, "time_running") == 0)
            return (int)e;
    }
    return -1;
}

/* PowerAPI's per-target CPU time; of the machine it is not known. */
static void take_time_running(const struct fill *fill, size_t event)
{
    struct cb_features *features = fill->features;

    for (size_t s = 0; s < features->n_sockets; s++) {
        for (size_t row = 0; row + 1 < features->n_rows; row++)
            features->cpu[s * features->n_rows + row] =
                (double)cb_frame_count(fill->frame, row + 1, s, event) * fill->per_second;
        features->cpu[s * features->n_rows + features->n_rows - 1] = 0;
    }
}

static void take_columns(const struct fill *fill, int time)
{
    struct cb_features *features = fill->features;

    for (size_t s = 0; s < features->n_sockets; s++) {
        for (size_t row = 0; row < features->n_rows; row++) {
            const double *rates = row_rates(features, s, row);

            features->cpu[s * features->n_rows + row] =
                time >= 0 ? rates[time] : clock_of(features, rates);
        }
    }
}

/* The event's own name, behind the PMU's. */
static const char *event_of(const struct cb_column *column)
{
    const char *slash = strchr(column->name, '/');

    return slash ? slash + 1 : column->name;
}

static const char *first_clock(const struct fill *fill)
{
    for (size_t c = 0; c < fill->features->n_columns; c++) {
        if (fill->features->clocks >> c & 1)
            return event_of(&fill->table->at[c]);
    }
    return NULL;
}

static void fill_cpu(const struct fill *fill)
{
    struct cb_features *features = fill->features;
    int running = find_time_running(fill->frame);
    int time = best_time_column(features, fill->table);

    features->weight = CB_WEIGHT_CPU_TIME;
    if (running >= 0) {
        features->weight_name = "time_running";
        take_time_running(fill, (size_t)running);
    } else if (time >= 0) {
        features->weight_name = event_of(&fill->table->at[time]);
        take_columns(fill, time);
    } else if (any_cpu_stat(fill)) {
        features->weight_name = "cpu_ns";
        spread_cpu_stat(fill);
    } else {
        features->weight = features->clocks ? CB_WEIGHT_CYCLES : CB_WEIGHT_NONE;
        features->weight_name = first_clock(fill);
        take_columns(fill, -1);
    }
    for (size_t s = 0; s < features->n_sockets; s++) {
        for (size_t row = 0; row < features->n_rows; row++)
            features->sockets[s].total_cpu += features->cpu[s * features->n_rows + row];
    }
}

/* Of all sockets; negative: not known. */
static double busy_by_mperf(const struct cb_frame *frame)
{
    double mperf = 0, tsc = 0;

    for (size_t s = 0; s < frame->n_sockets; s++) {
        mperf += counter_of(frame, "mperf", s);
        tsc += counter_of(frame, "tsc", s);
    }
    return mperf > 0 && mperf < MOST_MPERF * tsc ? mperf / tsc : -1;
}

static double busy_share(const struct fill *fill)
{
    const struct cb_features *features = fill->features;
    double all = (double)fill->frame->n_cpus * 1e9;
    uint64_t machine_ns = stat_of(fill, 0);
    int time = best_time_column(features, fill->table);
    double sum = 0;

    if (!(all > 0))
        return busy_by_mperf(fill->frame);
    if (features->has_system && machine_ns != CB_STAT_ABSENT)
        return fmin(1, (double)machine_ns * fill->per_second / all);
    if (time < 0 || (features->has_system && fill->idle_clock[time]))
        return busy_by_mperf(fill->frame);
    for (size_t s = 0; s < features->n_sockets; s++)
        sum += features->sockets[s].total[time];
    return fmin(1, sum / all);
}

static void map_events(struct fill *fill)
{
    for (size_t e = 0; e < fill->frame->n_events; e++) {
        char name[CB_COLUMN_NAME];

        column_name(&fill->frame->events[e], name);
        fill->column[e] = is_usable(&fill->frame->events[e]) ? find_column(fill->table, name) : -1;
    }
}

static void mark_living(struct cb_column_table *table, const struct fill *fill)
{
    const struct cb_frame *frame = fill->frame;

    for (size_t e = 0; e < frame->n_events; e++) {
        if (fill->column[e] < 0 || table->at[fill->column[e]].alive)
            continue;
        for (size_t i = 0; i < (frame->n_targets + 1) * frame->n_sockets; i++)
            table->at[fill->column[e]].alive |= frame->counts[i * frame->n_events + e] > 0;
    }
}

int cb_features_fill(struct cb_features *features, struct cb_column_table *table,
                     const struct cb_frame *frame, struct cb_err *err)
{
    struct fill fill = {.frame = frame, .features = features, .table = table};
    int r = reserve(features, frame->n_sockets, frame->n_targets + 1, err);

    if (r < 0)
        return r;
    cb_columns_update(table, frame);
    map_events(&fill);
    mark_living(table, &fill);
    fill.seconds = (double)(frame->t1_ns - frame->t0_ns) / 1e9;
    fill.per_second = 1 / fill.seconds;
    fill.cpu_stat = cb_features_stat(frame, "cpu_ns");
    features->n_columns = table->n;
    features->clocks = best_clocks(table);
    mark_columns(table, features);
    features->has_system = frame->has_machine_row;
    find_idle_clocks(&fill);
    for (size_t s = 0; s < features->n_sockets; s++)
        fill_socket(&fill, s);
    for (size_t c = 0; c < features->n_columns; c++) {
        if (fill.idle_clock[c])
            replace_idle_clock(&fill, c);
    }
    for (size_t s = 0; s < features->n_sockets; s++) {
        settle_socket(&fill, s);
        features->sockets[s].frequency = frequency_of(frame, s);
    }
    fill_cpu(&fill);
    features->busy = busy_share(&fill);
    return 0;
}
