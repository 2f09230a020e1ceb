/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_join.c - see hwpc_join.h; a tick becomes a frame in hwpc_frame.c. */
#include "formula/hwpc_join.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/hwpc_frame.h"
#include "formula/map.h"
#include "lib/err.h"
#include "lib/fnv.h"

#define MAX_PENDING 4096 /* ticks of one sensor; the oldest is given out when there are more */
#define CLOCK_SET_BACK 5 /* rising late timestamps in a row */

struct pending {
    int64_t timestamp_ms;
    uint64_t arrived_ns; /* by cb_hwpc_join_clock() */
    size_t n, room, n_counts;
    struct cb_hwpc_report **reports;
    struct cb_map index; /* of the reports, by the hash of their target */
};

struct sensor {
    char *name;
    int64_t last_ms; /* of the last tick given out; -1: none */
    int64_t late_ms; /* the last late timestamp; how many rose in a row */
    unsigned late_in_a_row;
    size_t n_pending, room;
    size_t n_before;         /* so many of them, the first, are of before the clock was set back */
    struct pending *pending; /* by time, those of before first */
    struct cb_hwpc_framer *framer;
};

struct cb_hwpc_join {
    struct cb_hwpc_join_options options;
    struct cb_hwpc_join_counts counts;
    uint64_t now_ns; /* 0: nobody told */
    size_t waiting;
    size_t n_sensors;
    struct sensor *sensors;
    struct pending given; /* the tick whose frame is out */
};

static void clear_pending(struct pending *pending)
{
    for (size_t i = 0; i < pending->n; i++)
        pending->reports[i] = cb_hwpc_report_free(pending->reports[i]);
    free(pending->reports);
    cb_map_clear(&pending->index);
    *pending = (struct pending){0};
}

int cb_hwpc_join_new(const struct cb_hwpc_join_options *options, struct cb_hwpc_join **ret_join,
                     struct cb_err *err)
{
    struct cb_hwpc_join *join = calloc(1, sizeof(*join));

    if (!join)
        return cb_err_set(err, ENOMEM, "out of memory for joining reports");
    join->options = *options;
    *ret_join = join;
    return 0;
}

struct cb_hwpc_join *cb_hwpc_join_free(struct cb_hwpc_join *join)
{
    if (join) {
        for (size_t i = 0; i < join->n_sensors; i++) {
            struct sensor *sensor = &join->sensors[i];

            for (size_t k = 0; k < sensor->n_pending; k++)
                clear_pending(&sensor->pending[k]);
            free(sensor->pending);
            free(sensor->name);
            sensor->framer = cb_hwpc_framer_free(sensor->framer);
        }
        free(join->sensors);
        clear_pending(&join->given);
        free(join);
    }
    return NULL;
}

const struct cb_hwpc_join_counts *cb_hwpc_join_counted(const struct cb_hwpc_join *join)
{
    return &join->counts;
}

void cb_hwpc_join_clock(struct cb_hwpc_join *join, uint64_t now_ns)
{
    join->now_ns = now_ns;
}

size_t cb_hwpc_join_waiting(const struct cb_hwpc_join *join)
{
    return join->waiting;
}

static int find_sensor(struct cb_hwpc_join *join, const char *name, struct sensor **ret_sensor,
                       struct cb_err *err)
{
    struct sensor fresh = {.last_ms = -1};
    struct sensor *sensors;
    int r;

    for (size_t i = 0; i < join->n_sensors; i++) {
        if (strcmp(join->sensors[i].name, name) == 0) {
            *ret_sensor = &join->sensors[i];
            return 0;
        }
    }
    sensors = realloc(join->sensors, (join->n_sensors + 1) * sizeof(*sensors));
    if (!sensors)
        return cb_err_set(err, ENOMEM, "out of memory for a sensor");
    join->sensors = sensors;
    fresh.name = strdup(name);
    if (!fresh.name)
        return cb_err_set(err, ENOMEM, "out of memory for a sensor");
    r = cb_hwpc_framer_new(&join->options, fresh.name, &fresh.framer, err);
    if (r < 0) {
        free(fresh.name);
        return r;
    }
    sensors[join->n_sensors] = fresh;
    *ret_sensor = &sensors[join->n_sensors++];
    return 0;
}

/* The tick of @timestamp_ms among the pending ones, put in by time when it is new. */
static int find_pending(struct sensor *sensor, int64_t timestamp_ms, uint64_t now_ns,
                        struct pending **ret_pending, struct cb_err *err)
{
    size_t at = sensor->n_pending;

    while (at > sensor->n_before && sensor->pending[at - 1].timestamp_ms > timestamp_ms)
        at--;
    if (at > sensor->n_before && sensor->pending[at - 1].timestamp_ms == timestamp_ms) {
        *ret_pending = &sensor->pending[at - 1];
        return 0;
    }
    if (sensor->n_pending == sensor->room) {
        size_t room = sensor->room ? sensor->room * 2 : 8;
        struct pending *pending = realloc(sensor->pending, room * sizeof(*pending));

        if (!pending)
            return cb_err_set(err, ENOMEM, "out of memory for ticks");
        sensor->pending = pending;
        sensor->room = room;
    }
    memmove(sensor->pending + at + 1, sensor->pending + at,
            (sensor->n_pending - at) * sizeof(*sensor->pending));
    sensor->pending[at] = (struct pending){.timestamp_ms = timestamp_ms, .arrived_ns = now_ns};
    sensor->n_pending++;
    *ret_pending = &sensor->pending[at];
    return 0;
}

/* True when the report is too late for its tick. */
static bool is_late(struct sensor *sensor, int64_t timestamp_ms, bool strict)
{
    if (timestamp_ms > sensor->last_ms) {
        sensor->late_in_a_row = 0;
        return false;
    }
    if (strict)
        return true;
    if (timestamp_ms < sensor->late_ms)
        sensor->late_in_a_row = 0;
    sensor->late_in_a_row += sensor->late_in_a_row == 0 || timestamp_ms > sensor->late_ms;
    sensor->late_ms = timestamp_ms;
    if (sensor->late_in_a_row < CLOCK_SET_BACK)
        return true;
    sensor->last_ms = timestamp_ms - 1;
    sensor->n_before = sensor->n_pending;
    if (sensor->n_before == 0)
        cb_hwpc_framer_clock_set(sensor->framer);
    sensor->late_in_a_row = 0;
    return false;
}

/* Is there a report for this target? Else *@ret_key is free for it. */
static bool has_target(const struct pending *pending, const char *target, uint64_t *ret_key)
{
    uint64_t key = cb_fnv_text(CB_FNV_BEGIN, target), index;

    for (; cb_map_get(&pending->index, key, &index); key++) {
        if (strcmp(pending->reports[index]->target, target) == 0)
            return true;
    }
    *ret_key = key;
    return false;
}

static int add_to(struct cb_hwpc_join *join, struct pending *pending,
                  struct cb_hwpc_report **report, struct cb_err *err)
{
    uint64_t key;

    if (has_target(pending, (*report)->target, &key)) {
        join->counts.duplicates++;
        return 0;
    }
    if (pending->n == CB_FRAME_MAX_TARGETS) {
        join->counts.too_many++;
        return 0;
    }
    if (pending->n == pending->room) {
        size_t room = pending->room ? pending->room * 2 : 8;
        struct cb_hwpc_report **reports =
            realloc(pending->reports, room * sizeof(struct cb_hwpc_report *));

        if (!reports)
            return cb_err_set(err, ENOMEM, "out of memory for reports");
        pending->reports = reports;
        pending->room = room;
    }
    if (cb_map_put(&pending->index, key, pending->n) < 0)
        return cb_err_set(err, ENOMEM, "out of memory for reports");
    pending->n_counts += (*report)->n_counts;
    join->waiting += (*report)->n_counts;
    pending->reports[pending->n++] = cb_take(*report);
    return 0;
}

int cb_hwpc_join_add(struct cb_hwpc_join *join, struct cb_hwpc_report *report, struct cb_err *err)
{
    struct sensor *sensor = NULL;
    struct pending *pending = NULL;
    int r = find_sensor(join, report->sensor, &sensor, err);

    if (r == 0 && is_late(sensor, report->timestamp_ms, join->options.strict)) {
        join->counts.late++;
        report = cb_hwpc_report_free(report);
        return 0;
    }
    if (r == 0)
        r = find_pending(sensor, report->timestamp_ms, join->now_ns, &pending, err);
    if (r == 0)
        r = add_to(join, pending, &report, err);
    report = cb_hwpc_report_free(report);
    return r;
}

static bool is_due(const struct cb_hwpc_join *join, const struct sensor *sensor)
{
    const struct pending *oldest = &sensor->pending[0];
    const struct pending *newest = &sensor->pending[sensor->n_pending - 1];

    return sensor->n_pending > MAX_PENDING || sensor->n_before > 0 ||
           (uint64_t)(newest->timestamp_ms - oldest->timestamp_ms) * 1000000 >=
               join->options.deadline_ns ||
           (join->now_ns > 0 && join->now_ns - oldest->arrived_ns >= join->options.deadline_ns);
}

/* The sensor whose oldest tick is due and oldest of all; NULL: none is due. */
static struct sensor *due_sensor(struct cb_hwpc_join *join, bool flush)
{
    struct sensor *due = NULL;

    for (size_t i = 0; i < join->n_sensors; i++) {
        struct sensor *sensor = &join->sensors[i];

        if (sensor->n_pending == 0 || !(flush || is_due(join, sensor)))
            continue;
        if (!due || sensor->pending[0].timestamp_ms < due->pending[0].timestamp_ms)
            due = sensor;
    }
    return due;
}

int cb_hwpc_join_next(struct cb_hwpc_join *join, bool flush, const struct cb_frame **ret_frame,
                      struct cb_err *err)
{
    struct sensor *sensor = due_sensor(join, flush);
    const struct pending *next;
    bool before, last_before;
    int r;

    clear_pending(&join->given);
    *ret_frame = NULL;
    if (!sensor)
        return 0;
    join->given = sensor->pending[0];
    join->waiting -= join->given.n_counts;
    sensor->n_pending--;
    memmove(sensor->pending, sensor->pending + 1, sensor->n_pending * sizeof(*sensor->pending));
    before = sensor->n_before > 0;
    sensor->n_before -= before;
    last_before = before && sensor->n_before == 0;
    if (!before)
        sensor->last_ms = join->given.timestamp_ms;
    next = sensor->n_pending > 0 && !last_before ? &sensor->pending[0] : NULL;
    r = cb_hwpc_framer_frame(sensor->framer, join->given.timestamp_ms, join->given.reports,
                             join->given.n, next ? next->reports : NULL, next ? next->n : 0,
                             ret_frame, err);
    if (last_before)
        cb_hwpc_framer_clock_set(sensor->framer);
    if (r == 0)
        join->counts.no_all += (*ret_frame)->n_energies == 0;
    return r;
}
